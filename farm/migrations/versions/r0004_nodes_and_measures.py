"""What workers tell of themselves, and what a job tells of its time.

``shape`` is what decides how long a job of a model takes (its size, its steps): jobs of one
shape are measured together. ``freed_at`` is when the worker of a cancelled job had stopped.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

UPGRADE = """
ALTER TABLE jobs
    ADD COLUMN shape text NOT NULL DEFAULT '',
    ADD COLUMN freed_at timestamptz;
CREATE INDEX jobs_measured_by_shape ON jobs (model, shape, finished_at DESC)
    WHERE state = 'succeeded';

CREATE TABLE nodes (
    name text PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    queues text[] NOT NULL,
    device text NOT NULL,
    gpu text,
    memory_bytes bigint NOT NULL,
    memory_used_bytes bigint NOT NULL,
    models jsonb NOT NULL DEFAULT '{}',
    versions jsonb NOT NULL DEFAULT '{}',
    job_id uuid,
    step integer NOT NULL DEFAULT 0,
    steps integer NOT NULL DEFAULT 0,
    job_started_at timestamptz,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX nodes_seen ON nodes (seen_at);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE nodes")
    op.execute("DROP INDEX jobs_measured_by_shape")
    op.execute("ALTER TABLE jobs DROP COLUMN shape, DROP COLUMN freed_at")
