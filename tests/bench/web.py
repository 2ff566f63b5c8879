"""B1, B1b, B2: requests a second of the API against bare Flask routes under the same gunicorn."""

from __future__ import annotations

from collections.abc import Sequence

from tests import factories
from tests.bench.load import Plan, get, post, run_load
from tests.bench.report import Figure, at_least, median_ratio, per_second
from tests.bench.stage import Farm, Stage
from tests.services import redis_client

ROUNDS = 7
SECONDS = 2.0
WARM_UP_S = 0.5
CONNECTIONS = 16
BODY = {"model": "sdxl", "prompt": "a lighthouse in a storm, oil on canvas", "seed": 7}


def measure(stage: Stage) -> list[Figure]:
    """Submit, poll, ring and nothing, in turns."""
    with (
        stage.farm() as farm,
        stage.api(farm) as (port, arguments),
        stage.peer_api(farm, arguments) as peer_port,
    ):
        submits, polls = _requests(farm)
        plans = {
            "submit": _plan(port, submits),
            "apply": _plan(peer_port, [post("/apply", "none", BODY)]),
            "poll": _plan(port, polls),
            "empty": _plan(peer_port, [get("/empty", "none")]),
        }
        rates = _rounds(stage, plans)
    return _figures(rates)


def _requests(farm: Farm) -> tuple[list[str], list[str]]:
    """Submits and polls of as many customers as there are connections."""
    customers = farm.customers(CONNECTIONS)
    submits = [post("/v1/image/generate", who.key, BODY) for who in customers]
    polls = []
    for who in customers:
        job_id = factories.submitted(farm.services, who)
        polls.append(get(f"/v1/image/{job_id}", who.key))
    return submits, polls


def _plan(port: int, requests: Sequence[str]) -> Plan:
    return Plan(port, requests, CONNECTIONS, warm_up_s=WARM_UP_S, seconds=SECONDS)


def _rounds(stage: Stage, plans: dict[str, Plan]) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in plans}
    names = list(plans)
    broker = redis_client(stage.redis_url)
    for number in range(ROUNDS):
        # Each round starts with another one, so that none always follows the same.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            rates[name].append(run_load(plans[name]).rate)
            # Nobody takes the messages: their number must not decide who is faster.
            broker.flushdb()
    broker.close()
    return rates


def _figures(rates: dict[str, list[float]]) -> list[Figure]:
    shown = {name: per_second(found) for name, found in rates.items()}
    apply, empty = shown["apply"], shown["empty"]
    return [
        Figure(
            "B1",
            "submit, against a route that only calls apply_async",
            shown["submit"],
            apply,
            median_ratio(rates["submit"], rates["apply"]),
            at_least(0.5),
            at_least(1.0),
        ),
        Figure(
            "B1b",
            "submit, against an empty JSON route",
            shown["submit"],
            empty,
            median_ratio(rates["submit"], rates["empty"]),
            aim=at_least(0.45),
        ),
        Figure(
            "B2",
            "status poll, against an empty JSON route",
            shown["poll"],
            empty,
            median_ratio(rates["poll"], rates["empty"]),
            at_least(0.4),
            at_least(0.7),
        ),
    ]
