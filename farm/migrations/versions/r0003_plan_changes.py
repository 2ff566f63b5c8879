"""What a plan change needs to know: the credits this month has had, and the plan of the next.

The index makes an account's history a look at its newest entries instead of at all of them.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = """
ALTER TABLE accounts
    ADD COLUMN granted_in_period bigint NOT NULL DEFAULT 0,
    ADD COLUMN next_plan text,
    ADD CONSTRAINT accounts_granted_in_period CHECK (granted_in_period >= 0),
    ADD CONSTRAINT accounts_next_plan CHECK (next_plan <> plan);
CREATE INDEX entries_of_account ON entries (account_id, id);
"""
# A change of plan used to give the new plan's credits in full, so the largest grant since the
# month began is what the account has had by the rule that holds from here on. The month began
# as many whole months after the account as it ends, less one.
BACKFILL = """
WITH months AS (
    SELECT id, created_at AT TIME ZONE 'UTC' AS born, period_end AT TIME ZONE 'UTC' AS over
    FROM accounts
)
, period AS (
    SELECT id, (born + make_interval(months => (
        12 * (extract(year FROM over) - extract(year FROM born))
        + extract(month FROM over) - extract(month FROM born) - 1)::int
    )) AT TIME ZONE 'UTC' AS began
    FROM months
)
, given AS (
    SELECT period.id, max(entries.amount) AS tenths
    FROM entries JOIN period ON period.id = entries.account_id
    WHERE entries.kind = 'grant' AND entries.book = 'available'
      AND entries.created_at >= period.began
    GROUP BY period.id
)
UPDATE accounts SET granted_in_period = given.tenths FROM given WHERE given.id = accounts.id;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(BACKFILL)


def downgrade() -> None:
    op.execute("DROP INDEX entries_of_account")
    op.execute(
        "ALTER TABLE accounts DROP CONSTRAINT accounts_granted_in_period, "
        "DROP CONSTRAINT accounts_next_plan, DROP COLUMN granted_in_period, DROP COLUMN next_plan"
    )
