"""Finding faces with OpenCV's YuNet class, and taking them out of the picture and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.parts.faces import SIDE, TEMPLATE, Pose
from models.parts.yunet import FaceFinder
from tests.models.checkpoints import yunet
from tests.models.portraits import Drawn, Pixels, portrait, reach


def nothing() -> None:
    """An on_stage for nobody."""


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaceFinder]:
    path = tmp_path_factory.mktemp("yunet") / "detector.onnx"
    yunet.write(path)
    made = FaceFinder(path)
    made.load()
    yield made
    made.unload()


def found(finder: FaceFinder, picture: Pixels, *drawn: Drawn) -> list[float]:
    """How far off, in pixels, the farthest point of each drawn face was found."""
    faces = finder.faces(picture, nothing)
    assert len(faces) == len(drawn)
    return [min(float(np.abs(face.points - one.points).max()) for face in faces) for one in drawn]


def test_every_face_is_found_once_with_its_points(finder: FaceFinder) -> None:
    drawn = [Drawn(250, 260, 300, 15), Drawn(700, 300, 200, -20), Drawn(500, 500, 110, 40)]
    assert max(found(finder, portrait(1000, 640, *drawn), *drawn)) < 2
    assert max(found(finder, portrait(300, 900, Drawn(150, 700, 200)), Drawn(150, 700, 200))) < 2


def test_a_small_face_in_a_large_picture_is_found_in_a_tile(finder: FaceFinder) -> None:
    drawn = [Drawn(1700, 1500, 150), Drawn(300, 300, 150, 30)]
    assert max(found(finder, portrait(2600, 1900, *drawn), *drawn)) < 4


def test_the_box_is_around_the_points(finder: FaceFinder) -> None:
    [face] = finder.faces(portrait(1300, 800, Drawn(900, 500, 260, 10)), nothing)
    left, top, right, bottom = face.box
    middle = face.points.mean(axis=0)
    assert np.abs(middle - ((left + right) / 2, (top + bottom) / 2)).max() < 2
    assert right - left > 1.5 * np.ptp(face.points[:, 0])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (640, 480), (2000, 700), (1281, 1281)])
def test_looks_are_counted(finder: FaceFinder, size: tuple[int, int]) -> None:
    seen: list[int] = []
    assert finder.faces(portrait(*size), lambda: seen.append(1)) == []
    assert len(seen) == finder.stages(*size)


def test_the_weights_are_counted_while_they_are_there(tmp_path: Path) -> None:
    yunet.write(tmp_path / "detector.onnx")
    made = FaceFinder(tmp_path / "detector.onnx")
    assert made.loaded_bytes == 0
    made.load()
    made.load()
    assert made.loaded_bytes == (tmp_path / "detector.onnx").stat().st_size
    made.unload()
    made.unload()
    assert made.loaded_bytes == 0


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    yunet.write(tmp_path / "detector.onnx")
    made = FaceFinder(tmp_path / "detector.onnx")
    made.load()
    made.faces(portrait(60, 40), nothing)
    assert capfd.readouterr() == ("", "")


POSES = [
    Drawn(320, 240, 300),
    Drawn(200, 200, 180, 33),
    Drawn(400, 250, 512, -12),
    Drawn(500, 300, 900, 5),  # larger than the square, and than the picture
    Drawn(40, 30, 260, 20),  # over the corner
    Drawn(100, 400, 24, 80),
]


@pytest.mark.parametrize("face", POSES)
def test_the_pose_brings_the_points_to_the_template(face: Drawn) -> None:
    pose = Pose.of(face.points)
    there = face.points @ pose.matrix[:, :2].T + pose.matrix[:, 2]
    assert np.allclose(there, TEMPLATE, atol=1e-6)
    assert pose.scale == pytest.approx(512 / face.side)


def test_points_in_one_place_have_no_pose() -> None:
    with pytest.raises(ValueError, match="one place"):
        Pose.of(np.full((5, 2), 7.0))


@pytest.mark.parametrize("face", POSES)
def test_a_face_that_is_put_back_unchanged_changes_little(face: Drawn) -> None:
    picture = portrait(640, 480, face)
    pose = Pose.of(face.points)
    cut = pose.cut(picture)
    assert cut.shape == (SIDE, SIDE, 3)
    made = picture.copy()
    pose.put_back(cut, made)
    difference = np.abs(made.astype(int) - picture)
    assert difference.mean() < 1.0
    assert (difference.max(axis=2) > 40).mean() < 0.005


@pytest.mark.parametrize("face", POSES)
def test_what_is_put_back_fills_the_face_and_no_pixel_beyond(face: Drawn) -> None:
    picture = portrait(640, 480, face)
    made = picture.copy()
    Pose.of(face.points).put_back(np.full((SIDE, SIDE, 3), (20, 220, 60), np.uint8), made)
    inside, beyond = reach(face, 640, 480)
    assert np.abs(made[inside].astype(int) - (20, 220, 60)).max(initial=0) <= 1
    assert np.array_equal(made[beyond], picture[beyond])
    # In between it fades: no step between neighbours that were alike.
    fading = np.abs(np.diff(made.astype(int), axis=1)).max()
    before = np.abs(np.diff(picture.astype(int), axis=1)).max()
    assert face.side < 100 or fading <= before
