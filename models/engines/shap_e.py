"""Shap-E, text to 3D (Jun and Nichol, 2023, arXiv:2305.02463)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import trimesh
from diffusers import ShapEPipeline
from diffusers.pipelines.shap_e import ShapERenderer
from diffusers.pipelines.shap_e.renderer import MeshDecoderOutput
from skimage.measure import marching_cubes

from farm.errors import EngineFault, SetupError
from farm.types import Artifact, OnStep, RunRequest
from models import weights
from models.base import CPU, EngineSetup, faults
from models.parts import meshes, seeds
from models.parts.diffusion import Diffusion
from models.parts.loaded_engine import LoadedEngine
from models.parts.quiet import numpy_copy_warning_ignored, quieten

RENDERER = "renderer"
"""The folder of the renderer's weights as safetensors. The index names another, of pickles."""
VARIANT = "fp16"
"""The one precision that is published as safetensors of all parts."""
GRID = 8, 512
"""The fewest and the most points of a side: the number of all of them is its third power."""
_LOCAL = {"variant": VARIANT, "use_safetensors": True, "local_files_only": True}
_LEVEL = 0.0
"""Of the signed distance: what is above is inside."""


class ShapEEngine(LoadedEngine[Diffusion]):
    """A thing with vertex colours, made of words with guidance.

    fp16 on a GPU, but for the renderer, whose signed distances would come out in steps; float32
    on a CPU. The surface is closed; the card's option ``grid`` says from how many points of a
    side of the volume it is cut.

    Raises:
        SetupError: the option is not a number that makes sense.
    """

    def __init__(self, setup: EngineSetup) -> None:
        super().__init__(setup)
        words = setup.options.get("grid", "")
        if not words.isascii() or not words.isdecimal() or not GRID[0] <= int(words) <= GRID[1]:
            raise SetupError(
                f"The option grid is {words!r}; it must be a whole number from "
                f"{GRID[0]} to {GRID[1]}."
            )
        self._grid = int(words)

    def _open(self, device: str) -> Diffusion:
        quieten()
        found = weights.locate(self._setup, weights.PIPELINE)
        dtype = torch.float32 if device == CPU else torch.float16
        renderer = ShapERenderer.from_pretrained(
            found.path / RENDERER, dtype=torch.float32, **_LOCAL
        )
        renderer.mesh_decoder = Surface(self.served_by)
        with numpy_copy_warning_ignored():
            pipeline = ShapEPipeline.from_pretrained(
                found.path, dtype=dtype, shap_e_renderer=renderer, **_LOCAL
            )
        pipeline.set_progress_bar_config(disable=True)
        return Diffusion(pipeline.to(device), device)

    def _size(self, model: Diffusion) -> int:
        return model.resident_bytes

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One binary glTF file; the thing fits into a cube
        of two metres and stands on the ground.

        Raises:
            EngineFault: also where the model imagined nothing at all.
        """
        params = meshes.MeshParams.read(request)
        model = self._loaded()
        with faults(self.served_by, "running", self._setup.interrupts):
            latents = _imagined(model, params, on_step)
            renderer = model.pipeline.shap_e_renderer
            mesh = renderer.decode_to_mesh(latents.float(), model.device, grid_size=self._grid)
            return [meshes.artifact(_scene(mesh), params, request)]


class Surface(torch.nn.Module):
    """Where the renderer's signed distances change their sign, as triangles.

    In the place of diffusers' decoder, which needs tables that the published safetensors lack.
    """

    def __init__(self, served_by: str) -> None:
        super().__init__()
        self._served_by = served_by

    def forward(
        self, field: torch.Tensor, min_point: torch.Tensor, size: torch.Tensor
    ) -> MeshDecoderOutput:
        """``field`` is x by y by z; ``min_point`` and ``size`` are those of its box.

        Raises:
            EngineFault: nothing in it is above zero, or not all of it is a number.
        """
        levels = field.cpu().numpy()
        if not np.isfinite(levels).all():
            raise EngineFault(
                f"The {self._served_by} engine made a shape of numbers that are none."
            )
        if levels.max() <= _LEVEL:
            raise EngineFault(
                f"The {self._served_by} engine made an empty shape of this prompt and seed: there "
                "is nothing in it. Another seed, or simpler words, may give one."
            )
        # Towards what is solid it ascends; so the triangles face outwards.
        march: Any = marching_cubes
        vertices, faces, _, _ = march(levels, _LEVEL, gradient_direction="ascent")
        scale = size.to(field.device) / (torch.tensor(levels.shape, device=field.device) - 1)
        places = torch.tensor(vertices.copy(), device=field.device) * scale
        return MeshDecoderOutput(
            verts=(places + min_point.to(field.device)).float(),
            faces=torch.tensor(faces.astype(np.int64), device=field.device),
            vertex_channels={},
        )


def _imagined(model: Diffusion, params: meshes.MeshParams, on_step: OnStep) -> torch.Tensor:
    """The thing's latents, 1 x 1024 x 1024 of the published model.

    Heun's method calls the scheduler twice a step, and once for the last.
    """
    pipeline = model.pipeline
    calls = 0

    def after_call() -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 0 or calls == 2 * params.steps - 1:
            on_step((calls + 1) // 2, params.steps)

    with _told(pipeline.scheduler, after_call), numpy_copy_warning_ignored():
        latents: torch.Tensor = pipeline(
            params.prompt,
            num_inference_steps=params.steps,
            guidance_scale=params.guidance_scale,
            generator=seeds.generator(params.seed),
            output_type="latent",
        ).images
    return latents


@contextlib.contextmanager
def _told(scheduler: Any, after_call: Callable[[], None]) -> Iterator[None]:
    """Call back after each call of the scheduler: the pipeline itself takes no callback."""
    step = scheduler.step

    def told(*arguments: Any, **named: Any) -> Any:
        made = step(*arguments, **named)
        after_call()
        return made

    scheduler.step = told
    try:
        yield
    finally:
        del scheduler.step  # the class's own is there again


def _scene(mesh: MeshDecoderOutput) -> trimesh.Scene:
    """The renderer's mesh, upright, under one material; its colours are linear, as glTF's are."""
    vertices = mesh.verts.cpu().numpy().astype(np.float64)
    channels = [mesh.vertex_channels[name].cpu().numpy() for name in "RGB"]
    levels = np.stack([*channels, np.ones(len(vertices))], axis=1)
    textured: Any = trimesh.visual.TextureVisuals
    visual = textured(material=meshes.material())
    visual.vertex_attributes["color"] = (levels * 255).round().clip(0, 255).astype(np.uint8)
    thing = trimesh.Trimesh(
        meshes.placed(meshes.upright(vertices)),
        mesh.faces.cpu().numpy(),
        visual=visual,
        process=False,
    )
    return trimesh.Scene([thing])
