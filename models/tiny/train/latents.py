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

from models.tiny.networks import FACTOR
from models.tiny.scenes import captions, draw, sampling
from models.tiny.train.autoencoder import SMALLER, encode
from models.tiny.train.codes import Facts, facts
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
    """All scenes of a bucket: ``latents`` are N x 4 x height/32 x width/32, ``told`` the facts of
    each (:mod:`models.tiny.train.codes`), ``said`` N lists."""

    bucket: Bucket
    latents: Tensor
    told: Tensor
    said: list[list[str]]

    def draw(self, count: int) -> tuple[Tensor, Tensor, list[str]]:
        """So many at random: latents, facts, and one of the ways to say each; torch's dice."""
        rows = torch.randint(len(self.said), (count,)).tolist()
        ways = torch.randint(CAPTIONS, (count,)).tolist()
        said = [self.said[row][way] for row, way in zip(rows, ways, strict=True)]
        return self.latents[rows].float(), self.told[rows].float(), said


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
    parts = [load_file(file) for file in files]
    latents, told = (torch.cat([part[name] for part in parts]) for name in ("latents", "told"))
    said = [row for file in files for row in json.loads(file.with_suffix(".json").read_text())]
    return Captioned(bucket, latents, told, said)


def _file(folder: Path, bucket: Bucket, first: int) -> Path:
    return folder / f"{bucket.name}-{first:06d}.safetensors"


def _write(model: AutoencoderTiny, device: Device, file: Path, bucket: Bucket, first: int) -> None:
    count = min(_CHUNK, bucket.scenes - first)
    at_once = max(1, _AT_ONCE // (bucket.width * bucket.height))
    said: list[list[str]] = []
    told: list[Facts] = []
    encoded: list[Tensor] = []
    for drawn in _drawn(bucket, range(first, first + count), at_once):
        said += [each.said for each in drawn]
        told += [each.told for each in drawn]
        pictures = [each.picture for each in drawn]
        encoded.append(encode(model, device, pictures).half().cpu().contiguous())
    file.with_suffix(".json").write_text(json.dumps(said))
    draft = file.with_suffix(".draft")
    known = torch.from_numpy(np.stack(told)).half()
    save_file({"latents": torch.cat(encoded), "told": known}, draft)
    draft.replace(file)


@dataclass(frozen=True, slots=True)
class _Drawn:
    picture: draw.Pixels
    told: Facts
    said: list[str]


def _drawn(bucket: Bucket, numbers: Sequence[int], at_once: int) -> Iterator[list[_Drawn]]:
    with ThreadPoolExecutor(1) as pool:
        parts = [numbers[n : n + at_once] for n in range(0, len(numbers), at_once)]
        # One part is drawn while the one before is encoded.
        yield from pool.map(lambda part: [_one(bucket, number) for number in part], parts)


def _one(bucket: Bucket, number: int) -> _Drawn:
    rng = np.random.default_rng([zlib.crc32(bucket.name.encode()), number])
    scene = sampling.sample(rng, aspect=bucket.width / bucket.height)
    scene = sampling.on_grid(scene, bucket.width // FACTOR, bucket.height // FACTOR)
    picture = draw.draw(scene, bucket.width // SMALLER, bucket.height // SMALLER, rng)
    said = [captions.caption(scene, rng) for _ in range(CAPTIONS)]
    return _Drawn(picture, facts(scene, rng), said)
