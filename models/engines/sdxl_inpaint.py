"""A product in a scene that words describe, by SDXL inpainting (Podell et al., 2023,
arXiv:2307.01952)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLInpaintPipeline
from PIL import Image

from farm.errors import FieldError, InvalidRequest
from farm.types import RunRequest
from models import weights
from models.base import TINY, EngineSetup
from models.parts import image_params, seeds, speed
from models.parts.canvas import Canvas
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.matting import Matter, cut_out
from models.parts.memory import released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import STRIP_ROWS, Pixels, Rows, open_input

MATTING = "matting"
"""The part of a card's weights that finds the product."""

STEPS = 30
"""As many as SDXL itself gets by default; the model card works with 15 to 30."""
STRENGTH = 0.99
"""Below 1 the noise is laid over a picture: here over grey, so that nothing of the old
background shines through. The model card asks for it: from noise alone (1.0) the published
checkpoint paints less sharply."""
DENOISED = int(STEPS * STRENGTH)
"""The steps that are really taken: the pipeline skips the share that the strength leaves."""
GUIDANCE = 8.0
"""The model card's."""
MULTIPLE = 64
"""SDXL was trained on sides that are multiples of this (its paper, appendix I)."""
PRODUCT_MIN = 1 / 1000
"""A smaller share of the picture is a speck, not a product."""


@dataclass(frozen=True, slots=True)
class Order:
    """One job: what to keep, what to paint around it, and from which noise."""

    image: Image.Image
    prompt: str
    seed: int


class SceneEngine(PictureEngine[Order]):
    """Keeps what the picture is about and paints all else anew, at the picture's own size.

    Where the product is opaque its pixels are the picture's, bit for bit; its soft edges,
    cleaned of the old background's colour, are blended into the new one. A picture that was
    cut out before keeps its own alpha as the product's mask; what else is transparent is
    painted. The result is opaque.

    The scene is painted on a canvas of the size that the model knows best and scaled: behind
    a picture of more pixels it is softer than the product.
    """

    operation = "replace-background"
    parameters = ("prompt", "seed")

    _model: Diffusion | None = None
    _matter: Matter | None = None

    def _read(self, request: RunRequest) -> Order:
        params = request.params
        image_params.check(params, self.parameters, ("output_format",))
        return Order(open_input(request, "image"), params["prompt"], params["seed"])

    def _steps(self, work: Order) -> int:
        assert self._matter is not None
        return self._matter.stages + DENOISED + 1

    def _edit(self, work: Order, stages: Stages) -> Edited:
        assert self._matter is not None
        product = cut_out(work.image, self._matter, stages.done)
        _check_product(product[..., 3])
        scene = self._paint(Image.fromarray(product), work, STEPS, stages.done)
        height, width = product.shape[:2]
        return Edited(Rows(width, height, 3, _blended(product, scene, stages)))

    def _paint(
        self, product: Image.Image, work: Order, steps: int, after_step: Callable[[], None]
    ) -> Pixels:
        """The scene alone, height x width x 3; what it shows of the product is the model's."""
        assert self._model is not None
        pipeline = self._model.pipeline
        canvas = Canvas.around(product.size, _native_side(pipeline), _multiple(pipeline))
        seen, free = canvas.lay(product)
        painted = self._model.paint(
            lambda *_: after_step(),
            steps,
            prompt=work.prompt,
            image=seen,
            mask_image=free,
            width=canvas.width,
            height=canvas.height,
            strength=STRENGTH,
            guidance_scale=GUIDANCE,
            generator=seeds.generator(work.seed),
        )
        return canvas.take(painted, product.size)

    def _text(self, work: Order) -> dict[str, Any]:
        return {"seed": work.seed, "steps": DENOISED}

    def _open(self, device: str) -> None:
        setup = self._setup
        kind = StableDiffusionXLInpaintPipeline
        # Left alone, an invisible watermark appears wherever a certain package is installed.
        self._model = open_pipeline(setup, kind, torch.float16, device, add_watermarker=False)
        self._matter = _matter(setup)
        self._matter.load(device)
        self._model.make_quick(setup, self._warm_up)

    def _warm_up(self) -> None:
        side = speed.WARM_SIDE
        product = Image.new("RGBA", (side, side))
        product.paste((128, 128, 128, 255), (side // 4, side // 4, side // 2, side // 2))
        work = Order(product, "warm up", seed=0)
        # One more than is to be taken: the strength leaves it out.
        self._paint(product, work, speed.WARM_STEPS + 1, lambda: None)

    def _close(self) -> None:
        if self._matter is not None:
            self._matter.unload()
        self._matter = None
        self._model = None
        released()

    def _resident(self) -> int:
        assert self._model is not None
        assert self._matter is not None
        return self._model.resident_bytes + self._matter.resident_bytes


def _matter(setup: EngineSetup) -> Matter:
    """Who finds the product: BiRefNet, and its twin where no real weights are."""
    if setup.weights == TINY:
        from models.parts.grabcut import GrabcutMatter

        return GrabcutMatter()
    from models.parts.birefnet import BirefnetMatter

    return BirefnetMatter(weights.locate(setup, MATTING).path)


def _native_side(pipeline: Any) -> int:
    """Pixels of a side of the square pictures that the checkpoint was trained on."""
    return int(pipeline.unet.config.sample_size * pipeline.vae_scale_factor)


def _multiple(pipeline: Any) -> int:
    return math.lcm(MULTIPLE, pipeline.vae_scale_factor)


def _check_product(alpha: Pixels) -> None:
    """Refuse a picture in which there is nothing to keep, or nothing to paint.

    Raises:
        InvalidRequest: asking for another picture.
    """
    kept = np.count_nonzero(alpha > 127) / alpha.size
    if not PRODUCT_MIN <= kept < 1:
        sentence = (
            "The product could not be told from its background. Send a picture in which it "
            "stands out, with some space around it, or one whose background is transparent."
        )
        raise InvalidRequest([FieldError("image", sentence)])


def _blended(product: Pixels, scene: Pixels, stages: Stages) -> Iterator[Pixels]:
    """The product over the scene, in strips: at 4096 x 4096 the sums take 100 MB each."""
    for top in range(0, len(product), STRIP_ROWS):
        front, back = product[top : top + STRIP_ROWS], scene[top : top + STRIP_ROWS]
        share = front[..., 3:].astype(np.uint16)
        mixed = (front[..., :3] * share + back * (255 - share) + 127) // 255
        yield mixed.astype(np.uint8)
    stages.done()
