"""CogVideoX, text to video, 2B (Yang et al., 2024, arXiv:2408.06072)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import CogVideoXPipeline

from farm.types import OnStep
from models.base import CPU
from models.parts.diffusion import Diffusion, read_pipeline
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine, filmed
from models.parts.video_params import Clip

GUIDANCE_SCALE = 6.0
"""As the model card of zai-org/CogVideoX-2b has it."""


class CogVideoXEngine(VideoEngine[Diffusion]):
    """Text to video, 720 x 480 at 8 frames a second, with guidance and a negative prompt.

    fp16 on a GPU, which is what the 2B model was trained in; float32 on a CPU. The VAE decodes
    in overlapping tiles: whole frames would take more memory than all the rest.
    """

    def _open(self, device: str) -> Diffusion:
        precision = torch.float32 if device == CPU else torch.float16
        pipeline = read_pipeline(self._setup, CogVideoXPipeline, precision)
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
        return Diffusion(pipeline.to(device), device)

    def _frames(self, model: Diffusion, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        return filmed(model, clip, on_step, guidance_scale=GUIDANCE_SCALE)
