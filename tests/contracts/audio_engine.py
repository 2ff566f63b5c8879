"""What every engine that makes sound promises, whichever weights it runs on.

A subclass says how to make the engine and inherits every test; what its music is like is for
the subclass's own tests.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from farm.errors import Cancelled, EngineFault, InvalidRequest, OutOfMemory
from farm.types import Artifact, RunRequest
from models.base import Engine

Samples = NDArray[np.float64]
Usual = tuple[Artifact, list[tuple[int, int]]]

RMS_DB = (-26.0, -10.0)
"""Neither a whisper nor a shout: the root mean square of a clip, in dB of full scale."""


class TimeIsUp(Exception):
    """Stands for the caller's time limit, which is no error of the farm's."""


def ignore(step: int, steps: int) -> None:
    """An on_step for a job that nobody listens to."""


def decoded(artifact: Artifact) -> tuple[Samples, int]:
    """The samples of an artifact, samples x channels, and how many there are a second."""
    samples, rate = soundfile.read(io.BytesIO(artifact.data), always_2d=True)
    return samples, rate


class AudioEngineContract:
    """Subclass with :meth:`create` and :attr:`served_by`."""

    model_id: ClassVar[str] = "musicgen-small"
    served_by: ClassVar[str]
    resides: ClassVar[bool] = True
    """False where nothing is brought onto a device."""
    device: ClassVar[str] = "cpu"

    @classmethod
    def create(cls, folder: Path) -> Engine:
        """A new engine, not loaded, whose interrupts are (TimeIsUp,).

        ``folder`` is the same for the whole class; weights may be kept in it.
        """
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the class keeps its weights."""
        return tmp_path_factory.mktemp("audio")

    @pytest.fixture(scope="class")
    @classmethod
    def player(cls, folder: Path) -> Iterator[Engine]:
        """The contract's engine, loaded once for its class."""
        made = cls.create(folder)
        made.load(cls.device)
        yield made
        made.unload()

    @pytest.fixture(scope="class")
    @classmethod
    def usual(cls, player: Engine) -> Usual:
        """What the usual job gives, and the steps that it reported."""
        seen: list[tuple[int, int]] = []
        [artifact] = player.run(cls.request(), lambda step, steps: seen.append((step, steps)))
        return artifact, seen

    @classmethod
    def request(cls, **changes: Any) -> RunRequest:
        """A job of the shortest duration; a change to None takes the parameter out."""
        params = {"prompt": "a calm piano in the rain", "duration": 5, "seed": 7} | changes
        params = {name: value for name, value in params.items() if value is not None}
        return RunRequest(uuid.uuid4(), 1, cls.model_id, "audio", params)

    @classmethod
    def clip(cls, engine: Engine, **changes: Any) -> bytes:
        """The file that a job gives."""
        [artifact] = engine.run(cls.request(**changes), ignore)
        return artifact.data

    def test_the_artifact_is_a_wav_file_of_exactly_the_duration(self, player: Engine) -> None:
        duration = 8
        [artifact] = player.run(self.request(duration=duration, seed=2**32 - 1), ignore)
        kind = (artifact.media_type, artifact.folder, artifact.extension)
        assert kind == ("audio/wav", "audio", "wav")
        said = soundfile.info(io.BytesIO(artifact.data))
        assert (said.format, said.subtype) == ("WAV", "PCM_16")
        samples, rate = decoded(artifact)
        assert rate in (32_000, 44_100)
        assert len(samples) == duration * rate
        assert samples.shape[1] in (1, 2)
        facts = {"seed": 2**32 - 1, "duration_s": duration, "sample_rate": rate}
        assert artifact.facts == facts

    def test_it_is_neither_silent_nor_shouting_nor_clipped(self, usual: Usual) -> None:
        samples, rate = decoded(usual[0])
        assert len(samples) == 5 * rate
        rms_db = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        assert RMS_DB[0] < rms_db < RMS_DB[1]
        assert 0.1 < np.abs(samples).max() < 0.95
        assert abs(samples.mean()) < 0.01
        assert samples.std(axis=0).min() > 0.01

    def test_the_same_job_gives_the_same_bytes_and_another_does_not(
        self, player: Engine, usual: Usual
    ) -> None:
        first = usual[0].data
        assert self.clip(player) == first
        others = [{"seed": 8}, {"prompt": "loud rock with drums"}]
        assert len({first, *(self.clip(player, **other) for other in others)}) == 3

    def test_progress_rises_by_one_to_the_total(self, usual: Usual) -> None:
        _, seen = usual
        assert len(seen) > 1
        assert seen == [(step, len(seen)) for step in range(1, len(seen) + 1)]

    def test_a_cancel_stops_at_any_step_and_leaves_the_engine_usable(
        self, player: Engine, usual: Usual
    ) -> None:
        before, seen = usual
        for last in (1, len(seen) // 2, len(seen)):
            cancelled = Cancelled("The customer changed their mind.")
            reached: list[int] = []

            def cancel(
                step: int,
                steps: int,
                last: int = last,
                reached: list[int] = reached,
                error: Cancelled = cancelled,
            ) -> None:
                reached.append(step)
                if step == last:
                    raise error

            with pytest.raises(Cancelled) as caught:
                player.run(self.request(), cancel)
            assert caught.value is cancelled
            assert reached == list(range(1, last + 1))
        assert self.clip(player) == before.data

    def test_the_callers_interrupt_passes_unchanged(self, player: Engine) -> None:
        def interrupt(step: int, steps: int) -> None:
            raise TimeIsUp

        with pytest.raises(TimeIsUp):
            player.run(self.request(), interrupt)

    def test_an_allocation_that_fails_is_out_of_memory(self, player: Engine, usual: Usual) -> None:
        def exhaust(step: int, steps: int) -> None:
            np.empty(2**60, np.uint8)

        with pytest.raises(OutOfMemory, match=re.escape(player.served_by)):
            player.run(self.request(), exhaust)
        assert self.clip(player) == usual[0].data

    def test_what_breaks_inside_is_an_engine_fault_with_its_cause(self, player: Engine) -> None:
        def slip(step: int, steps: int) -> None:
            raise KeyError("a slip")

        with pytest.raises(EngineFault, match="a slip") as caught:
            player.run(self.request(), slip)
        assert isinstance(caught.value.__cause__, KeyError)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("prompt", None),
            ("prompt", " "),
            ("prompt", 7),
            ("duration", None),
            ("duration", 0),
            ("duration", 31),
            ("duration", 5.5),
            ("duration", True),
            ("seed", None),
            ("seed", -1),
            ("seed", 2**32),
            ("steps", 20),
        ],
    )
    def test_bad_parameters_are_refused_before_any_step(
        self, player: Engine, field: str, value: Any
    ) -> None:
        seen: list[int] = []
        with pytest.raises(InvalidRequest) as caught:
            player.run(self.request(**{field: value}), lambda step, steps: seen.append(step))
        assert [error.field for error in caught.value.errors] == [field]
        assert seen == []

    def test_another_operation_is_refused(self, player: Engine) -> None:
        ours = self.request()
        other = RunRequest(ours.job_id, 1, ours.model, "generate", ours.params)
        with pytest.raises(InvalidRequest, match="operation"):
            player.run(other, ignore)

    @pytest.mark.parametrize(
        "prompt", ["a very long song about a fox " * 17, "静かなピアノ 🎹 </s> <pad> \t\n x"]
    )
    def test_any_prompt_runs_and_says_nothing(
        self, player: Engine, prompt: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        player.run(self.request(prompt=prompt), ignore)
        assert capfd.readouterr() == ("", "")

    def test_served_by_is_what_truly_makes_it(self, player: Engine) -> None:
        assert player.served_by == self.served_by

    def test_load_and_unload_can_be_repeated(
        self, player: Engine, folder: Path, usual: Usual
    ) -> None:
        other = self.create(folder)
        assert other.resident_bytes == 0
        with pytest.raises(EngineFault, match="before it was loaded"):
            other.run(self.request(), ignore)
        for _ in range(2):
            other.load(self.device)
            other.load(self.device)
            assert other.resident_bytes == player.resident_bytes
            assert (other.resident_bytes > 0) == self.resides
            assert self.clip(other) == usual[0].data
            other.unload()
            other.unload()
            assert other.resident_bytes == 0
