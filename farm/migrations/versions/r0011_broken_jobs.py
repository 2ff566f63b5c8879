"""Operators ask which jobs broke their workers lately: an index of those few."""

from alembic import op

revision = "0011"
down_revision = "0010"

UPGRADE = """
CREATE INDEX jobs_broke_workers ON jobs (finished_at)
    WHERE error_code IN ('worker_crash', 'gpu_out_of_memory', 'gpu_failed', 'timeout');
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP INDEX jobs_broke_workers")
