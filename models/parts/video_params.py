"""The parameters of a job that makes a film, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from farm.errors import FieldError, InvalidRequest, SetupError
from models.parts import start_picture
from models.parts.image_params import STEPS_MAX, check

WAN_FPS = 16
"""What Wan 2.1 was trained on: https://github.com/Wan-Video/Wan2.1, wan/configs."""
WAN_SIZES = {"480p": (832, 480), "720p": (1280, 720)}
WAN_MULTIPLE = 16
"""A latent is eight pixels of a side, and the network looks at two by two of them at once."""
COGVIDEOX_FPS = 8
COGVIDEOX_SIZE = (720, 480)
"""The one size and rate of CogVideoX-2b; see its model card, zai-org/CogVideoX-2b."""
FROM_WORDS, FROM_A_PICTURE = "video", "image-to-video"
"""The operations. A job of the second comes with the picture that its film begins with."""
DURATION_MAX_S = 60
FRAMES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Clip:
    """What a film is made from: sizes in pixels, ``fps`` in frames a second; ``start`` is the
    picture that it begins with, RGB, of any size."""

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    start: Image.Image | None = None

    def beginning_with(self, picture: Image.Image) -> Clip:
        """The same film with as many pixels, in this picture's shape, which it begins with."""
        area = self.width * self.height
        width, height = start_picture.film_size(picture.size, area, WAN_MULTIPLE)
        return replace(self, width=width, height=height, start=picture)

    @property
    def facts(self) -> dict[str, Any]:
        """What is worth knowing of the film; ``duration_s`` is how long it plays."""
        return {
            "seed": self.seed,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "fps": self.fps,
            "duration_s": self.frames / self.fps,
            "steps": self.steps,
        }


Reader = Callable[[Mapping[str, Any]], Clip]
"""Reads a request's parameters; raises InvalidRequest naming what is missing or unusable."""


def operation_of(model_id: str) -> str:
    """What the jobs of a model of the catalogue that makes films are called."""
    return FROM_A_PICTURE if model_id == "wan-i2v" else FROM_WORDS


def reader(model_id: str, options: Mapping[str, str]) -> Reader:
    """How the requests to a model of the catalogue are read; its engine and its twin agree.

    Raises:
        SetupError: the card's options are not what the model needs.
    """
    return _READERS[model_id](options)


def _wan(options: Mapping[str, str]) -> Reader:
    """Wan 2.1: any duration, in two sizes; the card's option ``steps`` says how many."""
    words = options.get("steps", "")
    if not words.isascii() or not words.isdecimal() or not 1 <= int(words) <= STEPS_MAX:
        raise SetupError(
            f"The option steps is {words!r}; it must be a whole number from 1 to {STEPS_MAX}."
        )
    steps = int(words)

    def read(params: Mapping[str, Any]) -> Clip:
        check(params, ("prompt", "seed", "duration", "resolution"), ("negative_prompt",))
        errors = []
        duration_s = params["duration"]
        if not _is_between(duration_s, 0, DURATION_MAX_S):
            text = f"must be a number of seconds above 0 and up to {DURATION_MAX_S}."
            errors.append(FieldError("duration", text))
        errors += _wrong_resolution(params["resolution"], tuple(WAN_SIZES))
        if errors:
            raise InvalidRequest(errors)
        width, height = WAN_SIZES[params["resolution"]]
        # A latent is four frames, and the first one by itself.
        frames = _nearest(duration_s * WAN_FPS, 4)
        return _clip(params, width, height, frames, WAN_FPS, steps)

    return read


def _cogvideox(options: Mapping[str, str]) -> Reader:
    """CogVideoX: one size; the number of frames decides how long the film plays."""

    def read(params: Mapping[str, Any]) -> Clip:
        check(params, ("prompt", "seed", "num_frames", "steps"), ("negative_prompt", "resolution"))
        errors = []
        frames = params["num_frames"]
        if not isinstance(frames, int) or not _is_between(frames, 0, FRAMES_MAX):
            text = f"must be a whole number from 1 to {FRAMES_MAX}."
            errors.append(FieldError("num_frames", text))
        errors += _wrong_resolution(params.get("resolution", "480p"), ("480p",))
        if errors:
            raise InvalidRequest(errors)
        # The model card allows 8n + 1: two latents of four frames are decoded together, and of
        # any other number the decoder makes more frames than were asked for.
        made = _nearest(frames, 8)
        return _clip(params, *COGVIDEOX_SIZE, made, COGVIDEOX_FPS, params["steps"])

    return read


_READERS: dict[str, Callable[[Mapping[str, str]], Reader]] = {
    "wan2.1": _wan,
    "wan-i2v": _wan,
    "cogvideo-2b": _cogvideox,
}


def _clip(
    params: Mapping[str, Any], width: int, height: int, frames: int, fps: int, steps: int
) -> Clip:
    words = params["prompt"], params.get("negative_prompt", "")
    return Clip(*words, params["seed"], width, height, frames, fps, steps)


def _nearest(frames: float, group: int) -> int:
    """The nearest number of frames that is a multiple of ``group`` and one more (of two
    equally near, the larger), and more than one."""
    return max(1, math.floor((frames - 1) / group + 0.5)) * group + 1


def _is_between(value: Any, above: float, most: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and above < value <= most


def _wrong_resolution(value: Any, known: tuple[str, ...]) -> list[FieldError]:
    if isinstance(value, str) and value in known:
        return []
    return [FieldError("resolution", f"must be {' or '.join(known)}.")]
