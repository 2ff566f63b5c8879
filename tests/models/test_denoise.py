"""Restoring faces without a network, on a photo of a person (NASA, in the public domain)."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from farm.errors import InvalidRequest
from farm.types import RunRequest
from models.base import Engine
from models.engines.denoise import DenoiseEngine
from models.parts.cleaning import cleaned, noise_of
from models.parts.face_boxes import FaceBoxes
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    Size,
    TimeIsUp,
    decoded,
    ignore,
    tiff,
)
from tests.models.scenes import scene
from tests.models.setups import setup

MODEL = "restore-face"
FACE = (176, 70, 95)
"""Left, top and side of the astronaut's face."""


@functools.cache
def astronaut() -> Pixels:
    """Half of the photo, which has the face in it: 300 x 400 x 3."""
    return np.asarray(skimage.data.astronaut())[:300, :400]


def worn(photo: Pixels, blur: float, noise: float, quality: int) -> Pixels:
    """A photo out of focus, taken in the dark and sent around; 0 leaves a step out."""
    made = photo.astype(np.float64)
    if blur:
        made = cv2.GaussianBlur(made, (0, 0), blur)
    made = made + np.random.default_rng(4).normal(0, noise, photo.shape)
    out = np.clip(np.rint(made), 0, 255).astype(np.uint8)
    if quality:
        _, data = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(out)


def job(picture: Pixels) -> RunRequest:
    return RunRequest(uuid.uuid4(), 1, MODEL, "restore-face", {}, {"image": tiff(picture)})


def engine(cache: Path) -> Engine:
    return DenoiseEngine(setup(MODEL, "denoise-sharpen", cache, TimeIsUp))


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = engine(tmp_path_factory.mktemp("denoise"))
    made.load("cpu")
    yield made
    made.unload()


def restored(restorer: Engine, picture: Pixels) -> tuple[Pixels, int]:
    """The result, and how many faces it says there are."""
    [artifact] = restorer.run(job(picture), ignore)
    return decoded(artifact), artifact.facts["faces"]


def face_of(picture: Pixels) -> Pixels:
    left, top, side = FACE
    return picture[top : top + side, left : left + side, :3]


def likeness(first: Pixels, second: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels."""
    return float(10 * np.log10(255**2 / np.square(first.astype(float) - second).mean()))


class TestDenoise(EditEngineContract):
    model_id = MODEL
    operation = "restore-face"
    served_by = "denoise-sharpen"
    size = (100, 110)
    needs_content = True

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine(cache)

    @classmethod
    def picture(cls, size: Size) -> Image.Image:
        close = astronaut()[30:195, 150:300]
        return Image.fromarray(worn(close, 0, 5, 0)).resize(size, Image.Resampling.BOX)


@pytest.mark.parametrize(
    ("blur", "noise", "quality"),
    [(1.0, 12.0, 0), (0.0, 15.0, 0), (1.0, 10.0, 50), (1.2, 14.0, 40), (1.5, 5.0, 30), (1.5, 0, 0)],
)
def test_a_worn_face_comes_nearer_to_what_it_was(
    restorer: Engine, blur: float, noise: float, quality: int
) -> None:
    photo = worn(astronaut(), blur, noise, quality)
    made, faces = restored(restorer, photo)
    assert faces == 1
    clean = face_of(astronaut())
    gained = likeness(face_of(made), clean) - likeness(face_of(photo), clean)
    assert gained >= 0.3
    if noise >= 10:
        assert noise_of(face_of(made)) <= 0.7 * noise_of(face_of(photo))


def test_a_soft_face_is_sharper_afterwards(restorer: Engine) -> None:
    photo = worn(astronaut(), 1.5, 0, 0)
    made, _ = restored(restorer, photo)

    def sharpness(picture: Pixels) -> float:
        grey = cv2.cvtColor(face_of(picture), cv2.COLOR_RGB2GRAY)
        return float(cv2.Laplacian(grey, cv2.CV_64F).std())

    assert sharpness(made) > 1.2 * sharpness(photo)


def test_a_good_photo_stays_much_as_it_is(restorer: Engine) -> None:
    made, _ = restored(restorer, astronaut())
    assert likeness(face_of(made), face_of(astronaut())) > 34


def test_two_faces_change_and_nothing_else(restorer: Engine) -> None:
    photo = worn(np.hstack([astronaut(), astronaut()[:, ::-1]]), 1, 12, 0)
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, 380:420] = 30
    steps: list[tuple[int, int]] = []
    [artifact] = restorer.run(
        job(np.dstack([photo, alpha])), lambda step, total: steps.append((step, total))
    )
    assert artifact.facts["faces"] == 2
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 5), (5, 5)]
    made = decoded(artifact)
    assert np.array_equal(made[..., 3], alpha)
    far = np.ones(alpha.shape, bool)
    left, top, side = FACE
    for start in (left, 800 - left - side):
        far[: top + 2 * side, start - side : start + 2 * side] = False
    assert far.mean() > 0.2
    assert np.array_equal(made[far, :3], photo[far])
    for mirrored in (made[:, :400, :3], made[:, :399:-1, :3]):
        assert likeness(face_of(mirrored), face_of(astronaut())) > 26


def test_the_seam_is_not_seen(restorer: Engine) -> None:
    photo = worn(astronaut(), 0, 10, 0)
    made, _ = restored(restorer, photo)
    change = cv2.GaussianBlur(made.astype(np.float32) - photo, (0, 0), 4)
    steps = np.abs(np.diff(change, axis=0)).max(), np.abs(np.diff(change, axis=1)).max()
    assert max(steps) < 3


NO_FACES = ("brick", "coffee", "grass", "gravel", "chelsea", "coins", "page")


@pytest.mark.parametrize("name", NO_FACES)
def test_where_there_is_no_face_the_job_ends_with_a_sentence(restorer: Engine, name: str) -> None:
    picture = np.asarray(getattr(skimage.data, name)())
    colours = picture if picture.ndim == 3 else np.dstack([picture] * 3)
    with pytest.raises(InvalidRequest, match="No face was found in the picture") as caught:
        restorer.run(job(colours), ignore)
    assert [error.field for error in caught.value.errors] == ["image"]


@pytest.mark.parametrize("name", ["bottle-books", "ring-speckled", "can-green"])
def test_things_are_no_faces(name: str) -> None:
    assert FaceBoxes().find(scene(name).image, lambda: None) == []


@pytest.mark.parametrize("side", [40, 64, 260, 1000])
def test_a_face_is_found_where_it_is_at_any_size(side: int) -> None:
    scale = side / FACE[2]
    size = round(400 * scale), round(300 * scale)
    photo = np.asarray(cv2.resize(astronaut(), size, interpolation=cv2.INTER_AREA), np.uint8)
    [box] = FaceBoxes().find(photo, lambda: None)
    found: NDArray[np.float64] = np.array([box.left, box.top, box.side]) / scale
    assert np.abs(found - FACE).max() < 0.2 * FACE[2]


def test_a_picture_far_larger_than_is_worked_on_keeps_its_size() -> None:
    face = np.asarray(cv2.resize(face_of(astronaut()), (1500, 1300)), np.uint8)
    made = cleaned(face)
    assert made.shape == face.shape
    assert likeness(made, face) > 30
