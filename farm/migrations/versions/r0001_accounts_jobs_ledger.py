"""Accounts, keys, jobs, holds and the double-entry ledger, with the database's own guards.

The application keeps the rules; the guards below make breaking them an error instead of a
wrong balance: checks on every amount, one hold and one settlement a job, entries that can
only be added and that sum to zero, job states that move only forwards.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    storefront text NOT NULL,
    plan text NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'blocked')),
    posted bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    grant_left bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    period_end timestamptz NOT NULL,
    CONSTRAINT accounts_no_overdraft CHECK (held >= 0 AND posted >= held),
    CONSTRAINT accounts_grant_within CHECK (grant_left >= 0 AND grant_left <= posted)
);
CREATE UNIQUE INDEX accounts_email ON accounts (storefront, lower(email));
CREATE INDEX accounts_period_end ON accounts (period_end);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    sha256 bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    shown text NOT NULL,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE INDEX api_keys_account ON api_keys (account_id);

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts (id),
    storefront text NOT NULL,
    model text NOT NULL,
    operation text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    params jsonb NOT NULL,
    warnings jsonb NOT NULL DEFAULT '[]',
    price bigint NOT NULL CHECK (price >= 0),
    price_rule text NOT NULL,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN
        ('queued', 'running', 'succeeded', 'failed', 'blocked', 'cancelled', 'expired')),
    attempt smallint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    handed_back smallint NOT NULL DEFAULT 0 CHECK (handed_back BETWEEN 0 AND attempt),
    deaths smallint NOT NULL DEFAULT 0,
    out_of_memory smallint NOT NULL DEFAULT 0,
    worker text,
    lease_until timestamptz,
    rung_at timestamptz,
    step integer NOT NULL DEFAULT 0,
    steps integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    queued_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    settled_attempt smallint,
    error_code text,
    error_message text,
    facts jsonb,
    served_by text,
    processing_ms integer,
    output_key text,
    output_path text,
    output_sha256 bytea,
    output_bytes bigint,
    output_type text,
    output_expires_at timestamptz,
    output_deleted_at timestamptz,
    CONSTRAINT jobs_lease CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT jobs_end CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL)),
    CONSTRAINT jobs_settled CHECK ((state = 'succeeded') = (settled_attempt IS NOT NULL)),
    CONSTRAINT jobs_output CHECK ((state = 'succeeded') = (output_key IS NOT NULL))
);
-- Partial indexes: a million finished jobs cost the live ones nothing.
CREATE INDEX jobs_queued ON jobs (queue, queued_at) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_of_account ON jobs (account_id, created_at DESC);
CREATE UNIQUE INDEX jobs_output_path ON jobs (output_path)
    WHERE output_path IS NOT NULL AND output_deleted_at IS NULL;
CREATE INDEX jobs_output_expiry ON jobs (output_expires_at)
    WHERE output_key IS NOT NULL AND output_deleted_at IS NULL;

CREATE TABLE holds (
    job_id uuid PRIMARY KEY REFERENCES jobs (id),
    account_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'charged', 'released'))
);
CREATE INDEX holds_open ON holds (account_id) WHERE state = 'open';

CREATE SEQUENCE ledger_transactions;
CREATE TABLE entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id bigint NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts (id),
    job_id uuid,
    kind text NOT NULL CHECK (kind IN
        ('grant', 'expire', 'purchase', 'hold', 'charge', 'release', 'adjust')),
    book text NOT NULL CHECK (book IN ('available', 'held', 'farm')),
    amount bigint NOT NULL,
    reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT entries_job CHECK ((job_id IS NOT NULL) = (kind IN ('hold', 'charge', 'release'))),
    CONSTRAINT entries_adjust_says_why CHECK (kind <> 'adjust' OR reason <> '')
);
CREATE UNIQUE INDEX entries_one_hold ON entries (job_id) WHERE kind = 'hold' AND book = 'held';
CREATE UNIQUE INDEX entries_one_settlement ON entries (job_id)
    WHERE kind IN ('charge', 'release') AND book = 'held';

CREATE TABLE idempotency_keys (
    account_id uuid NOT NULL REFERENCES accounts (id),
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    body_sha256 bytea NOT NULL,
    job_id uuid NOT NULL UNIQUE REFERENCES jobs (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ran_at timestamptz NOT NULL DEFAULT now(),
    seconds double precision NOT NULL,
    broken jsonb NOT NULL
);
"""

GUARDS = """
CREATE FUNCTION farm_job_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.price <> OLD.price OR NEW.account_id <> OLD.account_id THEN
        RAISE EXCEPTION 'job %: price and account are frozen at submit', OLD.id;
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        RAISE EXCEPTION 'job %: the attempt number never falls', OLD.id;
    END IF;
    IF OLD.state IN ('succeeded', 'failed', 'blocked', 'cancelled', 'expired') THEN
        IF NEW.state <> OLD.state
           OR NEW.settled_attempt IS DISTINCT FROM OLD.settled_attempt
           OR NEW.attempt <> OLD.attempt
           OR NEW.output_key IS DISTINCT FROM OLD.output_key THEN
            RAISE EXCEPTION 'job %: % is terminal', OLD.id, OLD.state;
        END IF;
    ELSIF NEW.state = OLD.state THEN
        NULL;
    ELSIF NOT (
        (OLD.state = 'queued'
            AND NEW.state IN ('running', 'failed', 'blocked', 'cancelled', 'expired'))
        OR (OLD.state = 'running'
            AND NEW.state IN ('queued', 'succeeded', 'failed', 'blocked', 'cancelled'))
    ) THEN
        RAISE EXCEPTION 'job %: no move from % to %', OLD.id, OLD.state, NEW.state;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER jobs_moves BEFORE UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION farm_job_moves();

-- At commit, a live job has an open hold and an ended one a closed hold.
CREATE FUNCTION farm_job_money() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hold_state text;
    wanted text;
BEGIN
    SELECT h.state INTO hold_state FROM holds h WHERE h.job_id = NEW.id;
    wanted := CASE WHEN NEW.state IN ('queued', 'running') THEN 'open'
                   WHEN NEW.state = 'succeeded' THEN 'charged' ELSE 'released' END;
    -- The row may have moved on within the same transaction: only the last state counts.
    IF hold_state IS DISTINCT FROM wanted
       AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = NEW.id AND j.state = NEW.state) THEN
        RAISE EXCEPTION 'job % is % but its hold is %', NEW.id, NEW.state,
            coalesce(hold_state, 'missing');
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER jobs_money_on_insert AFTER INSERT ON jobs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION farm_job_money();
CREATE CONSTRAINT TRIGGER jobs_money_on_end AFTER UPDATE OF state ON jobs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state NOT IN ('queued', 'running')) EXECUTE FUNCTION farm_job_money();

CREATE FUNCTION farm_hold_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'open' OR NEW.amount <> OLD.amount
       OR NEW.job_id <> OLD.job_id OR NEW.account_id <> OLD.account_id THEN
        RAISE EXCEPTION 'hold of job %: resolved once, otherwise never changed', OLD.job_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER holds_moves BEFORE UPDATE OR DELETE ON holds
    FOR EACH ROW EXECUTE FUNCTION farm_hold_moves();

CREATE FUNCTION farm_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct it with new entries', TG_TABLE_NAME;
END $$;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION farm_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON entries FROM PUBLIC;

-- Both sides of a transaction are inserted by one statement, so one look at it is enough.
CREATE FUNCTION farm_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh GROUP BY transaction_id HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the entries of a ledger transaction do not sum to zero';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_balance AFTER INSERT ON entries REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION farm_entries_balance();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(GUARDS)


def downgrade() -> None:
    op.execute("DROP TABLE audits, idempotency_keys, entries, holds, jobs, api_keys, accounts")
    op.execute("DROP SEQUENCE ledger_transactions")
    op.execute(
        "DROP FUNCTION farm_job_moves, farm_job_money, farm_hold_moves, farm_append_only, "
        "farm_entries_balance"
    )
