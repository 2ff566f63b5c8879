"""What the engines of the Wan 2.1 family have in common, beside filming itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UniPCMultistepScheduler

from models.base import CPU, EngineSetup
from models.parts.diffusion import Diffusion, read_pipeline
from models.parts.video_params import WAN_SIZES, Clip

GUIDANCE_SCALE = 5.0
FLOW_SHIFTS = {"480p": 3.0, "720p": 5.0}
"""As the model cards have both, by resolution."""
GPU_TYPES = {"default": torch.bfloat16, "vae": torch.float32}

Precisions = Mapping[str, torch.dtype]

_TILE, _STRIDE = (832, 480), (704, 384)
"""The longer and the shorter side. Films of 480p are coded and decoded whole, those of 720p in
four overlapping parts or a few more, which keeps the VAE's memory below the denoiser's."""


def open_wan(setup: EngineSetup, kind: type[Any], device: str, gpu_types: Precisions) -> Diffusion:
    """A card's pipeline on its device: on a GPU the transformer is stored in 8 bits and the
    parts compute in ``gpu_types``, on a CPU all is float32.

    Raises:
        WeightsMissing: the files are not there, or not whole.
    """
    precision = torch.float32 if device == CPU else dict(gpu_types)
    pipeline = read_pipeline(setup, kind, precision)
    if device != CPU:
        store_in_8_bits(pipeline)
    return Diffusion(pipeline.to(device), device)


def store_in_8_bits(pipeline: Any) -> None:
    """Keep the transformer's weights as float8 e4m3fn, each layer's in bfloat16 while it runs.

    The embeddings and norms stay as they are, and so does the text encoder: it would save 4 GB
    and is where small differences change what a prompt means. Done before the pipeline goes to
    its device, which never holds the 28 GB of the weights in bfloat16.
    """
    pipeline.transformer.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16
    )


def set_up(pipeline: Any, clip: Clip) -> None:
    """Make the pipeline ready for films of this size: its scheduler's shift, its VAE's tiles."""
    # The shift belongs to the size, and a scheduler takes it only when it is made. All of
    # this is the model card's: some revisions come with a scheduler of another kind.
    pipeline.scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        num_train_timesteps=1000,
        flow_shift=FLOW_SHIFTS["480p" if _is_small(clip) else "720p"],
    )
    (width, height), (stride_x, stride_y) = tiles(clip)
    pipeline.vae.enable_tiling(
        tile_sample_min_width=width,
        tile_sample_min_height=height,
        tile_sample_stride_width=stride_x,
        tile_sample_stride_height=stride_y,
    )


def tiles(clip: Clip) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of the parts in which a film is decoded, and how far apart they begin."""
    if _is_small(clip):
        whole = clip.width, clip.height
        return whole, whole
    if clip.width < clip.height:
        return (_TILE[1], _TILE[0]), (_STRIDE[1], _STRIDE[0])
    return _TILE, _STRIDE


def _is_small(clip: Clip) -> bool:
    """Whether a film is of 480p; of whatever shape, it has no more pixels than that."""
    width, height = WAN_SIZES["480p"]
    return clip.width * clip.height <= width * height
