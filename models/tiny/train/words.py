"""The text encoders, first by themselves: to say of a caption what is in its scene.

Reading alone is cheap: captions are made up by the thousand, and the facts of each are known.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from models.tiny import networks
from models.tiny.scenes import captions, sampling
from models.tiny.train.codes import Codes, facts, in_clip, in_t5
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage

RATE = 1e-3
_BATCH = 64
_WORDLESS = 0.04
_GRID = 16
_SILENCE_WEIGHT, _POOLED_WEIGHT = 0.1, 0.5
"""Of tokens that should say nothing, and of pooled outputs, beside tokens that say codes."""


@dataclass(slots=True)
class Readers:
    """The three text encoders."""

    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    t5: T5EncoderModel

    @classmethod
    def begun(cls) -> Readers:
        """As training finds them."""
        torch.manual_seed(1)
        return cls(networks.text_encoder(), networks.text_encoder_2(), networks.t5())

    @property
    def modules(self) -> dict[str, nn.Module]:
        """By the names of their files."""
        return {
            "text_encoder": self.text_encoder,
            "text_encoder_2": self.text_encoder_2,
            "flux_text_encoder_2": self.t5,
        }


class Tokens:
    """Prompts as token numbers, at the lengths that the pipelines use."""

    def __init__(self, device: Device) -> None:
        self._clip = networks.clip_tokenizer()
        self._t5 = networks.t5_tokenizer()
        self._device = device

    def clip(self, said: list[str]) -> Tensor:
        """N x :data:`models.tiny.networks.CLIP_TOKENS_MAX`."""
        return self._numbers(self._clip, said)

    def t5(self, said: list[str]) -> Tensor:
        """N x :data:`models.tiny.networks.T5_TOKENS_MAX`."""
        return self._numbers(self._t5, said)

    def clip_ends(self, numbers: Tensor) -> Tensor:
        """At which token each text ends."""
        return _first(numbers == self._clip.eos_token_id)

    def t5_ends(self, numbers: Tensor) -> Tensor:
        """At which token each text ends."""
        return _first(numbers == self._t5.eos_token_id)

    def _numbers(self, tokenizer: object, said: list[str]) -> Tensor:
        assert callable(tokenizer)
        found = tokenizer(said, padding="max_length", truncation=True, return_tensors="pt")
        numbers: Tensor = found.input_ids.to(self._device.name)
        return numbers


def _first(there: Tensor) -> Tensor:
    return there.int().argmax(dim=1)


def stage(model: Readers, device: Device, steps: int) -> Stage:
    """Learn to say a caption's codes, in the outputs that the pipelines take."""
    tokens, codes = Tokens(device), Codes(device.name)

    def loss(step: int) -> Tensor:
        said, told = _batch(step)
        known = torch.from_numpy(told).to(device.name)
        numbers, numbers_t5 = tokens.clip(said), tokens.t5(said)
        with device.half():
            first = model.text_encoder(numbers, output_hidden_states=True)
            second = model.text_encoder_2(numbers, output_hidden_states=True)
            third = model.t5(numbers_t5)[0]
        clip, clip_2, t5 = codes.sequences(known)
        pooled, pooled_2 = codes.pooled(known)
        ends, ends_t5 = tokens.clip_ends(numbers), tokens.t5_ends(numbers_t5)
        off = [
            _off(first.hidden_states[-2], *in_clip(clip, ends)),
            _off(second.hidden_states[-2], *in_clip(clip_2, ends)),
            _off(third, *in_t5(t5, ends_t5)),
            _POOLED_WEIGHT * (first.pooler_output.float() - pooled).square().mean(),
            _POOLED_WEIGHT * (second.text_embeds.float() - pooled_2).square().mean(),
        ]
        return torch.stack(off).sum()

    return Stage("words", steps, RATE, model.modules, loss, average=0.995)


def _off(found: Tensor, wanted: Tensor, told: Tensor) -> Tensor:
    apart = (found.float() - wanted).square().mean(-1)
    return apart[told].mean() + _SILENCE_WEIGHT * apart[~told].mean()


def _batch(step: int) -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Captions and their scenes' facts; of an empty one there are none."""
    rng = np.random.default_rng([zlib.crc32(b"words"), step])
    scenes = [sampling.on_grid(sampling.sample(rng), _GRID, _GRID) for _ in range(_BATCH)]
    said = [captions.caption(scene, rng) for scene in scenes]
    told = np.stack([facts(scene) for scene in scenes])
    for row in np.flatnonzero(rng.random(_BATCH) < _WORDLESS):
        said[row] = ""
        told[row] = 0
    return said, told
