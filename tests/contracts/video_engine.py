"""What every engine that makes films promises, whichever weights it runs on.

A subclass says how to make the engine and what a short job of it looks like, and inherits every
test. Films are slow to make: one is made for a class, and most tests look at that one.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.errors import Cancelled, EngineFault, InvalidRequest, OutOfMemory
from farm.types import Artifact, RunRequest
from models.base import Engine
from tests.contracts.edit_engine import in_mode, tiff

Frames = NDArray[np.uint8]
BT_709, TELEVISION = 1, 1


class TimeIsUp(Exception):
    """Stands for the caller's time limit, which is no error of the farm's."""


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody watches."""


def decoded(data: bytes) -> Frames:
    """Every frame of a film: frames x height x width x 3."""
    with av.open(io.BytesIO(data)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


@dataclass(frozen=True, slots=True)
class Film:
    """A job, what it made, the steps that it reported, and the frames that can be read back."""

    request: RunRequest
    artifact: Artifact
    seen: list[tuple[int, int]] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """The file."""
        return self.artifact.data


@pytest.fixture(scope="class")
def filmer(request: pytest.FixtureRequest, tiny_cache: Path) -> Iterator[Engine]:
    """The contract's engine, loaded once for its class."""
    contract = request.cls
    assert issubclass(contract, VideoEngineContract)
    made = contract.create(tiny_cache)
    made.load(contract.device)
    yield made
    made.unload()


@pytest.fixture(scope="class")
def film(request: pytest.FixtureRequest, filmer: Engine) -> Film:
    """The class's film."""
    contract = request.cls
    assert issubclass(contract, VideoEngineContract)
    job, seen = contract.request(), []
    [artifact] = filmer.run(job, lambda step, steps: seen.append((step, steps)))
    return Film(job, artifact, seen)


@pytest.fixture(scope="class")
def frames(film: Film) -> Frames:
    """What can be seen of the class's film."""
    return decoded(film.data)


class VideoEngineContract:
    """Subclass with :meth:`create` and what follows; ``params`` are without prompt and seed."""

    model_id: ClassVar[str]
    served_by: ClassVar[str]
    params: ClassVar[Mapping[str, Any]]
    size: ClassVar[tuple[int, int]]
    """Width and height of what ``params`` ask for."""
    count: ClassVar[int]
    """Its number of frames."""
    fps: ClassVar[int]
    steps: ClassVar[int]
    """How many steps its facts tell of."""
    reported: ClassVar[int]
    """How many steps its progress counts."""
    bad_params: ClassVar[tuple[tuple[str, Any], ...]]
    """What is refused beside what no engine takes; None takes the parameter out."""
    operation: ClassVar[str] = "video"
    resides: ClassVar[bool] = True
    """False where nothing is brought onto a device."""
    device: ClassVar[str] = "cpu"

    @classmethod
    def create(cls, cache: Path) -> Engine:
        """A new engine, not loaded, whose interrupts are (TimeIsUp,)."""
        raise NotImplementedError

    @classmethod
    def inputs(cls) -> dict[str, bytes]:
        """The job's pictures."""
        return {}

    @classmethod
    def request(cls, **changes: Any) -> RunRequest:
        """A job; a change to None takes the parameter out."""
        params: dict[str, Any] = {
            "prompt": "a red fox in the snow",
            "negative_prompt": "",
            "seed": 7,
        }
        params |= {**cls.params, **changes}
        params = {name: value for name, value in params.items() if value is not None}
        return RunRequest(uuid.UUID(int=9), 1, cls.model_id, cls.operation, params, cls.inputs())

    def test_it_is_an_mp4_that_plays_at_once_everywhere(self, film: Film) -> None:
        kind = (film.artifact.media_type, film.artifact.folder, film.artifact.extension)
        assert kind == ("video/mp4", "video", "mp4")
        assert 0 < film.data.find(b"moov") < film.data.find(b"mdat")
        with av.open(io.BytesIO(film.data)) as file:
            [stream] = file.streams
            coder = file.streams.video[0].codec_context
            assert (coder.name, coder.pix_fmt) == ("h264", "yuv420p")
            assert (coder.colorspace, coder.color_primaries, coder.color_trc) == (BT_709,) * 3
            assert coder.color_range == TELEVISION
            assert (coder.width, coder.height) == self.size
            assert stream.frames == self.count
            assert stream.duration * stream.time_base == Fraction(self.count, self.fps)
            times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
        assert times == [Fraction(number, self.fps) for number in range(self.count)]

    def test_its_facts_and_its_file_say_what_made_it(self, film: Film) -> None:
        width, height = self.size
        assert film.artifact.facts == {
            "seed": 7,
            "width": width,
            "height": height,
            "frames": self.count,
            "fps": self.fps,
            "duration_s": self.count / self.fps,
            "steps": self.steps,
        }
        expected = {"model": self.model_id, "seed": "7", "steps": str(self.steps)}
        expected["job_id"] = str(film.request.job_id)
        with av.open(io.BytesIO(film.data)) as file:
            assert {name: file.metadata.get(name) for name in expected} == expected
            assert not any("fox" in value for value in file.metadata.values())
        assert b"red fox" not in film.data

    def test_there_is_something_to_see_and_it_moves(self, frames: Frames) -> None:
        assert frames.shape == (self.count, *self.size[::-1], 3)
        assert frames.std(axis=(1, 2)).min() > 5
        changes = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
        assert changes.min() > 0.2

    def test_progress_rises_by_one_to_the_total(self, film: Film) -> None:
        assert film.seen == [(step, self.reported) for step in range(1, self.reported + 1)]

    @pytest.mark.parametrize("change", [{"seed": 2**32 - 1}, {"prompt": "a blue castle at night"}])
    def test_seed_and_prompt_change_the_film(
        self, filmer: Engine, frames: Frames, change: dict[str, Any]
    ) -> None:
        [artifact] = filmer.run(self.request(**change), ignore)
        assert artifact.facts["seed"] == change.get("seed", 7)
        assert np.abs(decoded(artifact.data).astype(np.int16) - frames).mean() > 1

    def test_it_loads_again_and_is_cancelled_and_still_makes_the_same_bytes(
        self, film: Film, filmer: Engine, tiny_cache: Path, capfd: pytest.CaptureFixture[str]
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
            assert other.resident_bytes == filmer.resident_bytes
            assert (other.resident_bytes > 0) == self.resides
        cancelled, seen = Cancelled("The customer changed their mind."), []

        def cancel(step: int, steps: int) -> None:
            seen.append(step)
            if step == self.steps:
                raise cancelled

        with pytest.raises(Cancelled) as caught:
            other.run(self.request(), cancel)
        assert caught.value is cancelled
        assert seen == list(range(1, self.steps + 1))
        [artifact] = other.run(self.request(), ignore)
        assert artifact.data == film.data
        other.unload()
        assert capfd.readouterr() == ("", "")

    def test_what_ends_a_run_in_the_middle_has_its_own_name(self, filmer: Engine) -> None:
        import torch

        def interrupt(step: int, steps: int) -> None:
            raise TimeIsUp

        def exhaust(step: int, steps: int) -> None:
            torch.empty(2**50, device=self.device)

        def slip(step: int, steps: int) -> None:
            raise KeyError("a slip")

        with pytest.raises(TimeIsUp):
            filmer.run(self.request(), interrupt)
        with pytest.raises(OutOfMemory, match=filmer.served_by):
            filmer.run(self.request(), exhaust)
        with pytest.raises(EngineFault, match="a slip") as caught:
            filmer.run(self.request(), slip)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_bad_parameters_are_refused_before_any_step(self, filmer: Engine) -> None:
        for name, value in (
            ("prompt", None),
            ("prompt", " "),
            ("prompt", 7),
            ("negative_prompt", ["ugly"]),
            ("seed", None),
            ("seed", 2**32),
            ("strength", 0.5),
            *self.bad_params,
        ):
            seen: list[int] = []
            with pytest.raises(InvalidRequest) as caught:
                filmer.run(self.request(**{name: value}), lambda step, _, s=seen: s.append(step))
            assert [error.field for error in caught.value.errors] == [name], (name, value)
            assert seen == []

    def test_another_operation_is_refused(self, filmer: Engine) -> None:
        ours = self.request()
        other = RunRequest(ours.job_id, 1, ours.model, "generate", ours.params)
        with pytest.raises(InvalidRequest, match="operation"):
            filmer.run(other, ignore)

    def test_served_by_is_what_the_card_says(self, filmer: Engine) -> None:
        assert filmer.served_by == self.served_by


def scene(width: int, height: int, seed: int = 5) -> Image.Image:
    """An RGB picture of a red left half and a blue right one, with soft blobs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.where((x < width / 2)[..., None], (200, 60, 50), (40, 80, 190)).astype(float)
    for _ in range(12):
        spot = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        light = np.exp(-((spot / (0.1 * max(width, height))) ** 2))
        picture += light[..., None] * rng.uniform(-90, 90, 3)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


class ImageVideoEngineContract(VideoEngineContract):
    """For engines that film from a picture: ``size`` is that of a film from :meth:`picture`."""

    operation: ClassVar[str] = "image-to-video"

    @classmethod
    def picture(cls) -> Image.Image:
        """The usual job's picture."""
        return scene(832, 480)

    @classmethod
    def inputs(cls) -> dict[str, bytes]:
        return {"image": tiff(cls.picture())}

    @classmethod
    def of(cls, picture: Image.Image) -> RunRequest:
        """The usual job with another picture."""
        return replace(cls.request(), inputs={"image": tiff(picture)})

    def test_the_picture_decides_what_is_seen(self, filmer: Engine, frames: Frames) -> None:
        [artifact] = filmer.run(self.of(scene(832, 480, 6).convert("L")), ignore)
        assert np.abs(decoded(artifact.data).astype(np.int16) - frames).mean() > 0.5

    def test_an_upright_picture_gives_an_upright_film(self, filmer: Engine) -> None:
        [artifact] = filmer.run(self.of(in_mode(scene(60, 104), "RGBA")), ignore)
        assert decoded(artifact.data).shape == (self.count, 832, 480, 3)
        assert (artifact.facts["width"], artifact.facts["height"]) == (480, 832)

    def test_without_a_picture_nothing_is_computed(self, filmer: Engine) -> None:
        seen: list[int] = []
        with pytest.raises(InvalidRequest) as caught:
            filmer.run(replace(self.request(), inputs={}), lambda step, _: seen.append(step))
        assert [error.field for error in caught.value.errors] == ["image"]
        assert seen == []
