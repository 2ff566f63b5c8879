"""BiRefNet through rembg and onnxruntime, on a small network that finds what is red."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.types import RunRequest
from models.base import Engine
from models.parts.birefnet import BirefnetMatter
from tests.contracts.edit_engine import EditEngineContract, TimeIsUp, tiff
from tests.models.checkpoints import birefnet, making
from tests.models.scenes import scene


class TestBirefnet(EditEngineContract):
    model_id = "remove-background"
    operation = "remove-background"
    served_by = "birefnet"
    makes_alpha = True

    @classmethod
    def create(cls, cache: Path) -> Engine:
        file = cache / "birefnet" / cls.model_id / "matting.onnx"
        if not file.exists():
            birefnet.write(file)
        return making.engine(cls.model_id, cache / "birefnet", TimeIsUp)

    @pytest.mark.parametrize("name", ["star-sky", "star-tiles"])
    def test_a_drawn_product_is_cut_out(self, editor: Engine, name: str) -> None:
        drawn = scene(name)
        request = RunRequest(
            uuid.uuid4(), 1, self.model_id, self.operation, {}, {"image": tiff(drawn.image)}
        )
        made = self.run(editor, request)
        assert iou(made[..., 3] > 127, drawn.mask) > 0.98
        # At its edge the product has its own colours, and none of what was behind it.
        edge = (made[..., 3] > 25) & (made[..., 3] < 230) & (drawn.alpha > 0)
        off = np.abs(made[edge][:, :3].astype(int) - drawn.product[edge])
        assert edge.any()
        assert off.mean() < 20


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


def nothing() -> None:
    """An on_stage for nobody."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("birefnet") / "birefnet.onnx"
    birefnet.write(path)
    return path


@pytest.fixture(scope="module")
def matter(file: Path) -> Iterator[BirefnetMatter]:
    made = BirefnetMatter(file)
    made.load("cpu")
    yield made
    made.unload()


def disc(
    width: int, height: int, colour: tuple[int, int, int]
) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A disc on grey, and where it is."""
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(x - 0.6 * width, y - 0.4 * height) < 0.3 * min(width, height)
    picture = np.where(inside[..., None], colour, (150, 160, 165)).astype(np.uint8)
    return Image.fromarray(picture), inside


@pytest.mark.parametrize("size", [(300, 200), (1024, 1024), (1500, 2200)])
def test_the_alpha_is_as_large_as_the_picture_and_where_the_thing_is(
    matter: BirefnetMatter, size: tuple[int, int]
) -> None:
    image, inside = disc(*size, (200, 30, 40))
    alpha = matter.alpha(image, nothing)
    assert alpha.shape == inside.shape
    assert alpha.dtype == np.uint8
    assert iou(alpha > 127, inside) > 0.98


@pytest.mark.parametrize("colour", [(150, 160, 165), (40, 200, 30), (0, 0, 0)])
def test_a_picture_without_the_thing_is_clear(
    matter: BirefnetMatter, colour: tuple[int, int, int]
) -> None:
    image, _ = disc(200, 160, colour)
    assert matter.alpha(image, nothing).max() < 10


def test_a_black_picture_does_not_divide_by_zero(matter: BirefnetMatter) -> None:
    assert not matter.alpha(Image.new("RGB", (40, 30)), nothing).any()


def test_stages_are_counted(matter: BirefnetMatter) -> None:
    seen: list[int] = []
    matter.alpha(disc(60, 40, (200, 30, 40))[0], lambda: seen.append(1))
    assert len(seen) == matter.stages


def test_the_weights_are_counted_while_they_are_there(file: Path) -> None:
    made = BirefnetMatter(file)
    assert made.resident_bytes == 0
    made.load("cpu")
    made.load("cpu")
    assert made.resident_bytes == file.stat().st_size
    made.unload()
    made.unload()
    assert made.resident_bytes == 0


def test_nothing_is_fetched_and_nothing_is_written_at_home(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = BirefnetMatter(file)
    made.load("cpu")
    assert made.alpha(disc(60, 40, (200, 30, 40))[0], nothing).max() > 250
    assert os.listdir(tmp_path) == []


def test_without_a_gpu_for_onnxruntime_it_says_so_and_runs_on_the_cpu(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    made = BirefnetMatter(file)
    made.load("cuda:0")
    assert "onnxruntime-gpu" in caplog.text
    assert made.resident_bytes == 0
    image, inside = disc(90, 60, (200, 30, 40))
    assert ((made.alpha(image, nothing) > 127) == inside).mean() > 0.97
