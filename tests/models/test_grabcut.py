"""Cutting out without a network, measured on drawn products whose mask is known."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.types import RunRequest
from models.base import Engine
from models.engines.grabcut import GrabcutEngine
from models.parts.grabcut import GrabcutMatter
from models.parts.matting import decontaminated
from tests.contracts.edit_engine import EditEngineContract, TimeIsUp, tiff
from tests.models.scenes import RECIPES, Scene, scene
from tests.models.setups import setup

FLOOR = 0.93
FLOORS: dict[str, float] = {
    "plant-wall": 0.90,  # gaps of few pixels between stalks
    "shoe-white": 0.90,  # a white sole on white, above its own shadow
}
"""Least intersection over union by scene."""

HALO_MAX = 9.0
"""Mean error of colour, of 255, within three pixels of the edge, on black and on white.

Noise of a photograph alone gives 1.2 there. Even with the exact alpha, what is left of the
old background in half transparent pixels adds 4 to 9, and that is what one sees as a halo.
"""


class TestGrabcut(EditEngineContract):
    model_id = "remove-background"
    operation = "remove-background"
    served_by = "grabcut"
    makes_alpha: ClassVar = True

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return GrabcutEngine(setup(cls.model_id, cls.served_by, cache, TimeIsUp))

    @classmethod
    def job(cls, image: Image.Image) -> RunRequest:
        inputs = {"image": tiff(image)}
        return RunRequest(uuid.uuid4(), 1, cls.model_id, cls.operation, {}, inputs)

    def test_the_whole_way_from_a_photograph_to_a_cut_out(self, editor: Engine) -> None:
        drawn = scene("bag-gradient")
        made = self.run(editor, self.job(Image.fromarray(drawn.image)))
        assert made.shape == (*drawn.alpha.shape, 4)
        assert overlap(made[..., 3], drawn) >= FLOOR
        assert halo(made, drawn) <= HALO_MAX

    def test_what_was_cut_out_before_is_left_as_it_is(self, editor: Engine) -> None:
        drawn = scene("ring-gradient")
        image = Image.fromarray(np.dstack([drawn.product, drawn.alpha]))
        assert np.array_equal(self.run(editor, self.job(image)), np.asarray(image))

    def test_what_is_transparent_stays_so(self, editor: Engine) -> None:
        drawn = scene("star-sky")
        before = np.full(drawn.alpha.shape, 255, np.uint8)
        before[:, 300:] = 90
        image = Image.fromarray(np.dstack([drawn.image, before]))
        alpha = self.run(editor, self.job(image))[..., 3]
        assert alpha[:, 300:].max() == 90
        assert alpha[:, :300].max() == 255

    @pytest.mark.parametrize("level", [0, 128, 255])
    def test_where_nothing_stands_out_the_picture_is_left_whole(
        self, editor: Engine, level: int
    ) -> None:
        made = self.run(editor, self.job(Image.new("RGB", (200, 150), (level,) * 3)))
        assert (made == (level, level, level, 255)).all()


def nothing() -> None:
    """An on_stage for nobody."""


def overlap(alpha: NDArray[np.uint8], drawn: Scene) -> float:
    """Intersection over union of what is more than half opaque."""
    ours = alpha > 127
    return float((ours & drawn.mask).sum() / (ours | drawn.mask).sum())


def halo(made: NDArray[np.uint8], drawn: Scene) -> float:
    """See HALO_MAX; the worse of both grounds."""
    near = np.ones((7, 7), np.uint8)
    edge = (cv2.dilate(drawn.alpha, near) > 0) & (cv2.erode(drawn.alpha, near) < 255)
    return max(
        float(
            np.abs(
                laid_on(ground, made[..., :3], made[..., 3])
                - laid_on(ground, drawn.product, drawn.alpha)
            )[edge].mean()
        )
        for ground in (0, 255)
    )


def laid_on(
    ground: int, colours: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """A cut-out before a ground of one grey."""
    share = alpha[..., None] / 255
    return np.asarray(colours * share + ground * (1 - share))


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_a_product_is_cut_out_without_a_halo(name: str) -> None:
    drawn = scene(name)
    alpha = GrabcutMatter().alpha(Image.fromarray(drawn.image), nothing)
    assert overlap(alpha, drawn) >= FLOORS.get(name, FLOOR)
    if name not in FLOORS:  # a halo is a matter of edges that are in the right place
        assert halo(decontaminated(drawn.image, alpha), drawn) <= HALO_MAX


def test_the_floors_add_up_to_a_mean_of_92_percent() -> None:
    floors = [FLOORS.get(recipe.name, FLOOR) for recipe in RECIPES]
    assert len(floors) >= 24
    assert np.mean(floors) >= 0.92


def test_the_edge_of_a_large_picture_is_as_good() -> None:
    drawn = scene("toy-soft")
    size = (drawn.image.shape[1] * 4, drawn.image.shape[0] * 4)
    large = Image.fromarray(drawn.image).resize(size, Image.Resampling.BICUBIC)
    alpha = GrabcutMatter().alpha(large, nothing)
    assert alpha.shape == (size[1], size[0])
    small = np.asarray(
        Image.fromarray(alpha).resize(drawn.image.shape[1::-1], Image.Resampling.BOX)
    )
    assert overlap(small, drawn) >= FLOOR
    assert np.abs(small.astype(int) - drawn.alpha).mean() < 2
