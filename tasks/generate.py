"""The hot path: one message, one turn. Claim a job, run it, store the output, settle it."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid

from farm import inputs, jobs, settle
from farm.crash_points import Effect, around
from farm.errors import Cancelled, ContentRefused, DatabaseUnavailable
from farm.messages import Ring
from farm.types import Claim, JobState
from tasks.child import Child
from tasks.failures import end_attempt
from tasks.heartbeat import Heartbeat
from tasks.limits import GRACE_S, past_the_limit, process_ends_after
from tasks.residency import in_one_piece

_REFUSAL = "The result was refused by the content policy and not kept. Nothing was charged."

_log = logging.getLogger(__name__)


def generate(child: Child, job_id: uuid.UUID, worker: str) -> None:
    """Serve one message: run one attempt of its job, or of the one whose turn it is.

    Where there is none to be had, the message is dropped.
    """
    settings, db = child.services.settings, child.services.db
    if child.drain.has_begun:
        jobs.leave_to_sweeper(db, job_id)
        return
    claim = jobs.claim(db, job_id, worker, settings.lease_s, settings.attempts_max)
    if claim is None:
        return
    ring = Ring(claim.job_id, claim.queue, claim.priority)
    card = child.services.catalog.models[claim.model]
    started = time.monotonic()
    with (
        process_ends_after(card.hard_limit_s + GRACE_S),
        Heartbeat(child, claim) as heartbeat,
        child.reporter.running(claim, heartbeat),
    ):
        try:
            _run(child, claim, heartbeat)
        except Cancelled as error:
            _log.info("job %s stopped: %s", claim.job_id, error)
            with contextlib.suppress(DatabaseUnavailable):  # a note for the customer, no more
                settle.freed(db, claim)
        except DatabaseUnavailable:
            _log.exception("job %s could not be settled; its lease runs out", claim.job_id)
        except SystemExit:
            # The parent ends this child. At the time limit, that counts as an attempt.
            is_early = time.monotonic() - started < card.soft_limit_s
            if is_early and jobs.hand_back(db, claim.job_id, claim.attempt):
                child.dispatcher.ring_now([ring])
            raise
        except Exception as error:  # noqa: BLE001
            if isinstance(error, ContentRefused):
                _log.info("job %s is refused: %s", claim.job_id, error)
            else:
                _log.exception("job %s broke in attempt %d", claim.job_id, claim.attempt)
            broke = error
            state = past_the_limit(lambda: end_attempt(child, claim, broke))
            if state is JobState.QUEUED:
                child.dispatcher.ring(ring)
            if state is not None:
                child.tell(claim, state)


def _run(child: Child, claim: Claim, heartbeat: Heartbeat) -> None:
    started = time.monotonic()
    request = inputs.run_request(child.services.storage, claim)
    with child.residency.use(child.services.catalog.models[claim.model]) as engine:
        with in_one_piece():
            # A library that catches everything may have lost the signal while it loaded.
            heartbeat.check()
        artifact = engine.run(request, heartbeat.on_step)[0]
        served_by = engine.served_by
    if label := child.refusal(artifact):
        _log.info("the result of job %s is refused: %s", claim.job_id, label)
        db = child.services.db
        if past_the_limit(lambda: settle.block(db, claim, "result_refused", _REFUSAL)):
            child.tell(claim, JobState.BLOCKED)
        return
    with around(Effect.OUTPUT):
        output = child.services.storage.put(claim.job_id, claim.attempt, artifact)
    processing_ms = round((time.monotonic() - started) * 1000)
    # While the database is away the result waits, longer than a run may take.
    settled = past_the_limit(
        lambda: settle.succeed(
            child.services.db,
            claim,
            output,
            facts=artifact.facts,
            served_by=served_by,
            processing_ms=processing_ms,
            ttl_s=child.services.settings.output_ttl_s,
        )
    )
    if not settled:
        raise Cancelled("it was cancelled or taken over; the output is dropped")
    child.tell(claim, JobState.SUCCEEDED)
