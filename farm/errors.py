"""Every error the farm raises on purpose.

::

    FarmError
    |- Rejected                 the caller's mistake; costs nothing, changes nothing
    |  |- InvalidRequest        fields missing, of the wrong type, out of range, contradictory
    |  |  `- SegmentationFailed what is to be worked on was not found in the picture
    |  |- Malformed             the body is not what its content type says
    |  |- TooLarge              the body, or one file of it, is over the limit
    |  |- UnreadableImage       a picture that cannot be read, or of a kind that is not taken
    |  |- InputUnavailable      a picture's URL could not be fetched
    |  |- PromptRefused         the content policy refuses the words
    |  |- ContentRefused        who runs the model refuses words, pictures, or what came of them
    |  |- Unauthenticated       no key, or one that is not known here
    |  |- Forbidden             a known caller that may not do this
    |  |- InsufficientCredits   the hold does not fit into what is available
    |  |- NotFound              no such thing, or another account's
    |  |- MethodNotAllowed      the path exists, the method does not
    |  |- RateLimited           too many calls in the window
    |  |  `- TooManyJobs        the account has as many live jobs as its plan allows
    |  |- AlreadyEnded          the job can no longer be cancelled
    |  |- IdempotencyMismatch   a known Idempotency-Key with another body
    |  `- IdempotencyInFlight   the first request with this key has not ended
    |- FarmFault                the farm's trouble; nothing was charged
    |  |- DatabaseUnavailable   PostgreSQL does not answer
    |  |- BrokerUnavailable     the queue does not answer
    |  |- StorageUnavailable    an output could not be stored or read
    |  |- StillRunning          the wait was over before the job was; the job goes on
    |  |- Overloaded            too much of the same at once; later it will fit
    |  |- QueueFull             as many jobs wait for the model as may
    |  |- SetupError            this process cannot run as it is set up
    |  |  |- ExtraMissing       a Python package of an extra is not installed
    |  |  `- WeightsMissing     a model's files are not where they should be
    |  `- EngineFault           the engine broke while it ran
    |     |- OutOfMemory        the device had too little memory
    |     |- DeviceBroken       the device is lost to this process
    |     `- UpstreamFault      another service, which runs the model, did not make it
    |        `- UpstreamUnavailable  it does not answer, or says to come later
    `- Cancelled                the job is no longer this worker's: stop and drop the output

An error is a stable ``code`` and data; no HTTP here. The API maps each ``code`` to a status
once, each storefront renders it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    message: str


class FarmError(Exception):
    """The root. ``str(error)`` is a sentence a person can act on."""

    code: ClassVar[str] = "farm_error"


class Rejected(FarmError):
    """The caller's mistake."""

    code = "rejected"


class InvalidRequest(Rejected):
    """One or more fields are wrong; ``errors`` names each."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__(" ".join(f"{e.field}: {e.message}" for e in self.errors))


class SegmentationFailed(InvalidRequest):
    """An engine did not find, in the customer's picture, what the job is about."""

    code = "body_segmentation_failed"


class Malformed(Rejected):
    """The body cannot be read at all (broken JSON, broken UTF-8, wrong content type)."""

    code = "malformed"


class TooLarge(Rejected):
    """The body, or the file in one ``field`` of it, is over the limit."""

    code = "too_large"

    def __init__(self, limit_bytes: int, field: str = "body") -> None:
        self.limit_bytes = limit_bytes
        self.field = field
        what = "The request body" if field == "body" else f"{field}: the file"
        super().__init__(f"{what} is over the limit of {limit_bytes:,} bytes.")


class UnreadableImage(Rejected):
    """The picture in ``field`` cannot be read, or is not of a kind that is taken."""

    code = "unreadable_image"

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        super().__init__(f"{field}: {reason}")


class InputUnavailable(Rejected):
    """A picture's URL could not be fetched. The sentence tells nothing of the network."""

    code = "input_unavailable"


class PromptRefused(Rejected):
    """The content policy refuses the request's words; no job was made."""

    code = "prompt_refused"


class ContentRefused(Rejected):
    """The content policy of whoever runs the model refuses the request, or what came of it."""

    code = "content_refused"


class Unauthenticated(Rejected):
    """No key, a malformed one, or one that is not known here."""

    code = "unauthenticated"


class Forbidden(Rejected):
    """The caller is known and may not do this."""

    code = "forbidden"


class InsufficientCredits(Rejected):
    """The price does not fit into the account's available credits (both in tenths)."""

    code = "insufficient_credits"

    def __init__(self, required_tenths: int, available_tenths: int) -> None:
        self.required_tenths = required_tenths
        self.available_tenths = available_tenths
        super().__init__(
            f"Insufficient credits. Required: {required_tenths / 10:.12g}, "
            f"available: {available_tenths / 10:.12g}."
        )


class NotFound(Rejected):
    """No such thing here, or it belongs to another account."""

    code = "not_found"


class MethodNotAllowed(Rejected):
    """The path exists but not with this method; ``allowed`` lists those that do."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allowed = tuple(sorted(allowed))
        super().__init__(f"{method} is not allowed here. Use {', '.join(self.allowed)}.")


class RateLimited(Rejected):
    """Too many calls in the window; ``retry_after_s`` is when one will pass again."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TooManyJobs(RateLimited):
    """The account has as many jobs queued and running as its plan allows; nothing was made."""

    code = "too_many_jobs"


class AlreadyEnded(Rejected):
    """The job has ended in another way than the one asked for."""

    code = "already_ended"


class IdempotencyMismatch(Rejected):
    """The Idempotency-Key was used within the last day with another body."""

    code = "idempotency_mismatch"


class IdempotencyInFlight(Rejected):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_in_flight"


class FarmFault(FarmError):
    """The farm's trouble. Nothing was charged."""

    code = "farm_fault"


class DatabaseUnavailable(FarmFault):
    """PostgreSQL does not answer, or not in time."""

    code = "database_unavailable"


class BrokerUnavailable(FarmFault):
    """The message broker does not answer."""

    code = "broker_unavailable"


class StorageUnavailable(FarmFault):
    """An output could not be written or read."""

    code = "storage_unavailable"


class StillRunning(FarmFault):
    """Whoever waited for a job's end waited as long as it may; the job goes on."""

    code = "still_running"


class Overloaded(FarmFault):
    """Too many calls do the same heavy thing at once. Nothing was done; try again."""

    code = "overloaded"


class QueueFull(FarmFault):
    """As many jobs wait for the model as may; nothing was made. ``retry_after_s`` is when there
    should be room again."""

    code = "queue_full"

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class SetupError(FarmFault):
    """This process cannot run as it is set up; the message says what to do."""

    code = "setup_error"


class ExtraMissing(SetupError):
    """A package that belongs to an optional extra is not installed."""

    code = "extra_missing"


class WeightsMissing(SetupError):
    """A model's files are not where the settings say."""

    code = "weights_missing"


class EngineFault(FarmFault):
    """The engine broke while it ran a job."""

    code = "engine_failed"


class OutOfMemory(EngineFault):
    """The device ran out of memory."""

    code = "gpu_out_of_memory"


class DeviceBroken(EngineFault):
    """The device refused in a way after which nothing works on it in this process."""

    code = "gpu_failed"


class UpstreamFault(EngineFault):
    """Another service, which runs the model, did not make what was asked. The sentence is for
    operators: it names the service, and never its key."""

    code = "upstream_failed"


class UpstreamUnavailable(UpstreamFault):
    """The service does not answer, or says to come later. Another try may find it there."""

    code = "upstream_unavailable"


class Cancelled(FarmError):
    """The job was cancelled or taken over: stop at this step and drop the output."""

    code = "cancelled"
