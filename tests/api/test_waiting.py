"""Clients that wait, watch and leave: a real gunicorn, its sockets, a real Redis."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.runtime import Runtime
from api.waiting.guests import Connection, Reply, Waiter
from api.waiting.room import WaitingRoom
from farm import jobs
from farm.config import Settings
from farm.events import Announcer, JobEvent
from farm.services import Services, build_services
from farm.types import Claim, JobState
from farm.views import get_jobs
from tests import factories
from tests.processes import Process, free_port, running, wait_until
from tests.services import Databases, flush

THREADS = 4
PATIENCE_S = 20


@dataclass
class Web:
    """A web process with few threads, and what a worker would do behind it."""

    services: Services
    announcer: Announcer
    port: int
    process: Process

    def call(self, who: factories.Customer, path: str, method: str = "GET") -> tuple[int, Any, Any]:
        """One request: status, headers, JSON body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers={"Authorization": f"Bearer {who.key}"})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read() or b"null")

    @contextlib.contextmanager
    def watch(self, who: factories.Customer, job_id: uuid.UUID, last: str = "") -> Iterator[Stream]:
        """The job's event stream, for the block."""
        stream = Stream(self.port, who, job_id, last)
        try:
            yield stream
        finally:
            stream.close()

    def start(self, job_id: uuid.UUID) -> Claim:
        """Claim a job and tell of it."""
        claim = factories.claimed(self.services, job_id)
        self.announcer.tell(JobEvent(job_id, JobState.RUNNING, claim.attempt))
        return claim

    def step(self, claim: Claim, step: int, steps: int) -> None:
        """Tell of a step, as a worker does: those who come later read it from the job."""
        assert jobs.heartbeat(self.services.db, claim.job_id, claim.attempt, 30, step, steps)
        event = JobEvent(claim.job_id, JobState.RUNNING, claim.attempt, step, steps)
        self.announcer.tell(event)

    def finish(self, claim: Claim) -> None:
        """Settle a job and tell of it."""
        assert factories.succeed(self.services, claim)
        self.announcer.tell(JobEvent(claim.job_id, JobState.SUCCEEDED, claim.attempt))

    def connections(self) -> int:
        """Connections of clients that the web process holds."""
        [worker] = self.process.family()[1:]
        found = [c for c in worker.net_connections("tcp") if c.laddr[1] == self.port]
        return sum(c.status not in ("LISTEN", "NONE") for c in found)


class Stream:
    """A client of server-sent events."""

    def __init__(self, port: int, who: factories.Customer, job_id: uuid.UUID, last: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {who.key}"} | ({"Last-Event-ID": last} if last else {})
        self._connection.request("GET", f"/v1/jobs/{job_id}/events", headers=headers)
        self.answer = self._connection.getresponse()

    def events(self) -> Iterator[tuple[str, str, Any]]:
        """Each event's name, id and data, until the stream ends."""
        fields: dict[str, str] = {}
        for line in iter(self.answer.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
                fields = {}

    def close(self) -> None:
        """Hang up, as a client that leaves."""
        self.answer.close()
        self._connection.close()


@contextlib.contextmanager
def web_process(settings: Settings, redis_url: str, folder: Path) -> Iterator[Web]:
    """``farm api`` with one process, serving."""
    env = {
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "FARM_REDIS_URL": redis_url,
        "FARM_DATA": str(settings.data),
        "FARM_WEB_WORKERS": "1",
        "FARM_WEB_THREADS": str(THREADS),
    }
    port = free_port()
    command = [sys.executable, "-m", "farm.cli", "api", "--port", str(port)]
    services = build_services(settings)
    announcer = Announcer(settings.broker_url)
    with running(command, folder / "api.log", env=env) as process:
        web = Web(services, announcer, port, process)

        def serves() -> bool:
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(asking), contextlib.suppress(OSError):
                asking.request("GET", "/healthz")
                return asking.getresponse().status == 200
            return False

        wait_until(serves, 60, process.output)
        yield web
    announcer.close()
    services.dispose()


@pytest.fixture(scope="module")
def web(
    databases: Databases, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    """One web process for most of the tests."""
    flush(redis_server)
    folder = tmp_path_factory.mktemp("waiting")
    with databases.fresh() as url:
        settings = Settings(
            DATABASE_URL=url, BROKER_URL=redis_server, data=folder / "data", weights="tiny"
        )
        with web_process(settings, "", folder) as found:
            yield found


@pytest.fixture
def who(web: Web) -> factories.Customer:
    """A customer of ``web``."""
    return factories.customer(web.services, plan="scale")


def is_settled(found: Future[tuple[int, Any, Any]]) -> dict[str, Any]:
    """The job object of an answered wait."""
    status, _, job = found.result(PATIENCE_S)
    assert status == 200
    return dict(job)


class TestWait:
    def test_many_more_wait_than_there_are_threads_and_all_hear_of_the_end(
        self, web: Web, who: factories.Customer
    ) -> None:
        claims = [web.start(factories.submitted(web.services, who)) for _ in range(3)]
        before = web.connections()
        with ThreadPoolExecutor(8 * THREADS) as pool:
            waits = [
                pool.submit(web.call, who, f"/v1/jobs/{claims[n % 3].job_id}?wait=60")
                for n in range(8 * THREADS)
            ]
            wait_until(
                lambda: web.connections() - before >= 8 * THREADS, PATIENCE_S, "they do not wait"
            )
            # Others are served meanwhile.
            status, _, job = web.call(who, f"/v1/image/{claims[0].job_id}")
            assert (status, job["status"]) == (200, "processing")
            assert not any(wait.done() for wait in waits)
            for claim in claims:
                web.finish(claim)
            jobs_ = [is_settled(wait) for wait in waits]
        assert {job["status"] for job in jobs_} == {"completed"}
        assert {job["id"] for job in jobs_} == {str(claim.job_id) for claim in claims}
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "connections stay open")

    def test_the_answer_is_the_one_that_polling_gets(
        self, web: Web, who: factories.Customer
    ) -> None:
        claim = web.start(factories.submitted(web.services, who))
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(web.call, who, f"/v1/jobs/{claim.job_id}?wait=60")
            web.finish(claim)
            status, headers, job = wait.result(PATIENCE_S)
        polled = web.call(who, f"/v1/image/{claim.job_id}")
        assert (status, job) == (200, polled[2])
        for name in ("X-RateLimit-Limit", "X-Request-Id", "Content-Type", "Cache-Control"):
            assert headers[name], name
        again = web.call(who, f"/v1/jobs/{claim.job_id}?wait=60")
        assert again[2] == polled[2]

    def test_when_time_is_up_the_job_is_told_as_it_stands(
        self, web: Web, who: factories.Customer
    ) -> None:
        job_id = factories.submitted(web.services, who)
        status, _, job = web.call(who, f"/v1/jobs/{job_id}?wait=0.3")
        assert (status, job["status"]) == (200, "queued")
        assert job["queue_position"] >= 1
        # No worker, no measured job: nothing is guessed.
        assert "eta_seconds" not in job

    def test_whoever_hangs_up_costs_nothing(self, web: Web, who: factories.Customer) -> None:
        claim = web.start(factories.submitted(web.services, who))
        before = web.connections()
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(web.watch(who, claim.job_id)) for _ in range(20)]
            assert [stream.answer.status for stream in streams] == [200] * 20
            assert web.connections() - before == 20
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "connections stay open")

    def test_streams_of_one_key_have_a_bound(self, web: Web, who: factories.Customer) -> None:
        claim = web.start(factories.submitted(web.services, who))
        before = web.connections()
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(web.watch(who, claim.job_id)) for _ in range(220)]
            refused = [stream for stream in streams if stream.answer.status != 200]
            assert 0 < len(refused) <= 20
            problem = json.loads(refused[0].answer.read())
            assert refused[0].answer.status == 429
            assert refused[0].answer.headers["Retry-After"]
            assert "200 requests of this key are waiting" in problem["detail"]
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "connections stay open")


class TestWatch:
    def test_states_steps_and_the_end_come_in_order(
        self, web: Web, who: factories.Customer
    ) -> None:
        job_id = factories.submitted(web.services, who)
        with web.watch(who, job_id) as stream:
            assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
            events = stream.events()
            name, first, job = next(events)
            assert (name, job["status"]) == ("state", "queued")
            assert job["queue_position"] >= 1
            claim = web.start(job_id)
            name, second, job = next(events)
            assert (name, job["status"]) == ("state", "processing")
            for step in (1, 2, 3):
                web.step(claim, step, 3)
            steps = [next(events) for _ in range(3)]
            assert [name for name, _, _ in steps] == ["progress"] * 3
            assert [data["step"] for _, _, data in steps] == [1, 2, 3]
            web.finish(claim)
            [(name, last, job)] = list(events)
            assert (name, job["status"], job["receipt"]["charged"]) == ("end", "completed", 3.0)
        ids = [first, second, *(found for _, found, _ in steps), last]
        assert len(set(ids)) == len(ids)

        with web.watch(who, job_id, last=ids[2]) as stream:
            assert [name for name, _, _ in stream.events()] == ["end"]
        with web.watch(who, job_id, last=last) as stream:
            assert stream.answer.status == 204

    def test_a_broken_stream_goes_on_where_it_was(self, web: Web, who: factories.Customer) -> None:
        claim = web.start(factories.submitted(web.services, who))
        web.step(claim, 1, 9)
        with web.watch(who, claim.job_id) as stream:
            _, seen, job = next(stream.events())
        assert job["progress"] == {"step": 1, "steps": 9}
        web.step(claim, 4, 9)
        with web.watch(who, claim.job_id, last=seen) as stream:
            assert next(stream.events())[0::2] == ("progress", {"step": 4, "steps": 9})

    def test_a_job_that_goes_back_to_its_queue_says_so(
        self, web: Web, who: factories.Customer
    ) -> None:
        claim = web.start(factories.submitted(web.services, who))
        with web.watch(who, claim.job_id) as stream:
            events = stream.events()
            assert next(events)[2]["status"] == "processing"
            assert jobs.hand_back(web.services.db, claim.job_id, claim.attempt)
            web.announcer.tell(JobEvent(claim.job_id, JobState.QUEUED, claim.attempt))
            assert next(events)[2]["status"] == "queued"


def test_an_event_that_was_lost_is_made_up_for(runtime: Runtime, redis_url: str) -> None:
    services = runtime.services
    who = factories.customer(services, plan="scale")
    claim = factories.claimed(services, factories.submitted(services, who))
    room = WaitingRoom(redis_url, lambda ids: get_jobs(services.db, ids), stay_every_s=0.2)
    waiter = Waiter(
        [claim.job_id],
        who.account_id,
        60,
        lambda jobs: Reply.of(200, {"state": jobs[0].state}),
        lambda _: Reply.of(500, {}),
    )
    line = Line()
    room.admit(waiter, lambda _: line)
    wait_until(lambda: room.guests, PATIENCE_S, "it does not come in")
    assert factories.succeed(services, claim)  # and nobody is told
    assert line.answered.result(PATIENCE_S) == Reply(200, b'{"state":"succeeded"}')
    wait_until(lambda: not room.guests, PATIENCE_S, "it does not leave")
    room.close()


class Line(Connection):
    """A connection that keeps its answer."""

    def __init__(self) -> None:
        self.answered: Future[Reply] = Future()

    def answer(self, reply: Reply) -> None:
        self.answered.set_result(reply)

    def begin(self) -> None:
        raise AssertionError("nobody asked for a stream")

    send = close = begin  # type: ignore[assignment]


def test_without_redis_the_end_is_found_all_the_same(settings: Settings, tmp_path: Path) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with web_process(settings, nowhere, tmp_path) as web:
        customer = factories.customer(web.services, plan="scale")
        claim = factories.claimed(web.services, factories.submitted(web.services, customer))
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(web.call, customer, f"/v1/jobs/{claim.job_id}?wait=60")
            wait_until(web.connections, PATIENCE_S, "it does not wait")
            assert factories.succeed(web.services, claim)
            assert is_settled(wait)["status"] == "completed"


def test_a_web_process_that_ends_answers_whoever_waits(settings: Settings, tmp_path: Path) -> None:
    with web_process(settings, "", tmp_path) as web:
        customer = factories.customer(web.services, plan="scale")
        job_id = factories.submitted(web.services, customer)
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(web.call, customer, f"/v1/jobs/{job_id}?wait=60")
            wait_until(web.connections, PATIENCE_S, "it does not wait")
            time.sleep(0.2)  # the connection is there before the room has it
            web.process.signal(signal.SIGTERM)
            assert is_settled(wait)["status"] == "queued"
