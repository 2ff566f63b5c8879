"""Three-dimensional things: what a request for one holds, and the file that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.gltf import export_glb

from farm.errors import FieldError, InvalidRequest
from farm.types import Artifact, RunRequest
from models.parts.image_params import check

OPERATION = "3d"
MEDIA_TYPE = "model/gltf-binary"
"""Registered with IANA for binary glTF 2.0, ISO/IEC 12113."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeshParams:
    """What a thing is made from. The catalogue's ranges were checked at submit; this checks
    what would break or mislead an engine, whatever the catalogue says."""

    prompt: str
    steps: int
    seed: int
    guidance_scale: float = 15.0

    @classmethod
    def read(cls, request: RunRequest) -> Self:
        """Read a request's parameters.

        Raises:
            InvalidRequest: naming each one that is missing, unknown or unusable, or the
                operation where it is another.
        """
        if request.operation != OPERATION:
            raise InvalidRequest([FieldError("operation", f"must be {OPERATION}.")])
        check(request.params, ("prompt", "steps", "seed"), ("guidance_scale",))
        return cls(**request.params)


def artifact(scene: trimesh.Scene, params: MeshParams, request: RunRequest) -> Artifact:
    """A binary glTF file of a scene: metres, +Y up, front towards +Z, as glTF has it.

    Every mesh of the scene brings its material. The file says what made it, without the prompt.

    Raises:
        ValueError: there is nothing in it, or a coordinate is not a finite number.
    """
    meshes = [mesh for mesh in scene.geometry.values() if isinstance(mesh, trimesh.Trimesh)]
    vertices, faces = (sum(map(len, each)) for each in _parts(meshes))
    if not faces:
        raise ValueError("there is nothing to see")
    if not all(np.isfinite(mesh.vertices).all() for mesh in meshes):
        raise ValueError("a coordinate is not a finite number")
    text = {"model": request.model, "seed": str(params.seed), "steps": str(params.steps)}
    text["job_id"] = str(request.job_id)

    def signed(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = text

    export: Any = export_glb
    data = export(scene, include_normals=True, tree_postprocessor=signed)
    facts = {"seed": params.seed, "steps": params.steps, "vertices": vertices, "faces": faces}
    return Artifact(bytes(data), MEDIA_TYPE, "models", "glb", facts)


def material(
    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    *,
    roughness: float = 0.7,
    metallic: float = 0.0,
    glow: float = 0.0,
) -> Any:
    """A PBRMaterial of trimesh, which a viewer lights: ``colour`` is sRGB and opacity, 0 to 1.

    Without one, glTF has viewers draw bare metal, which is black where nothing is mirrored.
    """
    levels = (*linear(np.array(colour[:3])), colour[3])
    pbr: Any = trimesh.visual.material.PBRMaterial
    return pbr(
        baseColorFactor=[round(255 * float(level)) for level in levels],
        metallicFactor=metallic,
        roughnessFactor=roughness,
        emissiveFactor=[glow * float(level) for level in levels[:3]] if glow else None,
        alphaMode="BLEND" if colour[3] < 1 else None,
    )


def linear(srgb: Floats) -> Floats:
    """From sRGB, as people name colours, to linear light, as glTF stores them (IEC 61966-2-1);
    both 0 to 1."""
    low = srgb / 12.92
    high = ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(srgb <= 0.04045, low, high), np.float64)


def placed(vertices: Floats) -> Floats:
    """Vertices (count x 3) moved so that the thing stands on the ground, y = 0, in the middle."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle: Floats = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return vertices - middle


def upright(vertices: Floats) -> Floats:
    """From Z up and front towards -Y, as Blender and Shap-E have it, to glTF's Y and +Z."""
    x, y, z = vertices.T
    return np.stack([x, z, -y], axis=1)


def _parts(meshes: list[trimesh.Trimesh]) -> tuple[list[Any], list[Any]]:
    return [mesh.vertices for mesh in meshes], [mesh.faces for mesh in meshes]
