"""What every try-on engine promises beside what every engine that edits a picture does."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.errors import EngineFault, InvalidRequest, SegmentationFailed
from farm.types import RunRequest
from models.base import Engine
from tests.contracts.edit_engine import EditEngineContract, Pixels, ignore, tiff
from tests.models import figures
from tests.models.figures import Drawn, Figure

INPUTS = ("person_image", "garment_image")
GARMENTS = {"upperbody": figures.shirt, "lowerbody": figures.trousers, "dress": figures.gown}
WORN = {
    "upperbody": ("Upper-clothes",),
    "lowerbody": ("Pants",),
    "dress": ("Upper-clothes", "Pants"),
}
"""What of a figure in shirt and trousers each category takes the place of."""


class TryOnEngineContract(EditEngineContract):
    """Subclass with what :class:`EditEngineContract` asks for."""

    model_id = "virtual-tryon"
    offers_formats = False
    operation = "try-on"
    params: ClassVar = {"category": "upperbody", "seed": 7}
    bad_params: ClassVar = (
        {"category": None},
        {"category": "hat"},
        {"category": ["dress"]},
        {"seed": None},
        {"seed": -1},
        {"seed": "7"},
        {"prompt": "a red shirt"},
    )
    size: ClassVar = (180, 240)
    who: ClassVar[Figure] = Figure()
    """Who tries on, at whatever size."""
    reach: ClassVar[float] = 0.06
    """How far from the body something may change, in heights of the picture."""
    needs_content = True
    text: ClassVar = {"seed": "7", "category": "upperbody"}

    @classmethod
    def figure(cls) -> Drawn:
        """Who tries on."""
        return figures.person(dataclasses.replace(cls.who, size=cls.size))

    @classmethod
    def picture(cls, size: tuple[int, int]) -> Image.Image:
        large = max(8, size[0]), max(8, size[1])
        whole = figures.person(dataclasses.replace(cls.who, size=large)).picture
        return Image.fromarray(whole[: size[1], : size[0]])

    @classmethod
    def inputs(cls, image: Image.Image) -> dict[str, bytes]:
        return {"person_image": tiff(image), "garment_image": tiff(figures.shirt((120, 128)))}

    @classmethod
    def worn(cls, category: str, seed: int = 7, **pictures: Pixels) -> RunRequest:
        """A job of the figure with a garment of a category."""
        plain = cls.request(category=category, seed=seed)
        pictures = {"garment_image": GARMENTS[category](), **pictures}
        inputs = plain.inputs | {name: tiff(picture) for name, picture in pictures.items()}
        return RunRequest(plain.job_id, 1, plain.model, plain.operation, plain.params, inputs)

    @pytest.mark.parametrize("category", GARMENTS)
    def test_only_what_is_worn_there_changes(self, editor: Engine, category: str) -> None:
        drawn = self.figure()
        made = self.run(editor, self.worn(category))
        changed = np.abs(made.astype(int) - drawn.picture).max(axis=2) > 12
        clothes = drawn.where(*WORN[category])
        assert changed[_core(clothes)].mean() > 0.9
        height = len(clothes)
        near = _grown(_body(drawn, category), self.reach * height)
        assert np.array_equal(made[~near], drawn.picture[~near])
        kept = _core(drawn.where("Face", "Hair", "Left-shoe", "Right-shoe"), 5)
        assert np.abs(made.astype(int) - drawn.picture)[kept].mean() < 1
        other = {"upperbody": "Pants", "lowerbody": "Upper-clothes"}.get(category)
        if other:
            assert changed[_core(drawn.where(other), round(0.035 * height))].mean() < 0.02

    def test_nobody_in_the_picture_ends_the_job_with_a_sentence(self, editor: Engine) -> None:
        wall = np.full((self.size[1], self.size[0], 3), (200, 205, 210), np.uint8)
        wall[40:60, 30:80] = (90, 120, 60)
        with pytest.raises(SegmentationFailed) as caught:
            editor.run(self.worn("dress", person_image=wall), ignore)
        assert caught.value.code == "body_segmentation_failed"
        assert [error.field for error in caught.value.errors] == ["person_image"]
        assert "Send a picture" in caught.value.errors[0].message

    def test_legs_that_are_not_in_the_picture_are_not_dressed(self, editor: Engine) -> None:
        half = self.figure().picture[: int(0.4 * self.size[1])]
        with pytest.raises(SegmentationFailed, match="lower body"):
            editor.run(self.worn("lowerbody", person_image=half), ignore)

    def test_a_job_without_its_picture_is_refused_before_any_step(self, editor: Engine) -> None:
        for missing in INPUTS:
            whole = self.request()
            inputs = {name: data for name, data in whole.inputs.items() if name != missing}
            seen: list[int] = []
            with pytest.raises(InvalidRequest) as caught:
                editor.run(_with(whole, inputs), lambda step, _, seen=seen: seen.append(step))
            assert [error.field for error in caught.value.errors] == [missing]
            assert seen == []

    def test_a_picture_that_is_none_is_the_farms_fault(self, editor: Engine) -> None:
        whole = self.request()
        for name in INPUTS:
            inputs = {**whole.inputs, name: b"GIF89a no picture of ours"}
            with pytest.raises(EngineFault):
                editor.run(_with(whole, inputs), ignore)


def _with(request: RunRequest, inputs: dict[str, Any]) -> RunRequest:
    return RunRequest(request.job_id, 1, request.model, request.operation, request.params, inputs)


def _body(drawn: Drawn, category: str) -> NDArray[np.bool_]:
    """All of the figure that a garment of the category may lie on."""
    limbs = {
        "upperbody": ("Left-arm", "Right-arm", "Upper-clothes"),
        "lowerbody": ("Left-leg", "Right-leg", "Pants"),
    }
    upper, lower = limbs["upperbody"], limbs["lowerbody"]
    return drawn.where(*limbs.get(category, upper + lower))


def _core(mask: NDArray[np.bool_], pixels: int = 3) -> NDArray[np.bool_]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.erode(mask.astype(np.uint8), disc) > 0


def _grown(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) <= pixels
