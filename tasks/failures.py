"""How an attempt that broke ends: what the customer is told, whether there will be another.

The sentence goes to the customer, so it holds nothing of the farm's inside. The traceback is
in the worker's log, under the job's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from traceback import walk_tb

from billiard.exceptions import SoftTimeLimitExceeded

from farm import settle
from farm.errors import (
    ContentRefused,
    DeviceBroken,
    EngineFault,
    InvalidRequest,
    OutOfMemory,
    SetupError,
    StorageUnavailable,
    UpstreamFault,
    UpstreamUnavailable,
)
from farm.types import Claim, JobState
from models import base
from tasks.child import Child
from tasks.residency import LoadInterrupted

TIMEOUT = "timeout"
_CHAIN_MAX = 10
_TOO_LONG = "The job took too long and was stopped."
_NOT_THERE = "The model is not available at the moment."
_REFUSED = "The model's content policy refuses this request. Nothing was charged."


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ends: a stable code, a sentence for the customer, whether to try again."""

    code: str
    sentence: str
    retry: bool


_VERDICTS: tuple[tuple[type[Exception], Verdict], ...] = (
    # The time went into the load, which the files' next reader finds in the machine's memory.
    (LoadInterrupted, Verdict(TIMEOUT, _TOO_LONG, True)),
    # It would take as long again.
    (SoftTimeLimitExceeded, Verdict(TIMEOUT, _TOO_LONG, False)),
    # Settled as one retry at most; every engine has been unloaded by then.
    (
        OutOfMemory,
        Verdict(OutOfMemory.code, "The GPU ran out of memory. Try a smaller size.", True),
    ),
    (DeviceBroken, Verdict(DeviceBroken.code, "The GPU failed while it ran this job.", True)),
    (StorageUnavailable, Verdict(StorageUnavailable.code, "The result could not be stored.", True)),
    (SetupError, Verdict(SetupError.code, _NOT_THERE, True)),
    (UpstreamUnavailable, Verdict(UpstreamUnavailable.code, _NOT_THERE, True)),
    # The same question would have the same answer.
    (UpstreamFault, Verdict(UpstreamFault.code, "The model could not do this job.", False)),
    (EngineFault, Verdict(EngineFault.code, "The model broke while it ran this job.", True)),
    (Exception, Verdict("internal_error", "Something broke while this job ran.", True)),
)
"""The first that fits counts."""


def verdict(error: Exception) -> Verdict:
    """The verdict on whatever ended an attempt early."""
    if isinstance(error, InvalidRequest):
        # It would fail again. These sentences are written for the caller.
        return Verdict(error.code, str(error), retry=False)
    if any(base.is_device_broken(each) for each in _chain(error)):
        # Raised where nobody maps such errors: in the clean-up after the first one, say.
        error = DeviceBroken(str(error))
    return next(found for kind, found in _VERDICTS if isinstance(error, kind))


def spoils(error: BaseException) -> str | None:
    """Why a process that met this error is of no more use, or None where it is."""
    for each in _chain(error):
        if isinstance(each, DeviceBroken) or base.is_device_broken(each):
            return "the GPU does not work in it any more"
        if isinstance(each, LoadInterrupted) or (
            isinstance(each, SoftTimeLimitExceeded) and _was_importing(each)
        ):
            return "the time limit came in the middle of a load"
    return None


def end_attempt(child: Child, claim: Claim, error: Exception) -> JobState | None:
    """Settle an attempt that broke; returns as ``settle.fail`` does, and raises as it does.

    What a content policy refuses ends as blocked. After an error that spoils this process it
    retires.
    """
    try:
        return _settle(child, claim, error)
    finally:
        if why := spoils(error):
            child.retire(why)


def _settle(child: Child, claim: Claim, error: Exception) -> JobState | None:
    if isinstance(error, ContentRefused):
        blocked = settle.block(child.services.db, claim, ContentRefused.code, _REFUSED)
        return JobState.BLOCKED if blocked else None
    if isinstance(error, OutOfMemory):
        # Everything goes: the next attempt finds an empty device, here or elsewhere.
        child.residency.clear()
    found = verdict(error)
    return settle.fail(
        child.services.db,
        claim,
        found.code,
        found.sentence,
        retry=found.retry,
        attempts_max=child.services.settings.attempts_max,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it came from, what that came from; so many at most."""
    found: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _was_importing(error: BaseException) -> bool:
    files = (frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__))
    return any(name.startswith("<frozen importlib") for name in files)
