"""The books, checked: each invariant is one SQL query that returns what breaks it.

``farm ledger audit`` prints a line for each and exits 0 only if all hold; beat runs it every
hour; a test ends with it wherever something was broken on purpose. All queries of one audit
see the same snapshot, so it may run while jobs are being submitted and settled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from farm.catalog import Catalog
from farm.config import Settings
from farm.crash_points import Effect, around
from farm.db import mapped_failures
from farm.errors import NotFound
from farm.patience import statements_may_take
from farm.services import Services
from farm.storage import Storage
from farm.webhooks.deliveries import KEPT_DAYS
from farm.webhooks.queue import OVERDUE_DAYS

TIMEOUT_S = 600
_CHUNK = 1 << 20
_SLACK_S = 120.0
"""What sweeping, reaping and a busy database may add to a job's bound."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one invariant; ``example`` names one offender where there is any."""

    number: int
    sentence: str
    offenders: int
    example: str

    @property
    def holds(self) -> bool:
        """True when nothing breaks the invariant."""
        return self.offenders == 0


_ENDED_WITHOUT = "('failed', 'blocked', 'cancelled', 'expired')"

# Deliveries are kept for a little longer than this.
_TOLD_WITHIN = f"interval '{KEPT_DAYS - 1} days'"
# A job may have ended beside an endpoint that was just being added.
_SEEN_AFTER = "interval '1 minute'"
# Somebody gives up what has been due for so long, or nobody sends at all.
_OVERDUE = f"interval '{OVERDUE_DAYS + 1} days'"

_QUERIES: tuple[tuple[int, str, str], ...] = (
    (
        1,
        "the entries of every transaction sum to zero, and so do all entries",
        """
        SELECT 'transaction ' || transaction_id AS who FROM entries
        GROUP BY transaction_id HAVING sum(amount) <> 0
        UNION ALL
        SELECT 'all entries' FROM entries HAVING coalesce(sum(amount), 0) <> 0
        """,
    ),
    (
        2,
        "each account's posted, held and live equal its entries and its open holds",
        """
        SELECT 'account ' || a.id AS who FROM accounts a
        LEFT JOIN (
            SELECT account_id, sum(amount) FILTER (WHERE book <> 'farm') AS posted,
                   sum(amount) FILTER (WHERE book = 'held') AS held
            FROM entries GROUP BY account_id
        ) e ON e.account_id = a.id
        LEFT JOIN (
            SELECT account_id, sum(amount) AS held, count(*) AS jobs FROM holds
            WHERE state = 'open' GROUP BY account_id
        ) h ON h.account_id = a.id
        WHERE a.posted <> coalesce(e.posted, 0) OR a.held <> coalesce(e.held, 0)
           OR a.held <> coalesce(h.held, 0) OR a.live <> coalesce(h.jobs, 0)
        """,
    ),
    (
        3,
        "no account has less than nothing available",
        "SELECT 'account ' || id AS who FROM accounts WHERE posted - held < 0 OR held < 0",
    ),
    (
        4,
        "a job has one hold; succeeded one charge, ended otherwise one release, live neither",
        f"""
        SELECT 'job ' || j.id AS who FROM jobs j
        LEFT JOIN holds h ON h.job_id = j.id
        LEFT JOIN (
            SELECT job_id, count(*) FILTER (WHERE kind = 'hold') AS held,
                   count(*) FILTER (WHERE kind = 'charge') AS charged,
                   count(*) FILTER (WHERE kind = 'release') AS released
            FROM entries WHERE book = 'held' AND job_id IS NOT NULL GROUP BY job_id
        ) e ON e.job_id = j.id
        WHERE h.job_id IS NULL OR h.amount <> j.price OR h.account_id <> j.account_id
           OR coalesce(e.held, 0) <> 1
           OR coalesce(e.charged, 0) <> (j.state = 'succeeded')::int
           OR coalesce(e.released, 0) <> (j.state IN {_ENDED_WITHOUT})::int
           OR h.state <> CASE WHEN j.state IN ('queued', 'running') THEN 'open'
                              WHEN j.state = 'succeeded' THEN 'charged' ELSE 'released' END
        """,
    ),
    (
        5,
        "the settled attempt is the job's attempt and its output exists unaltered until it expires",
        """
        SELECT 'job ' || id AS who FROM jobs
        WHERE state = 'succeeded' AND (settled_attempt IS DISTINCT FROM attempt
            OR NOT starts_with(output_key, id || '/' || settled_attempt || '/')
            OR output_key IS NULL OR output_sha256 IS NULL OR output_expires_at IS NULL
            OR (output_deleted_at IS NOT NULL AND output_deleted_at < output_expires_at))
        """,
    ),
    (
        6,
        "granted less charged less expired is what is available and held, per account",
        """
        SELECT 'account ' || a.id AS who FROM accounts a
        LEFT JOIN (
            SELECT account_id,
                   coalesce(sum(amount) FILTER (WHERE book = 'available'
                       AND kind IN ('grant', 'purchase', 'adjust', 'expire')), 0) AS given,
                   coalesce(sum(amount) FILTER (WHERE book = 'held' AND kind = 'charge'), 0)
                       AS charged
            FROM entries GROUP BY account_id
        ) e ON e.account_id = a.id
        WHERE coalesce(e.given, 0) + coalesce(e.charged, 0) <> a.posted
        """,
    ),
    (
        7,
        "no live job is older than its bound",
        """
        SELECT 'job ' || id AS who FROM jobs
        WHERE (state = 'queued' AND queued_at < now() - :queued_s * interval '1 second')
           OR (state = 'running' AND lease_until < now() - :running_s * interval '1 second')
           OR (state IN ('queued', 'running')
               AND created_at < now() - :alive_s * interval '1 second')
        """,
    ),
    (
        8,
        "every ended job with a webhook has its event delivered, scheduled or given up",
        f"""
        SELECT 'job ' || j.id AS who FROM jobs j
        WHERE j.webhook_url IS NOT NULL AND j.finished_at > now() - {_TOLD_WITHIN}
          AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d
                          WHERE d.job_id = j.id AND d.url = j.webhook_url
                            AND d.event = 'job.' || j.state)
        UNION ALL
        SELECT 'job ' || j.id || ' at endpoint ' || e.id FROM webhook_endpoints e
        JOIN jobs j ON j.account_id = e.account_id AND j.finished_at > e.since + {_SEEN_AFTER}
        WHERE e.url IS NOT NULL AND e.enabled AND e.deleted_at IS NULL
          AND (e.events IS NULL OR 'job.' || j.state = ANY (e.events))
          AND j.finished_at > now() - {_TOLD_WITHIN}
          AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d
                          WHERE d.job_id = j.id AND d.target = e.id)
        UNION ALL
        SELECT 'delivery ' || d.id FROM webhook_deliveries d
        LEFT JOIN jobs j ON j.id = d.job_id
        WHERE (d.job_id IS NOT NULL AND d.event <> 'job.' || j.state)
           OR (d.state = 'scheduled' AND d.next_at < now() - {_OVERDUE})
        """,
    ),
    (
        9,
        "an idempotency key belongs to one job of its own account",
        """
        SELECT 'key of account ' || i.account_id AS who FROM idempotency_keys i
        LEFT JOIN jobs j ON j.id = i.job_id
        WHERE j.id IS NULL OR j.account_id <> i.account_id
        UNION ALL
        SELECT 'job ' || job_id FROM idempotency_keys GROUP BY job_id HAVING count(*) > 1
        """,
    ),
    (
        10,
        "a job that may start has all of its inputs",
        """
        SELECT 'job ' || j.id AS who FROM jobs j JOIN inputs i ON i.job_id = j.id
        WHERE j.state IN ('queued', 'running')
          AND (i.deleted_at IS NOT NULL OR (j.ready AND i.key IS NULL))
        """,
    ),
    (
        11,
        "an account's jobs are numbered without a gap, and no batch is a part of one",
        """
        SELECT 'account ' || a.id AS who FROM accounts a
        LEFT JOIN (SELECT account_id, count(*) AS jobs, max(seq) AS last FROM jobs
                   GROUP BY account_id) j ON j.account_id = a.id
        WHERE a.jobs_made <> coalesce(j.jobs, 0) OR a.jobs_made <> coalesce(j.last, 0)
        UNION ALL
        SELECT 'batch ' || batch_id FROM jobs GROUP BY batch_id
        HAVING count(*) <> max(batch_size) OR min(batch_size) <> max(batch_size)
            OR max(seq) - min(seq) + 1 <> count(*) OR min(account_id::text) <> max(account_id::text)
        """,
    ),
)

_READABLE_OUTPUTS = text(
    """
    SELECT id, output_key, output_sha256 FROM jobs
    WHERE output_key IS NOT NULL AND output_deleted_at IS NULL
      AND output_sha256 IS NOT NULL AND output_expires_at > now() + interval '1 minute'
    ORDER BY finished_at DESC LIMIT :limit
    """
)


def audit(services: Services, *, files_max: int | None = None) -> list[Finding]:
    """Run every invariant; the files of at most ``files_max`` newest outputs are read back.

    The result is kept in the ``audits`` table for ``/metrics``.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
        StorageUnavailable: an output exists but cannot be read.
    """
    started = time.monotonic()
    bounds = _bounds(services.settings, services.catalog)
    with mapped_failures(), services.db.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin(), statements_may_take(connection, TIMEOUT_S):
            findings = [
                _finding(number, sentence, list(_offenders(connection, query, bounds)))
                for number, sentence, query in _QUERIES
            ]
            outputs = connection.execute(_READABLE_OUTPUTS, {"limit": files_max}).all()
    damaged = [
        f"job {row.id}"
        for row in outputs
        if _digest(services.storage, row.output_key) != bytes(row.output_sha256)
    ]
    findings = [_with_files(finding, damaged) for finding in findings]
    _keep(services, time.monotonic() - started, findings)
    return findings


def summary(findings: list[Finding]) -> str:
    """One line for people: all invariants hold, or which do not."""
    broken = [str(finding.number) for finding in findings if not finding.holds]
    if not broken:
        return f"audit: all {len(findings)} invariants hold"
    return f"audit: BROKEN: invariant {', '.join(broken)} (of {len(findings)})"


def _bounds(settings: Settings, catalog: Catalog) -> dict[str, float]:
    """The longest that a job may stay queued, without a heartbeat, and alive at all, seconds."""
    slowest_s = max(card.hard_limit_s for card in catalog.models.values())
    turn_s = settings.start_within_s + slowest_s + settings.lease_s
    return {
        "queued_s": settings.start_within_s + _SLACK_S,
        "running_s": _SLACK_S,
        "alive_s": turn_s * (settings.attempts_max + 1) + _SLACK_S,
    }


def _offenders(connection: Connection, query: str, bounds: dict[str, float]) -> Iterator[str]:
    used = {name: value for name, value in bounds.items() if f":{name}" in query}
    return iter(connection.execute(text(query), used).scalars().all())


def _finding(number: int, sentence: str, offenders: list[str]) -> Finding:
    return Finding(number, sentence, len(offenders), offenders[0] if offenders else "")


def _with_files(finding: Finding, damaged: list[str]) -> Finding:
    if finding.number != 5 or not damaged:
        return finding
    example = finding.example or damaged[0]
    return Finding(finding.number, finding.sentence, finding.offenders + len(damaged), example)


def _digest(storage: Storage, key: str) -> bytes:
    """The SHA-256 of a stored output; of nothing at all where it is missing."""
    digest = hashlib.sha256()
    try:
        with storage.open(key) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except NotFound:
        return b""
    return digest.digest()


def _keep(services: Services, seconds: float, findings: list[Finding]) -> None:
    broken: list[dict[str, Any]] = [
        {"number": f.number, "offenders": f.offenders, "example": f.example}
        for f in findings
        if not f.holds
    ]
    with around(Effect.AUDIT), services.db.statement() as connection:
        connection.execute(
            text("INSERT INTO audits (seconds, broken) VALUES (:seconds, CAST(:broken AS jsonb))"),
            {"seconds": seconds, "broken": json.dumps(broken)},
        )
