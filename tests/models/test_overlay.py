"""Trying on without a network: what a person sees where something is worn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.errors import SegmentationFailed
from models.base import Engine
from models.engines.overlay import OverlayEngine
from models.parts.grabcut import GrabcutMatter
from models.parts.tryon.body import Body, find_body
from models.parts.tryon.garment import read_garment
from models.parts.tryon.rows import rails
from tests.contracts.edit_engine import TimeIsUp, ignore
from tests.contracts.tryon_engine import TryOnEngineContract
from tests.models import drawing as draw
from tests.models import figures, scenes
from tests.models.figures import Figure
from tests.models.setups import setup

MODEL = "virtual-tryon"
RED, OCHRE, GREEN = (190, 40, 50), (165, 130, 80), (30, 130, 90)
COLOURS = {"upperbody": RED, "lowerbody": OCHRE, "dress": GREEN}


def engine(cache: Path) -> Engine:
    return OverlayEngine(setup(MODEL, "overlay", cache, TimeIsUp))


class TestOverlay(TryOnEngineContract):
    served_by = "overlay"
    # Without colour, lighter skin is as bright as the wall.
    who = Figure(skin=(165, 115, 90))
    reach = 0.16  # a wide skirt

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine(cache)

    @pytest.mark.parametrize("category", COLOURS)
    def test_what_is_worn_has_the_garments_colour(self, editor: Engine, category: str) -> None:
        drawn = self.figure()
        plain = figures.shirt(stripe=None)
        pictures = {"garment_image": plain} if category == "upperbody" else {}
        made = self.run(editor, self.worn(category, **pictures))
        names = {"upperbody": "Upper-clothes", "lowerbody": "Pants", "dress": "Upper-clothes"}
        worn = _core(drawn.where(names[category]), 3)
        worn &= np.abs(np.arange(self.size[0]) - self.size[0] / 2) < 0.09 * self.size[1]
        assert np.abs(np.median(made[worn], axis=0) - COLOURS[category]).max() < 25

    def test_the_folds_of_what_was_worn_stay(self, editor: Engine) -> None:
        light = np.ones((240, 180), np.float32)
        light[:, 82:86] = 0.65
        lit = self.figure().picture * cv2.GaussianBlur(light, (0, 0), 1.5)[..., None]
        folded = lit.astype(np.uint8)
        shirt = figures.shirt(stripe=None)
        made = self.run(editor, self.worn("upperbody", person_image=folded, garment_image=shirt))
        row = made[75:98].mean(axis=(0, 2))
        assert row[82:86].mean() < 0.94 * np.concatenate([row[74:78], row[91:95]]).mean()

    def test_stripes_stay_level_and_run_across(self, editor: Engine) -> None:
        made = self.run(editor, self.worn("upperbody")).astype(int)
        white = made.min(axis=2) > 150
        torso = white[60:120, 75:105]
        assert 2 <= _bands(torso.mean(axis=1) > 0.9) <= 4

    def test_sleeves_that_a_garment_does_not_have_become_skin(self, editor: Engine) -> None:
        person = figures.person(Figure(size=(240, 320), sleeves=0.6))
        made = self.run(editor, self.worn("dress", person_image=person.picture))
        sleeve = _core(person.where("Upper-clothes"), 2)
        sleeve[:85] = False
        sleeve &= np.abs(np.arange(240) - 120) > 0.135 * 320
        assert sleeve.sum() > 50
        assert np.abs(np.median(made[sleeve], axis=0) - figures.SKIN).max() < 40

    def test_long_hair_stays_in_front(self, editor: Engine) -> None:
        who = figures.person(Figure(size=(180, 240), long_hair=True))
        made = self.run(editor, self.worn("upperbody", person_image=who.picture))
        hair = _core(who.where("Hair"), 2)
        hair[:55] = False
        assert hair.sum() > 20
        assert np.abs(made.astype(int) - who.picture)[hair].mean() < 20

    def test_a_skirt_hangs_between_the_legs(self, editor: Engine) -> None:
        made = self.run(editor, self.worn("dress")).astype(int)
        between = made[142:172, 88:92].mean(axis=(0, 1))
        assert np.abs(between - GREEN).max() < 40
        beside = made[175:190, 62:68].mean(axis=(0, 1))
        assert beside[1] > beside[0] + 40

    def test_a_thing_is_nobody(self, editor: Engine) -> None:
        for name in ("bottle-plain", "lamp-dark"):
            thing = cv2.resize(scenes.scene(name).image, (200, 200))
            with pytest.raises(SegmentationFailed):
                editor.run(self.worn("upperbody", person_image=thing), ignore)

    def test_who_was_cut_out_before_is_dressed_too(self, editor: Engine) -> None:
        drawn = self.figure()
        alpha = np.where(drawn.labels > 0, 255, 0).astype(np.uint8)
        made = self.run(
            editor, self.worn("upperbody", person_image=np.dstack([drawn.picture, alpha]))
        )
        assert made.shape[2] == 4
        core = _core(drawn.where("Upper-clothes"), 4)
        assert (np.abs(made[..., :3].astype(int) - drawn.picture).max(axis=2) > 12)[
            core
        ].mean() > 0.9

    def test_a_garment_that_fills_its_picture_is_all_cloth(self, editor: Engine) -> None:
        random = np.random.default_rng(4)
        cloth = draw.photographed(draw.fabric((200, 90, 30), 10)(random, 200, 160), random, 2)
        made = self.run(editor, self.worn("upperbody", garment_image=cloth)).astype(int)
        core = _core(self.figure().where("Upper-clothes"), 4)
        assert np.median(made[core][:, 0] - made[core][:, 2]) > 80


@pytest.fixture(scope="module")
def body() -> tuple[figures.Drawn, Body]:
    """Somebody in shirt and trousers, and what is found of them."""
    drawn = figures.person(Figure())
    return drawn, find_body(drawn.picture, drawn.labels > 0, "dress")


def test_a_body_is_measured_by_its_outline_and_colours(body: tuple[figures.Drawn, Body]) -> None:
    drawn, found = body
    assert found.neck == pytest.approx(0.185 * 480, abs=8)
    assert found.waist == pytest.approx(0.5 * 480, abs=6)
    assert found.feet == pytest.approx(0.915 * 480, abs=10)
    assert found.centre == pytest.approx(180, abs=4)
    assert found.complexion is not None
    assert np.abs(np.array(found.complexion) - figures.SKIN).max() < 20
    for mask, names in (
        (found.top, ("Upper-clothes",)),
        (found.bottom, ("Pants",)),
        (found.skin & found.arms, ("Left-arm", "Right-arm")),
    ):
        known = drawn.where(*names)
        assert (mask & known).sum() / (mask | known).sum() > 0.85, names


@pytest.mark.parametrize(
    ("picture", "category", "legs", "sleeved"),
    [
        (figures.shirt, "upperbody", False, True),
        (figures.trousers, "lowerbody", True, False),
        (figures.gown, "dress", False, False),
    ],
)
def test_a_garment_is_measured(picture: Any, category: str, legs: bool, sleeved: bool) -> None:
    found = read_garment(Image.fromarray(picture()), category, GrabcutMatter(), lambda: None)
    assert found.legs is legs
    assert (found.sleeves > 0.3) is sleeved
    height, width = picture().shape[:2]
    assert found.rows == pytest.approx(0.88 * height, abs=0.04 * height)
    if category == "dress":
        assert found.waist == pytest.approx(0.31 * height, abs=0.05 * height)
    if category == "upperbody":
        assert found.body.width[5:-5].max() < 0.5 * width
    # Beyond its outline the cloth goes on.
    assert found.cloth.min(axis=2).max() < 245 or category == "upperbody"
    assert np.abs(found.cloth[2, 2].astype(int) - (248, 248, 248)).max() > 20


def test_rails_follow_the_legs() -> None:
    mask = np.zeros((6, 20), bool)
    mask[:2, 4:16] = True
    mask[2:5, 4:9] = mask[2:5, 11:16] = True
    found = rails(mask, 10, True)
    assert found.columns.tolist() == [[4, 10, 10, 16]] * 2 + [[4, 9, 11, 16]] * 4
    assert found.split().tolist() == [False] * 2 + [True] * 4
    assert found.joined().columns[3].tolist() == [4, 10, 10, 16]
    assert found.at(np.array([1.5]))[0].tolist() == [4, 9.5, 10.5, 16]


def _core(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    square = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.erode(mask.astype(np.uint8), square) > 0


def _bands(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(np.diff(np.concatenate([[0], rows.astype(np.int8)])) == 1))
