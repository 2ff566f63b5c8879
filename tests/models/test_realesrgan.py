"""Real-ESRGAN through spandrel, on a small network of the same class."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from farm.errors import EngineFault
from farm.types import RunRequest
from models.base import Engine
from models.engines import realesrgan
from models.parts.spandrel_net import open_net
from tests.contracts.edit_engine import (
    EditEngineContract,
    Pixels,
    Size,
    TimeIsUp,
    decoded,
    ignore,
    tiff,
)
from tests.models.checkpoints import making
from tests.models.checkpoints import realesrgan as checkpoint

TILE = 80


class TestRealEsrgan(EditEngineContract):
    model_id = "upscale-4x"
    operation = "upscale"
    served_by = "realesrgan"
    size = (80, 60)
    params: ClassVar = {"scale": 4}
    bad_params: ClassVar = ({"scale": 2}, {"scale": "4"}, {"strength": 1})
    scale = 4

    @classmethod
    def create(cls, cache: Path) -> Engine:
        if not (file := cls.file(cache)).exists():
            checkpoint.write(file)
        return making.engine(cls.model_id, cache / "realesrgan", TimeIsUp)

    @classmethod
    def file(cls, cache: Path) -> Path:
        return cache / "realesrgan" / cls.model_id / "upscaler.safetensors"

    def whole(self, cache: Path, picture: Pixels) -> Pixels:
        """What the network makes of a picture that is not cut into tiles."""
        net = open_net(self.file(cache), "cpu", purpose="SR")
        with torch.inference_mode():
            return net.pixels(net.descriptor(net.tensor(picture)))

    @pytest.fixture
    def small_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(realesrgan, "TILE_ON_CPU", TILE)

    @pytest.mark.usefixtures("small_tiles")
    @pytest.mark.parametrize("size", [(2 * TILE - realesrgan.OVERLAP, 40), (TILE + 1, TILE + 47)])
    def test_tiles_leave_no_seam(self, editor: Engine, tiny_cache: Path, size: Size) -> None:
        picture = textured(*size)
        [artifact] = editor.run(self.job(picture), ignore)
        made, whole = decoded(artifact).astype(int), self.whole(tiny_cache, picture).astype(int)
        assert made.shape == whole.shape
        assert np.abs(made - whole).max() <= 4
        assert np.abs(made - whole).mean() < 0.1
        # The network does look at the neighbourhood: repeated pixels it does not give.
        assert np.abs(whole - np.kron(picture, np.ones((4, 4, 1), int))).mean() > 1

    @pytest.mark.usefixtures("small_tiles")
    def test_every_tile_is_a_step(self, editor: Engine) -> None:
        seen: list[tuple[int, int]] = []
        picture = textured(TILE + 1, 2 * TILE)
        editor.run(self.job(picture), lambda step, steps: seen.append((step, steps)))
        assert seen == [(step, 7) for step in range(1, 8)]

    def test_alpha_is_enlarged_too_and_hidden_colours_do_not_shine_through(
        self, editor: Engine
    ) -> None:
        picture = np.zeros((60, 80, 4), np.uint8)
        picture[:, :40] = (200, 180, 160, 255)
        picture[:, 40:] = (0, 255, 0, 0)
        [artifact] = editor.run(self.job(picture), ignore)
        made = decoded(artifact).astype(int)
        assert made.shape == (240, 320, 4)
        assert (made[:, :150, 3] == 255).all()
        assert (made[:, 170:, 3] == 0).all()
        visible = made[8:-8, 8:-8][made[8:-8, 8:-8, 3] > 0][:, :3]
        assert np.abs(visible - (200, 180, 160)).max() < 30

    def test_a_picture_that_is_clear_all_over_stays_so(self, editor: Engine) -> None:
        [artifact] = editor.run(self.job(np.zeros((9, 7, 4), np.uint8)), ignore)
        assert decoded(artifact).shape == (36, 28, 4)
        assert not decoded(artifact)[..., 3].any()

    def test_the_weights_are_counted(self, editor: Engine, tiny_cache: Path) -> None:
        tensors = self.file(tiny_cache).stat().st_size
        assert 0.98 * tensors < editor.resident_bytes <= tensors

    @classmethod
    def job(cls, picture: Pixels) -> RunRequest:
        inputs = {"image": tiff(picture)}
        return RunRequest(uuid.uuid4(), 1, cls.model_id, cls.operation, {}, inputs)


def textured(width: int, height: int) -> Pixels:
    """Noise, smoothed a little, over a slope."""
    rng = np.random.default_rng(width * height)
    noise = Image.fromarray(rng.integers(0, 255, (height // 2, width // 2, 3), dtype=np.uint8))
    slope = np.linspace(0, 60, width)[None, :, None]
    return (np.asarray(noise.resize((width, height))) * 0.6 + 20 + slope).astype(np.uint8)


def test_a_network_that_enlarges_twice_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "upscale-4x" / "upscaler.safetensors", scale=2)
    engine = making.engine("upscale-4x", tmp_path)
    with pytest.raises(EngineFault, match="enlarges 2 times"):
        engine.load("cpu")
    assert engine.resident_bytes == 0


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "upscale-4x" / "upscaler.safetensors"
    file.parent.mkdir()
    save_file({"weight": torch.zeros(3)}, file)
    with pytest.raises(EngineFault, match="no network that spandrel recognises"):
        making.engine("upscale-4x", tmp_path).load("cpu")
