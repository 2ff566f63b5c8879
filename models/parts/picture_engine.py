"""What every engine that edits a picture does around its own work.

The operation, the job's parameters and pictures, progress, cancel, errors and the finished
file are here; an engine file holds what is particular to its method.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from farm.errors import EngineFault, FieldError, InvalidRequest
from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup, faults
from models.parts import encoding
from models.parts.pictures import Rows, check_params

Work = TypeVar("Work")


class Stages:
    """Counts a job's steps and reports each; a cancel arrives as what :meth:`done` raises.

    ``total`` may be set anew once more is known (how many faces there are, say).
    """

    def __init__(self, on_step: OnStep, total: int) -> None:
        self.total = total
        self._on_step = on_step
        self._step = 0

    def done(self) -> None:
        """One more step is behind us."""
        self._step += 1
        self._on_step(self._step, max(self.total, self._step))


@dataclass(frozen=True, slots=True)
class Edited:
    """A picture that was made, and the facts worth showing beside its size."""

    rows: Rows
    facts: Mapping[str, Any] = field(default_factory=dict)


class PictureEngine(abc.ABC, Generic[Work]):
    """A :class:`models.base.Engine` that makes one picture out of one picture.

    ``Work`` is whatever :meth:`_read` makes of a request. Step 1 of a job is its pictures
    being read; the others are the engine's own.
    """

    operation: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()
    formats: ClassVar[tuple[str, ...]] = encoding.FORMATS
    """What a job may ask for in ``output_format``; empty where it cannot ask."""

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._loaded = False

    @property
    def served_by(self) -> str:
        """What truly makes the picture."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """The device memory that loading took, in bytes; 0 while unloaded."""
        return self._resident() if self._loaded else 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`."""
        if self._loaded:
            return
        try:
            with faults(self.served_by, "loading", self._setup.interrupts):
                self._open(device)
        except BaseException:
            self._close()  # half a model must not stay on the device
            raise
        self._loaded = True

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One picture, a PNG where nothing else is asked."""
        if request.operation != self.operation:
            raise InvalidRequest([FieldError("operation", f"must be {self.operation}.")])
        asked = ("output_format",) if self.formats else ()
        check_params(request.params, (*self.parameters, *asked))
        form = encoding.read_format(request.params, self.formats) if asked else encoding.PNG
        if not self._loaded:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        with faults(self.served_by, "running", self._setup.interrupts):
            work = self._read(request)
            stages = Stages(on_step, 1 + self._steps(work))
            stages.done()
            edited = self._edit(work, stages)
            text = self._text(work)
            said = {"model": request.model, **text, "job_id": request.job_id}
            return [encoding.picture(edited.rows, form, said, {**text, **edited.facts})]

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._loaded = False
        self._close()

    @abc.abstractmethod
    def _read(self, request: RunRequest) -> Work:
        """The job's parameters and pictures; nothing is computed yet.

        Raises:
            InvalidRequest: one of them is missing or unusable.
        """

    @abc.abstractmethod
    def _steps(self, work: Work) -> int:
        """How many steps :meth:`_edit` will report, as far as is known before it starts."""

    @abc.abstractmethod
    def _edit(self, work: Work, stages: Stages) -> Edited:
        """Do the work. The strips of what it returns may still be computed when they are read:
        that happens inside the same run."""

    def _text(self, work: Work) -> Mapping[str, Any]:
        """What to write into the file and the facts beside model and job: a seed, steps."""
        return {}

    def _open(self, device: str) -> None:
        """Bring what the engine needs onto the device."""

    def _close(self) -> None:
        """Let go of what :meth:`_open` brought, or half brought; may be called twice."""

    def _resident(self) -> int:
        """The device memory that :meth:`_open` took, in bytes."""
        return 0
