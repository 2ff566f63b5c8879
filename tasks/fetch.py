"""Fetching a job's pictures from the customer's URLs, in the control worker.

The web process never opens a connection that a customer chose. What cannot be fetched, or is
no picture, ends the job with a sentence for the customer; nothing was charged.
"""

from __future__ import annotations

import logging
import uuid

from farm import inputs
from farm.errors import Rejected
from farm.events import JobEvent
from farm.intake.fetch import Fetcher, policy_of
from farm.intake.pictures import read_picture, same_size
from farm.types import JobState, Picture, StoredOutput
from tasks.child import Child

_log = logging.getLogger(__name__)


def fetch(child: Child, job_id: uuid.UUID) -> None:
    """Fetch what a job waits for, then ring its model's queue. No job, or not its turn: nothing.

    Raises:
        DatabaseUnavailable, StorageUnavailable, BrokerUnavailable: the job is fetched again
            after a while, a few times at most.
    """
    services = child.services
    pending = inputs.begin_fetch(services.db, job_id)
    if pending is None:
        return
    try:
        fetched = _fetch_all(child, pending)
    except Rejected as error:
        _log.info("the inputs of %s were refused: %s", job_id, error.code)
        if inputs.refuse(services.db, job_id, error.code, f"{error} Nothing was charged."):
            child.announcer.tell(JobEvent(job_id, JobState.FAILED, attempt=0))
        return
    ring = inputs.finish_fetch(services.db, job_id, fetched)
    if ring is not None:
        child.dispatcher.ring_now([ring])


def _fetch_all(
    child: Child, pending: inputs.PendingFetch
) -> dict[str, tuple[Picture, StoredOutput]]:
    """Every missing picture, checked and stored. Raises Rejected, StorageUnavailable."""
    services = child.services
    specs = services.catalog.models[pending.model].inputs
    fetcher = Fetcher(policy_of(services.settings))
    pictures = {}
    for name, url in sorted(pending.urls.items()):
        field = f"{name}_url"
        spec = specs[name].cut_out() if name in pending.cut_out else specs[name]
        pictures[name] = read_picture(fetcher.fetch(url, field), field, spec)
    same_size({**pending.stored, **pictures})
    storage = services.storage
    return {n: (p, inputs.store(storage, pending.job_id, p)) for n, p in pictures.items()}
