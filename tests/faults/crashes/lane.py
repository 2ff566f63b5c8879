"""What a step of the enumeration works with: one armed point, and a farm to lead past it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import psutil
from celery import Celery
from sqlalchemy import text

from farm import submit
from farm.messages import CANARIES, CONTROL_QUEUE
from farm.types import Idempotency, JobRequest
from tests import factories
from tests.api.pictures import picture
from tests.farm.webhooks.receiver import Receiver
from tests.faults.trial.farm import TrialFarm
from tests.faults.trial.oracle import Oracle, call
from tests.faults.trial.points import Victim
from tests.processes import Process, is_alive, wait_until

T = TypeVar("T")
Nudge = Callable[[], object]

FIRED_WITHIN_S = 90.0
ENDED_WITHIN_S = 120.0
_AGAIN_S = 0.2
_TOLD_WITHIN_S = 20.0
_NUDGE_S = 3.0
_PICTURE_PATH, MISSING_PATH = "/picture.png", "/missing.png"


class Bomb:
    """One point of one role: armed, waited for, and the death looked at."""

    def __init__(self, farm: TrialFarm, role: str, point: str, victim: Victim = "child") -> None:
        self._farm = farm
        self.role, self.point, self.victim = role, point, victim
        self.pid = 0
        self._parents: list[Process] = []

    def __str__(self) -> str:
        return f"{self.role} at {self.point}"

    def arm(self) -> None:
        """The next process of the role that gets there dies."""
        self._parents = [self._farm.keeper.process(self.role)]
        self._farm.armoury.arm(self.role, self.point, self.victim)

    def wait(self, nudge: Nudge | None = None) -> None:
        """Until a process has died there; ``nudge`` is called now and then meanwhile."""
        self.pid = wait_until(
            nudged(lambda: self._farm.armoury.fired(self.role, self.point), nudge),
            FIRED_WITHIN_S,
            lambda: f"nobody came to {self}\n{self._farm.logs()}",
        )
        self._parents.append(self._farm.keeper.process(self.role))
        wait_until(lambda: not _is_alive(self.pid), 10, f"{self.pid} lives on after {self}")

    def was_killed(self) -> bool:
        """Whether the process was seen to end by SIGKILL; asked when all is over. A parent that
        was ending too, or was killed with it, tells nobody; another may take a moment to tell."""
        until = time.monotonic() + _TOLD_WITHIN_S
        while not self._is_told_of():
            if time.monotonic() > until:
                return False
            time.sleep(_AGAIN_S)
        return True

    def _is_told_of(self) -> bool:
        if any(p.pid == self.pid and p.exit_code() == -9 for p in self._farm.processes):
            return True
        if any(parent.exit_code() is not None for parent in self._parents):
            return not _is_alive(self.pid)
        told = (f"pid:{self.pid} exited with 'signal 9", f"(pid:{self.pid}) was sent SIGKILL")
        logs = (log.read_text(errors="replace") for log in self._farm.folder.glob("*.log"))
        return any(words in log for log in logs for words in told)


def nudged(found: Callable[[], T], nudge: Nudge | None) -> Callable[[], T]:
    """What looks for something, and now and then does something for it to happen."""
    due = time.monotonic() + _NUDGE_S

    def look() -> T:
        nonlocal due
        if nudge is not None and time.monotonic() > due:
            nudge()
            due = time.monotonic() + _NUDGE_S
        return found()

    return look


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return is_alive(psutil.Process(pid))
    return False


class Pictures:
    """A customer's web server with one picture on it, from ``__enter__`` to ``__exit__``."""

    def __init__(self) -> None:
        self.picture = sent = picture(width=64, height=48)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = sent if self.path == _PICTURE_PATH else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.trust = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Pictures:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str = _PICTURE_PATH) -> str:
        """Where the picture is, or where there is none."""
        return f"http://{self.trust}{path}"


@dataclass
class Lane:
    """A thread's part of the enumeration; steps of one lane come one after the other.

    Args:
        role: as whom the processes die that this lane arms.
        model: what this lane asks for.
        who: as whom.
    """

    farm: TrialFarm
    oracle: Oracle
    receiver: Receiver
    pictures: Pictures
    celery: Celery
    role: str
    model: str
    who: factories.Customer

    def bomb(self, point: str, victim: Victim) -> Bomb:
        """A point of this lane's role."""
        return Bomb(self.farm, self.role, point, victim)

    # Asking, as a customer does.

    def customer(self, storefront: str = "pixelapi", plan: str = "scale") -> factories.Customer:
        """A new one."""
        return factories.customer(self.farm.services, storefront=storefront, plan=plan)

    def insist(self, ask: Callable[[], T]) -> T:
        """Ask again while nobody answers, or with 409 or 5xx; raises what is a refusal."""
        until = time.monotonic() + ENDED_WITHIN_S
        while True:
            try:
                return ask()
            except (OSError, http.client.HTTPException) as error:
                code = getattr(error, "code", None)
                if (code and code < 500 and code != 409) or time.monotonic() > until:
                    raise
                time.sleep(_AGAIN_S)

    def call(
        self, who: factories.Customer, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Any:
        """One call with an Idempotency-Key, made until it is answered; the JSON."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self.insist(lambda: call(self.farm, who, method, path, body, headers))

    def upload(self) -> str:
        """Ask for a picture's background to be removed, sent as a file; the job's id."""
        boundary = uuid.uuid4().hex
        head = 'Content-Disposition: form-data; name="image"; filename="a.png"'
        body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + self.pictures.picture
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.farm.api_port}/v1/image/remove-background",
            data=body + f"\r\n--{boundary}--\r\n".encode(),
            headers={
                "Authorization": f"Bearer {self.who.key}",
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Idempotency-Key": boundary,
            },
        )

        return self.noted(self.insist(lambda: _answer(request)))

    def by_url(self, path: str = _PICTURE_PATH) -> str:
        """The same with a URL; the job's id."""
        body = {"image_url": self.pictures.url(path)}
        return self.noted(self.call(self.who, "POST", "/v1/image/remove-background", body))

    def noted(self, answer: Mapping[str, Any]) -> str:
        """Let the oracle know of an answer; the job's id without the word before it."""
        job = str(answer["generation_id"])[-36:]
        self.oracle.note(job, self.who, float(answer["credits_used"]))
        return job

    # Arranging what a step needs.

    def unrung(self, idempotency: Idempotency | None = None) -> uuid.UUID:
        """A queued job of which no message tells; it is an edit."""
        name = "remove-background"
        job = JobRequest(name, name, {}, inputs={"image": factories.picture()})
        services = self.farm.services
        return submit.submit(services, self.who.principal, job, idempotency).job_id

    def rung(self) -> uuid.UUID:
        """One that the next sweep rings for."""
        job = self.unrung()
        self.execute("UPDATE jobs SET rung_at = NULL WHERE id = :id", id=job)
        return job

    def parked(self, **request: Any) -> uuid.UUID:
        """A queued job, with a picture, of a model that no worker serves."""
        picture = factories.picture()
        job = JobRequest(
            "remove-object", "remove-object", {}, inputs={"image": picture, "mask": picture},
            **request,
        )  # fmt: skip
        return submit.submit(self.farm.services, self.who.principal, job).job_id

    def execute(self, sql: str, **values: Any) -> int:
        """One statement; how many rows."""
        with self.farm.services.db.statement() as connection:
            return connection.execute(text(sql), values).rowcount

    def value(self, sql: str, **values: Any) -> Any:
        """The first value that a query returns."""
        with self.farm.services.db.statement() as connection:
            return connection.execute(text(sql), values).scalar()

    def together(self, bomb: Bomb, sql: str, **values: Any) -> None:
        """Arm the bomb as this statement's rows change: whoever sees the one finds the other."""
        with self.farm.services.db.transaction() as connection:
            assert connection.execute(text(sql), values).rowcount, f"nothing to arrange for {bomb}"
            bomb.arm()

    @property
    def queue(self) -> str:
        """Where the jobs of this lane's model wait."""
        return self.farm.services.catalog.models[self.model].queue

    def canary_due(self, bomb: Bomb, queue: str) -> None:
        """The next canary down this queue meets the bomb."""
        self.until("SELECT answered_at >= sent_at FROM canaries WHERE queue = :queue", queue=queue)
        long_ago = "now() - interval '1 hour'"
        due = f"UPDATE canaries SET sent_at = {long_ago}, answered_at = {long_ago} "
        self.together(bomb, due + "WHERE queue = :queue", queue=queue)
        self.send(CANARIES)

    def canary_comes(self, queue: str) -> None:
        """The one after that comes out."""

        def hurry() -> None:
            lost = "UPDATE canaries SET sent_at = sent_at - interval '1 hour' WHERE queue = :queue"
            self.execute(f"{lost} AND sent_at > answered_at", queue=queue)
            self.send(CANARIES)

        back = "SELECT answered_at > now() - interval '1 minute' FROM canaries WHERE queue = :queue"
        self.until(back, nudge=hurry, queue=queue)

    def send(self, task: str) -> None:
        """Ask the control worker for a task of its schedule."""
        self.celery.send_task(task, queue=CONTROL_QUEUE)

    def stop(self) -> Nudge:
        """Tell the role's process to end, as an operator does. Returns what tells the next one."""
        stopped = 0

        def tell() -> None:
            nonlocal stopped
            process = self.farm.keeper.process(self.role)
            if process.pid == stopped:
                return
            # One that has just begun to start would end without a word.
            self.farm.ready(self.role, process)
            process.signal(signal.SIGTERM)
            stopped = process.pid

        tell()
        return tell

    # Waiting.

    def until(self, sql: str, *, nudge: Nudge | None = None, **values: Any) -> Any:
        """Wait until a query's first value is true; the value. ``nudge`` as a bomb's."""
        return wait_until(
            nudged(lambda: self.value(sql, **values), nudge),
            ENDED_WITHIN_S,
            lambda: f"{sql} {values}\n{self.farm.logs()}",
        )

    def ends(self, job: uuid.UUID | str, state: str, nudge: Nudge | None = None) -> None:
        """Wait until a job has ended; it must be in this way."""
        found = self.until(
            "SELECT state FROM jobs WHERE id = :id AND finished_at IS NOT NULL",
            nudge=nudge,
            id=str(job),
        )
        assert found == state, f"job {job} is {found} and not {state}\n{self.farm.logs()}"

    def calm(self) -> None:
        """Wait until nobody has anything of this lane's model in hand, or is to repeat it: a job
        that meets two bombs is taken for the cause of both deaths."""
        self.until(
            "SELECT NOT EXISTS (SELECT FROM jobs WHERE model = :model AND attempt > 0 "
            "AND state IN ('queued', 'running'))",
            model=self.model,
        )

    def started(self, job: uuid.UUID | str) -> None:
        """Wait until a job has been claimed."""
        self.until("SELECT state = 'running' FROM jobs WHERE id = :id", id=str(job))


def _answer(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        error.close()
        raise
