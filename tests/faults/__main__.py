"""``python -m tests.faults [F1 ...]``: break the farm in every way, print what was found, fail on
a missed ``must``.

Without names everything is done, which takes about half an hour, and RESULTS.md is written.
``--seed N`` repeats what a run drew.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.report import at_least, at_most
from tests.farm.books_machine import run_machine
from tests.farm.checks import scalar
from tests.faults.crashes.enumeration import enumerate_all
from tests.faults.figures import fairness, flaps, nemesis, outages, races, takeover
from tests.faults.figures.report import Figure, table, write_results
from tests.faults.trial.farm import TrialFarm, trial_farm
from tests.services import redis_client

JOBS, JOBS_AIM = 2_000, 10_000
_NONE = at_most(0)
_QUIET_S = 300.0

Group = Callable[[Path, int], list[Figure]]


def crash_points(folder: Path, seed: int) -> list[Figure]:
    """Every point in every process that passes it."""
    found = enumerate_all(folder)
    what = "crash points × processes, violations"
    return [Figure("F1", what, found.told, len(found.violations), found.took_s, _NONE)]


def random_kills(folder: Path, seed: int) -> list[Figure]:
    """A long campaign."""
    found = nemesis.campaign(folder, jobs=JOBS, seed=seed, timeout_s=_QUIET_S)
    what = f"random SIGKILL every 0.5 to 3 s, {JOBS:,} jobs, violations"
    return [Figure("F2", what, found.told, len(found.ends.complaints), found.took_s, _NONE)]


def takeovers(folder: Path, seed: int) -> list[Figure]:
    """A worker dies in the middle of a job."""
    usual = takeover.with_default_settings(folder / "usual", 3)
    short = takeover.with_a_short_lease(folder / "short", 10)
    return [
        Figure("F3", "SIGKILL of a worker to its job running elsewhere, default settings",
               usual.told, usual.worst, usual.took_s, at_most(65)),
        Figure("F3 short", "the same with a lease of 2 s", short.told, short.worst,
               short.took_s, at_most(4), at_most(3)),
    ]  # fmt: skip


def redis_emptied(folder: Path, seed: int) -> list[Figure]:
    """Redis forgets every message."""
    found = outages.redis_emptied(folder, queued=500, running=2)
    what = "Redis emptied with 500 queued and 2 running: seconds until all were started"
    return [Figure("F4", what, found.told, found.seconds, found.took_s, at_most(60), at_most(20))]


def broker_flaps(folder: Path, seed: int) -> list[Figure]:
    """Redis is away for moments, and silent for minutes."""
    began = time.monotonic()
    with trial_farm(folder, disturbed=True) as farm:
        farm.keep(*flaps.NAMES)
        assert farm.way is not None
        found = flaps.measure(farm, farm.way.redis, flaps=20, half_opens=5)
    what = "20 broker flaps of 2 s, 5 half-open minutes: worst, to all consuming again"
    return [
        Figure("F5", what, found.told, found.worst_s, time.monotonic() - began,
               at_most(60), at_most(15))
    ]  # fmt: skip


def long_outages(folder: Path, seed: int) -> list[Figure]:
    """A server is away while customers go on."""
    redis = outages.redis_away(folder / "redis", seconds=60)
    postgres = outages.postgres_away(folder / "postgres", seconds=30)
    return [
        Figure("F6 Redis", "Redis away for 60 s under load, violations", redis.told,
               len(redis.complaints), redis.took_s, _NONE),
        Figure("F6 PostgreSQL", "PostgreSQL away for 30 s under load, violations",
               postgres.told, len(postgres.complaints), postgres.took_s, _NONE),
        Figure("F6 answers", "slowest answer while PostgreSQL was away, s", postgres.told,
               postgres.slowest_s, postgres.took_s, at_most(2)),
    ]  # fmt: skip


def many_at_once(folder: Path, seed: int) -> list[Figure]:
    """What is decided between two callers at the same moment."""
    with _without_workers(folder) as farm:
        url = f"http://127.0.0.1:{farm.api_port}"
        credit = races.overdraft(farm.services, url, clients=64, rounds=200, seed=seed)
        ends = races.cancel_against_success(farm.services, rounds=1000, seed=seed)
        zombies = races.zombie_settles(farm.services, 100)
    with _without_workers(folder / "books") as farm:
        books = run_machine(farm.services, examples=100, steps=50, seed=seed)
    return [
        Figure("F7", "overdraft race, 64 clients × 200 rounds, accounts below zero",
               str(credit), credit.below_zero, credit.seconds, _NONE),
        Figure("F8", "cancel against success, 1,000 times: rounds that ended as one of the two",
               str(ends), ends.succeeded + ends.cancelled, ends.seconds, at_least(1000)),
        Figure("F9", "zombie settles refused, of 100", str(zombies),
               100 * zombies.refused / zombies.words, zombies.seconds, at_least(100)),
        Figure("F10", "the books driven by events at the same time, violations", str(books),
               0, books.seconds, _NONE),
    ]  # fmt: skip


def behind_a_flood(folder: Path, seed: int) -> list[Figure]:
    """One customer has a thousand jobs waiting."""
    found = fairness.measure(folder)
    what = "light customer's p95 wait behind 1,000 jobs, over its wait on an idle farm"
    return [Figure("F11", what, found.told, found.ratio, found.took_s, at_most(5), at_most(3))]


GROUPS: dict[str, Group] = {
    "F1": crash_points,
    "F2": random_kills,
    "F3": takeovers,
    "F4": redis_emptied,
    "F5": broker_flaps,
    "F6": long_outages,
    "F7": many_at_once,
    "F11": behind_a_flood,
}


def main(arguments: Sequence[str]) -> int:
    """Do the named groups, or all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="FIGURE", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what to draw from")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in GROUPS]:
        parser.error(f"there is no figure {unknown[0]}; there are {', '.join(GROUPS)}")
    _forget_settings()
    print(f"faults: seed {asked.seed}", flush=True)
    started = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="farm-faults-") as place:
        # PostgreSQL may run as another user than this one.
        Path(place).chmod(0o711)
        for name, group in GROUPS.items():
            if not asked.names or name in asked.names:
                print(f"faults: {name}: {group.__doc__} …", flush=True)
                figures += _found(name, group, Path(place) / name, asked.seed)
        servers = _server_versions(Path(place) / "servers")
    seconds = time.monotonic() - started
    if not asked.names:
        write_results(figures, asked.seed, seconds, servers)
    print(f"\n{table(figures)}\n\nfaults: seed {asked.seed}, {seconds:.0f} s", flush=True)
    missed = [figure.id for figure in figures if figure.missed]
    if missed:
        print(f"faults: missed what must be met: {', '.join(missed)}")
    return 1 if missed else 0


def _found(name: str, group: Group, folder: Path, seed: int) -> list[Figure]:
    """The group's figures; where a promise was found broken, or nothing could be found out, one
    that is missed says so. The others are still worth their time."""
    began = time.monotonic()
    folder.mkdir()
    try:
        found = group(folder, seed)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        told = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        what = f"{group.__doc__} It broke, see above"
        found = [Figure(name, what, told, math.inf, time.monotonic() - began, _NONE)]
    print(table(found), flush=True)
    return found


@contextlib.contextmanager
def _without_workers(folder: Path) -> Iterator[TrialFarm]:
    """A farm that only answers: nobody takes its jobs but the one who measures."""
    with trial_farm(folder, FARM_WEB_WORKERS="2", FARM_WEB_THREADS="32") as farm:
        farm.keep("api")
        yield farm


def _server_versions(folder: Path) -> str:
    """What the farm's own PostgreSQL and Redis are."""
    with trial_farm(folder) as farm:
        postgres = scalar(farm.services, "SHOW server_version")
        client = redis_client(farm.services.settings.broker_url)
        redis = client.info("server")["redis_version"]
        client.close()
    return f"PostgreSQL {postgres}, Redis {redis}"


def _forget_settings() -> None:
    """What is broken is the farm as it comes, on servers of its own."""
    for name in list(os.environ):
        if name.startswith("FARM_") or name in ("DATABASE_URL", "BROKER_URL"):
            del os.environ[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
