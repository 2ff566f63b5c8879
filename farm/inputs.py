"""A job's pictures: stored before it starts, deleted once it has ended.

A job that was submitted with a URL is queued but not ready. A fetch takes it for a while
(:func:`begin_fetch`), stores what it got and makes the job ready (:func:`finish_fetch`), or
ends it (:func:`refuse`). A fetch that dies is repeated by whoever the sweeper rings next, a
few times at most.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from farm import ledger
from farm.crash_points import Effect, around
from farm.db import Database
from farm.errors import NotFound, StorageUnavailable
from farm.messages import Ring
from farm.storage import Storage
from farm.types import Artifact, Claim, Picture, RemotePicture, RunRequest, StoredOutput
from farm.webhooks import outbox

ATTEMPT = 0
"""Inputs lie where the outputs of an attempt before the first would."""
FETCHES_MAX = 3
FETCH_LEASE_S = 60.0
"""How long a fetch keeps others off: longer than it can take."""

_GIVEN_UP = "The job's pictures could not be fetched. Nothing was charged. Send it again later."


@dataclass(frozen=True, slots=True)
class PendingFetch:
    """A job whose inputs are to be fetched: ``urls`` by name, and those that are stored already
    without their data. ``cut_out`` names masks of which the transparency counts."""

    job_id: uuid.UUID
    model: str
    urls: Mapping[str, str]
    stored: Mapping[str, Picture]
    cut_out: frozenset[str] = frozenset()


def store(storage: Storage, job_id: uuid.UUID, picture: Picture) -> StoredOutput:
    """Make an input durable. Raises StorageUnavailable."""
    with around(Effect.INPUT):
        return storage.put(job_id, ATTEMPT, Artifact(picture.data, "image/tiff", "inputs", "tiff"))


def row(name: str, source: Picture | RemotePicture, stored: StoredOutput | None) -> dict[str, Any]:
    """An input as the columns of its table, JSON values only."""
    if isinstance(source, RemotePicture):
        return {"name": name, "url": source.url, "cut_out": source.cut_out}
    assert stored is not None, "a picture is stored before its row is written"
    return {
        "name": name,
        "key": stored.key,
        "sha256": stored.sha256.hex(),
        "bytes": stored.size_bytes,
        "width": source.width,
        "height": source.height,
    }


def begin_fetch(db: Database, job_id: uuid.UUID) -> PendingFetch | None:
    """Take a job's inputs to fetch, or None when there is nothing to do: drop the message.

    A job that was tried too often is ended here, and its hold given back.

    Raises:
        DatabaseUnavailable: nothing was taken, or it will be free again by itself.
    """
    values = {"id": job_id, "fetches_max": FETCHES_MAX, "lease_s": FETCH_LEASE_S}

    def work(connection: Connection) -> PendingFetch | None:
        found = connection.execute(_BEGIN, values).one_or_none()
        if found is None:
            given_up = {"code": "input_unavailable", "message": _GIVEN_UP}
            connection.execute(_GIVE_UP, values | given_up)
            return None
        rows = connection.execute(_INPUTS, {"id": job_id}).all()
        urls = {row.name: row.url for row in rows if row.key is None}
        stored = {
            row.name: Picture(b"", "", row.width, row.height) for row in rows if row.key is not None
        }
        cut_out = frozenset(row.name for row in rows if row.cut_out)
        return PendingFetch(job_id, found.model, urls, stored, cut_out)

    with around(Effect.FETCH_BEGIN):
        return db.attempt(work)


def finish_fetch(
    db: Database, job_id: uuid.UUID, fetched: Mapping[str, tuple[Picture, StoredOutput]]
) -> Ring | None:
    """Make a job ready to be claimed; what must be rung, or None when it has ended meanwhile.

    Of two fetches of one job the first wins; the other's files are swept. Should the answer
    be lost, the sweeper rings.

    Raises:
        DatabaseUnavailable: the inputs are fetched again later.
    """
    rows = [row(name, picture, stored) for name, (picture, stored) in fetched.items()]

    values = {"id": job_id, "inputs": json.dumps(rows)}
    with around(Effect.FETCH_FINISH):
        found = db.attempt(lambda c: c.execute(_READY, values).one_or_none())
    return Ring(found.id, found.queue, found.priority) if found else None


def refuse(db: Database, job_id: uuid.UUID, code: str, message: str) -> bool:
    """End a job whose inputs cannot be had; its hold goes back. False: it had ended before."""
    values = {"id": job_id, "code": code, "message": message}
    with around(Effect.FETCH_REFUSE):
        return db.attempt(lambda c: c.execute(_REFUSE, values).scalar() is not None)


def run_request(storage: Storage, claim: Claim) -> RunRequest:
    """What the engine is handed for a claimed job, its pictures read from storage.

    Raises:
        StorageUnavailable: a picture is gone, or cannot be read.
    """
    pictures = {}
    for name, key in claim.inputs.items():
        try:
            with storage.open(key) as file:
                pictures[name] = file.read()
        except NotFound as error:
            raise StorageUnavailable(f"The input {name} of {claim.job_id} is gone.") from error
    return RunRequest(
        claim.job_id, claim.attempt, claim.model, claim.operation, claim.params, pictures
    )


def delete_spent(db: Database, storage: Storage, limit: int = 500) -> int:
    """Delete the inputs of jobs that have ended, and forget their URLs; returns how many.

    The row is marked after the file is gone, so that no file is ever left behind.

    Raises:
        DatabaseUnavailable, StorageUnavailable: what was done so far stays done.
    """
    with db.statement() as connection:
        rows = connection.execute(_SPENT, {"limit": limit}).all()
    for row in rows:
        if row.key is not None:
            with around(Effect.INPUT_DELETE):
                storage.delete(row.key)
        with around(Effect.INPUT_MARK), db.statement() as connection:
            connection.execute(_DELETED, {"id": row.job_id, "name": row.name})
    return len(rows)


INSERT = """
, given AS (
    INSERT INTO inputs (job_id, name, url, cut_out, key, sha256, bytes, width, height)
    SELECT job.id, i.name, i.url, coalesce(i.cut_out, false), i.key, decode(i.sha256, 'hex'),
        i.bytes, i.width, i.height
    FROM job, jsonb_to_recordset(CAST(:inputs AS jsonb)) AS i
        (name text, url text, cut_out boolean, key text, sha256 text, bytes bigint, width int,
         height int)
)
"""
"""Follows a CTE ``job(id)`` of one new job; ``:inputs`` is a JSON list of :func:`row`."""

_BEGIN = text(
    """
    UPDATE jobs SET fetches = fetches + 1, fetch_until = now() + :lease_s * interval '1 second'
    WHERE id = :id AND state = 'queued' AND NOT ready AND fetches < :fetches_max
      AND (fetch_until IS NULL OR fetch_until < now())
    RETURNING model
    """
)
_INPUTS = text("SELECT name, url, cut_out, key, width, height FROM inputs WHERE job_id = :id")
_READY = text(
    """
    WITH job AS (
        UPDATE jobs SET ready = true, fetch_until = NULL, queued_at = now(), rung_at = now()
        WHERE id = :id AND state = 'queued' AND NOT ready RETURNING id, queue, priority
    )
    , stored AS (
        UPDATE inputs SET key = i.key, sha256 = decode(i.sha256, 'hex'), bytes = i.bytes,
            width = i.width, height = i.height
        FROM job, jsonb_to_recordset(CAST(:inputs AS jsonb)) AS i
            (name text, key text, sha256 text, bytes bigint, width int, height int)
        WHERE inputs.job_id = job.id AND inputs.name = i.name
    )
    SELECT id, queue, priority FROM job
    """
)


def _end_sql(condition: str) -> str:
    return f"""
    WITH job AS (
        UPDATE jobs SET state = 'failed', finished_at = now(), error_code = :code,
            error_message = :message, fetch_until = NULL
        WHERE id = :id AND state = 'queued' AND NOT ready {condition}
        RETURNING {outbox.JOB}
    )
    {ledger.RELEASE}
    {outbox.TELL}
    SELECT id FROM job
    """


_REFUSE = text(_end_sql(""))
_GIVE_UP = text(_end_sql("AND fetches >= :fetches_max AND fetch_until < now()"))
_SPENT = text(
    """
    SELECT i.job_id, i.name, i.key FROM inputs i JOIN jobs j ON j.id = i.job_id
    WHERE i.deleted_at IS NULL AND j.finished_at IS NOT NULL LIMIT :limit
    """
)
_DELETED = text(
    "UPDATE inputs SET deleted_at = now(), url = NULL "
    "WHERE job_id = :id AND name = :name AND deleted_at IS NULL"
)
