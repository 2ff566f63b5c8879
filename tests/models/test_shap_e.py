"""Shap-E by its real classes, small: the contract, its colours, and shapes that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from farm.errors import EngineFault, SetupError
from models.base import Engine
from models.engines.shap_e import Surface
from models.parts import meshes
from tests.contracts.mesh_engine import Made, MeshEngineContract, TimeIsUp, ignore, opened
from tests.models.checkpoints import making
from tests.models.checkpoints import shap_e as checkpoint

MODEL = "shap-e"
GRID = "20"


def engine_in(folder: Path, *interrupts: type[Exception], inside: float = 0.0) -> Engine:
    """The engine on a checkpoint that is written once to a folder."""
    if not folder.exists():
        checkpoint.write(folder / MODEL, inside)
    return making.engine(MODEL, folder, *interrupts, grid=GRID)


class TestShapE(MeshEngineContract):
    served_by = MODEL

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine_in(cache / MODEL, TimeIsUp)

    def test_its_surface_is_closed_and_coloured(self, made: Made) -> None:
        [mesh] = opened(made[1].data).geometry.values()
        assert mesh.is_watertight
        colours = mesh.visual.vertex_attributes["color"]
        assert colours.shape == (len(mesh.vertices), 4)
        assert (colours[:, 3] == 255).all()
        assert colours[:, :3].astype(float).std(axis=0).max() > 1

    def test_without_guidance_it_runs_too(self, maker: Engine) -> None:
        [artifact] = maker.run(self.request(guidance_scale=0), ignore)
        assert artifact.facts["faces"] > 0


def test_a_shape_with_nothing_in_it_is_a_fault_that_says_so(tmp_path: Path) -> None:
    engine = engine_in(tmp_path / "empty", inside=-9.0)
    engine.load("cpu")
    with pytest.raises(EngineFault, match="empty shape"):
        engine.run(TestShapE.request(), ignore)
    engine.unload()


def test_the_surface_lies_where_the_distance_is_zero_and_faces_outwards() -> None:
    places = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 33)] * 3, indexing="ij"), dim=-1)
    ball = 0.5 - (places - torch.tensor([0.2, 0.0, -0.1])).norm(dim=-1)
    found = Surface(MODEL)(ball, torch.tensor([-1.0] * 3), torch.tensor([2.0] * 3))
    away = (found.verts - torch.tensor([0.2, 0.0, -0.1])).norm(dim=-1)
    assert (away - 0.5).abs().max() < 0.01
    corners = found.verts[found.faces]
    volume = torch.linalg.det(corners.double()).sum() / 6
    assert float(volume) == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.02)


def test_numbers_that_are_none_are_a_fault() -> None:
    field = torch.full((4, 4, 4), float("nan"))
    with pytest.raises(EngineFault, match="numbers that are none"):
        Surface(MODEL)(field, torch.zeros(3), torch.ones(3))


def test_things_are_turned_upright_and_stand_on_the_ground() -> None:
    # Above, and in front, as the model has it.
    turned = meshes.upright(np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    assert turned.tolist() == [[0, 1, 0], [0, 0, 1]]
    stood = meshes.placed(np.array([[1.0, 2.0, 3.0], [3.0, 5.0, 4.0]]))
    assert stood.tolist() == [[-1, 0, -0.5], [1, 3, 0.5]]


def test_colours_become_linear_light() -> None:
    levels = meshes.linear(np.array([0.0, 0.04, 0.5, 1.0]))
    assert levels == pytest.approx([0, 0.0030960, 0.2140411, 1], abs=1e-6)


@pytest.mark.parametrize("grid", ["", "7", "many", "513"])
def test_a_card_without_a_grid_is_refused(grid: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="option grid"):
        making.engine(MODEL, tmp_path, grid=grid)
