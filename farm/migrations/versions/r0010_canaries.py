"""Canaries: messages that go the way of a job and come back as a row.

One row for each queue: when the last canary was sent down, and when one last came out and at
which worker.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

UPGRADE = """
CREATE TABLE canaries (
    queue text PRIMARY KEY,
    sent_at timestamptz,
    answered_at timestamptz,
    answered_by text
);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute("DROP TABLE canaries")
