"""Webhooks: who is told of a job's end, each message with its tries, and who sends.

A delivery is written by the statement that ends its job. ``target`` is what is slow or dead
as one: an endpoint, or the origin of a URL that came with a submit. ``attempt`` is the fence
of a sender's lease and only rises; ``tries`` counts within one round of the schedule, which a
replay begins anew. Its endpoint is no foreign key: an endpoint that is deleted just then must
not make the end of a job fail.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

UPGRADE = """
ALTER TABLE jobs ADD COLUMN webhook_url text;

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    url text CHECK (length(url) BETWEEN 1 AND 2048),
    events text[],
    enabled boolean NOT NULL DEFAULT true,
    disabled_reason text,
    secret text,
    previous_secret text,
    previous_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    since timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT webhook_endpoints_reason CHECK (NOT (enabled AND disabled_reason IS NOT NULL)),
    CONSTRAINT webhook_endpoints_secret CHECK ((secret IS NULL) = (deleted_at IS NOT NULL)),
    CONSTRAINT webhook_endpoints_overlap
        CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX webhook_endpoints_of_account ON webhook_endpoints (account_id)
    WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX webhook_endpoints_default ON webhook_endpoints (account_id)
    WHERE url IS NULL;

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    endpoint_id uuid,
    job_id uuid REFERENCES jobs (id),
    url text,
    target uuid NOT NULL,
    event text NOT NULL,
    state text NOT NULL DEFAULT 'scheduled'
        CHECK (state IN ('scheduled', 'delivered', 'given_up')),
    attempt integer NOT NULL DEFAULT 0,
    tries smallint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT webhook_deliveries_where CHECK ((endpoint_id IS NULL) = (url IS NOT NULL)),
    CONSTRAINT webhook_deliveries_end CHECK ((state = 'scheduled') = (ended_at IS NULL))
);
-- The sender goes from target to target along this one, however many wait for each.
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (target, next_at)
    WHERE state = 'scheduled';
CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (job_id, target)
    WHERE job_id IS NOT NULL;
CREATE INDEX webhook_deliveries_listed
    ON webhook_deliveries (account_id, endpoint_id, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);

CREATE TABLE webhook_tries (
    delivery_id uuid NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    status smallint,
    error text,
    milliseconds integer NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);

CREATE TABLE webhook_troubles (
    target uuid PRIMARY KEY,
    failures integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
    name text PRIMARY KEY,
    holder uuid NOT NULL,
    until timestamptz NOT NULL
);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(
        "DROP TABLE leases, webhook_troubles, webhook_tries, webhook_deliveries, webhook_endpoints"
    )
    op.execute("ALTER TABLE jobs DROP COLUMN webhook_url")
