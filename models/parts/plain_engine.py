"""What an engine has around its run that computes by rule, without weights."""

from __future__ import annotations

from farm.errors import EngineFault
from models.base import EngineSetup


class PlainEngine:
    """The half of a :class:`models.base.Engine` that is not its run, with nothing to load."""

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._is_loaded = False

    @property
    def served_by(self) -> str:
        """What truly makes the output."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """Nothing is kept on a device."""
        return 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`."""
        self._is_loaded = True

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._is_loaded = False

    def _check_loaded(self) -> None:
        """Raise EngineFault where the engine was not loaded."""
        if not self._is_loaded:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
