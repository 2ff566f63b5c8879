"""Things of simple shapes: the contract, and that they are what the words say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from farm.catalog import built_in_catalog
from models.base import Engine
from models.parts import meshes
from models.parts.solids.kit import Shape
from models.parts.solids.things import THINGS
from models.parts.solids.words import PALETTE, understood
from models.registry import create
from tests.contracts.mesh_engine import MeshEngineContract, TimeIsUp, ignore, index_of, opened


class TestSolids(MeshEngineContract):
    served_by = "solids"
    resides = False

    @classmethod
    def create(cls, cache: Path) -> Engine:
        card = built_in_catalog().models[cls.model_id]
        return create(card, "tiny", cache=cache, interrupts=(TimeIsUp,))

    @classmethod
    def bytes_of(cls, maker: Engine, prompt: str, seed: int = 7) -> bytes:
        """The file that a prompt gives."""
        return maker.run(cls.request(prompt=prompt, seed=seed), ignore)[0].data

    @classmethod
    def scene_of(cls, maker: Engine, prompt: str, seed: int = 7) -> trimesh.Scene:
        """What a prompt gives, as a viewer reads it."""
        return opened(cls.bytes_of(maker, prompt, seed))

    @pytest.mark.parametrize(
        ("prompt", "names"),
        [
            ("a red ball", {"red"}),
            ("a blue table", {"blue", None}),
            ("a snowman", {"snow", "orange", "dark", "red", "wood"}),
            ("a yellow car", {"yellow", "window", "rubber", "steel", "light", "dark"}),
            ("three pine trees", {"pine", "wood"}),
            ("a red ball on a white cube", {"red", "white"}),
            ("a cube that is green", {"green"}),
        ],
    )
    def test_it_has_the_colours_that_it_should(
        self, maker: Engine, prompt: str, names: set[str | None]
    ) -> None:
        index = index_of(self.bytes_of(maker, prompt))
        found = [m["pbrMetallicRoughness"]["baseColorFactor"] for m in index["materials"]]
        assert len(found) == len(names)
        for name in names - {None}:
            assert name is not None
            srgb = np.array(list(bytes.fromhex(PALETTE[name]))) / 255
            off = [np.abs(meshes.linear(srgb) - np.array(colour[:3])).max() for colour in found]
            assert min(off) < 0.01, name

    @pytest.mark.parametrize(
        ("prompt", "metallic", "opacity"),
        [("a golden cup", 1, 1), ("a glass vase", 0, 0.45), ("a wooden cube", 0, 1)],
    )
    def test_it_is_of_the_material_that_is_said(
        self, maker: Engine, prompt: str, metallic: float, opacity: float
    ) -> None:
        materials = index_of(self.bytes_of(maker, prompt))["materials"]
        found = [
            (
                m["pbrMetallicRoughness"]["metallicFactor"],
                m["pbrMetallicRoughness"]["baseColorFactor"][3],
            )
            for m in materials
        ]
        assert any(m == metallic and abs(o - opacity) < 0.01 for m, o in found)
        blended = [m.get("alphaMode") == "BLEND" for m in materials]
        assert blended == [o < 0.99 for _, o in found]

    def test_a_ball_is_round_and_a_box_is_not(self, maker: Engine) -> None:
        ball, box = (self.scene_of(maker, word).to_geometry() for word in ("a ball", "a box"))
        assert ball.volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.02)
        assert box.volume == pytest.approx(1, rel=1e-3)
        assert ball.extents == pytest.approx([1, 1, 1], rel=0.01)

    def test_numbers_and_sizes_count(self, maker: Engine) -> None:
        one, three = (self.scene_of(maker, p).to_geometry() for p in ("a ball", "3 balls"))
        assert len(three.faces) == 3 * len(one.faces)
        assert three.extents[0] > 3 * one.extents[0]
        big, tall = (self.scene_of(maker, p).to_geometry() for p in ("a huge ball", "a tall ball"))
        assert big.extents == pytest.approx(one.extents * 2.5, rel=1e-3)
        assert tall.extents[1] > 1.5 * tall.extents[0]

    def test_what_is_on_a_thing_stands_upon_it(self, maker: Engine) -> None:
        scene = self.scene_of(maker, "a red ball on a white cube")
        ball, cube = sorted(scene.geometry.values(), key=lambda mesh: -len(mesh.faces))
        assert ball.bounds[0, 1] == pytest.approx(cube.bounds[1, 1], abs=1e-3)
        assert ball.bounds.mean(axis=0)[[0, 2]] == pytest.approx([0, 0], abs=1e-3)
        beside = self.scene_of(maker, "a red ball and a white cube")
        ball, cube = sorted(beside.geometry.values(), key=lambda mesh: -len(mesh.faces))
        assert ball.bounds[1, 0] < cube.bounds[0, 0], "in the order of the words"

    def test_words_that_name_nothing_give_a_sculpture_of_their_own(self, maker: Engine) -> None:
        files = {self.bytes_of(maker, p, s) for p in ("joy", "sorrow") for s in (1, 2)}
        assert len(files) == 4


@pytest.mark.parametrize("noun", sorted(THINGS))
def test_every_thing_stands_and_is_of_a_persons_size(noun: str) -> None:
    shapes = THINGS[noun](np.random.default_rng(3))
    boxes = np.array([shape.mesh().bounds for shape in shapes])
    low, high = boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)
    assert abs(low[1]) < 0.05
    assert 0.3 < (high - low).max() < 2.5
    known = PALETTE.keys() | {"main", "second"}
    assert {shape.colour for shape in shapes} <= known


@pytest.mark.parametrize("noun", sorted(THINGS))
def test_every_shape_of_a_thing_faces_outwards(noun: str) -> None:
    for shape in {s for s in THINGS[noun](np.random.default_rng(3)) if isinstance(s, Shape)}:
        mesh: Any = shape.mesh()
        mesh.merge_vertices(merge_norm=True)
        assert mesh.volume > 0, shape
        assert mesh.is_watertight, shape


@pytest.mark.parametrize(
    ("prompt", "nouns", "colours", "counts"),
    [
        ("A BIG red ball, and two blue cubes", ["ball", "cube"], [["red"], ["blue"]], [1, 2]),
        ("christmas trees without a ball", ["pine"], [[]], [1]),
        ("boxes", ["cube"], [[]], [1]),
        ("the feeling of 7 seas", [""], [[]], [7]),
        ("a house " * 50, ["house"] * 4, [[]] * 4, [1] * 4),
    ],
)
def test_words_are_understood(
    prompt: str, nouns: list[str], colours: list[list[str]], counts: list[int]
) -> None:
    found = understood(prompt)
    assert [thing.noun for thing in found] == nouns
    assert [thing.colours for thing in found] == colours
    assert [thing.count for thing in found] == counts
