"""W5: from the cancel of a running job to the worker's next job, in seconds over one step."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import statistics
import time
from typing import Any

from tests import factories
from tests.bench.report import Figure, at_most
from tests.bench.stage import Farm, Stage
from tests.farm.checks import scalar
from tests.processes import wait_until

ROUNDS = 10
LONG = {"model": "sdxl", "prompt": "a slow fox", "width": 1024, "height": 1024, "steps": 50}
NEXT = {"model": "sdxl", "prompt": "a quick fox", "width": 512, "height": 512, "steps": 20}
STEPS = 5
"""Steps of the long job that are timed before it is cancelled."""
_PATIENCE_S = 120.0


def measure(stage: Stage) -> list[Figure]:
    """The real worker on the tiny SDXL, which steps as the real one does."""
    with (
        stage.farm() as farm,
        stage.api(farm) as (port, _),
        stage.worker(farm, "tasks.app", ["gpu.sdxl"]),
    ):
        who = farm.customers(1)[0]
        _round(farm, port, who)
        rounds = [_round(farm, port, who) for _ in range(ROUNDS)]
    gaps, steps = zip(*rounds, strict=True)
    return [
        Figure(
            "W5",
            "cancel of a running job to the worker's next job, worst of 10; s over one step",
            f"{max(gaps) * 1000:.0f} ms (median {statistics.median(gaps) * 1000:.0f})",
            f"{statistics.median(steps) * 1000:.0f} ms",
            max(gap - step for gap, step in rounds),
            must=at_most(1.0),
            aim=at_most(0.1),
        )
    ]


def _round(farm: Farm, port: int, who: factories.Customer) -> tuple[float, float]:
    """Seconds from the cancel to the next job's start, and of one step of the cancelled one."""
    long = _call(port, who, "POST", "/v1/image/generate", LONG)["generation_id"]
    after = _call(port, who, "POST", "/v1/image/generate", NEXT)["generation_id"]
    step_s = _step_s(port, who, long)
    asked = scalar(farm.services, "SELECT extract(epoch FROM clock_timestamp())")
    _call(port, who, "POST", f"/v1/jobs/{long}/cancel")
    started = wait_until(
        lambda: scalar(
            farm.services,
            "SELECT extract(epoch FROM started_at) FROM jobs WHERE id = :id",
            id=after,
        ),
        _PATIENCE_S,
        "the next job does not start",
    )
    _call(port, who, "GET", f"/v1/jobs/{after}?wait=60")
    return float(started - asked), step_s


def _step_s(port: int, who: factories.Customer, job_id: str) -> float:
    """Seconds of one step, as the job's own events tell them."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    headers = {"Authorization": f"Bearer {who.key}"}
    line.request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
    told: list[tuple[float, int]] = []
    with contextlib.closing(line), line.getresponse() as answer:
        event = ""
        while len(told) <= STEPS:
            name, _, value = answer.readline().decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "progress":
                told.append((time.perf_counter(), json.loads(value)["step"]))
    return statistics.median(
        (b - a) / (later - earlier) for (a, earlier), (b, later) in itertools.pairwise(told)
    )


def _call(
    port: int, who: factories.Customer, method: str, path: str, body: Any = None
) -> dict[str, Any]:
    """One call as a customer makes it."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    headers = {"Authorization": f"Bearer {who.key}", "Content-Type": "application/json"}
    with contextlib.closing(line):
        line.request(method, path, json.dumps(body) if body else None, headers)
        answer = line.getresponse()
        found = json.loads(answer.read())
    assert answer.status == 200, found
    return dict(found)
