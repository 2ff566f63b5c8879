"""W4: how often a job ends when it was said at submit that it would."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

from farm.errors import FarmError
from tests import factories
from tests.bench.report import Figure, at_least
from tests.bench.stage import Farm, Stage
from tests.farm.checks import scalar

JOBS = 300
LOAD = 0.85
"""The share of the time that the worker is busy."""
WITHIN = 0.5
WARM_UP = 3
SEED = 4
GIVEN_WITHIN_S = 1.0
"""An ETA that is not there in the first answer may come within this."""

_IMAGE = "/v1/image/generate"
_SIZE = {"prompt": "a fox", "width": 512, "height": 512}
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    (_IMAGE, {"model": "flux-schnell", **_SIZE, "steps": 1}),
    (_IMAGE, {"model": "flux-schnell", **_SIZE, "steps": 8}),
    (_IMAGE, {"model": "sdxl", **_SIZE, "steps": 20}),
    ("/v1/audio/generate", {"prompt": "a calm piano", "duration": 5}),
    ("/v1/audio/generate", {"prompt": "fast drums", "duration": 20}),
)
QUEUES = ("gpu.flux-schnell", "gpu.sdxl", "gpu.musicgen-small")


@dataclass(frozen=True, slots=True)
class Told:
    """A job and what was said of it; seconds."""

    job_id: str
    eta_s: float | None
    asked_s: float


def measure(stage: Stage) -> list[Figure]:
    """One real worker on tiny weights, jobs of five kinds, at random moments."""
    draw = random.Random(SEED)
    with (
        stage.farm() as farm,
        stage.api(farm) as (port, _),
        stage.worker(farm, "tasks.app", QUEUES),
    ):
        line = _Line(port, farm.customers(1)[0])
        with contextlib.closing(line):
            seconds = statistics.fmean(_warm(line, farm, kind) for kind in KINDS)
            told = []
            due = time.monotonic()
            for _ in range(JOBS):
                due += draw.expovariate(LOAD / seconds)
                time.sleep(max(0.0, due - time.monotonic()))
                told.append(_submit(line, *draw.choice(KINDS)))
            for one in told:
                line.ended(one.job_id)
            hits = [_is_hit(farm, one) for one in told]
    unsaid = sum(one.eta_s is None for one in told)
    return [
        Figure(
            "W4",
            f"jobs that end within ±50 % of the ETA at submit, {JOBS} of five kinds",
            f"{sum(hits)} of {JOBS}",
            f"{unsaid} without",
            sum(hits) / JOBS,
            must=at_least(0.8),
            aim=at_least(0.95),
        )
    ]


class _Line:
    """One customer's connection."""

    def __init__(self, port: int, who: factories.Customer) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {who.key}", "Content-Type": "application/json"}
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        self.close = self._line.close

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One call."""
        self._line.request(method, path, json.dumps(body) if body else None, self._headers)
        answer = self._line.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200:
            raise FarmError(str(found))
        return dict(found)

    def ended(self, job_id: str) -> None:
        """Wait for a job."""
        for _ in range(10):
            job = self.call("GET", f"/v1/jobs/{job_id}?wait=60")
            if job["status"] == "completed":
                return
        raise AssertionError(f"{job_id} is still {job['status']}")


def _warm(line: _Line, farm: Farm, kind: tuple[str, dict[str, Any]]) -> float:
    """Seconds of one job of this kind, once its model is loaded."""
    for _ in range(WARM_UP):
        job_id = line.call("POST", *kind)["generation_id"]
        line.ended(job_id)
    sql = "SELECT extract(epoch FROM finished_at - started_at) FROM jobs WHERE id = :id"
    return float(scalar(farm.services, sql, id=job_id))


def _submit(line: _Line, path: str, body: dict[str, Any]) -> Told:
    job_id = line.call("POST", path, body)["generation_id"]
    submitted = time.monotonic()
    while True:
        job = line.call("GET", f"/v1/jobs/{job_id}")
        asked_s = time.monotonic() - submitted
        if "eta_seconds" in job or asked_s > GIVEN_WITHIN_S or job["status"] == "completed":
            return Told(job_id, job.get("eta_seconds"), asked_s)
        time.sleep(0.05)


def _is_hit(farm: Farm, told: Told) -> bool:
    if told.eta_s is None:
        return False
    sql = "SELECT extract(epoch FROM finished_at - created_at) FROM jobs WHERE id = :id"
    took_s = float(scalar(farm.services, sql, id=told.job_id)) - told.asked_s
    return abs(took_s - told.eta_s) <= WITHIN * told.eta_s
