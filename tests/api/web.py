"""A real web process on its own port, and clients that wait at it or watch."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm import jobs
from farm.config import Settings
from farm.events import Announcer, JobEvent
from farm.services import Services, build_services
from farm.types import Claim, JobState
from tests import factories
from tests.processes import Process, free_port, running, wait_until

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
        with contextlib.closing(self.sent(who, path, method)) as connection:
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read() or b"null")

    def post(
        self, who: factories.Customer, path: str, body: Any, **headers: str
    ) -> tuple[int, Any, Any]:
        """One request with a JSON body: status, headers, JSON body."""
        with contextlib.closing(self.sent(who, path, "POST", body, **headers)) as connection:
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())

    def sent(
        self,
        who: factories.Customer,
        path: str,
        method: str = "GET",
        body: Any = None,
        **more: str,
    ) -> http.client.HTTPConnection:
        """The connection of a request that has been sent, and is not answered yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {who.key}", "Content-Type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, body=data, headers=headers)
        return connection

    @contextlib.contextmanager
    def watch(
        self, who: factories.Customer, job_id: uuid.UUID | str, last: str = ""
    ) -> Iterator[Stream]:
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

    def fail(self, claim: Claim) -> None:
        """End a job as broken and tell of it."""
        factories.fail(self.services, claim)
        self.announcer.tell(JobEvent(claim.job_id, JobState.FAILED, claim.attempt))

    def connections(self) -> int:
        """Connections of clients that the web process holds."""
        [worker] = self.process.family()[1:]
        found = [c for c in worker.net_connections("tcp") if c.laddr[1] == self.port]
        return sum(c.status not in ("LISTEN", "NONE") for c in found)


class Stream:
    """A client of server-sent events."""

    def __init__(
        self, port: int, who: factories.Customer, job_id: uuid.UUID | str, last: str
    ) -> None:
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
def web_process(settings: Settings, redis_url: str, folder: Path, **more: str) -> Iterator[Web]:
    """``farm api`` with one process, serving; ``more`` is set in its environment."""
    env = {
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "FARM_REDIS_URL": redis_url,
        "FARM_DATA": str(settings.data),
        "FARM_WEB_WORKERS": "1",
        "FARM_WEB_THREADS": str(THREADS),
        **more,
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
