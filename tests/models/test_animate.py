"""Films without a video model: the contract, what a prompt asks of the camera, its smoothness."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from farm.catalog import built_in_catalog
from models.base import Engine
from models.parts.frames import Flight
from models.registry import create
from tests.contracts.video_engine import (
    ImageVideoEngineContract,
    TimeIsUp,
    VideoEngineContract,
    decoded,
    film,
    filmer,
    frames,
    ignore,
    scene,
)

__all__ = ["film", "filmer", "frames"]

STEPS = 3


def twin(model_id: str, cache: Path, **options: str) -> Engine:
    """The tiny profile's engine of a card."""
    card = built_in_catalog().models[model_id]
    card = card.model_copy(update={"options": {**card.options, **options}})
    return create(card, "tiny", cache=cache, interrupts=(TimeIsUp,))


class TestAnimate(VideoEngineContract):
    model_id = "wan2.1"
    served_by = "sdxl-tiny-animated"
    params: ClassVar = {"duration": 0.5, "resolution": "480p"}
    size = (832, 480)
    count = 9
    fps = 16
    steps = STEPS
    reported = STEPS + 2
    bad_params: ClassVar = (
        ("duration", None),
        ("duration", -1.0),
        ("resolution", "4k"),
        ("steps", 4),
    )

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return twin(cls.model_id, cache, steps=str(STEPS))

    def test_720p_is_exact(self, filmer: Engine) -> None:
        [artifact] = filmer.run(self.request(duration=0.1, resolution="720p"), ignore)
        assert decoded(artifact.data).shape == (5, 720, 1280, 3)


class TestAnimateAPicture(ImageVideoEngineContract):
    """Without a checkpoint: the camera moves over the customer's own picture."""

    model_id = "wan-i2v"
    served_by = "animate"
    params: ClassVar = {"duration": 0.5, "resolution": "480p"}
    size = (832, 480)
    count = 9
    fps = 16
    steps = 2
    reported = 2
    resides = False
    bad_params: ClassVar = TestAnimate.bad_params

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return twin(cls.model_id, cache, steps=str(cls.steps))

    def test_it_is_the_picture_that_is_seen(self, filmer: Engine) -> None:
        request = replace(self.of(scene(600, 600)), params=self.request(prompt="zoom in").params)
        [artifact] = filmer.run(request, ignore)
        frames = decoded(artifact.data).astype(int)
        assert frames.shape == (9, 624, 624, 3)
        left, right = frames[0, :, :150].mean(axis=(0, 1)), frames[0, :, -150:].mean(axis=(0, 1))
        assert np.abs(left - (200, 60, 50)).max() < 40
        assert np.abs(right - (40, 80, 190)).max() < 40
        whole = np.asarray(scene(600, 600).resize((624, 624))).astype(int)
        assert np.abs(frames[0] - whole).mean() < 12, "it begins with nearly all of it"


def test_it_stands_in_for_cogvideox_too(tiny_cache: Path) -> None:
    engine = twin("cogvideo-2b", tiny_cache)
    engine.load("cpu")
    request = TestAnimate.request(duration=None, resolution=None, num_frames=10, steps=2)
    [artifact] = engine.run(request, ignore)
    assert decoded(artifact.data).shape == (9, 480, 720, 3)
    assert (artifact.facts["fps"], artifact.facts["duration_s"]) == (8, 9 / 8)
    engine.unload()


def shown(prompt: str, seed: int = 1) -> list[NDArray[np.float64]]:
    """What a camera sees of a picture in which every pixel is its own place: the middle of each
    frame as (across, down), and the way from its left edge to its right."""
    y, x = np.mgrid[0:300, 0:500]
    # Levels of a place are exact to a pixel or two.
    picture = np.dstack([x / 2, y / 2, np.zeros_like(x)]).astype(np.uint8)
    flight = Flight.planned(prompt, seed)
    seen = []
    for time in np.linspace(0, 1, 9):
        frame = flight.frame(picture, float(time), 200, 120).astype(float)
        light = 1 + 0.07 * np.sin(2 * np.pi * (flight.dawn + time / 2))
        places = frame[..., :2] * 2 / light
        seen.append(np.concatenate([places[60, 100], places[60, 190] - places[60, 10]]))
    return seen


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("prompt", "axis", "sign"),
    [
        ("The camera pans left, over a city", 0, -1),
        ("panning right along the coast", 0, 1),
        ("slow pan up.", 1, -1),
        ("tilt down", 1, 1),
        ("zoom in", 2, -1),
        ("zooming out of a castle", 2, 1),
        ("rotate right", 3, 1),
        ("a spinning top, to the left", 3, -1),
    ],
)
def test_the_camera_does_what_the_prompt_says(prompt: str, axis: int, sign: int, seed: int) -> None:
    seen = shown(prompt, seed)
    moved = (seen[-1] - seen[0]) * sign
    assert moved[axis] > 15
    steps = [(after - before)[axis] * sign for before, after in itertools.pairwise(seen)]
    assert min(steps) > -3, "it goes back"
    assert max(steps) < 0.4 * moved[axis], "it jumps"


def test_without_such_words_the_seed_decides() -> None:
    flights: list[Any] = [Flight.planned("a fox", seed) for seed in range(12)]
    assert len({(flight.start, flight.end) for flight in flights}) == len(flights)
    assert len({flight.easing for flight in flights}) == 3
    assert Flight.planned("a fox", 3) == flights[3]
