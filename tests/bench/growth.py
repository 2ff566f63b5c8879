"""B5: submit and poll with a million finished jobs in the tables, against a thousand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from farm.audit import audit, summary
from tests.bench.history import write_history
from tests.bench.load import Plan, get, post, run_load
from tests.bench.report import Figure, at_most, median_ratio, milliseconds
from tests.bench.stage import Stage
from tests.bench.web import BODY

ROUNDS = 15
REQUESTS = 150
"""Of each kind and side in a round: short rounds, so that both sides see the same machine."""
ACCOUNTS = 50
LARGE, SMALL = 1_000_000, 1_000


@dataclass(frozen=True, slots=True)
class Side:
    """One farm with its history: how to submit to it and how to poll it."""

    submit: Plan
    poll: Plan


def measure(stage: Stage) -> list[Figure]:
    """One request after another on one connection, both sides in turns."""
    with _farm(stage, LARGE) as large, _farm(stage, SMALL) as small:
        return [
            _figure("submit", large.submit, small.submit),
            _figure("poll", large.poll, small.poll),
        ]


def _figure(kind: str, large: Plan, small: Plan) -> Figure:
    times: Mapping[int, list[float]] = {id(large): [], id(small): []}
    for plan in (large, small):
        run_load(plan)  # connections, plans, caches
    for number in range(ROUNDS):
        for plan in (large, small) if number % 2 else (small, large):
            times[id(plan)].append(run_load(plan).p50_s)
    return Figure(
        f"B5 {kind}",
        f"p50 with {LARGE:,} finished jobs, against {SMALL:,}",
        milliseconds(times[id(large)]),
        milliseconds(times[id(small)]),
        median_ratio(times[id(large)], times[id(small)]),
        at_most(1.2),
        at_most(1.05),
    )


@contextlib.contextmanager
def _farm(stage: Stage, jobs: int) -> Iterator[Side]:
    with stage.farm() as farm:
        print(f"    writing {jobs:,} finished jobs", flush=True)
        customers = farm.customers(ACCOUNTS)
        found = write_history(farm.settings.database_url, [c.account_id for c in customers], jobs)
        findings = audit(farm.services)
        assert all(finding.holds for finding in findings), summary(findings)
        keys = {who.account_id: who.key for who in customers}
        submits = [post("/v1/image/generate", key, BODY) for key in keys.values()]
        polls = [get(f"/v1/image/{job.id}", keys[job.account_id]) for job in found]
        with stage.api(farm) as (port, _):
            yield Side(
                Plan(port, submits, count=REQUESTS),
                Plan(port, polls, count=REQUESTS),
            )
