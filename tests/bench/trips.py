"""B6: round trips per submit, as PostgreSQL and Redis themselves count them.

The embedded PostgreSQL comes without pg_stat_statements, so its log is asked to name every
statement; psycopg2 sends each in a round trip of its own. Redis counts the times it read from
a client: a script's own commands and the rest of a pipeline cost no trip.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from sqlalchemy import make_url, text

from tests.bench.load import Plan, post, run_load
from tests.bench.report import Figure, at_most
from tests.bench.stage import Farm, Stage
from tests.bench.web import BODY, CONNECTIONS
from tests.processes import wait_until
from tests.services import redis_client

WARM_UP, SUBMITS = 200, 300
_WAIT_S = 10.0
_COMMAND = "cmdstat_"
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*):\s*([^\n(]*)")


def measure(stage: Stage) -> list[Figure]:
    """Submits one after another on one connection, so that no two can share a trip."""
    redis = _Redis(stage.redis_url)
    with stage.farm() as farm:
        _log_statements(farm)
        with stage.api(farm) as (port, _):
            request = post("/v1/image/generate", farm.customers(1)[0].key, BODY)
            warm_up = Plan(port, [request], CONNECTIONS, count=WARM_UP)
            redis.while_doing(lambda: run_load(warm_up), WARM_UP)
            log_start = stage.postgres_log.stat().st_size
            commands, reads = redis.while_doing(
                lambda: run_load(Plan(port, [request], count=SUBMITS)), SUBMITS
            )
        with stage.postgres_log.open(encoding="utf-8") as log:
            log.seek(log_start)
            statements = Counter(_STATEMENT.findall(log.read()))
    redis.close()
    _show("PostgreSQL", statements)
    _show("Redis, a script's own commands included,", commands)
    return [
        _figure("B6 PostgreSQL", statements.total(), 4, 1),
        _figure("B6 Redis", reads, 3, 1),
    ]


class _Redis:
    """Redis' own counters, less what it costs to read them."""

    def __init__(self, url: str) -> None:
        self._client = redis_client(url)
        self._client.ping()
        self.close = self._client.close

    def while_doing(self, work: Callable[[], object], rings: int) -> tuple[Counter[str], int]:
        """Commands by name, and reads from clients, until the last of so many rings is sent.

        Rings that go together are one command, so it is the messages that are counted.
        """
        there = self._messages()
        before, before_reads = self._counted()
        work()
        looks = 0

        def complete() -> bool:
            nonlocal looks
            looks += 1
            return self._messages() - there >= rings

        wait_until(complete, _WAIT_S, "the last ring")
        after, reads = self._counted()
        after.subtract(before)
        after.subtract({"info": 1, "keys": looks, "llen": looks * len(self._lists())})
        return +after, reads - before_reads - 1 - looks * 2

    def _lists(self) -> list[str]:
        found: list[str] = self._client.keys("gpu.*")
        return found

    def _messages(self) -> int:
        lists = self._lists()
        pipeline = self._client.pipeline(transaction=False)
        for name in lists:
            pipeline.llen(name)
        return sum(pipeline.execute())

    def _counted(self) -> tuple[Counter[str], int]:
        info = self._client.info("all")
        calls = {
            name.removeprefix(_COMMAND): int(stats["calls"])
            for name, stats in info.items()
            if name.startswith(_COMMAND)
        }
        return Counter(calls), int(info["total_reads_processed"])


def _figure(name: str, trips: int, must: float, aim: float) -> Figure:
    each = trips / SUBMITS
    return Figure(
        name,
        "round trips per submit, to a tenth",
        f"{each:.3f}",
        "",
        round(each, 1),  # a key is looked up every few seconds, whoever submits
        at_most(must),
        at_most(aim),
    )


def _show(server: str, seen: Counter[str]) -> None:
    for what, number in seen.most_common():
        print(f"    {server} {number / SUBMITS:.3f} x {what[:60]}")


def _log_statements(farm: Farm) -> None:
    """Have PostgreSQL log what the processes that connect from now on ask of this database."""
    name = make_url(farm.settings.database_url).database
    with farm.services.db.statement() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET log_statement = 'all'"))
