"""W3: how soon a customer's server hears of a job's end, while another customer's is dead."""

from __future__ import annotations

import contextlib
import socket
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from farm.webhooks.endpoints import add_endpoint
from tests import factories
from tests.bench.load import ROOT
from tests.bench.report import Figure, at_most
from tests.bench.stage import Farm, Stage
from tests.farm.webhooks.receiver import Receiver
from tests.processes import running, wait_until

LIVE = 9
"""Endpoints that answer; one more accepts the connection and never does."""
JOBS = 100
EVERY_S = 0.2
"""Between one job's end and the next one's. Each is told to all ten endpoints."""
_START_S, _END_S = 60.0, 120.0
_SENDING = "SELECT count(*) FROM leases WHERE name = 'webhooks' AND until > now()"
_ENDED = "SELECT id, extract(epoch FROM finished_at)::float FROM jobs WHERE state = 'succeeded'"


def measure(stage: Stage) -> list[Figure]:
    """From the job's end in the database to the first try's arrival, at the live endpoints."""
    with Receiver() as receiver, _dead() as dead:
        allow = f"{receiver.trust},127.0.0.1:{dead}"
        with stage.farm(fetch_allow=allow, sweep_every_s=1.0) as farm, _control(stage, farm):
            waits = _waits(farm, receiver, dead)
    p95 = statistics.quantiles(waits, n=100)[94]
    return [
        Figure(
            "W3",
            f"job's end to the webhook's first try, p95 of {len(waits)}; 1 of 10 endpoints dead",
            f"{p95:.2f} s (median {statistics.median(waits):.2f}, most {max(waits):.2f})",
            "",
            p95,
            must=at_most(5),
            aim=at_most(1),
        )
    ]


def _waits(farm: Farm, receiver: Receiver, dead: int) -> list[float]:
    """Seconds, one for each job and live endpoint."""
    [who] = farm.customers(1)
    services = farm.services
    for number in range(LIVE):
        url = receiver.url(f"/{number}")
        _, receiver.secrets[f"/{number}"] = add_endpoint(services.db, who.account_id, url)
    add_endpoint(services.db, who.account_id, f"http://127.0.0.1:{dead}/")
    claims = [factories.claimed(services, factories.submitted(services, who)) for _ in range(JOBS)]
    for claim in claims:
        assert factories.succeed(services, claim)
        time.sleep(EVERY_S)
    wait_until(lambda: len(receiver.messages) >= LIVE * JOBS, _END_S, "every job told of")
    with services.db.statement() as connection:
        ended = {row[0]: row[1] for row in connection.execute(text(_ENDED))}
    first: dict[tuple[str, uuid.UUID], float] = {}
    for message in receiver.messages:
        assert message.verified is not None, "a signature does not fit"
        key = message.path, uuid.UUID(message.verified["data"]["id"])
        first[key] = min(message.at, first.get(key, message.at))
    assert len(first) == LIVE * JOBS
    return [at - ended[job_id] for (_, job_id), at in first.items()]


@contextlib.contextmanager
def _control(stage: Stage, farm: Farm) -> Iterator[None]:
    """The farm's own control worker and beat, once somebody sends webhooks."""
    with contextlib.ExitStack() as stack:
        logs: list[Path] = []
        for name in ("control", "beat"):
            logs.append(stage.folder / f"webhooks-{name}.log")
            command = [sys.executable, "-m", "farm.cli", name]
            stack.enter_context(running(command, logs[-1], env=farm.environment, cwd=ROOT))

        def sending() -> bool:
            with farm.services.db.statement() as connection:
                return bool(connection.execute(text(_SENDING)).scalar())

        wait_until(sending, _START_S, lambda: "\n".join(log.read_text()[-1500:] for log in logs))
        yield


@contextlib.contextmanager
def _dead() -> Iterator[int]:
    """The port of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield int(listener.getsockname()[1])
