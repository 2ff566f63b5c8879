"""The FLUX.1 Kontext engine on its tiny checkpoint: what is changed, and what a mask keeps."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from farm.catalog import built_in_catalog
from farm.errors import InvalidRequest
from farm.types import RunRequest
from models.base import Engine
from models.parts.edit_order import result_size
from models.registry import create
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    Size,
    TimeIsUp,
    ignore,
    tiff,
)

GREY = 90


class TestFluxKontext(EditEngineContract):
    model_id = "flux-kontext"
    operation = "edit"
    served_by = "flux-kontext-tiny"
    params: ClassVar = {"prompt": "a red fox", "seed": 7, "steps": 2, "guidance_scale": 2.5}
    bad_params: ClassVar = (
        {"prompt": None},
        {"prompt": " "},
        {"seed": -1},
        {"steps": 0},
        {"height": 0},
        {"guidance_scale": -1},
        {"strength": 0.5},
    )
    size = (320, 256)
    keeps_alpha = False
    text: ClassVar = {"seed": "7", "steps": "2"}

    @classmethod
    def create(cls, cache: Path) -> Engine:
        card = built_in_catalog().models[cls.model_id]
        return create(card, "tiny", cache=cache, interrupts=(TimeIsUp,))

    @classmethod
    def result_size(cls, size: Size) -> Size:
        return result_size(size, None, None)

    @classmethod
    def change(cls, *pictures: Pixels, mask: Pixels | None = None, **changes: int) -> RunRequest:
        """A job on these pictures."""
        request = cls.request(**changes)
        names = ("image", "image_2", "image_3", "image_4")
        inputs = {n: tiff(p) for n, p in zip(names, pictures, strict=False)}
        if mask is not None:
            inputs["mask"] = tiff(mask)
        return RunRequest(request.job_id, 1, request.model, "edit", request.params, inputs)

    @pytest.mark.parametrize(
        "change", [{"seed": 8}, {"prompt": "a blue castle at night"}, {"guidance_scale": 6.0}]
    )
    def test_seed_prompt_and_guidance_count(
        self, editor: Engine, change: dict[str, object]
    ) -> None:
        ours, theirs = (self.run(editor, self.request(**c)).astype(int) for c in ({}, change))
        assert np.abs(ours - theirs).mean() > 1

    def test_every_picture_counts(self, editor: Engine) -> None:
        seen: list[Pixels] = []
        pictures = [plain(grey, (240, 300)) for grey in (20, 240, 90, 160)]
        for count in (1, 2, 3, 4):
            seen.append(self.run(editor, self.change(*pictures[:count])))
            assert seen[-1].shape == (320, 256, 3)
            assert not any(np.array_equal(seen[-1], before) for before in seen[:-1])

    @pytest.mark.parametrize("asked", [(333, 517), (2048, 256)])
    def test_any_size_comes_out_exactly(self, editor: Engine, asked: Size) -> None:
        made = self.run(editor, self.request(width=asked[0], height=asked[1]))
        assert made.shape == (asked[1], asked[0], 3)

    def test_outside_of_the_mask_nothing_changes(self, editor: Engine) -> None:
        picture, mask = np.asarray(self.picture((300, 280))), np.zeros((280, 300), np.uint8)
        mask[60:160, 40:140] = 255
        made = self.run(editor, self.change(picture, mask=mask))
        kept = np.ones_like(mask, bool)
        kept[50:170, 30:150] = False
        assert np.array_equal(made[kept], picture[kept])
        assert np.abs(made.astype(int) - picture)[mask > 0].mean() > 10
        whole = self.run(editor, self.change(picture))
        assert np.array_equal(made[mask > 0], whole[mask > 0])
        ring = ~kept & (mask == 0)
        low, high = np.minimum(whole, picture), np.maximum(whole, picture)
        assert ((low <= made) & (made <= high))[ring].all()

    def test_a_mask_goes_with_its_picture_to_another_size(self, editor: Engine) -> None:
        picture, mask = plain(GREY, (300, 400)), np.zeros((400, 300), np.uint8)
        mask[180:220, 130:170] = 255
        job = self.change(picture, plain(200, (90, 50)), mask=mask, width=512, height=256)
        made = self.run(editor, job)
        assert made.shape == (256, 512, 3)
        changed = np.abs(made.astype(int) - GREY).max(axis=2) > 0
        assert changed[120:136, 248:264].any()
        assert not changed[:70].any()
        assert not changed[:, :190].any()

    @pytest.mark.parametrize(
        ("mask", "sentence"),
        [
            (np.zeros((300, 300), np.uint8), "White is what is changed"),
            (np.full((300, 299), 255, np.uint8), "300x300 like the image, got 299x300"),
        ],
    )
    def test_a_mask_that_does_not_fit_is_refused(
        self, editor: Engine, mask: Pixels, sentence: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=sentence):
            editor.run(self.change(plain(GREY, (300, 300)), mask=mask), ignore)


def plain(grey: int, size: Size) -> Pixels:
    return np.full((size[1], size[0], 3), grey, np.uint8)
