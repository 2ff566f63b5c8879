"""B7: how often one worker of three models changes models, against Celery's round robin."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from farm.broker import make_celery
from farm.catalog import BUILT_IN
from farm.dispatch import Dispatcher
from tests.bench.backlog import WAIT_S, Submit, finished, submitted
from tests.bench.engine import RESIDENT_BYTES
from tests.bench.peers import Caller, Run, runs
from tests.bench.report import Figure, at_most, median_ratio
from tests.bench.stage import Farm, Stage
from tests.processes import wait_until

ROUNDS = 5
JOBS = 300
MODELS = ("red", "green", "blue")
QUEUES = tuple(f"gpu.{model}" for model in MODELS)
SWITCH_AFTER_S = 2.0
BACKLOG_JOBS, BACKLOG_JOB_S = 200, 0.02
"""One model's backlog for the bound: twice as long as the bound even if nothing else took time."""


IDLE_S = 2.5
"""Each of its waits lasts a second; by now an idle worker knows that all queues are empty."""


def measure(stage: Stage) -> list[Figure]:
    """The same shuffled backlogs on both sides; then a few jobs behind another model's backlog."""
    orders = [_shuffled(seed) for seed in range(ROUNDS)]
    ours, peers = _switches(stage, orders)
    wait_s = _longest_wait(stage)
    return [
        Figure(
            "B7",
            f"model switches in {JOBS} mixed jobs over {len(MODELS)} queues, against round robin",
            f"{sorted(ours)[ROUNDS // 2]:.0f}",
            f"{sorted(peers)[ROUNDS // 2]:.0f}",
            median_ratio(ours, peers),
            at_most(0.1),
            at_most(0.03),
        ),
        Figure(
            "B7 wait",
            "longest wait behind another model's backlog, against FARM_SWITCH_AFTER_S",
            f"{wait_s:.2f} s",
            f"{SWITCH_AFTER_S:.2f} s",
            wait_s / SWITCH_AFTER_S,
            # The job under way is not interrupted, and of two overdue queues one is the second.
            at_most(1 + 10 * BACKLOG_JOB_S / SWITCH_AFTER_S),
        ),
    ]


def _shuffled(seed: int) -> list[str]:
    order = [model for model in MODELS for _ in range(JOBS // len(MODELS))]
    random.Random(seed).shuffle(order)
    return order


def _switches(stage: Stage, orders: Sequence[Sequence[str]]) -> tuple[list[float], list[float]]:
    log = stage.folder / "peer-switches"
    ours, peers = [], []
    with (
        _farm(stage) as (farm, dispatcher),
        stage.worker(farm, "tests.bench.lab", QUEUES),
        stage.worker(farm, "tests.bench.peer_worker", MODELS, BENCH_LOG=str(log)),
        contextlib.closing(Caller(stage.redis_url)) as caller,
    ):
        customer = farm.customers(1)[0]
        for order in orders:
            jobs = [Submit(customer, model) for model in order]
            done = finished(farm, submitted(farm, dispatcher, jobs))
            ours.append(_changes([job.model for job in done]))
            count = len(runs(log))
            for number, model in enumerate(order):
                # The first one keeps the worker until the backlog is complete.
                caller.send(model, 0.0 if number else 1.0)
            ran = functools.partial(_ran, log, count)
            peers.append(_changes([run.queue for run in wait_until(ran, WAIT_S, "bare tasks")]))
    return ours, peers


def _ran(log: Path, count: int) -> list[Run]:
    """The runs after the first ``count``; empty until all of them are done."""
    done = runs(log)[count:]
    return done if len(done) == JOBS else []


def _changes(sequence: Sequence[str]) -> float:
    return float(sum(before != after for before, after in itertools.pairwise(sequence)))


def _longest_wait(stage: Stage) -> float:
    """Seconds that the jobs of two models waited while a third one's backlog was being run."""
    with (
        _farm(stage, switch_after_s=SWITCH_AFTER_S) as (farm, dispatcher),
        stage.worker(farm, "tests.bench.lab", QUEUES, BENCH_JOB_S=str(BACKLOG_JOB_S)),
    ):
        customer = farm.customers(1)[0]
        resident, *others = MODELS
        first = [Submit(customer, resident)]
        finished(farm, submitted(farm, dispatcher, first))  # it is loaded now
        time.sleep(IDLE_S)
        backlog = submitted(farm, dispatcher, first * BACKLOG_JOBS)
        late = submitted(farm, dispatcher, [Submit(customer, model) for model in others])
        waited = finished(farm, late)
        assert finished(farm, backlog)[-1].ended > waited[-1].ended, "the backlog was too short"
    return max(job.started - job.created for job in waited)


@contextlib.contextmanager
def _farm(stage: Stage, **settings: object) -> Iterator[tuple[Farm, Dispatcher]]:
    """A farm whose worker's device holds one model at a time."""
    memory_gib = 1.5 * RESIDENT_BYTES / (1 << 30)
    with stage.farm(catalog=three_models(), vram_gb=memory_gib, **settings) as farm:
        dispatcher = Dispatcher(make_celery(farm.settings, farm.services.catalog))
        with contextlib.closing(_Stopping(dispatcher)):
            yield farm, dispatcher


class _Stopping:
    def __init__(self, dispatcher: Dispatcher) -> None:
        self.close = dispatcher.stop


def three_models() -> str:
    """The built-in catalogue with three more models, each with a queue of its own."""
    catalog = BUILT_IN.read_text("utf-8")
    found = re.search(r"^\[models\.sdxl\].*?(?=^\[models\.(?!sdxl\.))", catalog, re.M | re.S)
    assert found is not None, "the catalogue has no sdxl"
    card = re.sub(r"^aliases = .*$", "aliases = []", found.group(), flags=re.M)
    cards = "".join(
        card.replace("[models.sdxl", f"[models.{model}").replace('"gpu.sdxl"', f'"gpu.{model}"')
        for model in MODELS
    )
    prices = "".join(f"{model} = {{ credits = 3 }}\n" for model in MODELS)
    header = "[storefronts.pixelapi.prices]\n"
    return cards + catalog.replace(header, header + prices)
