"""Products put into scenes: what is kept bit for bit, what is painted, and what is refused."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.catalog import built_in_catalog
from farm.errors import InvalidRequest
from farm.types import RunRequest
from models.base import Engine
from models.engines.sdxl_inpaint import DENOISED, SceneEngine
from models.parts.grabcut import GrabcutMatter
from models.parts.matting import cut_out
from models.registry import setup_of
from models.weights import tiny
from tests.contracts.edit_engine import EditEngineContract, TimeIsUp, decoded, ignore, tiff
from tests.models.checkpoints import birefnet
from tests.models.scenes import scene

Bytes = NDArray[np.uint8]
CARD = built_in_catalog().models["replace-background"]


class TestScene(EditEngineContract):
    model_id = "replace-background"
    operation = "replace-background"
    served_by = "sdxl-inpaint-tiny+grabcut"
    params: ClassVar = {"prompt": "on a beach at sunset", "seed": 7}
    bad_params: ClassVar = (
        {"prompt": None},
        {"prompt": " "},
        {"prompt": 7},
        {"seed": None},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": True},
        {"strength": 1},
    )
    keeps_alpha = False
    needs_content = True
    text: ClassVar = {"seed": "7", "steps": str(DENOISED)}

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return SceneEngine(setup_of(CARD, "tiny", cache, (TimeIsUp,)))

    def test_every_denoising_step_is_reported(self, editor: Engine) -> None:
        seen: list[tuple[int, int]] = []
        editor.run(self.request(), lambda step, steps: seen.append((step, steps)))
        total = 1 + GrabcutMatter.stages + DENOISED + 1
        assert seen == [(step, total) for step in range(1, total + 1)]

    @pytest.mark.parametrize("change", [{"seed": 2**32 - 1}, {"prompt": "a blue castle at night"}])
    def test_seed_and_prompt_change_the_scene(self, editor: Engine, change: dict[str, Any]) -> None:
        ours, theirs = (self.run(editor, self.request(**c)).astype(int) for c in ({}, change))
        assert np.abs(ours - theirs).mean() > 1

    @pytest.mark.parametrize("size", [(333, 517), (900, 40), (31, 640)])
    def test_every_size_comes_back_exactly(self, editor: Engine, size: tuple[int, int]) -> None:
        assert self.run(editor, self.request(size=size)).shape == (size[1], size[0], 3)


@pytest.fixture(scope="module")
def engine(tiny_cache: Path) -> Iterator[Engine]:
    made = TestScene.create(tiny_cache)
    made.load("cpu")
    yield made
    made.unload()


def place(engine: Engine, picture: Bytes) -> Bytes:
    """The result for a picture."""
    params = {"prompt": "on a wooden table", "seed": 3}
    operation = "replace-background"
    inputs = {"image": tiff(picture)}
    job = RunRequest(uuid.uuid4(), 1, "replace-background", operation, params, inputs)
    return decoded(engine.run(job, ignore)[0])


def disc(size: int = 128) -> Bytes:
    """How opaque each pixel of a disc with a soft edge is."""
    y, x = np.mgrid[0:size, 0:size]
    away = np.hypot(x - size / 2, y - size / 2)
    return np.clip((size * 0.3 - away) * 32 + 128, 0, 255).astype(np.uint8)


def cut(background: int) -> Bytes:
    """A red disc that was cut out before; what its clear pixels hide is this grey."""
    alpha = disc()
    colours = np.where(alpha[..., None] > 0, (200, 40, 40), background)
    return np.dstack([colours, alpha]).astype(np.uint8)


@pytest.mark.parametrize("name", ["shoe-white", "mug-wood"])
def test_the_product_stays_bit_for_bit_and_all_else_is_new(engine: Engine, name: str) -> None:
    picture = scene(name).image
    product = cut_out(Image.fromarray(picture), GrabcutMatter(), lambda: None)
    kept, gone = product[..., 3] == 255, product[..., 3] == 0
    assert kept.mean() > 0.05
    assert gone.mean() > 0.3
    made = place(engine, picture)
    assert np.array_equal(made[kept], picture[kept])
    assert np.abs(made.astype(int) - picture)[gone].mean() > 20


def test_a_picture_that_was_cut_out_before_keeps_its_own_mask(engine: Engine) -> None:
    picture = cut(background=0)
    made, alpha = place(engine, picture), picture[..., 3]
    assert np.array_equal(made[alpha == 255], picture[alpha == 255][:, :3])
    far = made[alpha == 0]
    assert np.abs(far.astype(int) - (200, 40, 40)).max(axis=1).mean() > 40
    assert np.array_equal(made, place(engine, cut(background=255))), "what was hidden shows"


def test_a_soft_edge_is_the_product_over_the_scene(engine: Engine) -> None:
    red = cut(background=128)
    made = place(engine, red).astype(int)
    alpha = red[..., 3].astype(int)
    soft = (alpha > 0) & (alpha < 255)
    assert soft.sum() > 100
    # Whatever the scene is, it has what share of a pixel the product leaves.
    least, most = alpha * 200 // 255, alpha * 200 // 255 + (255 - alpha)
    assert (made[..., 0] >= least - 1)[soft].all()
    assert (made[..., 0] <= most + 1)[soft].all()


@pytest.mark.parametrize(
    "picture",
    [
        np.full((96, 96, 3), 255, np.uint8),
        np.dstack([np.full((96, 96, 3), 90, np.uint8), np.zeros((96, 96), np.uint8)]),
        np.dstack([np.full((96, 96, 3), 90, np.uint8), np.full((96, 96), 255, np.uint8)]),
    ],
    ids=["white", "clear", "opaque"],
)
def test_a_picture_without_a_product_is_refused(engine: Engine, picture: Bytes) -> None:
    with pytest.raises(InvalidRequest, match="could not be told from its background") as caught:
        place(engine, picture)
    assert [error.field for error in caught.value.errors] == ["image"]


def test_a_speck_is_no_product(engine: Engine) -> None:
    picture = np.zeros((96, 96, 4), np.uint8)
    picture[48:50, 48:50] = 255
    with pytest.raises(InvalidRequest):
        place(engine, picture)


def test_real_weights_find_the_product_with_birefnet(tiny_cache: Path, tmp_path: Path) -> None:
    """From a folder, by the lines that load the real ones; what is red stands in front."""
    folder = tmp_path / CARD.id
    shutil.copytree(tiny.built(CARD.id, "pipeline", tiny_cache), folder)
    birefnet.write(folder / "matting.onnx")
    made = SceneEngine(setup_of(CARD, str(tmp_path)))
    assert made.served_by == "sdxl-inpaint+birefnet"
    made.load("cpu")
    assert made.resident_bytes > (folder / "matting.onnx").stat().st_size
    y, x = np.mgrid[0:120, 0:160]
    inside = np.hypot(x - 50, y - 60) < 30
    picture = np.where(inside[..., None], (230, 20, 20), (90, 120, 90)).astype(np.uint8)
    result = place(made, picture)
    core, far = np.hypot(x - 50, y - 60) < 26, np.hypot(x - 50, y - 60) > 34
    assert np.array_equal(result[core], picture[core])
    assert np.abs(result.astype(int) - picture)[far].mean() > 15
    made.unload()
    assert made.resident_bytes == 0
