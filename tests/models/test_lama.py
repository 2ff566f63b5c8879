"""Removing things with spandrel's own LaMa class; its weights are random."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from farm.errors import EngineFault, InvalidRequest, SetupError
from farm.types import RunRequest
from models.base import Engine
from models.engines import lama
from models.parts.clipseg import ClipSeg
from models.parts.grounded_sam2 import GroundedSam2
from models.parts.holes import blend_margin, grown
from models.parts.spandrel_net import open_net
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    TimeIsUp,
    decoded,
    ignore,
    tiff,
)
from tests.models.checkpoints import finders, making, realesrgan
from tests.models.checkpoints import lama as checkpoint
from tests.models.portraits import Drawn, portrait

MODEL = "remove-object"


def folder(cache: Path) -> Path:
    """A folder of weights with LaMa and CLIPSeg; written once."""
    made = cache / "lama"
    if not (made / MODEL).exists():
        finders.write_clipseg(made / MODEL / "clipseg")
        checkpoint.write(made / MODEL / "inpainter.safetensors")
    return made


def job(picture: Pixels, mask: Pixels | None = None, prompt: str | None = None) -> RunRequest:
    inputs = {"image": tiff(picture)}
    if mask is not None:
        inputs["mask"] = tiff(mask)
    params = {} if prompt is None else {"prompt": prompt}
    return RunRequest(uuid.uuid4(), 1, MODEL, "remove-object", params, inputs)


def box(width: int, height: int, *boxes: tuple[int, int, int, int]) -> Pixels:
    """A mask of boxes: left, top, right, bottom."""
    mask = np.zeros((height, width), np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 255
    return mask


class TestLama(EditEngineContract):
    model_id = MODEL
    operation = "remove-object"
    served_by = "lama"
    size = (64, 48)
    bad_params: ClassVar = ({"prompt": 7}, {"prompt": " "}, {"strength": 1})

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return making.engine(MODEL, folder(cache), TimeIsUp, finder="clipseg")

    @classmethod
    def inputs(cls, image: Image.Image) -> dict[str, bytes]:
        width, height = image.size
        mask = box(width, height, (width // 3, height // 3, width // 2 + 1, height // 2 + 1))
        return {"image": tiff(image), "mask": tiff(mask)}

    @pytest.mark.parametrize("channels", [3, 4])
    def test_nothing_changes_beyond_the_grown_mask(self, editor: Engine, channels: int) -> None:
        picture = portrait(150, 110, Drawn(60, 50, 70))
        if channels == 4:
            picture = np.dstack([picture, np.full((110, 150), 200, np.uint8)])
        mask = box(150, 110, (40, 30, 80, 70), (120, 90, 150, 110))
        made = self.run(editor, job(picture, mask))
        far = grown(mask, blend_margin(150, 110)) == 0
        assert np.array_equal(made[far], picture[far])
        changed = np.abs(made[mask > 0].astype(int) - picture[mask > 0])
        assert (changed.mean(axis=0) > 5).all()

    def test_the_filling_is_the_networks_and_lies_where_it_belongs(
        self, editor: Engine, tiny_cache: Path
    ) -> None:
        picture, mask = portrait(151, 110, Drawn(60, 50, 70)), box(151, 110, (90, 40, 120, 75))
        net = open_net(
            folder(tiny_cache) / MODEL / "inpainter.safetensors", "cpu", purpose="Inpainting"
        )
        hole = grown(mask, blend_margin(151, 110))
        with torch.inference_mode():
            expected = net.pixels(net.descriptor(net.tensor(picture), net.tensor(hole)))
        made = self.run(editor, job(picture, mask))
        assert np.array_equal(made[mask > 0], expected[mask > 0])

    def test_a_part_that_is_too_long_is_worked_on_smaller(
        self, editor: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lama, "SIDE_MAX", 64)
        picture, mask = portrait(301, 203), box(301, 203, (30, 20, 200, 160))
        made = self.run(editor, job(picture, mask))
        far = grown(mask, blend_margin(301, 203)) == 0
        assert np.array_equal(made[far], picture[far])
        assert np.abs(made[mask > 0].astype(int) - picture[mask > 0]).mean() > 5

    def test_every_separate_part_is_a_step(self, editor: Engine) -> None:
        seen: list[tuple[int, int]] = []
        mask = box(120, 90, (5, 5, 15, 15), (60, 50, 80, 70), (100, 5, 110, 12))
        editor.run(job(portrait(120, 90), mask), lambda step, steps: seen.append((step, steps)))
        assert seen == [(1, 2), (2, 4), (3, 4), (4, 4)]

    def test_what_shows_stays_opaque_and_what_does_not_stays_clear(self, editor: Engine) -> None:
        alpha = np.full((80, 100), 255, np.uint8)
        picture = np.dstack([portrait(100, 80), alpha])
        made = self.run(editor, job(picture, box(100, 80, (30, 30, 50, 50))))
        assert (made[..., 3] == 255).all()

    def test_a_mask_is_taken_before_words(self, editor: Engine) -> None:
        picture, mask = portrait(100, 80), box(100, 80, (30, 30, 50, 50))
        with_words = self.run(editor, job(picture, mask, "the face"))
        assert np.array_equal(with_words, self.run(editor, job(picture, mask)))

    def test_without_mask_and_words_there_is_nothing_to_do(self, editor: Engine) -> None:
        seen: list[int] = []
        with pytest.raises(InvalidRequest, match="or a prompt instead") as caught:
            editor.run(job(portrait(40, 30)), lambda step, steps: seen.append(step))
        assert [error.field for error in caught.value.errors] == ["mask"]
        assert seen == []


def test_words_are_turned_into_a_mask_by_the_finder_of_the_card(tiny_cache: Path) -> None:
    made = folder(tiny_cache)
    parts = made / MODEL / "detector", made / MODEL / "segmenter"
    finders.write_grounding_dino(parts[0])
    finders.write_sam2(parts[1])
    finder = GroundedSam2(*parts)
    finder.load("cpu")
    picture = portrait(160, 120, Drawn(60, 50, 70))
    margin = blend_margin(160, 120)
    found = grown(finder.mask(Image.fromarray(picture), "the face", lambda: None), margin)

    engine = making.engine(MODEL, made, finder="grounded-sam2")
    engine.load("cpu")
    assert engine.resident_bytes > finder.resident_bytes
    steps: list[int] = []
    [artifact] = engine.run(job(picture, prompt="the face"), lambda step, _: steps.append(step))
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 4  # the picture, the boxes, what is in them, and a filling at least
    out = decoded(artifact)
    far = grown(found, margin) == 0
    assert 0 < far.sum() < far.size
    assert np.array_equal(out[far], picture[far])
    assert np.abs(out[found > 0].astype(int) - picture[found > 0]).mean() > 5


def test_the_smaller_finder_fills_what_it_finds(tiny_cache: Path) -> None:
    engine = making.engine(MODEL, folder(tiny_cache), finder="clipseg")
    engine.load("cpu")
    picture = portrait(80, 60, Drawn(30, 30, 40))
    [artifact] = engine.run(job(picture, prompt="the face"), ignore)
    assert np.abs(decoded(artifact).astype(int) - picture).mean() > 5


def test_a_finder_that_is_none_is_refused(tiny_cache: Path) -> None:
    engine = making.engine(MODEL, folder(tiny_cache), finder="magnifier")
    with pytest.raises(SetupError, match="magnifier"):
        engine.load("cpu")
    assert engine.resident_bytes == 0


def test_a_network_for_something_else_is_refused(tmp_path: Path) -> None:
    realesrgan.write(tmp_path / MODEL / "inpainter.safetensors")
    with pytest.raises(EngineFault, match="not for Inpainting"):
        making.engine(MODEL, tmp_path, finder="clipseg").load("cpu")


def test_words_that_are_not_found_end_the_job_with_a_sentence(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strict(ClipSeg):
        def __init__(self, path: Path) -> None:
            super().__init__(path, share_min=1.0)

    monkeypatch.setattr(lama, "ClipSeg", Strict)
    engine = making.engine(MODEL, folder(tiny_cache), finder="clipseg")
    engine.load("cpu")
    with pytest.raises(InvalidRequest, match="'a unicorn' was not found"):
        engine.run(job(portrait(60, 40), prompt="a unicorn"), ignore)
