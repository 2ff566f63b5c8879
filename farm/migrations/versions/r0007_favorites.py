"""Jobs that their owner marked. Apart from the jobs, so that no poll and no submit reads them."""

from alembic import op

revision = "0007"
down_revision = "0006"

UPGRADE = """
CREATE TABLE favorites (
    job_id uuid PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE favorites")
