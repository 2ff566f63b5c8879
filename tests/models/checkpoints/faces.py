"""Networks of the face restorers' own classes, whose doing is known."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from spandrel.architectures.GFPGAN import GFPGAN
from spandrel.architectures.RestoreFormer import RestoreFormer

_NOISE = 0.3


def write_gfpgan(path: Path) -> None:
    """A whole GFPGAN, whose class has one size, that hands the picture on through its skip
    connections and the decoder's last modulation: a little softer, the red half way up to 255.
    New noise would be seen; the noise that it carries in it is none."""
    torch.manual_seed(6)
    network = GFPGAN()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.conv_body_first.bias.fill_(1)  # from -1..1 to 0..2: activations bend below 0
        shift = network.condition_shift[-1]
        decoder = network.stylegan_decoder
        for layer in (network.conv_body_first, network.conv_body_down[0].skip):
            _pass_on(layer.weight)
        for layer in (network.conv_body_up[-1].skip, shift[0], shift[2]):
            _pass_on(layer.weight)
        last, to_rgb = decoder.style_convs[-1], decoder.to_rgbs[-1]
        modulated = 32  # the second half of the channels
        for part in (last, to_rgb):
            part.modulated_conv.modulation.bias.fill_(1)
        _pass_on(last.modulated_conv.weight[0], modulated)
        last.weight.fill_(_NOISE)
        for noise in decoder.noises.buffers():
            noise.zero_()
        for channel, share in enumerate((0.5, 1.0, 1.0)):
            to_rgb.modulated_conv.weight[0, channel, modulated + channel] = share * 0.5**0.5
        to_rgb.bias[0, :, 0, 0] = torch.tensor([0.0, -1.0, -1.0])
    _save(network, path)


def write_restoreformer(path: Path, colour: tuple[int, int, int]) -> None:
    """A RestoreFormer of one level, quick, that makes every face one colour."""
    torch.manual_seed(7)
    network = RestoreFormer(
        n_embed=4,
        embed_dim=4,
        ch=32,
        ch_mult=(1,),
        num_res_blocks=1,
        z_channels=4,
        enable_mid=False,
    )
    with torch.no_grad():
        network.decoder.conv_out.weight.zero_()
        network.decoder.conv_out.bias.copy_(torch.tensor(colour) / 127.5 - 1)
    _save(network, path)


def write_codeformer(path: Path) -> None:
    """A CodeFormer with one transformer layer and a codebook of sixteen, else of the only size
    that its class has; its weights are random."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        from spandrel_extra_arches.architectures.CodeFormer import CodeFormer
    torch.manual_seed(8)
    network = CodeFormer(dim_embd=64, n_layers=1, codebook_size=16, connect_list=["64"])
    _save(network, path)


def _pass_on(weight: torch.Tensor, offset: int = 0) -> None:
    """Let a kernel, outputs x inputs x height x width, hand three channels on as they are."""
    middle = weight.shape[-1] // 2
    for channel in range(offset, offset + 3):
        weight[channel, channel, middle, middle] = 1


def _save(network: torch.nn.Module, path: Path) -> None:
    """In half precision, which halves the file; it is loaded into full."""
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
