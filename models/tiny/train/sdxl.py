"""The UNet: first told in codes what to paint, then by encoders that can say them already."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from models.tiny import networks
from models.tiny.train.batches import Batch, Batches, importance
from models.tiny.train.codes import Codes, in_clip, some_ends
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage
from models.tiny.train.words import Readers, Tokens

RATE, RATE_TOGETHER = 8e-4, 4e-4

Words = tuple[Tensor, Tensor]
"""What a pipeline's text encoders say: N x tokens x width, and the pooled N x width."""


def begun() -> UNet2DConditionModel:
    """The UNet as training finds it: it says nothing yet."""
    torch.manual_seed(2)
    model = networks.unet()
    for values in (model.conv_out.weight, model.conv_out.bias):
        nn.init.zeros_(values)
    return model


def painter(model: UNet2DConditionModel, batches: Batches, device: Device, steps: int) -> Stage:
    """The UNet by itself, told what is in the scenes in codes, of small pictures."""
    codes = Codes(device.name)

    def loss(step: int) -> Tensor:
        batch = batches.draw(0.0)
        told = batch.told.to(device.name)
        ends = some_ends(len(told)).to(device.name)
        sequence = [in_clip(each, ends)[0] for each in codes.sequences(told)[:2]]
        words = torch.cat(sequence, dim=-1), codes.pooled(told)[1]
        return _off(model, words, batch, device)

    return Stage("sdxl-painter", steps, RATE, {"unet": model}, loss)


def stage(
    model: UNet2DConditionModel, readers: Readers, batches: Batches, device: Device, steps: int
) -> Stage:
    """The UNet and its text encoders together, from captions."""
    tokens = Tokens(device)

    def loss(step: int) -> Tensor:
        batch = batches.draw(step / steps)
        numbers = tokens.clip(batch.said)
        with device.half():
            words = read(readers, numbers)
        return _off(model, words, batch, device)

    return Stage("sdxl", steps, RATE_TOGETHER, modules(model, readers), loss)


def _off(model: UNet2DConditionModel, words: Words, batch: Batch, device: Device) -> Tensor:
    """How far the predicted velocity is off (Salimans and Ho, 2022, arXiv:2202.00512)."""
    kept = networks.euler().alphas_cumprod
    times = _spread_times(len(batch.said), len(kept))
    signal, share = (
        each[times][:, None, None, None].to(device.name)
        for each in (kept.sqrt(), (1 - kept).sqrt())
    )
    latents = batch.latents.to(device.name)
    noise = torch.randn_like(latents)
    noisy = signal * latents + share * noise
    with device.half():
        predicted = predict(model, noisy, times.to(device.name), words, batch.size)
    off = (predicted.float() - (signal * noise - share * latents)).square()
    total: Tensor = (off * importance(latents)).mean()
    return total


def modules(model: UNet2DConditionModel, readers: Readers) -> dict[str, nn.Module]:
    """What the stage trains, by the names that diffusers' pipeline has for it."""
    return {
        "unet": model,
        "text_encoder": readers.text_encoder,
        "text_encoder_2": readers.text_encoder_2,
    }


def read(readers: Readers, numbers: Tensor) -> Words:
    """What diffusers' SDXL pipeline makes of token numbers, N x tokens."""
    first = readers.text_encoder(numbers, output_hidden_states=True)
    second = readers.text_encoder_2(numbers, output_hidden_states=True)
    sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return sequence, second.text_embeds


def predict(
    model: UNet2DConditionModel,
    noisy: Tensor,
    times: Tensor,
    words: Words,
    size: tuple[int, int],
) -> Tensor:
    """One call of the UNet as that pipeline makes it; ``size`` is width, height."""
    sequence, pooled = words
    width, height = size
    sizes = torch.tensor([height, width, 0, 0, height, width], device=noisy.device)
    added = {"text_embeds": pooled, "time_ids": sizes.float().expand(len(noisy), 6)}
    predicted: Tensor = model(
        noisy, times, encoder_hidden_states=sequence, added_cond_kwargs=added
    ).sample
    return predicted


def _spread_times(count: int, times: int) -> Tensor:
    """One in each of ``count`` stretches, so that a batch's loss hangs less on chance. More are
    where the noise is strong, since what is where is decided there; a quarter is pure noise,
    where nothing but the words tells anything. Without these a UNet was seen to take what is
    where from the picture's last traces, and to read of the prompt the background alone; with
    hardly any at little noise, to leave some of it in the picture."""
    along = (torch.randperm(count) + torch.rand(count)) / count
    along[: count // 4] = 1
    return (along**0.6 * times).long().clamp(max=times - 1)
