"""MusicGen checkpoints with random weights, in the layout that audiocraft publishes them in."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5EncoderModel

from models.parts.musicgen import CODEC, LANGUAGE_MODEL, import_audiocraft, local_files
from models.tiny.vocabulary import t5_tokenizer

RATE = 32_000


@dataclass(frozen=True)
class Size:
    """How large the networks are.

    ``t5`` is the name that the configuration calls its text encoder by, and decides its width.
    """

    t5: str
    text: dict[str, int]
    width: int
    heads: int
    layers: int
    codes: int
    codec_width: int
    codec_filters: int
    codec_lstm: int


SMALL = Size(
    "t5-small",
    {"d_model": 512, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2},
    width=32,
    heads=2,
    layers=1,
    codes=256,
    codec_width=16,
    codec_filters=2,
    codec_lstm=0,
)
FULL = Size(
    "t5-base",
    {"d_model": 768, "d_ff": 3072, "d_kv": 64, "num_layers": 12, "num_heads": 12},
    width=1024,
    heads=16,
    layers=24,
    codes=2048,
    codec_width=128,
    codec_filters=64,
    codec_lstm=2,
)
"""As published: facebook/musicgen-small with google-t5/t5-base."""


def write(folder: Path, size: Size = SMALL, device: str = "cpu") -> None:
    """Write the parts ``music`` and ``text``; the same weights every time.

    The networks are made on ``device``, where large ones are quicker on a GPU.
    """
    import_audiocraft()
    with torch.random.fork_rng(), warnings.catch_warnings():
        # torch calls the weight norm old that audiocraft's codecs are stored with.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(1)
        text, music = folder / "text", folder / "music"
        music.mkdir(parents=True)
        tokenizer = t5_tokenizer()
        tokenizer.save_pretrained(text)
        T5EncoderModel(T5Config(**size.text, vocab_size=len(tokenizer))).save_pretrained(text)
        _write_codec(music / CODEC, size, device)
        _write_language_model(music / LANGUAGE_MODEL, text, size, device)


def _write_codec(path: Path, size: Size, device: str) -> None:
    from audiocraft.models import builders

    config = _config(codec_config(size), device)
    codec = builders.get_compression_model(config)
    for layer in codec.quantizer.vq.layers:
        # Only training would fill the code books.
        torch.nn.init.normal_(layer._codebook.embed, std=2.0)
        layer._codebook.inited.fill_(1)
    for name, parameter in codec.decoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)  # else the sound is off the middle
    _save(path, codec, config)


def _write_language_model(path: Path, text: Path, size: Size, device: str) -> None:
    from audiocraft.models import builders

    config = _config(language_config(size), device)
    with local_files(text):
        network = builders.get_lm_model(config)
    for head in network.linears:
        # Else every code is about as likely, whatever was asked for.
        torch.nn.init.normal_(head.weight, std=0.5)
    _save(path, network, config)


def _config(values: dict[str, Any], device: str) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create({**values, "device": device, "dtype": "float32"})


def _save(path: Path, network: torch.nn.Module, config: Any) -> None:
    from omegaconf import OmegaConf

    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    written = {"best_state": state, "xp.cfg": OmegaConf.to_yaml(config)}
    torch.save({**written, "version": "1.3.0", "exported": True}, path)


def codec_config(size: Size) -> dict[str, Any]:
    """EnCodec at 32 kHz, 50 frames a second, four code books."""
    return {
        "compression_model": "encodec",
        "sample_rate": RATE,
        "channels": 1,
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": RATE,
            "channels": 1,
            "causal": False,
            "renormalize": False,
        },
        "seanet": {
            "dimension": size.codec_width,
            "channels": 1,
            "causal": False,
            "n_filters": size.codec_filters,
            "n_residual_layers": 1,
            "ratios": [8, 5, 4, 4],
            "activation": "ELU",
            "activation_params": {"alpha": 1.0},
            "norm": "weight_norm",
            "norm_params": {},
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 7,
            "dilation_base": 2,
            "pad_mode": "constant",
            "true_skip": True,
            "compress": 2,
            "lstm": size.codec_lstm,
            "disable_norm_outer_blocks": 0,
            "decoder": {"trim_right_ratio": 1.0, "final_activation": None},
            "encoder": {},
        },
        "rvq": {"n_q": 4, "q_dropout": False, "bins": size.codes, "kmeans_init": False},
    }


def language_config(size: Size) -> dict[str, Any]:
    """A transformer over four streams of codes that looks at a text."""
    return {
        "lm_model": "transformer_lm",
        "sample_rate": RATE,
        "channels": 1,
        "dataset": {"segment_duration": 30},
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": [0, 1, 2, 3], "flatten_first": 0, "empty_initial": 0},
        },
        "transformer_lm": {
            "dim": size.width,
            "num_heads": size.heads,
            "num_layers": size.layers,
            "hidden_scale": 4,
            "n_q": 4,
            "card": size.codes,
            "dropout": 0.0,
            "activation": "gelu",
            "norm_first": True,
            "bias_ff": False,
            "bias_attn": False,
            "bias_proj": False,
            "causal": True,
            "custom": False,
            "memory_efficient": True,
            "attention_as_float32": False,
            "positional_embedding": "sin",
            "weight_init": "gaussian",
            "depthwise_init": "current",
            "zero_bias_init": True,
            "cross_attention": False,
        },
        "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
        "attribute_dropout": {},
        "fuser": {
            "cross_attention_pos_emb": False,
            "cross_attention_pos_emb_scale": 1,
            "sum": [],
            "prepend": [],
            "cross": ["description"],
            "input_interpolate": [],
        },
        "conditioners": {
            "description": {
                "model": "t5",
                "t5": {
                    "name": size.t5,
                    "finetune": False,
                    "word_dropout": 0.3,
                    "normalize_text": False,
                },
            }
        },
    }
