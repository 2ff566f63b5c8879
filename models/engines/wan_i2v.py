"""Wan 2.1, image to video, 14B (Wan team, 2025, arXiv:2503.20314)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import WanImageToVideoPipeline

from farm.types import OnStep
from models.parts import start_picture, wan
from models.parts.diffusion import Diffusion
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine, filmed
from models.parts.video_params import Clip

GPU_TYPES = {**wan.GPU_TYPES, "image_encoder": torch.float32}
"""The encoder that looks at the picture computes in float32 too, as the model card has it."""


class WanImageEngine(VideoEngine[Diffusion]):
    """A film of 16 frames a second that begins with the customer's picture, in its shape (see
    :func:`models.parts.start_picture.film_size`), with guidance and a negative prompt.

    Precisions are those of text to video, and so is the number of frames it was trained on.
    """

    def _open(self, device: str) -> Diffusion:
        return wan.open_wan(self._setup, WanImageToVideoPipeline, device, GPU_TYPES)

    def _frames(self, model: Diffusion, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        assert clip.start is not None, "the request was read for a film that begins with a picture"
        wan.set_up(model.pipeline, clip)
        picture = start_picture.fitted(clip.start, clip.width, clip.height)
        return filmed(model, clip, on_step, image=picture, guidance_scale=wan.GUIDANCE_SCALE)
