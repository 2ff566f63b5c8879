"""The tables, as SQLAlchemy sees them. "Models" are machine-learning models; these are tables.

What the database itself guards (checks, unique indexes, triggers) is drawn up in
``migrations/``; the table objects here are what queries are written with.

Money is in whole tenths of a credit. The ledger knows three books per transaction:
``available`` and ``held`` belong to an account, ``farm`` is the other side. The farm's own
balance is never stored: one hot row would serialise every settlement.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData()

_now = func.now()


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


accounts = Table(
    "accounts",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("email", Text, nullable=False),
    Column("storefront", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    # posted = available + held; grant_left is the part of posted that the month's end takes.
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("grant_left", BigInteger, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("period_end", DateTime(timezone=True), nullable=False),
    # Monthly credits that this month has had, and the plan from its end on where it is another.
    Column("granted_in_period", BigInteger, nullable=False, server_default="0"),
    Column("next_plan", Text),
    # The number of its newest job; see jobs.seq.
    Column("jobs_made", BigInteger, nullable=False, server_default="0"),
    # Its open holds, and by queue the turn of its last job there; see jobs.turn.
    Column("live", Integer, nullable=False, server_default="0"),
    Column("turns", JSONB, nullable=False, server_default="{}"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("account_id", UUID, ForeignKey("accounts.id"), nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("shown", Text, nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    _time("revoked_at"),
)

# For each queue and priority the highest turn that was served: where a newcomer begins.
lines = Table(
    "lines",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("priority", SmallInteger, primary_key=True),
    Column("turn", BigInteger, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("account_id", UUID, ForeignKey("accounts.id"), nullable=False),
    Column("storefront", Text, nullable=False),
    # Its number among the account's jobs, without gaps and in the order of the commits.
    Column("seq", BigInteger, nullable=False),
    # A batch is known by its first job; a job alone is a batch of one.
    Column("batch_id", UUID, nullable=False),
    Column("batch_place", SmallInteger, nullable=False, server_default="0"),
    Column("batch_size", SmallInteger, nullable=False, server_default="1"),
    # What runs, and what it was sold as where that is another model.
    Column("model", Text, nullable=False),
    Column("sold_as", Text, nullable=False, server_default=""),
    Column("operation", Text, nullable=False),
    # The request's own words, for the storefront to show again.
    Column("about", JSONB, nullable=False, server_default="{}"),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    # Within a queue and a priority the lowest is next.
    Column("turn", BigInteger, nullable=False, server_default="0"),
    Column("params", JSONB, nullable=False),
    Column("warnings", JSONB, nullable=False, server_default="[]"),
    Column("price", BigInteger, nullable=False),
    Column("price_rule", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="queued"),
    # The fence: rises with every claim and never falls. `handed_back` of them do not count.
    Column("attempt", SmallInteger, nullable=False, server_default="0"),
    Column("handed_back", SmallInteger, nullable=False, server_default="0"),
    # Leases that ran out one after another: a worker died, or the job killed it.
    Column("deaths", SmallInteger, nullable=False, server_default="0"),
    Column("out_of_memory", SmallInteger, nullable=False, server_default="0"),
    Column("worker", Text),
    _time("lease_until"),
    _time("rung_at"),
    # False while an input is still to be fetched; a job is fetched for at most a few times.
    Column("ready", Boolean, nullable=False, server_default="true"),
    Column("fetches", SmallInteger, nullable=False, server_default="0"),
    _time("fetch_until"),
    Column("step", Integer, nullable=False, server_default="0"),
    Column("steps", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("queued_at", DateTime(timezone=True), nullable=False, server_default=_now),
    _time("started_at"),
    _time("finished_at"),
    # Of a job that was cancelled while it ran: when its worker had stopped.
    _time("freed_at"),
    # Who is told of its end, besides the account's endpoints.
    Column("webhook_url", Text),
    # What decides how long it takes: jobs of one model and shape are measured together.
    Column("shape", Text, nullable=False, server_default=""),
    Column("settled_attempt", SmallInteger),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("facts", JSONB),
    Column("served_by", Text),
    Column("processing_ms", Integer),
    Column("output_key", Text),
    Column("output_path", Text),
    Column("output_sha256", LargeBinary),
    Column("output_bytes", BigInteger),
    Column("output_type", Text),
    _time("output_expires_at"),
    _time("output_deleted_at"),
)

# Jobs that their owner marked; apart, because nothing else about a job hangs on it.
favorites = Table(
    "favorites",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
)

holds = Table(
    "holds",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id"), primary_key=True),
    Column("account_id", UUID, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("transaction_id", BigInteger, nullable=False),
    Column("account_id", UUID, ForeignKey("accounts.id"), nullable=False),
    Column("job_id", UUID),
    Column("kind", Text, nullable=False),
    Column("book", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# A picture that a job works on: `url` until it is fetched, `key` from then on.
inputs = Table(
    "inputs",
    metadata,
    Column("job_id", UUID, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("url", Text),
    Column("cut_out", Boolean, nullable=False, server_default="false"),
    Column("key", Text),
    Column("sha256", LargeBinary),
    Column("bytes", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    _time("deleted_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", UUID, ForeignKey("accounts.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("job_id", UUID, ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# What each worker last told of itself. `models`: what it holds, by id, with bytes and seconds.
nodes = Table(
    "nodes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("device", Text, nullable=False),
    Column("gpu", Text),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("memory_used_bytes", BigInteger, nullable=False),
    Column("models", JSONB, nullable=False, server_default="{}"),
    Column("versions", JSONB, nullable=False, server_default="{}"),
    Column("job_id", UUID),
    Column("step", Integer, nullable=False, server_default="0"),
    Column("steps", Integer, nullable=False, server_default="0"),
    _time("job_started_at"),
    _time("started_at", nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# Whom an account has told of its jobs' ends. Without a URL it is the account's default: its
# secret signs what goes to the URLs that came with submits. `since` is when the set of events
# that it is told of last changed.
#
# Secrets are kept as they are, because every message is signed anew: whoever can read this
# table, or a backup of it, can sign as the farm. They leave it when the endpoint is deleted.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("account_id", UUID, ForeignKey("accounts.id"), nullable=False),
    Column("url", Text),
    Column("events", ARRAY(Text)),
    Column("enabled", Boolean, nullable=False, server_default="true"),
    Column("disabled_reason", Text),
    Column("secret", Text),
    Column("previous_secret", Text),
    _time("previous_until"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("since", DateTime(timezone=True), nullable=False, server_default=_now),
    _time("deleted_at"),
)

# One message to one endpoint or URL. Its id is the webhook-id, the same in every try.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("account_id", UUID, nullable=False),
    # No foreign key: an endpoint that is just deleted must not make the end of a job fail.
    Column("endpoint_id", UUID),
    Column("job_id", UUID, ForeignKey("jobs.id")),
    Column("url", Text),
    # What is slow or dead as one: the endpoint, or the origin of a submit's URL.
    Column("target", UUID, nullable=False),
    Column("event", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="scheduled"),
    # The fence of a sender's lease, which only rises; and the tries of this round.
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("tries", SmallInteger, nullable=False, server_default="0"),
    Column("next_at", DateTime(timezone=True), nullable=False, server_default=_now),
    _time("lease_until"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    _time("ended_at"),
)

webhook_tries = Table(
    "webhook_tries",
    metadata,
    Column(
        "delivery_id",
        UUID,
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("attempt", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("status", SmallInteger),
    Column("error", Text),
    Column("milliseconds", Integer, nullable=False),
)

# Targets whose last try failed: they get one message at a time until one arrives.
webhook_troubles = Table(
    "webhook_troubles",
    metadata,
    Column("target", UUID, primary_key=True),
    Column("failures", Integer, nullable=False, server_default="1"),
    Column("since", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("last_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

# Work that one process at a time does, for as long as it says that it is alive.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", UUID, nullable=False),
    _time("until", nullable=False),
)

# Of each queue: the last message sent down to see whether somebody takes it, and who did.
canaries = Table(
    "canaries",
    metadata,
    Column("queue", Text, primary_key=True),
    _time("sent_at"),
    _time("answered_at"),
    Column("answered_by", Text),
)

# What operators want to know about the last audit, and Prometheus scrapes.
audits = Table(
    "audits",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("ran_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("seconds", Double, nullable=False),
    Column("broken", JSONB, nullable=False),
)
