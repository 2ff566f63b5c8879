"""What every text-to-image engine promises, whichever weights it runs on.

A subclass names the model and inherits every test; ``tests/models`` runs them on the tiny
checkpoints and the CPU, ``tests/gpu`` on a CUDA device.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.catalog import built_in_catalog
from farm.errors import Cancelled, EngineFault, InvalidRequest, OutOfMemory
from farm.types import Artifact, RunRequest
from models.base import Engine
from models.registry import create

Pixels = NDArray[np.uint8]


class TimeIsUp(Exception):
    """Stands for the caller's time limit, which is no error of the farm's."""


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that this test process builds its tiny checkpoints in."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="class")
def engine(request: pytest.FixtureRequest, tiny_cache: Path) -> Iterator[Engine]:
    """The contract's engine, loaded once for its class."""
    contract = request.cls
    assert issubclass(contract, EngineContract)
    made = contract.create(tiny_cache)
    made.load(contract.device)
    yield made
    made.unload()


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody watches."""


def pixels(artifact: Artifact) -> Pixels:
    """The decoded picture, height x width x 3."""
    form = artifact.media_type.removeprefix("image/")
    with Image.open(io.BytesIO(artifact.data), formats=[form]) as image:
        return np.asarray(image.convert("RGB"))


class EngineContract:
    """Subclass with ``model_id`` and a number of ``steps`` that is above 1 and quick."""

    model_id: ClassVar[str]
    steps: ClassVar[int]
    device: ClassVar[str] = "cpu"

    @classmethod
    def create(cls, tiny_cache: Path) -> Engine:
        card = built_in_catalog().models[cls.model_id]
        return create(card, "tiny", cache=tiny_cache, interrupts=(TimeIsUp,))

    @classmethod
    def request(cls, **changes: Any) -> RunRequest:
        """A job of the smallest size; a change to None takes the parameter out."""
        params: dict[str, Any] = {"prompt": "a red fox in the snow", "width": 256, "height": 256}
        params |= {"steps": cls.steps, "seed": 7, "guidance_scale": 5.0} | changes
        params = {name: value for name, value in params.items() if value is not None}
        return RunRequest(uuid.uuid4(), 1, cls.model_id, "generate", params)

    @classmethod
    def picture(cls, engine: Engine, **changes: Any) -> Pixels:
        [artifact] = engine.run(cls.request(**changes), ignore)
        return pixels(artifact)

    @pytest.fixture(scope="class")
    @classmethod
    def usual(cls, engine: Engine) -> Pixels:
        """The picture of the usual job."""
        return cls.picture(engine)

    @pytest.mark.parametrize(("width", "height"), [(256, 256), (257, 350), (1021, 519)])
    def test_the_size_is_exact(self, engine: Engine, width: int, height: int) -> None:
        [artifact] = engine.run(self.request(width=width, height=height), ignore)
        assert pixels(artifact).shape == (height, width, 3)
        assert (artifact.facts["width"], artifact.facts["height"]) == (width, height)

    def test_a_picture_above_the_tile_size_is_exact_too(self, engine: Engine) -> None:
        assert self.picture(engine, width=1536, height=520).shape == (520, 1536, 3)

    def test_the_picture_is_not_flat(self, usual: Pixels) -> None:
        assert usual.std(axis=(0, 1)).min() > 5

    def test_the_same_seed_gives_the_same_pixels(self, engine: Engine, usual: Pixels) -> None:
        assert np.array_equal(usual, self.picture(engine))

    @pytest.mark.parametrize("change", [{"seed": 8}, {"prompt": "a blue castle at night"}])
    def test_seed_and_prompt_change_the_picture(
        self, engine: Engine, usual: Pixels, change: dict[str, Any]
    ) -> None:
        assert np.abs(self.picture(engine, **change).astype(int) - usual).mean() > 1

    def test_the_largest_seed_is_fine(self, engine: Engine) -> None:
        [artifact] = engine.run(self.request(seed=2**32 - 1), ignore)
        assert artifact.facts["seed"] == 2**32 - 1

    def test_progress_rises_by_one_to_the_total(self, engine: Engine) -> None:
        seen: list[tuple[int, int]] = []
        engine.run(self.request(), lambda step, steps: seen.append((step, steps)))
        assert seen == [(step, self.steps) for step in range(1, self.steps + 1)]

    def test_cancel_stops_at_its_step_and_leaves_the_engine_usable(
        self, engine: Engine, usual: Pixels
    ) -> None:
        seen: list[int] = []
        cancelled = Cancelled("The customer changed their mind.")

        def cancel(step: int, steps: int) -> None:
            seen.append(step)
            raise cancelled

        with pytest.raises(Cancelled) as caught:
            engine.run(self.request(), cancel)
        assert caught.value is cancelled
        assert seen == [1]
        assert np.array_equal(usual, self.picture(engine))

    def test_the_callers_interrupt_passes_unchanged(self, engine: Engine) -> None:
        def interrupt(step: int, steps: int) -> None:
            raise TimeIsUp

        with pytest.raises(TimeIsUp):
            engine.run(self.request(), interrupt)

    def test_an_allocation_that_fails_is_out_of_memory(self, engine: Engine) -> None:
        import torch

        def exhaust(step: int, steps: int) -> None:
            torch.empty(2**50, device=self.device)

        with pytest.raises(OutOfMemory, match=engine.served_by):
            engine.run(self.request(), exhaust)
        assert self.picture(engine).shape == (256, 256, 3)

    def test_what_breaks_inside_is_an_engine_fault_with_its_cause(self, engine: Engine) -> None:
        def slip(step: int, steps: int) -> None:
            raise KeyError("a slip")

        with pytest.raises(EngineFault, match="a slip") as caught:
            engine.run(self.request(), slip)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_the_artifact_is_a_png_that_says_what_made_it(self, engine: Engine) -> None:
        request = self.request()
        [artifact] = engine.run(request, ignore)
        kind = (artifact.media_type, artifact.folder, artifact.extension)
        assert kind == ("image/png", "images", "png")
        expected = {"seed": 7, "steps": self.steps, "width": 256, "height": 256}
        assert artifact.facts == expected
        with Image.open(io.BytesIO(artifact.data)) as image:
            image.verify()
        with Image.open(io.BytesIO(artifact.data)) as image:
            assert image.info == {
                "model": self.model_id,
                "seed": "7",
                "steps": str(self.steps),
                "job_id": str(request.job_id),
            }

    @pytest.mark.parametrize(("form", "extension"), [("jpeg", "jpg"), ("webp", "webp")])
    def test_the_file_has_the_format_that_was_asked_for(
        self, engine: Engine, usual: Pixels, form: str, extension: str
    ) -> None:
        [artifact] = engine.run(self.request(output_format=form), ignore)
        assert (artifact.media_type, artifact.extension) == (f"image/{form}", extension)
        # WebP keeps a colour for four pixels, and these pictures change from one to the next.
        assert np.abs(pixels(artifact).astype(int) - usual).mean() < 8

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("output_format", "gif"),
            ("prompt", None),
            ("prompt", " "),
            ("prompt", 7),
            ("negative_prompt", ["ugly"]),
            ("width", None),
            ("width", 0),
            ("width", "512"),
            ("height", 512.0),
            ("height", 100_000),
            ("steps", True),
            ("steps", 0),
            ("seed", -1),
            ("seed", 2**32),
            ("guidance_scale", float("nan")),
            ("guidance_scale", -1.0),
            ("strength", 0.5),
        ],
    )
    def test_bad_parameters_are_refused_before_any_step(
        self, engine: Engine, field: str, value: Any
    ) -> None:
        seen: list[int] = []
        with pytest.raises(InvalidRequest) as caught:
            engine.run(self.request(**{field: value}), lambda step, steps: seen.append(step))
        assert [error.field for error in caught.value.errors] == [field]
        assert seen == []

    def test_another_operation_is_refused(self, engine: Engine) -> None:
        ours = self.request()
        other = RunRequest(ours.job_id, 1, ours.model, "upscale", ours.params)
        with pytest.raises(InvalidRequest, match="operation"):
            engine.run(other, ignore)

    @pytest.mark.parametrize(
        "prompt",
        [
            "a very long story about a fox " * 66,
            "狐狸在雪地里，水彩画 🦊",
            "<|endoftext|> </s> \t\n x",
        ],
    )
    def test_any_prompt_runs_and_says_nothing(
        self, engine: Engine, prompt: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        engine.run(self.request(prompt=prompt), ignore)
        assert capfd.readouterr() == ("", "")

    def test_served_by_tells_the_tiny_weights_from_the_real(self, engine: Engine) -> None:
        assert engine.served_by == f"{self.model_id}-tiny"

    def test_another_engine_loads_and_unloads_again_and_gives_the_same_pixels(
        self, usual: Pixels, tiny_cache: Path
    ) -> None:
        other = self.create(tiny_cache)
        assert other.resident_bytes == 0
        with pytest.raises(EngineFault, match="before it was loaded"):
            other.run(self.request(), ignore)
        for _ in range(2):
            other.load(self.device)
            other.load(self.device)
            assert other.resident_bytes > 0
            assert np.array_equal(usual, self.picture(other))
            other.unload()
            other.unload()
            assert other.resident_bytes == 0
