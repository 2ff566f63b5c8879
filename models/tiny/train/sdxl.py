"""The UNet, from nothing, with text encoders that can read already."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from models.tiny import networks
from models.tiny.train.batches import Batches, importance
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage
from models.tiny.train.words import Readers, Tokens

RATE = 8e-4


def begun() -> UNet2DConditionModel:
    """The UNet as training finds it: it says nothing yet."""
    torch.manual_seed(2)
    model = networks.unet()
    for values in (model.conv_out.weight, model.conv_out.bias):
        nn.init.zeros_(values)
    return model


def stage(
    model: UNet2DConditionModel, readers: Readers, batches: Batches, device: Device, steps: int
) -> Stage:
    """Learn to predict the velocity (Salimans and Ho, 2022, arXiv:2202.00512)."""
    tokens = Tokens(device)
    scheduler = networks.euler()
    signal = scheduler.alphas_cumprod.sqrt().to(device.name)
    noise_share = (1 - scheduler.alphas_cumprod).sqrt().to(device.name)

    def loss(step: int) -> Tensor:
        latents, said, size = batches.draw(step / steps)
        latents = latents.to(device.name)
        noise = torch.randn_like(latents)
        times = _spread_times(len(said), len(signal)).to(device.name)
        a, b = (each[times][:, None, None, None] for each in (signal, noise_share))
        words = tokens.clip(said)
        with device.half():
            predicted = predict(model, readers, a * latents + b * noise, times, words, size)
        off = (predicted.float() - (a * noise - b * latents)).square()
        total: Tensor = (off * importance(latents)).mean()
        return total

    return Stage("sdxl", steps, RATE, modules(model, readers), loss)


def modules(model: UNet2DConditionModel, readers: Readers) -> dict[str, nn.Module]:
    """What the stage trains, by the names that diffusers' pipeline has for it."""
    return {
        "unet": model,
        "text_encoder": readers.text_encoder,
        "text_encoder_2": readers.text_encoder_2,
    }


def predict(
    model: UNet2DConditionModel,
    readers: Readers,
    noisy: Tensor,
    times: Tensor,
    words: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """One call of the UNet as diffusers' SDXL pipeline makes it; ``size`` is width, height."""
    first = readers.text_encoder(words, output_hidden_states=True)
    second = readers.text_encoder_2(words, output_hidden_states=True)
    sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    width, height = size
    sizes = torch.tensor([height, width, 0, 0, height, width], device=noisy.device)
    added = {
        "text_embeds": second.text_embeds,
        "time_ids": sizes.float().expand(len(noisy), 6),
    }
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
