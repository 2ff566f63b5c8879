"""The ledger: an operator's credits, and the database's own guards, which hold when the
application slips.
"""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from farm import ledger, settle
from farm.errors import InsufficientCredits, InvalidRequest, NotFound
from farm.jobs import LEGAL_MOVES
from farm.services import Services
from farm.types import JobState
from tests import factories
from tests.farm.checks import amounts, assert_books_balance, scalar


def give(services: Services, account_id: uuid.UUID, tenths: int, **options: str) -> None:
    """Operator's credits, committed."""
    with services.db.transaction() as connection:
        ledger.grant(connection, account_id, tenths, **{"reason": "a test", **options})  # type: ignore[arg-type]


def refusal(services: Services, sql: str, **values: object) -> str:
    """Why the database refuses a change, at the latest when it is committed; else nothing."""
    try:
        with services.db.transaction() as connection:
            connection.execute(text(sql), values)
    except DBAPIError as error:
        return str(error.orig)
    return ""


def accepted(services: Services, guards: dict[str, str]) -> dict[str, str]:
    """Of changes with the reason each should be refused for: those that are not, and why."""
    found = {sql: refusal(services, sql) for sql in guards}
    return {sql: reason for sql, reason in found.items() if guards[sql] not in reason or not reason}


def test_bought_credits_come_on_top_and_are_none_of_the_grant(services: Services) -> None:
    who = factories.customer(services)
    give(services, who.account_id, 55)
    assert amounts(services, who.account_id) == (155, 0, 100)
    kind = "SELECT kind || ' ' || reason FROM entries WHERE amount = 55"
    assert scalar(services, kind) == "purchase a test"
    assert_books_balance(services)


def test_a_correction_takes_bought_credits_first_then_the_grant(services: Services) -> None:
    who = factories.customer(services, extra_credits=2)
    give(services, who.account_id, -15, kind="adjust", reason="  twice paid ")
    assert amounts(services, who.account_id) == (105, 0, 100)
    give(services, who.account_id, -15, kind="adjust")
    assert amounts(services, who.account_id) == (90, 0, 90)
    give(services, who.account_id, 7, kind="adjust")
    assert amounts(services, who.account_id) == (97, 0, 90)
    assert scalar(services, "SELECT count(*) FROM entries WHERE reason = 'twice paid'") == 2
    assert_books_balance(services)


def test_a_correction_never_takes_what_is_held(services: Services) -> None:
    who = factories.customer(services)
    factories.submitted(services, who)
    with pytest.raises(InsufficientCredits) as caught:
        give(services, who.account_id, -71, kind="adjust")
    assert (caught.value.required_tenths, caught.value.available_tenths) == (71, 70)
    assert amounts(services, who.account_id) == (100, 30, 100)
    give(services, who.account_id, -70, kind="adjust")
    assert amounts(services, who.account_id) == (30, 30, 30)
    assert_books_balance(services)


def test_senseless_amounts_and_missing_reasons_are_refused_before_anything(
    services: Services,
) -> None:
    cases: list[tuple[int, dict[str, str], str]] = [
        (0, {}, "credits"),
        (0, {"kind": "adjust"}, "credits"),
        (-1, {}, "credits"),
        (10**12 + 1, {}, "credits"),
        (-(10**12) - 1, {"kind": "adjust"}, "credits"),
        (10, {"reason": ""}, "reason"),
        (10, {"reason": " \n"}, "reason"),
        (-10, {"kind": "adjust", "reason": ""}, "reason"),
    ]
    for tenths, options, named in cases:
        with pytest.raises(InvalidRequest) as caught:
            give(services, uuid.uuid4(), tenths, **options)
        assert [error.field for error in caught.value.errors] == [named]


def test_an_unknown_account_gets_nothing(services: Services) -> None:
    for tenths, kind in ((10, "purchase"), (-10, "adjust")):
        with pytest.raises(NotFound):
            give(services, uuid.uuid4(), tenths, kind=kind)
    with services.db.transaction() as connection, pytest.raises(NotFound):
        ledger.expire_grant(connection, uuid.uuid4())
    assert scalar(services, "SELECT count(*) FROM entries") == 0


def test_the_history_is_newest_first_and_the_accounts_own(services: Services) -> None:
    who, other = factories.customer(services), factories.customer(services)
    give(services, who.account_id, 55)
    job = factories.submitted(services, who)
    factories.submitted(services, other)
    give(services, who.account_id, -5, kind="adjust", reason="a slip")
    claim = factories.claimed(services, job)
    assert factories.succeed(services, claim)
    cancelled = factories.submitted(services, who)
    settle.cancel(services.db, None, cancelled)

    with services.db.transaction() as connection:
        found = ledger.history(connection, who.account_id, 100)
        newest = ledger.history(connection, who.account_id, 3)
        nobody = ledger.history(connection, uuid.uuid4(), 100)
    moved = [(m.kind, m.available_tenths, m.held_tenths, m.job_id, m.reason) for m in found]
    assert moved == [
        ("release", 30, -30, cancelled, ""),
        ("hold", -30, 30, cancelled, ""),
        ("charge", 0, -30, job, ""),
        ("adjust", -5, 0, None, "a slip"),
        ("hold", -30, 30, job, ""),
        ("purchase", 55, 0, None, "a test"),
        ("grant", 100, 0, None, "a month of free"),
    ]
    assert newest == found[:3]
    assert nobody == []
    assert [m.at for m in found] == sorted((m.at for m in found), reverse=True)
    posted, held, _ = amounts(services, who.account_id)
    assert sum(m.available_tenths for m in found) == posted - held
    assert sum(m.held_tenths for m in found) == held


# The database's own guards ----------------------------------------------------------------


@pytest.fixture
def queued(services: Services) -> uuid.UUID:
    """A job that waits, its price held."""
    return factories.submitted(services, factories.customer(services))


@pytest.fixture
def succeeded(services: Services) -> uuid.UUID:
    """A job that was charged."""
    claim = factories.claimed(services, factories.submitted(services, factories.customer(services)))
    assert factories.succeed(services, claim)
    return claim.job_id


def test_entries_can_only_be_added(services: Services, succeeded: uuid.UUID) -> None:
    changes = (
        "UPDATE entries SET amount = amount",
        "UPDATE entries SET reason = 'x' WHERE false",
        "DELETE FROM entries WHERE kind = 'charge'",
        "TRUNCATE entries",
        "TRUNCATE accounts CASCADE",
    )
    assert accepted(services, dict.fromkeys(changes, "entries is append-only")) == {}
    assert_books_balance(services)


def test_a_transaction_of_the_ledger_has_two_sides_a_kind_and_its_reason(
    services: Services,
) -> None:
    who = factories.customer(services)
    sql = (
        "INSERT INTO entries (transaction_id, account_id, kind, book, amount) "
        "VALUES (0, :who, :kind, 'available', :one), (0, :who, :kind, :book, :other)"
    )
    for book, kind, one, other, says in (
        ("farm", "grant", -10, 9, "do not sum to zero"),
        ("farm", "purchase", 10, 10, "do not sum to zero"),
        ("bank", "grant", -10, 10, "entries_book_check"),
        ("farm", "gift", -10, 10, "entries_kind_check"),
        ("farm", "charge", -10, 10, "entries_job"),
        ("farm", "adjust", -10, 10, "entries_adjust_says_why"),
    ):
        values = {"who": who.account_id, "kind": kind, "book": book, "one": one, "other": other}
        assert says in refusal(services, sql, **values)
    assert_books_balance(services)


def test_an_account_never_holds_what_it_cannot(services: Services, queued: uuid.UUID) -> None:
    guards = {
        "held = posted + 1": "accounts_no_overdraft",
        "posted = held - 1, grant_left = 0": "accounts_no_overdraft",
        "held = -1": "accounts_no_overdraft",
        "grant_left = -1": "accounts_grant_within",
        "grant_left = posted + 1": "accounts_grant_within",
        "status = 'gone'": "accounts_status_check",
        "email = ''": "accounts_email_check",
    }
    by_sql = {f"UPDATE accounts SET {change}": says for change, says in guards.items()}
    assert accepted(services, by_sql) == {}
    assert_books_balance(services)


def test_a_running_job_keeps_its_rules(services: Services, queued: uuid.UUID) -> None:
    factories.claimed(services, queued)
    guards = {
        "price = 1": "price and account are frozen",
        "attempt = attempt - 1": "the attempt number never falls",
        "state = 'failed', lease_until = NULL, finished_at = now()": "but its hold is open",
        "lease_until = NULL": "jobs_lease",
        "finished_at = now()": "jobs_end",
        "settled_attempt = 1": "jobs_settled",
        "output_key = 'x'": "jobs_output",
        "state = 'paused'": "no move from running to paused",
        "handed_back = attempt + 1": "violates check constraint",
    }
    by_sql = {f"UPDATE jobs SET {change}": says for change, says in guards.items()}
    assert accepted(services, by_sql) == {}
    assert_books_balance(services)


def test_what_has_ended_stays_as_it_ended(services: Services, succeeded: uuid.UUID) -> None:
    changes = (
        "state = 'queued'",
        "state = 'failed'",
        "attempt = attempt + 1",
        "settled_attempt = attempt + 1",
        "output_key = 'elsewhere'",
    )
    guards = {f"UPDATE jobs SET {change}": "succeeded is terminal" for change in changes}
    assert accepted(services, guards) == {}
    assert_books_balance(services)


_SET_STATE = text(
    """
    UPDATE jobs SET state = :state,
        lease_until = CASE WHEN :state = 'running' THEN now() END,
        finished_at = CASE WHEN :state NOT IN ('queued', 'running') THEN now() END,
        settled_attempt = CASE WHEN :state = 'succeeded' THEN attempt END,
        output_key = CASE WHEN :state = 'succeeded' THEN 'k' END
    """
)


def allowed_moves(connection: Connection, before: JobState) -> set[JobState]:
    """The states that the database lets the one job move to, tried and taken back."""
    # Behind the guards' back, to get there from anywhere.
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(_SET_STATE, {"state": before.value})
    connection.execute(text("SET LOCAL session_replication_role = origin"))
    allowed = set()
    for after in JobState:
        savepoint = connection.begin_nested()
        try:
            connection.execute(_SET_STATE, {"state": after.value})
            allowed.add(after)
        except DBAPIError:
            continue
        finally:
            savepoint.rollback()
    return allowed


def test_the_database_and_the_code_agree_on_all_49_moves(
    services: Services, queued: uuid.UUID
) -> None:
    """To stay in a state is no move: the database lets the row's other columns change."""
    with services.db.engine.connect() as raw:
        connection = raw.execution_options(isolation_level="READ COMMITTED")
        found = {before: allowed_moves(connection, before) for before in JobState}
        connection.rollback()
    assert found == {before: after | {before} for before, after in LEGAL_MOVES.items()}


def test_a_job_without_a_hold_is_refused_when_it_is_committed(
    services: Services, queued: uuid.UUID
) -> None:
    sql = (
        "INSERT INTO jobs (id, account_id, storefront, model, operation, queue, priority,"
        " params, price, price_rule, seq, batch_id) SELECT :id, account_id, storefront, model,"
        " operation, queue, priority, params, price, price_rule, seq + 1, :id FROM jobs"
    )
    assert "but its hold is missing" in refusal(services, sql, id=uuid.uuid4())
    assert scalar(services, "SELECT count(*) FROM jobs") == 1


def test_a_hold_is_resolved_once_and_otherwise_never_changed(
    services: Services, succeeded: uuid.UUID
) -> None:
    factories.submitted(services, factories.customer(services))
    changes = (
        "UPDATE holds SET state = 'released' WHERE state = 'charged'",
        "UPDATE holds SET state = 'open' WHERE state = 'charged'",
        "UPDATE holds SET state = 'charged' WHERE state = 'charged'",
        "UPDATE holds SET amount = amount + 1 WHERE state = 'open'",
        "UPDATE holds SET account_id = job_id WHERE state = 'open'",
        "DELETE FROM holds WHERE state = 'open'",
        "DELETE FROM holds WHERE state = 'charged'",
    )
    assert accepted(services, dict.fromkeys(changes, "resolved once")) == {}
    assert_books_balance(services)


def test_a_job_is_held_once_and_settled_once(services: Services, succeeded: uuid.UUID) -> None:
    sql = (
        "INSERT INTO entries (transaction_id, account_id, job_id, kind, book, amount) "
        "SELECT 0, account_id, id, :kind, side.book, side.sign * price FROM jobs, "
        "(VALUES ('held', -1), ('farm', 1)) AS side (book, sign)"
    )
    assert "entries_one_settlement" in refusal(services, sql, kind="charge")
    assert "entries_one_settlement" in refusal(services, sql, kind="release")
    assert "entries_one_hold" in refusal(services, sql, kind="hold")
    assert_books_balance(services)
