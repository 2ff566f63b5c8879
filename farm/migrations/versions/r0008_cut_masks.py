"""Masks that are cut out.

Of a mask that is to be fetched it is known from the request alone how it is to be read:
``cut_out`` says that its transparency counts, and not its brightness.
"""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE inputs ADD COLUMN cut_out boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE inputs DROP COLUMN cut_out")
