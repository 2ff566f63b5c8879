"""What every engine that makes films does around its own pipeline.

Input check, progress, cancel, the finished file, memory and errors are here; an engine file
holds what is particular to its family.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup, faults
from models.parts import seeds, start_picture, video, video_params
from models.parts.diffusion import Diffusion
from models.parts.loaded_engine import LoadedEngine
from models.parts.pictures import Pixels
from models.parts.video_params import Clip


class Resident(Protocol):
    """What an engine loads; ``resident_bytes`` is the device memory that it takes."""

    @property
    def resident_bytes(self) -> int: ...


Model = TypeVar("Model", bound=Resident)


class VideoEngine(LoadedEngine[Model]):
    """A :class:`models.base.Engine` that makes one MP4 out of words, or of words and the
    picture that the film begins with."""

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._operation = video_params.operation_of(setup.model_id)
        self._read = video_params.reader(setup.model_id, setup.options)

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One MP4, of the size, rate and number of frames
        that :mod:`models.parts.video_params` makes of the request."""
        if request.operation != self._operation:
            raise InvalidRequest([FieldError("operation", f"must be {self._operation}.")])
        clip = self._read(request.params)
        if self._operation == video_params.FROM_A_PICTURE:
            clip = clip.beginning_with(start_picture.opened(request))
        model = self._loaded()
        text = {"model": request.model, "seed": clip.seed, "steps": clip.steps}
        text["job_id"] = request.job_id
        with faults(self.served_by, "running", self._setup.interrupts):
            frames = self._frames(model, clip, on_step)
            data = video.mp4(frames, clip.width, clip.height, clip.fps, text)
        return [Artifact(data, "video/mp4", "video", "mp4", clip.facts)]

    def _size(self, model: Model) -> int:
        return model.resident_bytes

    @abc.abstractmethod
    def _frames(self, model: Model, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        """Every frame of the clip, of its size; some may be made only as they are asked for."""


def filmed(model: Diffusion, clip: Clip, on_step: OnStep, **arguments: Any) -> Iterator[Pixels]:
    """Run a pipeline that makes films, one step for each of the clip's, and give its frames.

    ``arguments`` are the pipeline's own, beside words, size, frames, steps and generator. The
    film stays on the device; a frame at a time is brought from there.

    Raises:
        RuntimeError: the pipeline made another number of frames than the clip has.
    """
    made = model.denoise(
        on_step,
        clip.steps,
        prompt=clip.prompt,
        negative_prompt=clip.negative_prompt,
        width=clip.width,
        height=clip.height,
        num_frames=clip.frames,
        generator=seeds.generator(clip.seed),
        output_type="pt",
        **arguments,
    ).frames[0]
    if len(made) != clip.frames:
        raise RuntimeError(f"{len(made)} frames came instead of {clip.frames}")
    return (_pixels(frame) for frame in made)


def _pixels(frame: torch.Tensor) -> Pixels:
    """From colours x height x width, 0 to 1, to height x width x colours, 0 to 255."""
    levels = (frame.float() * 255).round().clamp(0, 255).to(torch.uint8)
    pixels: Pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels
