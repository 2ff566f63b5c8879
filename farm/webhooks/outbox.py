"""The outbox: the deliveries of a job's end, written by the very statement that ends it.

A part of a SQL statement, as the ledger's are: what ended has its deliveries, and what was
rolled back has none. Nothing is sent here; :mod:`farm.webhooks.pump` asks for what is due.
"""

from __future__ import annotations

from farm.types import JobState

JOB_EVENTS = tuple(f"job.{state.value}" for state in JobState if state.is_terminal)
"""The events an endpoint may be told of, one for each way in which a job ends."""

PING = "test.ping"
"""Sent when somebody asks for a test, whatever the endpoint is told of."""

TELL = """
, told AS (
    INSERT INTO webhook_deliveries (id, account_id, endpoint_id, job_id, url, target, event)
    SELECT gen_random_uuid(), job.account_id, e.id, job.id, CAST(NULL AS text), e.id,
        'job.' || job.state
    FROM job JOIN webhook_endpoints e ON e.account_id = job.account_id
    WHERE e.deleted_at IS NULL AND e.enabled AND e.url IS NOT NULL
      AND (e.events IS NULL OR 'job.' || job.state = ANY (e.events))
    UNION ALL
    SELECT gen_random_uuid(), job.account_id, CAST(NULL AS uuid), job.id, job.webhook_url,
        CAST(md5(job.account_id || coalesce(substring(job.webhook_url from '^[^/]*//[^/?]*'),
                                            job.webhook_url)) AS uuid),
        'job.' || job.state
    FROM job WHERE job.webhook_url IS NOT NULL
    ON CONFLICT DO NOTHING
)
"""
"""Follows a CTE ``job(id, account_id, state, webhook_url)`` of one job that has just ended.

Nothing in it may fail: that would undo the end itself.
"""

JOB = "id, account_id, state, webhook_url"
"""What that CTE must return."""
