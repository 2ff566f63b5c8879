"""A painted picture under a moving camera: the CPU twin of the text-to-video models."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from farm.types import OnStep
from models.parts import seeds, sizes
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.frames import Flight
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine
from models.parts.video_params import Clip

GUIDANCE_SCALE = 5.0
BATCH = 8
"""Frames to a step of the progress."""
_CANVAS = 600
"""Pixels of the painted picture's shorter side: a quarter more than a frame of 480p. One of 720p
is enlarged, since to paint that size takes longer than all else."""


class AnimateEngine(VideoEngine):
    """Films of what the tiny Stable Diffusion XL checkpoint paints: one picture, over which a
    camera glides; see :class:`models.parts.frames.Flight`.

    Size, rate and number of frames are those of the model that it stands in for.
    """

    def _open(self, device: str) -> Diffusion:
        kind = StableDiffusionXLPipeline
        return open_pipeline(self._setup, kind, torch.float16, device, add_watermarker=False)

    def _frames(self, model: Diffusion, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        steps = clip.steps + -(-clip.frames // BATCH)
        picture = _painted(model, clip, lambda step, _: on_step(step, steps))
        flight = Flight.planned(clip.prompt, clip.seed)
        for number in range(clip.frames):
            time = number / (clip.frames - 1)
            yield flight.frame(picture, time, clip.width, clip.height)
            if (number + 1) % BATCH == 0 or number + 1 == clip.frames:
                on_step(clip.steps + number // BATCH + 1, steps)


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
