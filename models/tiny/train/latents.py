"""Captioned latents on disk: drawing and encoding a scene costs more than a step on it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.tiny.scenes import captions, draw, sampling
from models.tiny.train.autoencoder import SMALLER, encode
from models.tiny.train.device import Device

CAPTIONS = 4
"""Ways in which each scene is said."""
_CHUNK = 512
_AT_ONCE = 8_388_608
"""Pixels of pictures that are encoded together."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Scenes of one size in pixels."""

    width: int
    height: int
    scenes: int

    @property
    def name(self) -> str:
        """For files and people."""
        return f"{self.width}x{self.height}"


SMALL = (
    Bucket(512, 512, 16_384),
    Bucket(640, 448, 4_096),
    Bucket(448, 640, 4_096),
    Bucket(768, 384, 1_024),
    Bucket(384, 768, 1_024),
)
MEDIUM = (Bucket(768, 768, 2_048), Bucket(960, 640, 1_024), Bucket(640, 960, 1_024))
LARGE = (Bucket(1024, 1024, 1_024), Bucket(1280, 768, 512), Bucket(768, 1280, 512))
HUGE = (Bucket(1536, 1536, 256), Bucket(1536, 1024, 256), Bucket(1024, 1536, 256))
BUCKETS = (*SMALL, *MEDIUM, *LARGE, *HUGE)


@dataclass(frozen=True, slots=True)
class Captioned:
    """All scenes of a bucket: ``latents`` are N x 4 x height/32 x width/32, ``said`` N lists."""

    bucket: Bucket
    latents: Tensor
    said: list[list[str]]

    def draw(self, count: int) -> tuple[Tensor, list[str]]:
        """So many at random, each in one of its ways to be said; torch's dice."""
        rows = torch.randint(len(self.said), (count,)).tolist()
        ways = torch.randint(CAPTIONS, (count,)).tolist()
        return self.latents[rows].float(), [
            self.said[row][way] for row, way in zip(rows, ways, strict=True)
        ]


def make(
    model: AutoencoderTiny,
    device: Device,
    folder: Path,
    buckets: Sequence[Bucket] = BUCKETS,
    tell: Callable[[str], None] = print,
) -> None:
    """Write what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for bucket in buckets:
        for first in range(0, bucket.scenes, _CHUNK):
            file = _file(folder, bucket, first)
            if not file.exists():
                _write(model, device, file, bucket, first)
        tell(f"latents: {bucket.scenes} scenes of {bucket.name}")


def read(folder: Path, bucket: Bucket) -> Captioned:
    """What :func:`make` wrote of one bucket.

    Raises:
        FileNotFoundError: it is not all there.
    """
    files = [_file(folder, bucket, first) for first in range(0, bucket.scenes, _CHUNK)]
    latents = torch.cat([load_file(file)["latents"] for file in files])
    said = [row for file in files for row in json.loads(file.with_suffix(".json").read_text())]
    return Captioned(bucket, latents, said)


def _file(folder: Path, bucket: Bucket, first: int) -> Path:
    return folder / f"{bucket.name}-{first:06d}.safetensors"


def _write(model: AutoencoderTiny, device: Device, file: Path, bucket: Bucket, first: int) -> None:
    count = min(_CHUNK, bucket.scenes - first)
    at_once = max(1, _AT_ONCE // (bucket.width * bucket.height))
    said: list[list[str]] = []
    encoded: list[Tensor] = []
    for pictures, ways in _drawn(bucket, range(first, first + count), at_once):
        said += ways
        encoded.append(encode(model, device, pictures).half().cpu().contiguous())
    file.with_suffix(".json").write_text(json.dumps(said))
    draft = file.with_suffix(".draft")
    save_file({"latents": torch.cat(encoded)}, draft)
    draft.replace(file)


def _drawn(
    bucket: Bucket, numbers: Sequence[int], at_once: int
) -> Iterator[tuple[list[draw.Pixels], list[list[str]]]]:
    with ThreadPoolExecutor(1) as pool:
        parts = [numbers[n : n + at_once] for n in range(0, len(numbers), at_once)]
        # One part is drawn while the one before is encoded.
        yield from pool.map(lambda part: _part(bucket, part), parts)


def _part(bucket: Bucket, numbers: Sequence[int]) -> tuple[list[draw.Pixels], list[list[str]]]:
    pictures, said = [], []
    for number in numbers:
        rng = np.random.default_rng([zlib.crc32(bucket.name.encode()), number])
        scene = sampling.sample(rng, aspect=bucket.width / bucket.height)
        size = bucket.width // SMALLER, bucket.height // SMALLER
        pictures.append(draw.draw(scene, *size, rng))
        said.append([captions.caption(scene, rng) for _ in range(CAPTIONS)])
    return pictures, said
