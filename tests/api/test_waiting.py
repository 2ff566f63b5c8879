"""Clients that wait, watch and leave: a real gunicorn, its sockets, a real Redis."""

from __future__ import annotations

import base64
import contextlib
import json
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from api.runtime import Runtime
from api.waiting import handover
from api.waiting.guests import Connection, Reply, Waiter
from api.waiting.room import WaitingRoom
from farm import jobs
from farm.config import Settings
from farm.events import JobEvent
from farm.submit import submit
from farm.types import JobState
from farm.views import JobView, get_jobs, newest_jobs
from tests import factories
from tests.api.web import PATIENCE_S, THREADS, Web, web_process
from tests.processes import free_port, wait_until
from tests.services import Databases, flush


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


class TestSynchronousCalls:
    """Requests that are answered with what they asked for; PixAPI has them."""

    PATH = "/v1/images/generations"
    BODY: ClassVar[dict[str, Any]] = {"model": "sdxl", "prompt": "a red circle"}

    @pytest.fixture
    def buyer(self, web: Web) -> factories.Customer:
        """A customer of PixAPI."""
        return factories.customer(web.services, storefront="pixapi", plan="business")

    def made(self, web: Web, buyer: factories.Customer, count: int) -> list[JobView]:
        """The customer's jobs, oldest first, once there are so many."""

        def jobs_of() -> list[JobView]:
            return newest_jobs(web.services.db, buyer.account_id, limit=50)[::-1]

        wait_until(lambda: len(jobs_of()) == count, PATIENCE_S, "no job was made")
        return jobs_of()

    def test_more_wait_than_there_are_threads(self, web: Web, buyer: factories.Customer) -> None:
        before = web.connections()
        with ThreadPoolExecutor(4 * THREADS) as pool:
            body = {**self.BODY, "n": 2, "response_format": "b64_json"}
            waits = [pool.submit(web.post, buyer, self.PATH, body) for _ in range(4 * THREADS)]
            found = self.made(web, buyer, 8 * THREADS)
            assert not any(wait.done() for wait in waits)
            for number, job in enumerate(found):
                web.finish(web.start(job.id)) if number % 8 else web.fail(web.start(job.id))
            answers = [wait.result(PATIENCE_S) for wait in waits]
        assert {status for status, _, _ in answers} == {200}
        numbers = Counter(len(answer["data"]) for _, _, answer in answers)
        assert numbers == {2: 3 * THREADS, 1: THREADS}
        for _, headers, answer in answers:
            assert base64.b64decode(answer["data"][0]["b64_json"]) == b"picture"
            assert answer["usage"]["credits"] == 2.0 * len(answer["data"])
            assert headers["X-Request-Id"]
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "connections stay open")

    def test_whoever_hangs_up_leaves_the_job_running(
        self, web: Web, buyer: factories.Customer
    ) -> None:
        before = web.connections()
        connection = web.sent(buyer, self.PATH, "POST", self.BODY)
        [job] = self.made(web, buyer, 1)
        connection.close()
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "it is still held")
        web.finish(web.start(job.id))
        _, _, task = web.call(buyer, f"/v1/tasks/task_{job.id.hex}")
        assert (task["status"], task["usage"]) == ("completed", {"credits": 2.0})

    def test_a_retry_waits_for_the_same_pictures(self, web: Web, buyer: factories.Customer) -> None:
        with ThreadPoolExecutor(2) as pool:
            waits = [
                pool.submit(web.post, buyer, self.PATH, self.BODY, Idempotency_Key="one")
                for _ in range(2)
            ]
            [job] = self.made(web, buyer, 1)
            wait_until(lambda: web.connections() >= 2, PATIENCE_S, "they do not wait")
            web.finish(web.start(job.id))
            answers = [wait.result(PATIENCE_S) for wait in waits]
        again = web.post(buyer, self.PATH, self.BODY, Idempotency_Key="one")
        assert [status for status, _, _ in (*answers, again)] == [200] * 3
        links = [answer["data"][0]["url"] for _, _, answer in (*answers, again)]
        assert len(set(links)) == 1
        assert [h["Idempotency-Replayed"] for _, h, _ in answers].count("true") == 1
        assert again[1]["Idempotency-Replayed"] == "true"
        assert len(self.made(web, buyer, 1)) == 1

    def test_a_key_for_which_too_many_wait_makes_no_job(
        self, web: Web, buyer: factories.Customer
    ) -> None:
        before = web.connections()
        with contextlib.ExitStack() as stack:
            claim = web.start(submit(web.services, buyer.principal, factories.request()).job_id)
            task_id = f"task_{claim.job_id.hex}"
            for _ in range(200):
                stack.enter_context(web.watch(buyer, task_id))
            status, headers, answer = web.post(buyer, self.PATH, self.BODY)
            assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
            assert "200 requests of this key are waiting" in answer["error"]["message"]
            assert headers["Retry-After"]
        assert len(self.made(web, buyer, 1)) == 1
        wait_until(lambda: web.connections() <= before, PATIENCE_S, "connections stay open")

    def test_a_batch_is_watched_as_one(self, web: Web, buyer: factories.Customer) -> None:
        _, _, task = web.post(buyer, f"/v1/async{self.PATH[3:]}", {**self.BODY, "n": 2})
        first, second = self.made(web, buyer, 2)
        with web.watch(buyer, task["id"]) as stream:
            events = stream.events()
            assert next(events)[2]["status"] == "submitted"
            claim = web.start(second.id)
            name, _, job = next(events)
            assert (name, job["status"], job["progress"]) == ("state", "processing", 0)
            web.step(claim, 3, 4)
            name, seen, data = next(events)
            assert (name, data) == ("progress", {"step": 3, "steps": 4, "index": 1})
            web.finish(claim)
            _, _, job = next(events)
            assert (job["status"], job["progress"]) == ("processing", 50)
            web.finish(web.start(first.id))
            names = [(name, job["status"]) for name, _, job in events]
            assert names[-1] == ("end", "completed")
        with web.watch(buyer, task["id"], last=seen) as stream:
            [(name, last, job)] = list(stream.events())
            assert (name, len(job["data"])) == ("end", 2)
        with web.watch(buyer, task["id"], last=last) as stream:
            assert stream.answer.status == 204

    def test_a_wait_ends_when_the_last_job_has(self, web: Web, buyer: factories.Customer) -> None:
        _, _, task = web.post(buyer, f"/v1/async{self.PATH[3:]}", {**self.BODY, "n": 2})
        first, second = self.made(web, buyer, 2)
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(web.call, buyer, f"/v1/jobs/{task['id']}?wait=60")
            web.finish(web.start(first.id))
            web.fail(web.start(second.id))
            status, _, found = wait.result(PATIENCE_S)
        assert (status, found["status"], len(found["failed"])) == (200, "completed", 1)
        assert found == web.call(buyer, f"/v1/tasks/{task['id']}")[2]


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


def test_a_client_that_does_not_read_its_answer_is_hung_up_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "READ_WITHIN_S", 0.2)
    services = runtime.services
    who = factories.customer(services, plan="scale")
    claim = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, claim)
    large = Reply.of(200, {"data": "A" * (8 << 20)})
    waiter = Waiter(
        [claim.job_id], who.account_id, 60, lambda _: lambda: large, lambda _: Reply.of(500, {})
    )
    client, server = socket.socketpair()
    with contextlib.closing(client), contextlib.closing(server):
        with pytest.raises(StopIteration):
            handover.Handover(runtime.room, waiter)({"gunicorn.socket": server}, _no_answer)
        hung_up = select.poll()
        hung_up.register(client, 0)
        wait_until(lambda: hung_up.poll(0), PATIENCE_S, "its answer is kept for ever")
        client.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            assert 0 < len(client.recv(len(large.body), socket.MSG_WAITALL)) < len(large.body)
    assert not runtime.room.guests


def _no_answer(*_: Any) -> Any:
    raise AssertionError("the thread has nothing to say")


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
