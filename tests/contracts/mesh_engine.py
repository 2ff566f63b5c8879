"""What every engine that makes three-dimensional things promises, whichever weights it runs on.

A subclass says how to make the engine and inherits every test; one thing is made for a class,
and most tests look at that one.
"""

from __future__ import annotations

import io
import json
import struct
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import trimesh

from farm.errors import Cancelled, EngineFault, InvalidRequest, OutOfMemory
from farm.types import Artifact, RunRequest
from models.base import Engine

Made = tuple[RunRequest, Artifact, list[tuple[int, int]]]


class TimeIsUp(Exception):
    """Stands for the caller's time limit, which is no error of the farm's."""


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody watches."""


def opened(data: bytes) -> trimesh.Scene:
    """A binary glTF file as a viewer reads it."""
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb")
    assert isinstance(scene, trimesh.Scene)
    return scene


def index_of(data: bytes) -> dict[str, Any]:
    """The JSON part of a binary glTF file, whose frame is checked on the way."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    found: dict[str, Any] = json.loads(data[20 : 20 + size])
    return found


class MeshEngineContract:
    """Subclass with :meth:`create` and :attr:`served_by`."""

    model_id: ClassVar[str] = "shap-e"
    served_by: ClassVar[str]
    steps: ClassVar[int] = 3
    """How many steps the usual job asks for."""
    resides: ClassVar[bool] = True
    """False where nothing is brought onto a device."""
    device: ClassVar[str] = "cpu"

    @classmethod
    def create(cls, cache: Path) -> Engine:
        """A new engine, not loaded, whose interrupts are (TimeIsUp,)."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def maker(cls, tiny_cache: Path) -> Iterator[Engine]:
        """The contract's engine, loaded once for its class."""
        made = cls.create(tiny_cache)
        made.load(cls.device)
        yield made
        made.unload()

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, maker: Engine) -> Made:
        """The usual job, what it gave, and the steps that it reported."""
        request, seen = cls.request(), []
        [artifact] = maker.run(request, lambda step, steps: seen.append((step, steps)))
        return request, artifact, seen

    @classmethod
    def request(cls, **changes: Any) -> RunRequest:
        """A job; a change to None takes the parameter out."""
        params: dict[str, Any] = {"prompt": "a red chair", "seed": 7, "guidance_scale": 15.0}
        params |= {"steps": cls.steps, **changes}
        params = {name: value for name, value in params.items() if value is not None}
        return RunRequest(uuid.UUID(int=9), 1, cls.model_id, "3d", params)

    def test_the_artifact_is_a_glb_that_says_what_made_it(self, made: Made) -> None:
        request, artifact, _ = made
        kind = (artifact.media_type, artifact.folder, artifact.extension)
        assert kind == ("model/gltf-binary", "models", "glb")
        meshes = opened(artifact.data).dump()
        assert artifact.facts == {
            "seed": 7,
            "steps": self.steps,
            "vertices": sum(len(mesh.vertices) for mesh in meshes),
            "faces": sum(len(mesh.faces) for mesh in meshes),
        }
        assert min(artifact.facts["vertices"], artifact.facts["faces"]) > 0
        index = index_of(artifact.data)
        expected = {"model": self.model_id, "seed": "7", "steps": str(self.steps)}
        assert index["asset"]["extras"] == {**expected, "job_id": str(request.job_id)}
        assert b"red chair" not in artifact.data

    def test_it_is_a_thing_that_stands_on_the_ground_and_has_an_outside(self, made: Made) -> None:
        whole = opened(made[1].data).to_geometry()
        assert isinstance(whole, trimesh.Trimesh)
        assert np.isfinite(whole.vertices).all()
        low, high = whole.bounds
        assert abs(low[1]) < 1e-4
        assert np.abs((low + high)[[0, 2]]).max() < 1e-3
        assert 0.05 < (high - low).max() < 20, "metres"
        assert (high - low).min() > 0.01
        assert whole.volume > 0, "it is not inside out"
        normals = whole.vertex_normals
        assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-3

    def test_any_viewer_shows_its_colours(self, made: Made) -> None:
        index = index_of(made[1].data)
        primitives = [part for mesh in index["meshes"] for part in mesh["primitives"]]
        for primitive in primitives:
            assert {"POSITION", "NORMAL"} <= primitive["attributes"].keys()
            pbr = index["materials"][primitive["material"]]["pbrMetallicRoughness"]
            assert "COLOR_0" in primitive["attributes"] or len(pbr["baseColorFactor"]) == 4
            assert 0 <= pbr["metallicFactor"] <= 1
            assert 0 < pbr["roughnessFactor"] <= 1

    def test_the_same_job_gives_the_same_bytes_and_another_does_not(
        self, maker: Engine, made: Made
    ) -> None:
        again, *others = (
            maker.run(self.request(**change), ignore)[0].data
            for change in ({}, {"seed": 2**32 - 1}, {"prompt": "three blue castles"})
        )
        assert again == made[1].data
        assert len({again, *others}) == 3

    def test_progress_rises_by_one_to_the_total(self, made: Made) -> None:
        seen = made[2]
        assert len(seen) > 1
        assert seen == [(step, len(seen)) for step in range(1, len(seen) + 1)]

    def test_it_is_cancelled_within_a_step_and_loads_again(
        self, maker: Engine, made: Made, tiny_cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        other = self.create(tiny_cache)
        assert other.resident_bytes == 0
        with pytest.raises(EngineFault, match="before it was loaded"):
            other.run(self.request(), ignore)
        for _ in range(2):
            other.unload()
            other.unload()
            assert other.resident_bytes == 0
            other.load(self.device)
            other.load(self.device)
            assert other.resident_bytes == maker.resident_bytes
            assert (other.resident_bytes > 0) == self.resides
        cancelled = Cancelled("The customer changed their mind.")
        for last in (1, len(made[2])):
            seen: list[int] = []

            def cancel(step: int, _: int, last: int = last, seen: list[int] = seen) -> None:
                seen.append(step)
                if step == last:
                    raise cancelled

            with pytest.raises(Cancelled) as caught:
                other.run(self.request(), cancel)
            assert caught.value is cancelled
            assert seen == list(range(1, last + 1))
        [artifact] = other.run(self.request(), ignore)
        assert artifact.data == made[1].data
        other.unload()
        assert capfd.readouterr() == ("", "")

    def test_what_ends_a_run_in_the_middle_has_its_own_name(self, maker: Engine) -> None:
        def interrupt(step: int, steps: int) -> None:
            raise TimeIsUp

        def exhaust(step: int, steps: int) -> None:
            np.empty(2**60, np.uint8)

        def slip(step: int, steps: int) -> None:
            raise KeyError("a slip")

        with pytest.raises(TimeIsUp):
            maker.run(self.request(), interrupt)
        with pytest.raises(OutOfMemory, match=maker.served_by):
            maker.run(self.request(), exhaust)
        with pytest.raises(EngineFault, match="a slip") as caught:
            maker.run(self.request(), slip)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_bad_parameters_are_refused_before_any_step(self, maker: Engine) -> None:
        for name, value in (
            ("prompt", None),
            ("prompt", " "),
            ("prompt", 7),
            ("steps", None),
            ("steps", 0),
            ("steps", 2.5),
            ("steps", True),
            ("seed", None),
            ("seed", -1),
            ("seed", 2**32),
            ("guidance_scale", float("inf")),
            ("guidance_scale", "15"),
            ("width", 512),
        ):
            seen: list[int] = []
            with pytest.raises(InvalidRequest) as caught:
                maker.run(self.request(**{name: value}), lambda step, _, s=seen: s.append(step))
            assert [error.field for error in caught.value.errors] == [name], (name, value)
            assert seen == []

    def test_another_operation_is_refused(self, maker: Engine) -> None:
        with pytest.raises(InvalidRequest, match="operation"):
            maker.run(replace(self.request(), operation="generate"), ignore)

    @pytest.mark.parametrize(
        "prompt", ["a very long story about a chair " * 60, "赤い椅子 🪑 </s> <|endoftext|> \t\n x"]
    )
    def test_any_prompt_runs_and_says_nothing(
        self, maker: Engine, prompt: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        [artifact] = maker.run(self.request(prompt=prompt), ignore)
        assert artifact.facts["faces"] > 0
        assert capfd.readouterr() == ("", "")

    def test_served_by_is_what_the_card_says(self, maker: Engine) -> None:
        assert maker.served_by == self.served_by
