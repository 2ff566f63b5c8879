"""Pictures that jobs work on: kept until the job ends, some of them still to be fetched.

A job whose inputs are on their way is queued and not ``ready``; no worker can claim it. The
columns ``fetches`` and ``fetch_until`` bound how often, and by how many at once, its inputs
are asked for.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

UPGRADE = """
ALTER TABLE jobs
    ADD COLUMN ready boolean NOT NULL DEFAULT true,
    ADD COLUMN fetches smallint NOT NULL DEFAULT 0,
    ADD COLUMN fetch_until timestamptz,
    ADD CONSTRAINT jobs_run_ready CHECK (ready OR state NOT IN ('running', 'succeeded'));
-- What a model's jobs lately took: /v1/models shows the median.
CREATE INDEX jobs_measured ON jobs (model, finished_at DESC) WHERE state = 'succeeded';

CREATE TABLE inputs (
    job_id uuid NOT NULL REFERENCES jobs (id),
    name text NOT NULL,
    url text,
    key text,
    sha256 bytea CHECK (length(sha256) = 32),
    bytes bigint,
    width integer,
    height integer,
    deleted_at timestamptz,
    PRIMARY KEY (job_id, name),
    CONSTRAINT inputs_somewhere CHECK (
        deleted_at IS NOT NULL OR url IS NOT NULL OR key IS NOT NULL),
    CONSTRAINT inputs_stored CHECK (key IS NULL OR
        (sha256 IS NOT NULL AND bytes > 0 AND width > 0 AND height > 0))
);
CREATE INDEX inputs_kept ON inputs (job_id) WHERE deleted_at IS NULL;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE inputs")
    op.execute("DROP INDEX jobs_measured")
    op.execute(
        "ALTER TABLE jobs DROP CONSTRAINT jobs_run_ready, DROP COLUMN ready, "
        "DROP COLUMN fetches, DROP COLUMN fetch_until"
    )
