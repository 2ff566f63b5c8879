"""How an attempt that broke ends: what the customer is told, whether there will be another.

The sentence goes to the customer, so it holds nothing of the farm's inside. The traceback is
in the worker's log, under the job's id.
"""

from __future__ import annotations

from dataclasses import dataclass

from billiard.exceptions import SoftTimeLimitExceeded

from farm import settle
from farm.errors import (
    ContentRefused,
    EngineFault,
    InvalidRequest,
    OutOfMemory,
    SetupError,
    StorageUnavailable,
    UpstreamFault,
    UpstreamUnavailable,
)
from farm.types import Claim, JobState
from tasks.child import Child

TIMEOUT = "timeout"
_NOT_THERE = "The model is not available at the moment."
_REFUSED = "The model's content policy refuses this request. Nothing was charged."


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ends: a stable code, a sentence for the customer, whether to try again."""

    code: str
    sentence: str
    retry: bool


_VERDICTS: tuple[tuple[type[Exception], Verdict], ...] = (
    # It would take as long again.
    (SoftTimeLimitExceeded, Verdict(TIMEOUT, "The job took too long and was stopped.", False)),
    # Settled as one retry at most; every engine has been unloaded by then.
    (
        OutOfMemory,
        Verdict(OutOfMemory.code, "The GPU ran out of memory. Try a smaller size.", True),
    ),
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
    return next(found for kind, found in _VERDICTS if isinstance(error, kind))


def end_attempt(child: Child, claim: Claim, error: Exception) -> JobState | None:
    """Settle an attempt that broke; returns as ``settle.fail`` does, and raises as it does.

    What a content policy refuses ends as blocked.
    """
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
