"""Restoring faces: OpenCV's own YuNet class on a network that knows drawn faces, and
spandrel's own GFPGAN, CodeFormer and RestoreFormer classes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from farm.errors import EngineFault, InvalidRequest
from farm.types import RunRequest
from models.base import Engine
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    Size,
    TimeIsUp,
    decoded,
    ignore,
    tiff,
)
from tests.models.checkpoints import faces, making, realesrgan, yunet
from tests.models.portraits import Drawn, portrait, reach

MODEL = "restore-face"
GREEN = (20, 220, 60)


def folder_with(folder: Path, restorer: Callable[[Path], None]) -> Path:
    """A folder of weights with both parts; written once."""
    file = folder / MODEL / "restorer.safetensors"
    if not file.exists():
        yunet.write(folder / MODEL / "detector.onnx")
        restorer(file)
    return folder


def job(picture: Pixels) -> RunRequest:
    return RunRequest(uuid.uuid4(), 1, MODEL, "restore-face", {}, {"image": tiff(picture)})


class TestRestoreFormer(EditEngineContract):
    model_id = MODEL
    operation = "restore-face"
    served_by = "gfpgan"
    size = (200, 160)
    needs_content = True

    @classmethod
    def create(cls, cache: Path) -> Engine:
        folder = folder_with(
            cache / "restoreformer", lambda path: faces.write_restoreformer(path, GREEN)
        )
        return making.engine(MODEL, folder, TimeIsUp)

    @classmethod
    def picture(cls, size: Size) -> Image.Image:
        width, height = size
        return Image.fromarray(portrait(width, height, Drawn(0.5 * width, 0.5 * height, 120)))

    # The test's YuNet knows faces by their colours, so that there are none in a grey picture.
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    def test_the_artifact_is_a_png_that_says_what_made_it(self, editor: Engine, mode: str) -> None:
        super().test_the_artifact_is_a_png_that_says_what_made_it(editor, mode)

    def test_a_picture_without_a_face_is_refused_in_words(self, editor: Engine) -> None:
        with pytest.raises(InvalidRequest, match="No face was found") as caught:
            editor.run(self.request(mode="L"), ignore)
        assert [error.field for error in caught.value.errors] == ["image"]

    def test_every_face_changes_and_nothing_else(self, editor: Engine) -> None:
        drawn = [Drawn(150, 170, 200, 20), Drawn(480, 250, 130, -35)]
        alpha = np.full((400, 640), 255, np.uint8)
        alpha[:, 300:360] = np.arange(0, 240, 4)
        picture = np.dstack([portrait(640, 400, *drawn), alpha])
        steps: list[tuple[int, int]] = []
        [artifact] = editor.run(job(picture), lambda step, total: steps.append((step, total)))
        made = decoded(artifact)
        assert artifact.facts["faces"] == 2
        # The picture is read, looked at in two sizes, and has two faces.
        assert steps == [(1, 4), (2, 4), (3, 4), (4, 5), (5, 5)]
        outside = np.ones((400, 640), bool)
        for face in drawn:
            inside, beyond = reach(face, 640, 400)
            assert np.abs(made[inside, :3].astype(int) - GREEN).max() <= 1
            outside &= beyond
        assert np.array_equal(made[outside], picture[outside])
        assert np.array_equal(made[..., 3], alpha)


def test_gfpgan_hands_the_face_on_where_it_was(tmp_path: Path) -> None:
    """The test's network lightens the red and keeps the rest: what is put back must lie where
    it was, in the right colours, and without new noise."""
    engine = making.engine(MODEL, folder_with(tmp_path, faces.write_gfpgan))
    engine.load("cpu")
    face = Drawn(256, 260, 400, 12)
    picture = portrait(512, 520, face)
    [artifact] = engine.run(job(picture), ignore)
    inside, _ = reach(face, 512, 520)
    before, after = picture[inside].astype(int), decoded(artifact)[inside].astype(int)
    assert np.abs(after[:, 0] - (before[:, 0] + 255) / 2).mean() < 3
    assert np.abs(after[:, 1:] - before[:, 1:]).mean() < 3
    assert engine.resident_bytes > 300_000_000


def test_codeformer_is_recognised_and_changes_the_face_alone(tmp_path: Path) -> None:
    engine = making.engine(MODEL, folder_with(tmp_path, faces.write_codeformer))
    engine.load("cpu")
    face = Drawn(120, 100, 150)
    picture = portrait(300, 200, face)
    [artifact] = engine.run(job(picture), ignore)
    made = decoded(artifact)
    inside, beyond = reach(face, 300, 200)
    assert np.abs(made[inside].astype(int) - picture[inside]).mean() > 20
    assert np.array_equal(made[beyond], picture[beyond])


def test_a_network_for_something_else_is_refused(tmp_path: Path) -> None:
    engine = making.engine(MODEL, folder_with(tmp_path, realesrgan.write))
    with pytest.raises(EngineFault, match="not for FaceSR"):
        engine.load("cpu")
    assert engine.resident_bytes == 0
