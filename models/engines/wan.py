"""Wan 2.1, text to video, 14B (Wan team, 2025, arXiv:2503.20314)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler, WanPipeline

from farm.types import OnStep
from models.base import CPU
from models.parts.diffusion import Diffusion, read_pipeline
from models.parts.pictures import Pixels
from models.parts.text_to_video import VideoEngine, filmed
from models.parts.video_params import Clip

GUIDANCE_SCALE = 5.0
FLOW_SHIFTS = {480: 3.0, 720: 5.0}
"""By height. Both as the model card of Wan-AI/Wan2.1-T2V-14B-Diffusers has them."""
GPU_TYPES = {"default": torch.bfloat16, "vae": torch.float32}
_TILE, _STRIDE = (832, 480), (704, 384)
"""Width and height: 480p is decoded whole, 720p in four overlapping parts of no more than that,
which keeps the decoder's memory below the denoiser's."""


class WanEngine(VideoEngine):
    """Text to video at 16 frames a second, with guidance and a negative prompt.

    On a GPU the transformer computes in bfloat16 and is stored in 8 bits, which halves what it
    takes; the VAE computes in float32, as its authors have it. On a CPU all is float32.
    It was trained on films of 81 frames: longer ones tend to repeat themselves.
    """

    def _open(self, device: str) -> Diffusion:
        precision = torch.float32 if device == CPU else GPU_TYPES
        pipeline = read_pipeline(self._setup, WanPipeline, precision)
        if device != CPU:
            store_in_8_bits(pipeline)
        pipeline.vae.enable_tiling(
            tile_sample_min_width=_TILE[0],
            tile_sample_min_height=_TILE[1],
            tile_sample_stride_width=_STRIDE[0],
            tile_sample_stride_height=_STRIDE[1],
        )
        return Diffusion(pipeline.to(device), device)

    def _frames(self, model: Diffusion, clip: Clip, on_step: OnStep) -> Iterator[Pixels]:
        pipeline = model.pipeline
        # The shift belongs to the size, and a scheduler takes it only when it is made. All of
        # this is the model card's: some revisions come with a scheduler of another kind.
        pipeline.scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            num_train_timesteps=1000,
            flow_shift=FLOW_SHIFTS[clip.height],
        )
        return filmed(model, clip, on_step, guidance_scale=GUIDANCE_SCALE)


def store_in_8_bits(pipeline: Any) -> None:
    """Keep the transformer's weights as float8 e4m3fn, each layer's in bfloat16 while it runs.

    The embeddings and norms stay as they are, and so does the text encoder: it would save 4 GB
    and is where small differences change what a prompt means. Done before the pipeline goes to
    its device, which never holds the 28 GB of the weights in bfloat16.
    """
    pipeline.transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16
    )
