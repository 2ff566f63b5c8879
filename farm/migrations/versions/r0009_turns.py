"""Turns: which of a queue's jobs is next, and how many jobs an account has at once.

``jobs.turn`` is a virtual start time (start-time fair queueing, Goyal, Vin and Cheng 1996):
within a priority the lowest turn is served first. ``lines`` has, for each queue and priority, the
highest turn that was served: where somebody who comes now begins. ``accounts.turns`` remembers
the turn of the account's last job in each queue, by queue. ``accounts.live`` counts its open
holds.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

UPGRADE = """
ALTER TABLE accounts
    ADD COLUMN live integer NOT NULL DEFAULT 0 CHECK (live >= 0),
    ADD COLUMN turns jsonb NOT NULL DEFAULT '{}';
UPDATE accounts SET live = counted.jobs
FROM (SELECT account_id, count(*) AS jobs FROM holds WHERE state = 'open' GROUP BY account_id)
    AS counted
WHERE counted.account_id = accounts.id;

-- Jobs that wait already keep the order in which they came.
ALTER TABLE jobs ADD COLUMN turn bigint NOT NULL DEFAULT 0;
CREATE INDEX jobs_turns ON jobs (queue, priority, turn, queued_at)
    WHERE state = 'queued' AND ready;

-- Few rows, and changed with every claim: room for the changes beside each.
CREATE TABLE lines (
    queue text NOT NULL,
    priority smallint NOT NULL,
    turn bigint NOT NULL,
    PRIMARY KEY (queue, priority)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE lines")
    op.execute("DROP INDEX jobs_turns")
    op.execute("ALTER TABLE jobs DROP COLUMN turn")
    op.execute("ALTER TABLE accounts DROP COLUMN turns, DROP COLUMN live")
