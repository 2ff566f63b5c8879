"""What every engine does around a model that it opens whole and drops whole."""

from __future__ import annotations

import abc
from typing import Generic, TypeVar

from farm.errors import EngineFault
from models.base import EngineSetup, faults
from models.parts.memory import released

Model = TypeVar("Model")


class LoadedEngine(abc.ABC, Generic[Model]):
    """The half of a :class:`models.base.Engine` that is not its run: it loads once, never by
    half, and gives its memory back.

    ``Model`` is whatever :meth:`_open` brings onto a device.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._model: Model | None = None

    @property
    def served_by(self) -> str:
        """What truly makes the output."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """The device memory that loading took, in bytes; 0 while unloaded."""
        return self._size(self._model) if self._model is not None else 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`."""
        if self._model is not None:
            return
        try:
            with faults(self.served_by, "loading", self._setup.interrupts):
                self._model = self._open(device)
        except BaseException:
            self.unload()  # half a model must not stay on the device
            raise

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._model = None
        released()

    def _loaded(self) -> Model:
        """The model. Raises EngineFault where there is none."""
        if self._model is None:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        return self._model

    @abc.abstractmethod
    def _open(self, device: str) -> Model:
        """Bring the model onto the device."""

    @abc.abstractmethod
    def _size(self, model: Model) -> int:
        """The device memory that the model holds, in bytes."""
