"""One picture engine in a process of its own: ``python -m tests.bench.picture_probe ID SIDE N``.

Prints a JSON object: ``seconds`` of N runs after a first one, the ``peak_mib`` of the process
and what it had before it ran (``idle_mib``).
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from farm.catalog import built_in_catalog
from farm.types import RunRequest
from models import registry

PARAMS = {"upscale-4x": {"scale": 4}}


def photo(side: int) -> Image.Image:
    """A shaded, grainy scene with one object in the middle; side x side pixels, RGB."""
    across = np.linspace(0, 1, side, dtype=np.float32)
    base = 150 + 60 * across[None, :, None] - 40 * across[:, None, None]
    grain = np.random.default_rng(7).normal(0, 4, (side, side, 3)).astype(np.float32)
    picture = Image.fromarray(np.clip(base + grain, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((side * 0.3, side * 0.25, side * 0.7, side * 0.8), fill=(30, 60, 160))
    return picture


def hole(side: int) -> Image.Image:
    """A mask that is white where the object of :func:`photo` is brightest, an eighth of a side."""
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((side * 0.1, side * 0.1, side * 0.225, side * 0.225), fill=255)
    return mask


def tiff(picture: Image.Image) -> bytes:
    """A picture as intake stores it."""
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF")
    return buffer.getvalue()


def peak_mib() -> float:
    """The most memory that this process ever had, MiB."""
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(model_id: str, side: int, runs: int) -> None:
    """Run the engine on a square picture."""
    card = built_in_catalog().models[model_id]
    inputs = {"image": tiff(photo(side))}
    if "mask" in card.inputs:
        inputs["mask"] = tiff(hole(side))
    params = PARAMS.get(model_id, {})
    request = RunRequest(uuid.uuid4(), 1, card.id, card.operation, params, inputs)
    with tempfile.TemporaryDirectory() as cache:
        engine = registry.create(card, "tiny", cache=Path(cache))
        engine.load("cpu")
        idle = peak_mib()
        seconds = []
        for number in range(runs + 1):
            started = time.perf_counter()
            engine.run(request, lambda step, steps: None)
            if number or not runs:
                seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "idle_mib": idle}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
