"""Years of finished jobs, written by SQL as the farm would have left them.

One in ten failed, the others succeeded; every output has expired and been deleted. Holds,
entries and balances agree, so that the audit finds nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from farm.db import Database

PRICE_TENTHS = 30
_TABLES = ("jobs", "holds", "entries")


class Job(NamedTuple):
    """A written job and whose it is."""

    id: uuid.UUID
    account_id: uuid.UUID


def write_history(
    url: str, accounts: Sequence[uuid.UUID], number: int, *, together: int = 1
) -> list[Job]:
    """Write ``number`` finished jobs, in turn for these accounts; a thousand of them, or all.

    An account's jobs came in batches of ``together``, which divides their number.

    Triggers are off and secondary indexes are built afterwards, else it would take minutes.
    """
    database = Database(url, timeout_s=600.0)
    try:
        with database.transaction() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            indexes = _drop_indexes(connection)
            values = {
                "number": number,
                "accounts": list(accounts),
                "price": PRICE_TENTHS,
                "together": together,
            }
            for statement in (_JOBS, _HOLDS, _ENTRIES, _BALANCES):
                connection.execute(statement, values)
            for index in indexes:
                connection.execute(text(index))
        with database.statement() as connection:
            for name in _TABLES:
                connection.execute(text(f"VACUUM (ANALYZE) {name}"))
            connection.execute(text("CHECKPOINT"))
            return [Job(*row) for row in connection.execute(_SOME)]
    finally:
        database.dispose()


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop what is no constraint; the statements that bring it back."""
    rows = connection.execute(_SECONDARY, {"tables": list(_TABLES)}).all()
    for row in rows:
        connection.execute(text(f"DROP INDEX {row.name}"))
    return [row.definition for row in rows]


_SECONDARY = text(
    """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
    WHERE i.indrelid::regclass::text = ANY(:tables) AND c.oid IS NULL
    """
)
# Times are spread over a month that ended two days ago: every output's day is over.
_JOBS = text(
    """
    WITH made AS (
        SELECT gen_random_uuid() AS id, n, n % 10 <> 0 AS good,
            (CAST(:accounts AS uuid[]))[1 + n % cardinality(CAST(:accounts AS uuid[]))] AS account,
            now() - interval '2 days' - random() * interval '30 days' AS t
        FROM generate_series(1, :number) AS n
    ), numbered AS (
        SELECT *, row_number() OVER (PARTITION BY account ORDER BY t) - 1 AS before FROM made
    ), job AS (
        SELECT numbered.*, storefront, first_value(numbered.id) OVER (
            PARTITION BY account, before / :together ORDER BY before) AS batch
        FROM numbered JOIN accounts ON accounts.id = account
    )
    INSERT INTO jobs (id, account_id, seq, batch_id, batch_place, batch_size, storefront, model,
        operation, queue, priority, params, price, price_rule, state, attempt, worker, rung_at,
        step, steps, created_at, queued_at, started_at, finished_at, settled_attempt, error_code,
        error_message, facts, served_by, processing_ms, output_key, output_path, output_sha256,
        output_bytes, output_type, output_expires_at, output_deleted_at)
    SELECT id, account, before + 1, batch, before % :together, :together, storefront, 'sdxl',
        'generate', 'gpu.sdxl', 0,
        jsonb_build_object('prompt', 'a lighthouse in a storm, oil on canvas', 'steps', 30,
            'width', 1024, 'height', 1024, 'guidance_scale', 7.5, 'negative_prompt', '',
            'seed', n),
        :price, 'flat', CASE WHEN good THEN 'succeeded' ELSE 'failed' END, 1, 'worker@host', t,
        30, 30, t, t, t + interval '1 second', t + interval '11 seconds',
        CASE WHEN good THEN 1 END,
        CASE WHEN NOT good THEN 'engine_failed' END,
        CASE WHEN NOT good THEN 'The generation failed. Nothing was charged.' END,
        CASE WHEN good THEN jsonb_build_object('seed', n, 'width', 1024, 'height', 1024) END,
        CASE WHEN good THEN 'sdxl' END, CASE WHEN good THEN 10000 END,
        CASE WHEN good THEN id || '/1/' || md5(id::text) || '.png' END,
        CASE WHEN good THEN 'images/2026/01/01/' || md5(id::text) || '.png' END,
        CASE WHEN good THEN sha256(id::text::bytea) END, CASE WHEN good THEN 1500000 END,
        CASE WHEN good THEN 'image/png' END,
        CASE WHEN good THEN t + interval '25 hours' END,
        CASE WHEN good THEN t + interval '26 hours' END
    FROM job
    """
)
_HOLDS = text(
    """
    INSERT INTO holds (job_id, account_id, amount, state)
    SELECT id, account_id, price, CASE state WHEN 'succeeded' THEN 'charged' ELSE 'released' END
    FROM jobs
    """
)
_ENTRIES = text(
    """
    WITH job AS (
        SELECT id, account_id, price, created_at, finished_at, state = 'succeeded' AS good,
            nextval('ledger_transactions') AS held, nextval('ledger_transactions') AS settled
        FROM jobs
    )
    INSERT INTO entries (transaction_id, account_id, job_id, kind, book, amount, created_at)
    SELECT CASE WHEN line.first THEN job.held ELSE job.settled END, job.account_id, job.id,
        CASE WHEN line.first THEN 'hold' WHEN job.good THEN 'charge' ELSE 'release' END,
        CASE WHEN line.book = 'back' THEN CASE WHEN job.good THEN 'farm' ELSE 'available' END
             ELSE line.book END,
        line.sign * job.price,
        CASE WHEN line.first THEN job.created_at ELSE job.finished_at END
    FROM job, (VALUES (true, 'available', -1), (true, 'held', 1),
                      (false, 'held', -1), (false, 'back', 1)) AS line (first, book, sign)
    """
)
_BALANCES = text(
    """
    UPDATE accounts SET posted = posted - spent.tenths, jobs_made = spent.jobs,
        grant_left = greatest(grant_left - spent.tenths, 0)
    FROM (SELECT account_id, count(*) AS jobs,
              sum(price) FILTER (WHERE state = 'succeeded') AS tenths
          FROM jobs GROUP BY account_id) AS spent
    WHERE accounts.id = spent.account_id
    """
)
_SOME = text("SELECT id, account_id FROM jobs ORDER BY id LIMIT 1000")
