"""B3, B4: how soon a submitted job runs, and how soon the next one, against bare Celery."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from farm.broker import make_celery
from farm.dispatch import Dispatcher
from tests.bench.backlog import WAIT_S, Submit, finished, submitted
from tests.bench.peers import Caller, Run, runs
from tests.bench.report import Figure, at_most, median_ratio, milliseconds
from tests.bench.stage import Farm, Stage
from tests.bench.web import BODY
from tests.processes import wait_until

ROUNDS = 5
SINGLES = 30
"""Jobs a round, one after another, each on an idle farm."""
BACKLOG = 60
"""Jobs a round that wait together."""
QUEUE, PEER_QUEUE = "gpu.sdxl", "peer"


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides, each with its worker running: what a round is done with."""

    farm: Farm
    line: http.client.HTTPConnection
    request: Submit
    dispatcher: Dispatcher
    caller: Caller
    log: Path


def measure(stage: Stage) -> list[Figure]:
    """Both figures, ours and the peer's in turns."""
    with _pair(stage) as pair:
        for warm_up in (_our_waits, _peer_waits):
            warm_up(pair, 3)
        waits: list[float] = []
        peer_waits: list[float] = []
        gaps: list[float] = []
        peer_gaps: list[float] = []
        for _ in range(ROUNDS):
            waits.append(median(_our_waits(pair, SINGLES)))
            peer_waits.append(median(_peer_waits(pair, SINGLES)))
            gaps.append(median(_our_gaps(pair, BACKLOG)))
            peer_gaps.append(median(_peer_gaps(pair, BACKLOG)))
    return [
        Figure(
            "B3",
            "submit to running on an idle farm, against send to start in bare Celery",
            milliseconds(waits),
            milliseconds(peer_waits),
            median_ratio(waits, peer_waits),
            at_most(8),
            at_most(3),
        ),
        Figure(
            "B4",
            "end of a job to start of the next, against bare Celery",
            milliseconds(gaps),
            milliseconds(peer_gaps),
            median_ratio(gaps, peer_gaps),
            at_most(10),
            at_most(3),
        ),
    ]


@contextlib.contextmanager
def _pair(stage: Stage) -> Iterator[Pair]:
    with stage.farm() as farm, contextlib.ExitStack() as stack:
        log = stage.folder / "peer-latency"
        stack.enter_context(stage.worker(farm, "tests.bench.lab", [QUEUE]))
        stack.enter_context(
            stage.worker(farm, "tests.bench.peer_worker", [PEER_QUEUE], BENCH_LOG=str(log))
        )
        port, _ = stack.enter_context(stage.api(farm))
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        stack.callback(line.close)
        dispatcher = Dispatcher(make_celery(farm.settings, farm.services.catalog))
        stack.callback(dispatcher.stop)
        caller = stack.enter_context(contextlib.closing(Caller(stage.redis_url)))
        yield Pair(farm, line, Submit(farm.customers(1)[0]), dispatcher, caller, log)


def _our_waits(pair: Pair, number: int) -> list[float]:
    """From the submit's transaction to the claim's, seconds, by the database's clock."""
    return [
        job.started - job.created
        for _ in range(number)
        for job in finished(pair.farm, [_posted(pair)])
    ]


def _posted(pair: Pair) -> uuid.UUID:
    """Submit a job the way a customer does; its id."""
    headers = {
        "Authorization": f"Bearer {pair.request.customer.key}",
        "Content-Type": "application/json",
    }
    pair.line.request("POST", "/v1/image/generate", json.dumps(BODY), headers)
    reply = pair.line.getresponse()
    body = reply.read()
    assert reply.status == 200, body
    return uuid.UUID(json.loads(body)["generation_id"])


def _our_gaps(pair: Pair, number: int) -> list[float]:
    """From each job's end to the next one's start, seconds, by the database's clock."""
    job_ids = submitted(pair.farm, pair.dispatcher, [pair.request] * number)
    done = finished(pair.farm, job_ids)
    return [after.started - before.ended for before, after in itertools.pairwise(done)]


def _peer_waits(pair: Pair, number: int) -> list[float]:
    """From just before the send to the task's first line, seconds."""
    waits = []
    for _ in range(number):
        count = len(runs(pair.log))
        sent = pair.caller.send(PEER_QUEUE)
        waits.append(_ran(pair, count, 1)[0].started - sent)
    return waits


def _peer_gaps(pair: Pair, number: int) -> list[float]:
    count = len(runs(pair.log))
    # The first one keeps the worker until the backlog is complete.
    for seconds in (0.5, *[0.0] * number):
        pair.caller.send(PEER_QUEUE, seconds)
    done = _ran(pair, count, number + 1)
    return [after.started - before.ended for before, after in itertools.pairwise(done)]


def _ran(pair: Pair, count: int, more: int) -> list[Run]:
    """The ``more`` runs after the first ``count``, once they are all done."""
    wait_until(lambda: len(runs(pair.log)) >= count + more, WAIT_S, "the end of the bare tasks")
    return runs(pair.log)[count:]
