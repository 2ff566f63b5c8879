"""A statement that PostgreSQL has done, and whose answer is lost with the connection.

Whoever sent it cannot know whether it was done. Each is repeated, or its effect read back, by what
it names (the job and the attempt, the job's own id, the Idempotency-Key): it is there once.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from farm import messages
from tests.faults.trial.oracle import call
from tests.faults.trial.wires import Wired
from tests.flows.orders import ORDERS, PLANS, bearer
from tests.processes import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("faults-wires")]

COMMIT = b"COMMIT"


def _submit(wired: Wired, prompt: str = "", key: str = "") -> None:
    """Once: the farm itself has to find out, and its client hears of nothing."""
    body = {"prompt": f"a red circle {prompt}", "model": "sdxl"}
    headers = {"Idempotency-Key": key} if key else {}
    wired.noted(call(wired.farm, wired.who, "POST", "/v1/image/generate", body, headers))


def _with_a_key(wired: Wired) -> None:
    _submit(wired, key=str(uuid.uuid4()))


def _two_at_once(wired: Wired) -> None:
    order = ORDERS["pixapi"]["images"]
    wired.who = wired.customer("pixapi", PLANS["pixapi"])
    order_url = f"http://127.0.0.1:{wired.farm.api_port}{order.path}"
    answer = requests.post(order_url, json=order.body, headers=bearer(wired.who), timeout=30)
    assert answer.status_code == 200, answer.text


def _refused_words(wired: Wired) -> None:
    """A client that hears of nothing asks again, with its key."""
    body = {"prompt": "jailbait", "model": "sdxl"}
    wired.call(wired.who, "POST", "/v1/image/generate", body)


def _that_breaks_once(wired: Wired) -> None:
    _submit(wired, "fail=error times=1")


def _that_is_wrong(wired: Wired) -> None:
    _submit(wired, "fail=wrong")


def _that_takes_a_second(wired: Wired) -> None:
    _submit(wired, "run=1 steps=20")


def _cancelled(wired: Wired) -> None:
    call(wired.farm, wired.who, "POST", f"/v1/jobs/{wired.parked()}/cancel")


def _of_which_no_message_tells(wired: Wired) -> None:
    wired.execute("UPDATE jobs SET rung_at = NULL WHERE id = :id", id=wired.unrung())


def _whose_worker_is_dead(wired: Wired, deaths: int = 0) -> None:
    moved = wired.execute(
        "UPDATE jobs SET state = 'running', attempt = 1, deaths = :deaths, worker = 'nobody', "
        "started_at = now(), lease_until = now() - interval '1 hour' "
        "WHERE id = :id AND state = 'queued'",
        id=wired.unrung(),
        deaths=deaths,
    )
    assert moved == 1


def _whose_second_worker_is_dead(wired: Wired) -> None:
    _whose_worker_is_dead(wired, deaths=1)


def _that_waited_too_long(wired: Wired) -> None:
    late = "UPDATE jobs SET queued_at = now() - interval '2 hours' WHERE id = :id"
    wired.execute(late, id=wired.parked())


def _month_over(wired: Wired) -> None:
    values: dict[str, Any] = {"id": wired.who.account_id}
    wired.execute(
        "UPDATE accounts SET period_end = now() - interval '1 day' WHERE id = :id", **values
    )
    wired.send(messages.RENEW)
    wired.until("SELECT period_end > now() FROM accounts WHERE id = :id", **values)
    wired.send(messages.RENEW)
    months = "SELECT count(*) FROM entries WHERE account_id = :id AND kind = 'grant' AND amount > 0"
    assert wired.value(months, **values) == 2, "the first month's, and one more"


@dataclass(frozen=True)
class Loss:
    """One answer that gets lost: to which request, who leads to it, how his jobs have to end (the
    state, and in which attempt).

    ``after`` is what was asked on the same connection before, where the request is a COMMIT;
    ``unsaid`` are words that a worker only says who took the lost answer for another one.
    """

    request: bytes
    act: Callable[[Wired], None]
    ends: tuple[tuple[str, int], ...]
    after: bytes = b""
    unsaid: tuple[str, ...] = ()


LOSSES = {
    "submit": Loss(b"EXECUTE farm_submit", _submit, (("succeeded", 1),)),
    "submit with a key": Loss(b"INSERT INTO idempotency_keys", _with_a_key, (("succeeded", 1),)),
    "batch": Loss(COMMIT, _two_at_once, (("succeeded", 1),) * 2, after=b"INSERT INTO holds"),
    "refusal": Loss(COMMIT, _refused_words, (("blocked", 0),), after=b"state = 'blocked'"),
    "cancel": Loss(b"SET state = 'cancelled'", _cancelled, (("cancelled", 0),)),
    # Nobody knows of this claim: it ends with its lease.
    "claim": Loss(b"SET state = 'running', attempt", _submit, (("succeeded", 2),)),
    "renewal": Loss(b"SET lease_until = now()", _that_takes_a_second, (("succeeded", 1),)),
    "settle": Loss(
        b"settled_attempt = attempt",
        _submit,
        (("succeeded", 1),),
        unsaid=("output is dropped", "broke in attempt"),
    ),
    "another attempt": Loss(
        b"out_of_memory = out_of_memory", _that_breaks_once, (("succeeded", 2),)
    ),
    "fail": Loss(b"SET state = 'failed'", _that_is_wrong, (("failed", 1),)),
    "sweep": Loss(b"SET rung_at = now() FROM", _of_which_no_message_tells, (("succeeded", 1),)),
    "reap": Loss(COMMIT, _whose_worker_is_dead, (("succeeded", 2),), after=b"deaths = deaths + 1"),
    "bury": Loss(
        COMMIT, _whose_second_worker_is_dead, (("failed", 1),), after=b"SET state = 'failed'"
    ),
    "expire": Loss(COMMIT, _that_waited_too_long, (("expired", 0),), after=b"state = 'expired'"),
    "month": Loss(COMMIT, _month_over, (), after=b"next_plan = NULL"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_was_done_is_not_done_twice(wired: Wired, name: str) -> None:
    loss, worker = LOSSES[name], wired.farm.keeper.process("worker")
    said_before = len(worker.output())
    wired.way.postgres.cut_at(loss.request, after=loss.after)
    loss.act(wired)
    assert wired.way.postgres.was_cut.wait(30), f"nobody asked for it\n{wired.farm.logs()}"
    wired.oracle.quiet()
    with wired.farm.services.db.statement() as connection:
        rows = connection.exec_driver_sql(
            "SELECT state, attempt FROM jobs WHERE account_id = %(id)s",
            {"id": str(wired.who.account_id)},
        ).all()
    assert sorted((row.state, row.attempt) for row in rows) == sorted(loss.ends)
    if loss.unsaid:
        # It hears of the end it made after everybody else.
        wait_until(lambda: "] succeeded in" in worker.output()[said_before:], 20, worker.output)
        said = worker.output()[said_before:]
        assert not [words for words in loss.unsaid if words in said], said
    wired.ended_well()
