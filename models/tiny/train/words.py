"""The text encoders, first by themselves: to know what is where from its caption.

A network that learns to read and to paint at once takes long to find out that "red" belongs to
"circle". Reading alone is cheap: captions are made up by the thousand, and what they say of each
thing is known.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from models.tiny import networks
from models.tiny.evaluate.prompts import tells_all
from models.tiny.scenes import captions, sampling
from models.tiny.scenes.plan import COLOURS, Backing, Product, Scene, Shape
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage
from models.tiny.vocabulary import clip_tokenizer, t5_tokenizer

RATE = 1e-3
_BATCH = 48
_COLOURS = tuple(COLOURS)
_SHAPES = (*Shape, *Product)
_BACKINGS = tuple(Backing)
_THINGS = 3
_LONGEST = 48
"""Tokens of CLIP's that a caption has at the most, and its end."""
_PLACE_WEIGHT = 4.0
"""Places are small numbers, and as important as names."""


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
        self._clip = clip_tokenizer()
        self._t5 = t5_tokenizer(networks.T5_TOKENS_MAX)
        self._device = device

    def clip(self, said: list[str]) -> Tensor:
        """N x 77."""
        return self._numbers(self._clip, said)

    def t5(self, said: list[str]) -> Tensor:
        """N x :data:`models.tiny.networks.T5_TOKENS_MAX`."""
        return self._numbers(self._t5, said)

    def _numbers(self, tokenizer: object, said: list[str]) -> Tensor:
        assert callable(tokenizer)
        found = tokenizer(said, padding="max_length", truncation=True, return_tensors="pt")
        numbers: Tensor = found.input_ids.to(self._device.name)
        return numbers


class _Understanding(nn.Module):
    """What can be told from one vector: backing and its two colours, then each thing's colour,
    shape, place and radius; colour and shape number 0 are none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        names = [len(_BACKINGS), len(_COLOURS) + 1, len(_COLOURS) + 1]
        names += [len(_COLOURS) + 1, len(_SHAPES) + 1] * _THINGS
        self._splits = [*names, 3 * _THINGS]
        self.layers = nn.Sequential(
            nn.Linear(width, 192), nn.GELU(), nn.Linear(192, sum(self._splits))
        )

    def forward(self, found: Tensor, wanted: _Answers) -> Tensor:
        """How far it is from the answers."""
        *names, places = self.layers(found).float().split(self._splits, dim=-1)
        off = sum(
            cross_entropy(told, wanted.names[:, place], ignore_index=-1)
            for place, told in enumerate(names)
        )
        there = wanted.there
        apart = ((places - wanted.places) * there).abs().sum() / there.sum().clamp(min=1)
        total: Tensor = torch.as_tensor(off) + _PLACE_WEIGHT * apart
        return total


class _Looking(nn.Module):
    """One vector from a sequence, by attention as the painters use it."""

    def __init__(self, width: int, queries: int = 6) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, 96) * 0.2)
        self.keys, self.values = nn.Linear(width, 96), nn.Linear(width, 96)
        self.out = _Understanding(96 * queries)

    def forward(self, sequence: Tensor, wanted: _Answers) -> Tensor:
        """See :meth:`_Understanding.forward`."""
        keys, values = self.keys(sequence), self.values(sequence)
        share = (keys @ self.queries.T / 96**0.5).softmax(dim=1)
        found: Tensor = self.out((share.transpose(1, 2) @ values).flatten(1), wanted)
        return found


@dataclass(slots=True)
class _Answers:
    """``names`` are N x 3 + 2 x things, -1 where a caption does not tell; ``places`` and
    ``there`` N x 3 x things."""

    names: Tensor
    places: Tensor
    there: Tensor


def _answers(scenes: list[Scene], told: list[bool], device: Device) -> _Answers:
    names, places, there = [], [], []
    for scene, all_told in zip(scenes, told, strict=True):
        colours = [_COLOURS.index(name) + 1 for name in scene.background.colours]
        row = [_BACKINGS.index(scene.background.kind), *colours, *[0] * (2 - len(colours))]
        spots: list[float] = []
        for thing in scene.things:
            row += [_COLOURS.index(thing.colour) + 1, _SHAPES.index(thing.shape) + 1]
            spots += [thing.x, thing.y, thing.radius]
        missing = _THINGS - len(scene.things)
        names.append(row + [0, 0] * missing if all_told else [-1] * (3 + 2 * _THINGS))
        places.append(spots + [0.0] * 3 * missing)
        there.append([float(all_told)] * len(spots) + [0.0] * 3 * missing)
    return _Answers(*(torch.tensor(each, device=device.name) for each in (names, places, there)))


def stage(model: Readers, device: Device, steps: int) -> Stage:
    """Learn to tell what a caption says, from pooled outputs and from sequences."""
    tokens = Tokens(device)
    width, width_2 = (
        each.config.hidden_size for each in (model.text_encoder, model.text_encoder_2)
    )
    heads = nn.ModuleDict(
        {
            "pooled": _Understanding(width),
            "pooled_2": _Understanding(width_2),
            "sequence": _Looking(width + width_2),
            "t5": _Looking(model.t5.config.d_model),
        }
    )
    device.place(heads)

    def loss(step: int) -> Tensor:
        said, wanted = _batch(step, device)
        # Each token sees only those before it, so what comes after the captions can be left out.
        words = tokens.clip(said)[:, :_LONGEST]
        with device.half():
            first = model.text_encoder(words, output_hidden_states=True)
            second = model.text_encoder_2(words, output_hidden_states=True)
            sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
            found = {
                "pooled": first.pooler_output,
                "pooled_2": second.text_embeds,
                "sequence": sequence,
                "t5": model.t5(tokens.t5(said))[0],
            }
            losses = [heads[name](each.float(), wanted) for name, each in found.items()]
        return torch.stack(losses).sum()

    return Stage("words", steps, RATE, {**model.modules, "heads": heads}, loss, average=0.99)


def _batch(step: int, device: Device) -> tuple[list[str], _Answers]:
    rng = np.random.default_rng([zlib.crc32(b"words"), step])
    scenes = [sampling.sample(rng) for _ in range(_BATCH)]
    said = [captions.caption(scene, rng) for scene in scenes]
    told = [tells_all(words, scene) for words, scene in zip(said, scenes, strict=True)]
    return said, _answers(scenes, told, device)
