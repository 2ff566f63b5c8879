"""The rectified-flow transformer: the flow first, then guidance in one call.

The first stage learns the flow from noise to latents (Liu et al., 2022, arXiv:2209.03003); the
second what the first one says with classifier-free guidance, with the scale as an input (Meng et
al., 2022, arXiv:2210.03142), as FLUX.1 [dev] has it. Captions leave so little open that the flow
is nearly straight, and four steps are enough without another distillation.
"""

from __future__ import annotations

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import T5EncoderModel

from models.tiny import networks
from models.tiny.train.batches import Batch, Batches, importance
from models.tiny.train.codes import Codes, in_t5, some_ends
from models.tiny.train.device import Device
from models.tiny.train.stage import Stage
from models.tiny.train.words import Readers, Tokens

RATE, RATE_TOGETHER, RATE_GUIDED = 8e-4, 4e-4, 4e-4
GUIDANCE = (1.0, 6.0)
"""The scales that the second stage is shown."""
_NO_GUIDANCE = 1.0
_ANYTHING = "a picture"
"""A prompt where training left it empty: guidance has nothing to go away from there."""


def begun() -> FluxTransformer2DModel:
    """The transformer as training finds it: it says nothing yet, and guidance tells it nothing."""
    torch.manual_seed(3)
    model = networks.transformer(guidance=True)
    guided = model.time_text_embed.guidance_embedder.linear_2
    for layer in (model.proj_out, guided):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        _begin_as_nothing(block)
    return model


def _begin_as_nothing(block: nn.Module) -> None:
    """Each block begins as the identity (adaLN-Zero, Peebles and Xie, 2022, arXiv:2212.09748)."""
    for name, layer in block.named_modules():
        if name.endswith(("norm.linear", "norm1.linear", "norm1_context.linear")):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class Words:
    """Prompts as FLUX's pipeline encodes them."""

    def __init__(self, readers: Readers, device: Device) -> None:
        self._readers, self._tokens, self._device = readers, Tokens(device), device

    @property
    def t5(self) -> T5EncoderModel:
        """The one that the first stage trains along."""
        return self._readers.t5

    def __call__(self, said: list[str]) -> dict[str, Tensor]:
        """The transformer's arguments that come from words."""
        sequence = self._readers.t5(self._tokens.t5(said))[0]
        with torch.no_grad():
            pooled = self._readers.text_encoder(self._tokens.clip(said)).pooler_output
        return _arguments(sequence, pooled)


def _arguments(sequence: Tensor, pooled: Tensor) -> dict[str, Tensor]:
    return {
        "pooled_projections": pooled,
        "encoder_hidden_states": sequence,
        "txt_ids": torch.zeros(sequence.shape[1], 3, device=sequence.device),
    }


def painter(model: FluxTransformer2DModel, batches: Batches, device: Device, steps: int) -> Stage:
    """The flow of small pictures, told in codes what is in the scenes."""
    codes = Codes(device.name)

    def loss(step: int) -> Tensor:
        batch = batches.draw(0.0)
        told = batch.told.to(device.name)
        ends = some_ends(len(told)).to(device.name)
        words = _arguments(in_t5(codes.sequences(told)[2], ends)[0], codes.pooled(told)[0])
        return _off(model, words, batch, device)

    return Stage("flux-painter", steps, RATE, {"transformer": model}, loss)


def stage(
    model: FluxTransformer2DModel, words: Words, batches: Batches, device: Device, steps: int
) -> Stage:
    """The flow, from captions."""

    def loss(step: int) -> Tensor:
        batch = batches.draw(step / steps)
        with device.half():
            told = words(batch.said)
        return _off(model, told, batch, device)

    modules = {"transformer": model, "t5": words.t5}
    return Stage("flux", steps, RATE_TOGETHER, modules, loss)


def _off(
    model: FluxTransformer2DModel, words: dict[str, Tensor], batch: Batch, device: Device
) -> Tensor:
    latents = batch.latents.to(device.name)
    noise, times = torch.randn_like(latents), _times(len(latents)).to(device.name)
    with device.half():
        predicted = velocity(model, _between(latents, noise, times), times, words, _NO_GUIDANCE)
    off = (predicted.float() - (noise - latents)).square()
    total: Tensor = (off * importance(latents)).mean()
    return total


def guided_stage(
    model: FluxTransformer2DModel,
    teacher: FluxTransformer2DModel,
    words: Words,
    batches: Batches,
    device: Device,
    steps: int,
) -> Stage:
    """What the ``teacher`` says with guidance, by one call that is told its scale."""

    def loss(step: int) -> Tensor:
        batch = batches.draw(1.0)
        said = [each or _ANYTHING for each in batch.said]
        latents = batch.latents.to(device.name)
        noise, times = torch.randn_like(latents), _times(len(said)).to(device.name)
        low, high = GUIDANCE
        scale = low + (high - low) * float(torch.rand(()))
        with device.half():
            noisy = _between(latents, noise, times)
            with torch.no_grad():
                told = words(said)
                with_words = velocity(teacher, noisy, times, told, _NO_GUIDANCE).float()
                without = velocity(teacher, noisy, times, words([""] * len(said)), _NO_GUIDANCE)
            wanted = without.float() + scale * (with_words - without.float())
            predicted = velocity(model, noisy, times, told, scale)
        return (predicted.float() - wanted).square().mean()

    return Stage("flux-guided", steps, RATE_GUIDED, {"transformer": model}, loss)


def _times(count: int) -> Tensor:
    """From 0, which is the picture, to 1, which is noise; a quarter is pure noise, where nothing
    but the words tells anything, and where few steps take most of their way."""
    times = (torch.randperm(count) + torch.rand(count)) / count
    times[: count // 4] = 1
    return times


def _between(latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    share = times[:, None, None, None]
    return (1 - share) * latents + share * noise


def velocity(
    model: FluxTransformer2DModel,
    noisy: Tensor,
    times: Tensor,
    words: dict[str, Tensor],
    guidance: float,
) -> Tensor:
    """One call of the transformer as FLUX's pipeline makes it, in latents N x 4 x h x w."""
    count, channels, height, width = noisy.shape
    packed = FluxPipeline._pack_latents(noisy, count, channels, height, width)
    places = FluxPipeline._prepare_latent_image_ids(
        count, height // 2, width // 2, noisy.device, noisy.dtype
    )
    found = model(
        hidden_states=packed,
        timestep=times,
        guidance=torch.full((count,), guidance, device=noisy.device),
        img_ids=places,
        **words,
    ).sample
    # The pipeline's own way back asks for pixels.
    rows: Tensor = found.view(count, height // 2, width // 2, channels, 2, 2)
    return rows.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, height, width)
