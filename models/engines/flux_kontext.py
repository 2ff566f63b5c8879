"""FLUX.1 Kontext (Black Forest Labs, 2025, arXiv:2506.15742): a picture changed as words say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import FluxKontextPipeline
from PIL import Image, ImageOps

from farm.types import RunRequest
from models.parts import seeds, speed
from models.parts.canvas import LONGEST_RATIO, Canvas
from models.parts.diffusion import Diffusion, open_pipeline
from models.parts.edit_order import Order
from models.parts.image_params import EditParams
from models.parts.memory import released
from models.parts.picture_engine import Edited, PictureEngine, Stages
from models.parts.pictures import Pixels, Rows

TEXT_TOKENS = 512


class FluxKontextEngine(PictureEngine[Order]):
    """Changes a picture as an instruction says and keeps the rest, as well as the model can;
    with a mask, all outside of it stays bit for bit but for a narrow fading edge.

    The model was trained on pictures of about a megapixel. It paints one of that size and of
    the result's proportions, which is then scaled. Further pictures lie to the right of the
    first, in one strip: this model sees a single picture.
    """

    operation = "edit"
    parameters = ("prompt", "width", "height", "steps", "guidance_scale", "seed")

    _model: Diffusion | None = None

    def _read(self, request: RunRequest) -> Order:
        return Order.read(request, EditParams.read(request.params))

    def _steps(self, work: Order) -> int:
        return work.params.steps

    def _edit(self, work: Order, stages: Stages) -> Edited:
        return Edited(Rows.of(work.kept(self._paint(work, stages.done))))

    def _text(self, work: Order) -> Mapping[str, Any]:
        return work.text

    def _paint(self, work: Order, after_step: Callable[[], None]) -> Pixels:
        """The whole result, height x width x 3, with no regard to a mask."""
        assert self._model is not None
        pipeline, params = self._model.pipeline, work.params
        side = int(pipeline.vae.config.sample_size)
        # Latents are packed in 2x2 patches.
        multiple = int(pipeline.vae_scale_factor) * 2
        canvas = Canvas.around(work.size, side, multiple)
        seen = work.pictures[0] if work.mask is None else work.first()
        if len(work.pictures) > 1:
            seen = _side_by_side((seen, *work.pictures[1:]), side)
        painted = self._model.paint(
            lambda *_: after_step(),
            params.steps,
            prompt=params.prompt,
            # On a canvas of its own, which has the result's pixels wherever both have the
            # same proportions; the pipeline would stretch it to one of 17 sizes.
            image=Canvas.around(seen.size, side, multiple).lay(seen.convert("RGBA"))[0],
            _auto_resize=False,
            width=canvas.width,
            height=canvas.height,
            max_area=canvas.width * canvas.height,
            guidance_scale=params.guidance_scale,
            max_sequence_length=TEXT_TOKENS,
            generator=seeds.generator(params.seed),
        )
        return canvas.take(painted, work.size)

    def _open(self, device: str) -> None:
        setup = self._setup
        self._model = open_pipeline(setup, FluxKontextPipeline, torch.bfloat16, device)
        self._model.make_quick(setup, self._warm_up)

    def _warm_up(self) -> None:
        side = speed.WARM_SIDE
        params = EditParams("warm up", speed.WARM_STEPS, seed=0, guidance_scale=2.5)
        order = Order(params, (Image.new("RGB", (side, side), "grey"),), (side, side))
        self._paint(order, lambda: None)

    def _close(self) -> None:
        self._model = None
        released()

    def _resident(self) -> int:
        assert self._model is not None
        return self._model.resident_bytes


def _side_by_side(pictures: tuple[Image.Image, ...], height: int) -> Image.Image:
    """Pictures in a row, all scaled to this height; those of unusual proportions on white."""
    row = []
    for picture in pictures:
        ratio = picture.width / picture.height
        ratio = min(LONGEST_RATIO, max(1 / LONGEST_RATIO, ratio))
        row.append(ImageOps.pad(picture, (round(height * ratio), height), color="white"))
    return Image.fromarray(np.hstack([np.asarray(picture) for picture in row]))
