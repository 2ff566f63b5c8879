"""A small Shap-E checkpoint: the real classes with random weights, laid out as published."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEPipeline
from diffusers.pipelines.shap_e import ShapERenderer

from models.parts.quiet import numpy_copy_warning_ignored
from models.tiny import parts
from models.tiny.vocabulary import clip_tokenizer

_WIDTH = 8
"""Of the renderer, of a latent and, by the published configuration's proportions, their number."""
_LATENTS = 4 * _WIDTH
_PLACE = 93
"""How many numbers the renderer makes of the three of a place."""


def write(folder: Path, inside: float = 0.0) -> None:
    """Write it. Its things are blobs; ``inside`` moves their signed distance, which is -1 to 1:
    with -9 there is nothing in them."""
    tokenizer = clip_tokenizer()
    with torch.random.fork_rng(devices=[]), numpy_copy_warning_ignored():
        parts.fixed_seed()
        pipeline = ShapEPipeline(
            prior=PriorTransformer(
                num_attention_heads=2,
                attention_head_dim=_WIDTH,
                num_layers=2,
                embedding_dim=_WIDTH,
                num_embeddings=_LATENTS,
                additional_embeddings=0,
                time_embed_act_fn="gelu",
                norm_in_type="layer",
                embedding_proj_dim=parts.TEXT_WIDTH,
                time_embed_dim=4 * _WIDTH,
                clip_embed_dim=2 * _WIDTH,
                added_emb_type=None,
                encoder_hid_proj_type=None,
            ),
            text_encoder=parts.text_encoder(tokenizer, projection=True),
            tokenizer=tokenizer,
            # As published with the real model.
            scheduler=HeunDiscreteScheduler(
                num_train_timesteps=1024,
                beta_schedule="exp",
                prediction_type="sample",
                use_karras_sigmas=True,
                clip_sample=True,
                clip_sample_range=1.0,
            ),
            shap_e_renderer=_renderer(inside),
        )
    as_published(pipeline, folder)


def as_published(pipeline: ShapEPipeline, folder: Path) -> None:
    """Write a pipeline as the files of openai/shap-e lie."""
    pipeline.save_pretrained(folder, safe_serialization=True, variant="fp16")
    # There, the folder that the index means holds a pickle; the one with safetensors is older.
    (folder / "shap_e_renderer").rename(folder / "renderer")
    # And its tokenizer is from before there was one file for all of it.
    pipeline.tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "special_tokens_map.json").write_text("{}")
    index = json.loads((folder / "model_index.json").read_text())
    index["renderer"] = index["shap_e_renderer"]
    (folder / "model_index.json").write_text(json.dumps(index))


def _renderer(inside: float) -> ShapERenderer:
    shapes = ((_WIDTH, _PLACE), *((_WIDTH, _WIDTH),) * 3)
    renderer = ShapERenderer(
        param_shapes=shapes, d_latent=_WIDTH, d_hidden=_WIDTH, n_hidden_layers=6
    )
    with torch.no_grad():
        # Only the place itself: the waves that come after it make fog of random weights.
        first = renderer.params_proj.projections["nerstf__mlp__0__weight"]
        first.norm.weight[3:] = 0
        first.norm.bias[3:] = 0
        first.proj.bias.view(_WIDTH, _PLACE)[:, 3:] = 0
        last = renderer.mlp.mlp[-1]
        # As initialised, all of the volume is inside, or nothing is.
        last.weight *= 12
        last.bias[0] = inside
    return renderer
