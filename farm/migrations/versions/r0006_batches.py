"""Batches, and jobs that are sold under another model's name.

``seq`` numbers an account's jobs from 1 without gaps: the account's row is locked while a job
is written, so the order is that of the commits, and a page of a list ends at a number that
never moves. A batch is known by its first job: ``batch_id`` is that job's id, its own where it
is alone; the jobs of one batch have consecutive numbers. ``about`` are the request's own words
that the storefront shows again.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = """
ALTER TABLE accounts ADD COLUMN jobs_made bigint NOT NULL DEFAULT 0;
ALTER TABLE jobs
    ADD COLUMN seq bigint,
    ADD COLUMN batch_id uuid,
    ADD COLUMN batch_place smallint NOT NULL DEFAULT 0,
    ADD COLUMN batch_size smallint NOT NULL DEFAULT 1,
    ADD COLUMN sold_as text NOT NULL DEFAULT '',
    ADD COLUMN about jsonb NOT NULL DEFAULT '{}';

-- The guards look at moves of state and money; here neither moves.
ALTER TABLE jobs DISABLE TRIGGER USER;
UPDATE jobs SET seq = numbered.seq, batch_id = jobs.id
FROM (SELECT id, row_number() OVER (PARTITION BY account_id ORDER BY created_at, id) AS seq
      FROM jobs) AS numbered
WHERE numbered.id = jobs.id;
ALTER TABLE jobs ENABLE TRIGGER USER;
UPDATE accounts SET jobs_made = counted.jobs
FROM (SELECT account_id, count(*) AS jobs FROM jobs GROUP BY account_id) AS counted
WHERE counted.account_id = accounts.id;

ALTER TABLE jobs
    ALTER COLUMN seq SET NOT NULL,
    ALTER COLUMN batch_id SET NOT NULL,
    ADD CONSTRAINT jobs_batch
        CHECK (batch_size BETWEEN 1 AND 16 AND batch_place BETWEEN 0 AND batch_size - 1),
    ADD CONSTRAINT jobs_batch_first CHECK ((batch_place = 0) = (batch_id = id));
CREATE UNIQUE INDEX jobs_in_order ON jobs (account_id, seq);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP INDEX jobs_in_order")
    op.execute(
        "ALTER TABLE jobs DROP COLUMN about, DROP COLUMN sold_as, DROP COLUMN batch_size, "
        "DROP COLUMN batch_place, DROP COLUMN batch_id, DROP COLUMN seq"
    )
    op.execute("ALTER TABLE accounts DROP COLUMN jobs_made")
