"""W1, W2: what a waiting client costs, and how soon it hears of the end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import statistics
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence

import psutil

from farm import jobs
from farm.events import Announcer, JobEvent
from farm.services import Services
from farm.types import Claim, JobState
from tests import factories
from tests.bench.report import Figure, at_most
from tests.bench.stage import Farm, Stage, cpu_s, web_processes
from tests.services import redis_client

CLIENTS = 1000
ACCOUNTS = 100
HOLD_S = 50.0
"""How long the jobs take: polls a client makes, or seconds that it waits in one call."""
POLL_S = 1.0
ENDS = 400
OTHERS = 100
"""Clients that wait beside the one whose answer is timed."""
_SETTLE_S = 0.05

Client = Callable[[int, str, uuid.UUID], Awaitable[None]]


def measure(stage: Stage) -> list[Figure]:
    """Both on the farm's own API, as it comes."""
    with stage.farm() as farm, stage.api(farm) as (port, _):
        return [_cost(farm, port), _delay(farm, stage, port)]


def _cost(farm: Farm, port: int) -> Figure:
    who = farm.customers(ACCOUNTS)
    processes = web_processes(port)
    waiting = _spent(farm, port, who, processes, _wait)
    polling = _spent(farm, port, who, processes, _poll)
    return Figure(
        "W1",
        f"CPU of the web processes, {CLIENTS} clients wait {HOLD_S:g} s; peer: they poll",
        f"{waiting:.2f} s",
        f"{polling:.2f} s",
        waiting / polling,
        must=at_most(1 / 10),
        aim=at_most(1 / 50),
    )


def _spent(
    farm: Farm,
    port: int,
    who: Sequence[factories.Customer],
    processes: Sequence[psutil.Process],
    client: Client,
) -> float:
    """CPU seconds that the web processes spend until every client knows of its job's end."""
    services = farm.services
    mine = [
        (customer.key, factories.submitted(services, customer))
        for customer in who
        for _ in range(CLIENTS // ACCOUNTS)
    ]
    claims = [factories.claimed(services, job_id) for _, job_id in mine]
    with _telling(services) as announcer:
        before = cpu_s(processes)
        ending = threading.Thread(target=_end_later, args=(services, announcer, claims))
        ending.start()
        asyncio.run(_all([client(port, key, job_id) for key, job_id in mine]))
        ending.join()
        return cpu_s(processes) - before


async def _all(clients: Sequence[Awaitable[None]]) -> None:
    await asyncio.gather(*clients)


def _end_later(services: Services, announcer: Announcer, claims: Sequence[Claim]) -> None:
    time.sleep(HOLD_S)
    for claim in claims:
        _end(services, announcer, claim)


def _end(services: Services, announcer: Announcer, claim: Claim) -> float:
    """Settle a job and tell of it, as a worker does; when it was settled, monotonic."""
    assert jobs.heartbeat(services.db, claim.job_id, claim.attempt, 30, 1, 1)
    assert factories.succeed(services, claim)
    ended = time.perf_counter()
    announcer.tell(JobEvent(claim.job_id, JobState.SUCCEEDED, claim.attempt))
    return ended


async def _wait(port: int, key: str, job_id: uuid.UUID) -> None:
    """One call a minute, each until the job has ended."""
    status = ""
    while status != "completed":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        status = await _asked(reader, writer, f"/v1/jobs/{job_id}?wait=60", key)
        writer.close()


async def _poll(port: int, key: str, job_id: uuid.UUID) -> None:
    """A call a second on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.monotonic()
    while await _asked(reader, writer, f"/v1/image/{job_id}", key) != "completed":
        due = max(due + POLL_S, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
    writer.close()


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, key: str
) -> str:
    """The status that the job object has."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    [length] = [w for w in head.lower().splitlines() if w.startswith(b"content-length")]
    job = json.loads(await reader.readexactly(int(length.split(b":")[1])))
    return str(job["status"])


def _delay(farm: Farm, stage: Stage, port: int) -> Figure:
    who = farm.customers(1)[0]
    services = farm.services
    with _telling(services) as announcer, contextlib.ExitStack() as stack:
        for _ in range(OTHERS):
            stack.enter_context(_held(port, who, factories.submitted(services, who)))
        delays, trips = [], []
        ping = _ping(stage)
        for _ in range(ENDS):
            trips.append(ping())
            claim = factories.claimed(services, factories.submitted(services, who))
            with _held(port, who, claim.job_id) as line:
                time.sleep(_SETTLE_S)
                ended = _end(services, announcer, claim)
                assert json.loads(line.getresponse().read())["status"] == "completed"
                delays.append(time.perf_counter() - ended)
    late, trip = (statistics.quantiles(times, n=100)[98] for times in (delays, trips))
    return Figure(
        "W2",
        "end of a job to the waiting client's answer, p99; peer: a Redis round trip, p99",
        f"{late * 1000:.2f} ms (median {statistics.median(delays) * 1000:.2f})",
        f"{trip * 1000:.2f} ms (median {statistics.median(trips) * 1000:.2f})",
        late / trip,
        must=at_most(50),
        aim=at_most(10),
    )


@contextlib.contextmanager
def _held(
    port: int, who: factories.Customer, job_id: uuid.UUID
) -> Iterator[http.client.HTTPConnection]:
    """A client that waits for a job."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    headers = {"Authorization": f"Bearer {who.key}"}
    line.request("GET", f"/v1/jobs/{job_id}?wait=60", headers=headers)
    with contextlib.closing(line):
        yield line


def _ping(stage: Stage) -> Callable[[], float]:
    """Times one round trip after the same pause as comes before the end of a job."""
    client = redis_client(stage.redis_url)

    def ping() -> float:
        time.sleep(_SETTLE_S)
        started = time.perf_counter()
        client.ping()
        return time.perf_counter() - started

    return ping


@contextlib.contextmanager
def _telling(services: Services) -> Iterator[Announcer]:
    announcer = Announcer(services.settings.limits_url)
    with contextlib.closing(announcer):
        yield announcer
