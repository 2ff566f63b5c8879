"""Virtual try-on by CatVTON's method (Chong et al., 2024, arXiv:2407.15886)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from farm.errors import SetupError
from farm.types import RunRequest
from models import weights
from models.base import CPU, EngineSetup, FileSource
from models.parts import seeds
from models.parts.holes import blend_margin, bounds, grown, pasted
from models.parts.memory import module_bytes, released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows, flattened, joined, split
from models.parts.quiet import numpy_copy_warning_ignored, quieten
from models.parts.tryon.clothes import ClothesParser, place
from models.parts.tryon.request import TryOn, read_tryon
from models.weights import layout

UNET, VAE, ATTENTION, PARSER = "unet", "vae", "attention", "parser"
GUIDANCE = 2.5
"""The paper's, of the garment against no garment."""
AROUND = 0.08
"""How much of the picture around the person is shown to the network, in heights of it."""
WHITE = 255
_KEEN = 4
"""Times as sharp as elsewhere is the seam at face and hands."""

_NUMBERED = re.compile(r"(\d+)\.(.+)")


class CatvtonEngine(PictureEngine[TryOn]):
    """Somebody in the garment of another picture, by one network that sees both at once.

    The paper's method on Stable Diffusion 1.5's inpainting network: person and garment lie one
    above the other in the latent picture, so that self-attention carries the garment over; of
    the text's cross-attention nothing is left, and there is no text encoder. The weights are
    those of the model card ``zhengchong/CatVTON`` (CC-BY-NC-SA-4.0, as the card in the
    catalogue says); the code is written after the paper.

    Four parts of weights: ``unet`` (a repository's folders ``unet`` and ``scheduler``),
    ``vae``, ``parser`` (see :class:`models.parts.tryon.clothes.ClothesParser`) and
    ``attention``: one safetensors file with the state of each self-attention of the network, named
    ``<number>.to_q.weight``, ``<number>.to_k.weight``, ``<number>.to_v.weight``,
    ``<number>.to_out.0.weight`` and ``<number>.to_out.0.bias``. The numbers rise in the order
    in which the network lists its modules (down, up, middle); there may be gaps between them
    (the published file counts by eight).

    Card's options: ``size`` (``768x1024``, what the network works at) and ``steps``. Pixels
    of face, hair, hands and feet, and all that is farther from the garment than a narrow
    blend, are the picture's own, bit for bit.
    """

    operation = "try-on"
    parameters = ("category", "seed")
    formats = ()

    _network: Network | None = None
    _parser: ClothesParser | None = None

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        self._size, self._denoised = _settings(setup.options)

    def _read(self, request: RunRequest) -> TryOn:
        return read_tryon(request)

    def _steps(self, work: TryOn) -> int:
        return self._denoised + 3

    def _edit(self, work: TryOn, stages: Stages) -> Edited:
        assert self._network is not None
        assert self._parser is not None
        parsed = self._parser.parse(work.person)
        where = place(parsed, work.category)
        mask = where.painted
        stages.done()
        height, width = mask.shape
        margin = blend_margin(width, height)
        window = Window.around(np.where(parsed.person, 255, 0).astype(np.uint8), self._size)
        made = self._network.paint(
            window.cut(work.person, self._size),
            window.cut(grown(mask, margin), self._size, outside=0),
            _on_white(work.garment, self._size),
            work.seed,
            self._denoised,
            stages.done,
        )
        stages.done()
        dressed = window.put_back(work.person, made, mask, margin)
        # What fades out around the mask does not reach the face and the hands.
        dressed = pasted(dressed, work.person, where.kept, margin // _KEEN)
        stages.done()
        return Edited(Rows.of(joined(dressed, work.alpha)))

    def _text(self, work: TryOn) -> Mapping[str, Any]:
        return {"seed": work.seed, "steps": self._denoised, "category": work.category}

    def _open(self, device: str) -> None:
        setup = self._setup
        self._network = Network.load(setup, device)
        self._network.check_size(self._size)
        self._parser = ClothesParser(weights.locate(setup, PARSER).path)
        self._parser.load(device)

    def _close(self) -> None:
        if self._parser is not None:
            self._parser.unload()
        self._network = self._parser = None
        released()

    def _resident(self) -> int:
        parts = [part for part in (self._network, self._parser) if part is not None]
        return sum(part.resident_bytes for part in parts)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a picture that the network sees, in pixels; it may reach beyond the picture,
    which is then continued by its edge."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, person: Pixels, size: tuple[int, int]) -> Window:
        """The smallest window of the proportions of ``size`` (width, height) that holds what
        is set in a mask, and some of what is around it; as much of the picture as it can."""
        high, wide = person.shape
        left, top, right, bottom = bounds(person, 0)
        space = round(AROUND * (bottom - top))
        left, right = max(0, left - space), min(wide, right + space)
        top, bottom = max(0, top - space), min(high, bottom + space)
        unit = max((right - left) / size[0], (bottom - top) / size[1])
        width, height = max(1, round(unit * size[0])), max(1, round(unit * size[1]))
        return cls(
            _within((left + right - width) // 2, width, wide),
            _within((top + bottom - height) // 2, height, high),
            width,
            height,
        )

    def cut(self, picture: Pixels, size: tuple[int, int], outside: int | None = None) -> Pixels:
        """What is in the window, scaled to a width and height. Beyond the picture it is
        ``outside``, or as the picture's edge."""
        rows, columns = self._inside(picture)
        kind = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
        whole = cv2.copyMakeBorder(
            np.ascontiguousarray(picture[rows, columns]),
            rows.start - self.top,
            self.top + self.height - rows.stop,
            columns.start - self.left,
            self.left + self.width - columns.stop,
            kind,
            value=0,
        )
        return _scaled(np.asarray(whole, np.uint8), size)

    def put_back(self, picture: Pixels, made: Pixels, mask: Pixels, margin: int) -> Pixels:
        """The picture with what was made of the window in the mask (height x width)."""
        rows, columns = self._inside(picture)
        large = _scaled(made, (self.width, self.height))
        here = large[
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ]
        out = picture.copy()
        out[rows, columns] = pasted(picture[rows, columns], here, mask[rows, columns], margin)
        return out

    def _inside(self, picture: Pixels) -> tuple[slice, slice]:
        high, wide = picture.shape[:2]
        return (
            slice(max(0, self.top), min(high, self.top + self.height)),
            slice(max(0, self.left), min(wide, self.left + self.width)),
        )


class Network:
    """The networks of the method on their device, and its denoising."""

    def __init__(self, unet: Any, vae: Any, scheduler: Any, device: str) -> None:
        self._unet, self._vae, self._scheduler = unet, vae, scheduler
        self._device, self._dtype = device, unet.dtype
        self._shrink = 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def load(cls, setup: EngineSetup, device: str) -> Network:
        """Load a card's parts onto a device: in float16 on a GPU, in float32 on a CPU.

        Raises:
            WeightsMissing: the files are not there, or not whole.
            SetupError: the attention's file is not this network's.
        """
        quieten()
        dtype = torch.float32 if device == CPU else torch.float16
        local = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
        root = weights.locate(setup, UNET).path
        variant = layout.variant_in(root / UNET, "model", "fp16")
        unet: Any = UNet2DConditionModel.from_pretrained(root / UNET, variant=variant, **local)
        found = weights.locate(setup, VAE)
        vae: Any = AutoencoderKL.from_pretrained(found.path, variant=found.variant, **local)
        scheduler = DDIMScheduler.from_pretrained(
            root / "scheduler",
            local_files_only=True,
            clip_sample=False,  # latents are not pictures
        )
        drop_text_attention(unet)
        load_attention(unet, _attention_file(setup))
        return cls(unet.to(device).eval(), vae.to(device).eval(), scheduler, device)

    @property
    def resident_bytes(self) -> int:
        """Bytes of every parameter and buffer."""
        return module_bytes(self._unet) + module_bytes(self._vae)

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse a size that the networks cannot work at.

        Raises:
            SetupError: naming what it must be a multiple of.
        """
        multiple = self._shrink * 2 ** (len(self._unet.config.block_out_channels) - 1)
        if size[0] % multiple or size[1] % multiple:
            said = f"{size[0]}x{size[1]}"
            raise SetupError(f"The card's size {said} is no multiple of {multiple} on each side.")

    def paint(
        self,
        person: Pixels,
        mask: Pixels,
        garment: Pixels,
        seed: int,
        steps: int,
        after_step: Callable[[], None],
    ) -> Pixels:
        """Somebody (height x width x 3) dressed where the mask is set (height x width), in the
        garment (height x width x 3); as large as they are."""
        with torch.inference_mode(), numpy_copy_warning_ignored():
            bare = self._tensor(person)
            bare[:, :, torch.from_numpy(mask > 0).to(self._device)] = 0  # grey
            size = (person.shape[1] // self._shrink, person.shape[0] // self._shrink)
            free = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0
            holes = torch.from_numpy(free).to(self._device, self._dtype)[None, None]
            cloth = self._encoded(self._tensor(garment))
            # The second of each pair does not see the garment: guidance leads away from it.
            seen = self._encoded(bare)
            known = torch.cat([_above(seen, cloth), _above(seen, torch.zeros_like(cloth))])
            holes = _above(holes, torch.zeros_like(holes)).repeat(2, 1, 1, 1)
            latents = self._denoised(known, holes, seed, steps, after_step)
            top = latents[:, :, : latents.shape[2] // 2]
            made = self._vae.decode(top / self._vae.config.scaling_factor).sample
            levels = ((made[0].float().clamp(-1, 1) + 1) * 127.5).round()
            return np.asarray(levels.permute(1, 2, 0).to(torch.uint8).cpu().numpy())

    def _denoised(
        self, known: Any, holes: Any, seed: int, steps: int, after_step: Callable[[], None]
    ) -> Any:
        """The latent picture of both halves, 1 x 4 x rows x columns."""
        scheduler = self._scheduler
        scheduler.set_timesteps(steps, device=self._device)
        noise = torch.randn(known[:1].shape, generator=seeds.generator(seed))
        latents = noise.to(self._device, self._dtype) * scheduler.init_noise_sigma
        for moment in scheduler.timesteps:
            both = scheduler.scale_model_input(latents.repeat(2, 1, 1, 1), moment)
            inputs = torch.cat([both, holes, known], dim=1)
            guess = self._unet(inputs, moment, encoder_hidden_states=None).sample
            with_it, without = guess.chunk(2)
            guess = without + GUIDANCE * (with_it - without)
            latents = scheduler.step(guess, moment, latents, eta=0.0).prev_sample
            after_step()
        return latents

    def _tensor(self, picture: Pixels) -> Any:
        """1 x 3 x height x width, from -1 to 1."""
        planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        return planes.to(self._device, self._dtype) / 127.5 - 1

    def _encoded(self, planes: Any) -> Any:
        return self._vae.encode(planes).latent_dist.mode() * self._vae.config.scaling_factor


class PassedOn(torch.nn.Module):
    """In the place of a text's cross-attention: what comes in goes out.

    The published weights were trained with this in every block, whose residual then adds the
    normalised input to itself: left out altogether, they would see what they do not know.
    """

    def forward(self, hidden_states: Any, **_: Any) -> Any:
        """The hidden states, as they are."""
        return hidden_states


def drop_text_attention(unet: Any) -> None:
    """Take the text's cross-attention, and its weights, out of each block of the network."""
    for module in list(unet.modules()):
        if getattr(module, "attn2", None) is not None:
            module.attn2 = PassedOn()


def load_attention(unet: Any, file: Path) -> None:
    """Give each self-attention of the network its state out of one file; see
    :class:`CatvtonEngine` for how the file looks.

    Raises:
        SetupError: the file holds more, less or other tensors than the network has.
    """
    states: dict[int, dict[str, Any]] = {}
    for name, tensor in load_file(file).items():
        match = _NUMBERED.fullmatch(name)
        if match is None:
            raise SetupError(f"{file} is no attention of this network: it holds {name!r}.")
        states.setdefault(int(match[1]), {})[match[2]] = tensor
    modules = [module for name, module in unet.named_modules() if name.endswith(".attn1")]
    if len(states) != len(modules):
        raise SetupError(f"{file} has {len(states)} attentions, the network {len(modules)}.")
    for number, module in zip(sorted(states), modules, strict=True):
        try:
            module.load_state_dict(states[number])
        except RuntimeError as error:
            raise SetupError(f"{file} does not fit this network: {error}") from error


def _attention_file(setup: EngineSetup) -> Path:
    root = weights.locate(setup, ATTENTION).path
    source = setup.sources[ATTENTION]
    assert not isinstance(source, FileSource)
    return root / source.files[0]


def _settings(options: Mapping[str, str]) -> tuple[tuple[int, int], int]:
    """Width and height to work at, and the number of steps.

    Raises:
        SetupError: an option has a value that is none.
    """
    size = re.fullmatch(r"(\d{1,4})x(\d{1,4})", options.get("size", "768x1024"))
    steps = options.get("steps", "50")
    if size is None or not steps.isdecimal() or not 1 <= int(steps) <= 1000:
        raise SetupError("virtual-tryon's options are size, as in 768x1024, and steps, as in 50.")
    return (int(size[1]), int(size[2])), int(steps)


def _on_white(garment: Image.Image, size: tuple[int, int]) -> Pixels:
    """A garment's picture in the middle of a white one of this width and height."""
    colours, alpha = split(garment)
    flat = flattened(colours, alpha, WHITE)
    scale = min(size[0] / flat.shape[1], size[1] / flat.shape[0])
    width = min(size[0], max(1, round(flat.shape[1] * scale)))
    height = min(size[1], max(1, round(flat.shape[0] * scale)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    out = np.full((size[1], size[0], 3), WHITE, np.uint8)
    out[top : top + height, left : left + width] = _scaled(flat, (width, height))
    return out


def _scaled(picture: Pixels, size: tuple[int, int]) -> Pixels:
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=kind), np.uint8)


def _above(first: Any, second: Any) -> Any:
    """Two latent pictures, the first above the second."""
    return torch.cat([first, second], dim=2)


def _within(start: int, length: int, limit: int) -> int:
    """Where a stretch of this length starts so that it lies within the limit, if it can."""
    if length >= limit:
        return math.floor((limit - length) / 2)
    return min(max(0, start), limit - length)
