"""A picture under a moving camera: the CPU twin of the models that make films."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from farm.types import OnStep
from models.parts import seeds, sizes, start_picture
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.frames import Flight
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine
from models.parts.video_params import FROM_A_PICTURE, Clip

GUIDANCE_SCALE = 5.0
BATCH = 8
"""Frames to a step of the progress."""
_CANVAS = 600
"""Pixels of the painted picture's shorter side: a quarter more than a frame of 480p. One of 720p
is enlarged, since to paint that size takes longer than all else."""
_ROOM = 1.25
"""By how much a picture that is brought is larger than the frames."""


class NoPainter:
    """In the place of a pipeline where the customer brings the picture: nothing is loaded."""

    resident_bytes = 0


class AnimateEngine(VideoEngine[Diffusion | NoPainter]):
    """Films of one picture, over which a camera glides; see :class:`models.parts.frames.Flight`.
    The customer's own, or what the tiny Stable Diffusion XL checkpoint paints.

    Size, rate and number of frames are those of the model that it stands in for.
    """

    def _open(self, device: str) -> Diffusion | NoPainter:
        if self._operation == FROM_A_PICTURE:
            return NoPainter()
        kind = StableDiffusionXLPipeline
        return open_pipeline(self._setup, kind, torch.float16, device, add_watermarker=False)

    def _frames(
        self, model: Diffusion | NoPainter, clip: Clip, on_step: OnStep
    ) -> Iterator[Pixels]:
        painting = clip.steps if isinstance(model, Diffusion) else 0
        steps = painting + -(-clip.frames // BATCH)
        if isinstance(model, Diffusion):
            picture = _painted(model, clip, lambda step, _: on_step(step, steps))
        else:
            picture = _brought(clip)
        flight = Flight.planned(clip.prompt, _drawn(clip))
        for number in range(clip.frames):
            time = number / (clip.frames - 1)
            yield flight.frame(picture, time, clip.width, clip.height)
            if (number + 1) % BATCH == 0 or number + 1 == clip.frames:
                on_step(painting + number // BATCH + 1, steps)


def _drawn(clip: Clip) -> int:
    """The seed of the camera's move. Of a picture that was brought the words are part of it:
    they have nothing else to change."""
    return (
        clip.seed
        if clip.start is None
        else clip.seed ^ zlib.crc32(clip.prompt.encode("utf-8", "surrogatepass"))
    )


def _brought(clip: Clip) -> Pixels:
    """The customer's picture in the clip's proportions, large enough to look at closely."""
    assert clip.start is not None, "the request was read for a film that begins with a picture"
    size = round(_ROOM * clip.width), round(_ROOM * clip.height)
    return np.asarray(start_picture.fitted(clip.start, *size))


def _painted(model: Diffusion, clip: Clip, on_step: OnStep) -> Pixels:
    """A picture of about the clip's proportions."""
    multiple = model.pipeline.vae_scale_factor
    scale = _CANVAS / min(clip.width, clip.height)
    return np.asarray(
        model.paint(
            on_step,
            clip.steps,
            prompt=clip.prompt,
            negative_prompt=clip.negative_prompt or None,
            width=sizes.padded(round(scale * clip.width), multiple),
            height=sizes.padded(round(scale * clip.height), multiple),
            generator=seeds.generator(clip.seed),
            guidance_scale=GUIDANCE_SCALE,
        )
    )
