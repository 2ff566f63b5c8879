"""The statements of a submit: one that does it all, and what is asked where it wrote nothing."""

from __future__ import annotations

from sqlalchemy import text

from farm import inputs, ledger
from farm.prepared import Prepared
from farm.webhooks import outbox

IDEMPOTENCY_HOURS = 24


# Start-time fair queueing: an account's next job stands one turn behind its last one, and never
# before the turn that its line has come to. An account without live jobs owes the line nothing,
# whatever it sent and took back before, and each live job counts for one turn at most.
_TURN = """least(
                greatest(line.begins, (turns ->> :queue)::bigint + 1), line.begins + live + 1)"""

# The turn that the job's line has come to, and how many jobs wait in its queue. Counting a long
# queue takes longer than all the rest, so it is done where :counted says so.
_LINE = """
        SELECT coalesce((SELECT turn FROM lines
                         WHERE queue = :queue AND priority = :priority), 0) AS begins,
            CASE WHEN :counted THEN (
                SELECT count(*) FROM (SELECT 1 FROM jobs WHERE queue = :queue
                                      AND state = 'queued' LIMIT :queue_max) AS waiting
            ) ELSE 0 END AS backlog OFFSET 0
    """


def _submit_sql(*, once: bool, with_inputs: bool) -> str:
    unused = """
          AND NOT EXISTS (SELECT 1 FROM idempotency_keys
                          WHERE account_id = :account AND key = :idempotency)"""
    remember = """
, remembered AS (
    INSERT INTO idempotency_keys (account_id, key, body_sha256, job_id)
    SELECT job.account_id, :idempotency, :body_sha256, job.id FROM job
)
"""
    return f"""
    WITH line AS ({_LINE})
    , account AS (
        UPDATE accounts SET held = held + :price, jobs_made = jobs_made + 1, live = live + 1,
            turns = turns || jsonb_build_object(CAST(:queue AS text), {_TURN})
        FROM line
        WHERE id = :account AND posted - held >= :price AND status = 'active'
          AND live < :jobs_max AND backlog < :queue_max
          AND EXISTS (SELECT 1 FROM api_keys WHERE id = :key_id AND revoked_at IS NULL)
          {unused if once else ""}
        RETURNING id, jobs_made, (turns ->> :queue)::bigint AS turn, backlog
    )
    , job AS (
        INSERT INTO jobs (id, account_id, seq, batch_id, batch_place, batch_size, storefront,
                          model, sold_as, operation, queue, priority, turn, params, about,
                          shape, warnings, price, price_rule, webhook_url, rung_at
                          {", ready" if with_inputs else ""})
        SELECT :id, account.id, account.jobs_made, :batch_id, :batch_place, :batch_size,
               :storefront, :model, :sold_as, :operation, :queue, :priority, account.turn,
               CAST(:params AS jsonb), CAST(:about AS jsonb), :shape, CAST(:warnings AS jsonb),
               :price, :price_rule, :webhook_url, now()
               {", :ready" if with_inputs else ""}
        FROM account
        RETURNING id, account_id, created_at
    )
    {ledger.OPEN_HOLD}
    {remember if once else ""}
    {inputs.INSERT if with_inputs else ""}
    SELECT created_at, (SELECT backlog FROM account) AS backlog FROM job
    """


SUBMIT = {
    (once, with_inputs): text(_submit_sql(once=once, with_inputs=with_inputs))
    for once in (False, True)
    for with_inputs in (False, True)
}
"""By whether there is an Idempotency-Key, and whether there are inputs."""

SUBMIT_PREPARED = Prepared(
    "farm_submit",
    _submit_sql(once=False, with_inputs=False),
    {
        "id": "uuid",
        "account": "uuid",
        "key_id": "uuid",
        "price": "bigint",
        "priority": "smallint",
        "jobs_max": "integer",
        "queue_max": "bigint",
        "counted": "boolean",
        "batch_id": "uuid",
        "batch_place": "smallint",
        "batch_size": "smallint",
    },
)
CREATED_AT = text("SELECT created_at FROM jobs WHERE id = :id")
_ANSWERED = (
    "j.id, j.state, j.attempt, j.model, j.sold_as, j.operation, j.queue, j.priority, j.price, "
    "j.created_at, j.warnings, j.ready"
)
EARLIER = text(
    f"SELECT {_ANSWERED}, i.body_sha256, "
    f"i.created_at < now() - interval '{IDEMPOTENCY_HOURS} hours' AS stale "
    "FROM idempotency_keys i JOIN jobs j ON j.id = i.job_id "
    "WHERE i.account_id = :account AND i.key = :idempotency"
)
SAME_BATCH = text(
    f"SELECT {_ANSWERED} FROM jobs f JOIN jobs j ON j.account_id = f.account_id "
    "AND j.seq BETWEEN f.seq AND f.seq + f.batch_size - 1 WHERE f.id = :id ORDER BY j.seq"
)
FORGET = text("DELETE FROM idempotency_keys WHERE account_id = :account AND key = :idempotency")
STANDING = text(
    "SELECT a.status, a.posted - a.held AS available, a.live, k.revoked_at IS NOT NULL AS revoked "
    "FROM api_keys k JOIN accounts a ON a.id = k.account_id "
    "WHERE k.id = :key_id AND a.id = :account"
)
BLOCK = text(
    f"""
    WITH job AS (
        UPDATE jobs SET state = 'blocked', finished_at = now(), error_code = 'prompt_refused',
            error_message = :message
        WHERE id = :id AND state = 'queued' RETURNING {outbox.JOB}
    )
    {ledger.RELEASE}
    {outbox.TELL}
    SELECT id FROM job
    """
)

FORGET_OLD = text(
    f"""
    DELETE FROM idempotency_keys WHERE (account_id, key) IN (
        SELECT account_id, key FROM idempotency_keys
        WHERE created_at < now() - interval '{IDEMPOTENCY_HOURS} hours'
        ORDER BY created_at LIMIT :limit
    )
    """
)
