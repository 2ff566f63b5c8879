"""The autoencoder: first between small pictures and latents, then up to full size.

What is hard to learn is which shape a few latents stand for, and that does not need large
pictures: the first stage trains the inner part, between latents and pictures made four times
smaller, at a sixteenth of the cost. The encoder's outer part averages pixels, so latents are
settled then; the second stage trains the decoder alone, which sharpens edges.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from models.tiny import networks
from models.tiny.scenes import draw, sampling
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage

_COLOURS = 3
_OUTER = 2
"""Halvings that the first stage leaves out."""
SMALLER = 2**_OUTER
"""How many times smaller the first stage's pictures are."""
_BATCH, _SIDE, _SIDES = 24, 80, (112, 224)
_BATCH_FULL, _SIDE_FULL, _SIDES_FULL = 4, 160, (448, 960)
_NOISE = 0.05
"""Of the latents, whose spread is about 1: what is denoised will be a little wrong."""
_BLUR = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
_AVERAGE = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]) / 4
"""With a stride of 2: the mean of 2 x 2 pixels."""
_CONTRAST = 4.0
"""Colours from 0 to 1 become latents from -2 to 2."""


def begun() -> AutoencoderTiny:
    """The autoencoder as training finds it: it makes pictures small and large again.

    A deep network of random convolutions takes long to find out that colours are to be kept.
    Here three channels carry them through from the start; the others have nothing to do but to
    learn what is lost.
    """
    torch.manual_seed(0)
    model = networks.autoencoder()
    with torch.no_grad():
        for half in (model.encoder, model.decoder):
            for block in half.layers:
                if isinstance(block, AutoencoderTinyBlock):
                    block.conv[4].weight.mul_(0.3)
                    block.conv[4].weight[:_COLOURS].mul_(0.1)
                    block.conv[4].bias.zero_()
        _carry_down(_convolutions(model.encoder))
        _carry_up(_convolutions(model.decoder))
    return model


def _convolutions(half: nn.Module) -> list[nn.Conv2d]:
    """Those between the blocks: one in, one for each halving or doubling, one out."""
    return [layer for layer in half.layers if isinstance(layer, nn.Conv2d)]  # type: ignore[union-attr]


def _carry_down(convolutions: list[nn.Conv2d]) -> None:
    first, *halvings, last = convolutions
    _pass_on(first, 1.0)
    for outer in (first, *halvings[:_OUTER]):
        outer.weight[_COLOURS:] = 0
    for place, halving in enumerate(halvings):
        _pass_on(halving, _AVERAGE if place < _OUTER else _BLUR)
    _pass_on(last, _CONTRAST, -_CONTRAST / 2)
    last.weight[_COLOURS:] *= 8  # as loud as the colours


def _carry_up(convolutions: list[nn.Conv2d]) -> None:
    first, *doublings, last = convolutions
    _pass_on(first, 1 / _CONTRAST, 0.5)
    for doubling in doublings:
        _pass_on(doubling, _BLUR)
    last.weight *= 0.01
    _pass_on(last, 1.0)


def _pass_on(layer: nn.Conv2d, kernel: float | Tensor, bias: float = 0.0) -> None:
    """Colours go through a layer as they are, or blurred, and nothing else into them."""
    layer.weight[:_COLOURS] = 0
    if layer.bias is not None:
        layer.bias.zero_()
        layer.bias[:_COLOURS] = bias
    for colour in range(_COLOURS):
        if isinstance(kernel, Tensor):
            layer.weight[colour, colour] = kernel
        else:
            layer.weight[colour, colour, 1, 1] = kernel


def _inner_half(model: AutoencoderTiny) -> nn.Sequential:
    """Of the encoder: from pictures made smaller to latents."""
    layers = list(model.encoder.layers)
    return nn.Sequential(*layers[layers.index(_convolutions(model.encoder)[1 + _OUTER]) :])


def _encoded(half: nn.Module, smaller: Tensor) -> Tensor:
    """Latents of pictures made smaller (N x 3 x height x width, from 0 to 1), as the whole
    encoder has them: its outer part leaves all other channels empty."""
    latents: Tensor = half(pad(smaller, (0, 0, 0, 0, 0, _width() - _COLOURS)))
    return latents


def _width() -> int:
    return int(networks.autoencoder().config.block_out_channels[0])


@torch.no_grad()
def encode(model: AutoencoderTiny, device: Device, smaller: Sequence[draw.Pixels]) -> Tensor:
    """The latents of pictures, from the same drawn :data:`SMALLER` times smaller."""
    with device.half():
        return _encoded(_inner_half(model), device.pictures(smaller)).float()


def inner(model: AutoencoderTiny, device: Device, steps: int) -> Stage:
    """The stage between latents and pictures made smaller."""
    decoder = list(model.decoder.layers)
    end = decoder.index(_convolutions(model.decoder)[-1 - _OUTER - 1])
    down, up = _inner_half(model), nn.Sequential(*decoder[: end + 1])

    def loss(step: int) -> Tensor:
        colours = device.pictures(_crops("inner", step, _BATCH, _SIDE, _SIDES))
        with device.half():
            latents = _encoded(down, colours)
            rebuilt = up(_shaken(latents))[:, :_COLOURS]
        return _distance(rebuilt, colours) + _spread(latents)

    return Stage("autoencoder-inner", steps, 3e-3, {"down": down, "up": up}, loss)


def outer(model: AutoencoderTiny, device: Device, steps: int) -> Stage:
    """The stage at full size, which leaves the encoder as it is."""
    model.encoder.requires_grad_(False)
    model.decoder.requires_grad_(True)
    down = _inner_half(model)

    def loss(step: int) -> Tensor:
        colours = device.pictures(_crops("outer", step, _BATCH_FULL, _SIDE_FULL, _SIDES_FULL))
        with device.half():
            with torch.no_grad():
                latents = _encoded(down, avg_pool2d(colours, SMALLER))
            rebuilt = model.decoder.layers(_shaken(latents))
        return _distance(rebuilt, colours)

    return Stage("autoencoder-outer", steps, 1.5e-3, {"decoder": model.decoder}, loss)


def _shaken(latents: Tensor) -> Tensor:
    """With a little noise, and squeezed as the decoder's forward does before its layers."""
    return torch.tanh((latents + torch.randn_like(latents) * _NOISE) / 3) * 3


def _distance(rebuilt: Tensor, colours: Tensor) -> Tensor:
    off = (rebuilt.float() - colours) * 2
    return off.abs().mean() + off.square().mean()


def _spread(latents: Tensor) -> Tensor:
    return 1e-4 * latents.float().square().mean()


@torch.no_grad()
def centre(model: AutoencoderTiny, latents: Tensor) -> None:
    """Have the model make latents of mean 0 and spread 1 in each channel, as diffusion wants.

    ``latents`` (N x channels x height x width) are what it makes now. What the decoder squeezes
    changes a little by it, so a stage should follow.
    """
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    out, into = _convolutions(model.encoder)[-1], _convolutions(model.decoder)[0]
    assert out.bias is not None
    assert into.bias is not None
    out.weight /= spread[:, None, None, None]
    out.bias.copy_((out.bias - mean) / spread)
    into.bias += (into.weight * mean[None, :, None, None]).sum((1, 2, 3))
    into.weight *= spread[None, :, None, None]


def seen(model: AutoencoderTiny, device: Device, scenes: int = 256) -> Tensor:
    """What the model makes of some whole pictures of 512 x 512 pixels."""
    side = 512 // SMALLER
    return encode(model, device, _crops("seen", 0, scenes, side, (side, side + 8)))


def _crops(
    name: str, step: int, count: int, side: int, sides: tuple[int, int]
) -> list[draw.Pixels]:
    """Square parts of newly drawn scenes of any shape."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), step])
    crop = partial(_crop, rng, side, sides)
    return [crop() for _ in range(count)]


def _crop(rng: np.random.Generator, side: int, sides: tuple[int, int]) -> draw.Pixels:
    mean, stretch = rng.integers(*sides), rng.uniform(0.85, 1.18) if rng.random() < 0.5 else 1.0
    width, height = (max(side, round(mean * factor)) for factor in (stretch, 1 / stretch))
    scene = sampling.sample(rng, aspect=width / height)
    picture = draw.draw(scene, width, height, rng)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return picture[top : top + side, left : left + side]
