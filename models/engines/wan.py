"""Wan 2.1, text to video, 14B (Wan team, 2025, arXiv:2503.20314)."""

from __future__ import annotations

from collections.abc import Iterator

from diffusers import WanPipeline

from farm.types import OnStep
from models.parts import wan
from models.parts.diffusion import Diffusion
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine, filmed
from models.parts.video_params import Clip


class WanEngine(VideoEngine[Diffusion]):
    """Text to video at 16 frames a second, with guidance and a negative prompt.

    On a GPU the transformer computes in bfloat16 and is stored in 8 bits, which halves what it
    takes; the VAE computes in float32, as its authors have it. On a CPU all is float32.
    It was trained on films of 81 frames: longer ones tend to repeat themselves.
    """

    def _open(self, device: str) -> Diffusion:
        return wan.open_wan(self._setup, WanPipeline, device, wan.GPU_TYPES)

    def _frames(self, model: Diffusion, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        wan.set_up(model.pipeline, clip)
        return filmed(model, clip, on_step, guidance_scale=wan.GUIDANCE_SCALE)
