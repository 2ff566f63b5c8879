"""S1, S2, S3: the storefronts beside the first one, against it and against each other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.bench.history import write_history
from tests.bench.load import Plan, get, post, run_load
from tests.bench.report import Figure, at_least, at_most, median_ratio, milliseconds, per_second
from tests.bench.stage import Farm, Stage, cpu_s, web_processes
from tests.factories import Customer
from tests.services import redis_client

ROUNDS = 7
SECONDS = 2.0
WARM_UP_S = 0.5
CONNECTIONS = 16
PROMPT = "a lighthouse in a storm, oil on canvas"

CLIENTS = 200
ACCOUNTS = 20
JOB_S = 1.0
POLL_S = 1.0
WAIT_S = 400
"""More than all of their jobs take, one after the other."""
MODEL = "flux-schnell"

IMAGES = 1_000_000
TOGETHER = 4
PAGE_ROWS = 20
DEEP = 5_000
REQUESTS = 100
"""Of one page in a round: short rounds, so that both see the same machine."""
PAGE_ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Submit:
    """How one storefront is asked for one picture that nobody waits for."""

    path: str
    body: Mapping[str, Any]
    headers: Sequence[str] = ()


SUBMITS = {
    "pixelapi": Submit("/v1/image/generate", {"model": "sdxl", "prompt": PROMPT}),
    "pixapi": Submit("/v1/async/images/generations", {"model": "sdxl", "prompt": PROMPT}),
    "pixola": Submit("/pixola/api/v1/generate", {"model": "sdxl", "prompt": PROMPT}),
    "pixza": Submit(
        "/pixza/api/v1/generate",
        {"type": "image", "model": "flux-schnell", "prompt": PROMPT},
        ("Prefer: respond-async",),
    ),
}


def submits(stage: Stage) -> list[Figure]:
    """Submits a second of each storefront, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in SUBMITS}
    broker = redis_client(stage.redis_url)
    with stage.farm() as farm, stage.api(farm) as (port, _):
        plans = {name: _plan(farm, port, name) for name in SUBMITS}
        names = list(plans)
        for number in range(ROUNDS):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                rates[name].append(run_load(plans[name]).rate)
                # Nobody takes the messages: their number must not decide who is faster.
                broker.flushdb()
    broker.close()
    first = rates.pop("pixelapi")
    return [
        Figure(
            f"S1 {name}",
            f"submit through {name}, against pixelapi's",
            per_second(found),
            per_second(first),
            median_ratio(found, first),
            must=at_least(0.9),
        )
        for name, found in rates.items()
    ]


def _plan(farm: Farm, port: int, storefront: str) -> Plan:
    how = SUBMITS[storefront]
    requests = [
        post(how.path, who.key, how.body, *how.headers)
        for who in farm.customers(CONNECTIONS, storefront)
    ]
    return Plan(port, requests, CONNECTIONS, warm_up_s=WARM_UP_S, seconds=SECONDS)


def waiting(stage: Stage) -> list[Figure]:
    """What as many clients cost who wait in their call, and who poll, both at the same time.

    Each side has an API of its own, and there is an engine for each, so that both take as long.
    """
    with ExitStack() as stack:
        farm = stack.enter_context(stage.farm(sync_wait_s=WAIT_S))
        for _ in range(2):
            stack.enter_context(
                stage.worker(farm, "tests.bench.lab", [f"gpu.{MODEL}"], BENCH_JOB_S=f"{JOB_S:g}")
            )
        ports = [stack.enter_context(stage.api(farm))[0] for _ in range(2)]
        who = [farm.customers(ACCOUNTS, "pixapi") for _ in ports]
        processes = [web_processes(port) for port in ports]
        before = [cpu_s(found) for found in processes]
        started = time.monotonic()
        asyncio.run(_all(ports, who))
        seconds = time.monotonic() - started
        waited, polled = (
            cpu_s(found) - earlier for found, earlier in zip(processes, before, strict=True)
        )
    return [
        Figure(
            "S2",
            f"CPU of the web processes, {CLIENTS} clients wait for a picture, the last one "
            f"{seconds:.0f} s; peer: they poll",
            f"{waited:.2f} s",
            f"{polled:.2f} s",
            waited / polled,
            must=at_most(1 / 10),
        )
    ]


async def _all(ports: Sequence[int], who: Sequence[Sequence[Customer]]) -> None:
    """Both kinds of client, each kind on its own API."""
    clients: Sequence[Callable[[int, str], Coroutine[Any, Any, None]]] = (_wait, _poll)
    async with asyncio.TaskGroup() as group:
        for client, port, customers in zip(clients, ports, who, strict=True):
            for number in range(CLIENTS):
                group.create_task(client(port, customers[number % len(customers)].key))


async def _wait(port: int, key: str) -> None:
    """The whole life of a picture in one call."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = post("/v1/images/generations", key, {"model": MODEL, "prompt": PROMPT})
    answer = await _asked(reader, writer, request)
    assert len(answer["data"]) == 1, answer
    writer.close()


async def _poll(port: int, key: str) -> None:
    """A submit, and then a call a second on the same connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = post("/v1/async/images/generations", key, {"model": MODEL, "prompt": PROMPT})
    task = await _asked(reader, writer, request)
    due = time.monotonic()
    while task["status"] != "completed":
        assert task["status"] != "failed", task
        due = max(due + POLL_S, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        task = await _asked(reader, writer, get(f"/v1/tasks/{task['id']}", key))
    writer.close()


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str
) -> dict[str, Any]:
    """The JSON of a 200."""
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [w for w in head.lower().splitlines() if w.startswith(b"content-length")]
    body = await reader.readexactly(int(length.split(b":")[1]))
    assert b" 200 " in head.splitlines()[0], head + body
    found: dict[str, Any] = json.loads(body)
    return found


def pages(stage: Stage) -> list[Figure]:
    """The first page and a deep one of both lists of one account, in turns."""
    with stage.farm() as farm:
        print(f"    writing {IMAGES:,} images of one account", flush=True)
        [who] = farm.customers(1, "pixola")
        write_history(farm.settings.database_url, [who.account_id], IMAGES, together=TOGETHER)
        with stage.api(farm) as (port, _):
            return [
                _page_figure(port, who, "batches", TOGETHER),
                _page_figure(port, who, "images", 1),
            ]


def _page_figure(port: int, who: Customer, name: str, jobs_a_row: int) -> Figure:
    url = f"/pixola/api/v1/{name}?limit={PAGE_ROWS}"
    # A page ends at the number of its last row's first job.
    cursor = IMAGES - (DEEP - 1) * PAGE_ROWS * jobs_a_row + 1
    plans = [
        Plan(port, [get(path, who.key)], count=REQUESTS) for path in (f"{url}&cursor={cursor}", url)
    ]
    times: list[list[float]] = [[], []]
    for plan in plans:
        run_load(plan)  # connections, plans, caches
    for number in range(PAGE_ROUNDS):
        for side in (0, 1) if number % 2 else (1, 0):
            times[side].append(run_load(plans[side]).p50_s)
    deep, first = times
    ratio = median_ratio(deep, first)
    return Figure(
        f"S3 {name}",
        f"p50 of page {DEEP:,} of {IMAGES:,} images of one account, against the first page",
        milliseconds(deep),
        milliseconds(first),
        max(ratio, 1 / ratio),
        must=at_most(1.3),
    )
