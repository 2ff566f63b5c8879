"""Who says whether a farm kept its promises: it knows what was acknowledged, and how it ended.

It sees what a customer and an operator see, HTTP and SQL, and the engine's own list of its runs;
and it runs the audit.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from farm.audit import audit
from farm.errors import DatabaseUnavailable
from farm.services import Services
from farm.types import JobState
from tests.factories import Customer
from tests.faults.trial.farm import TrialFarm
from tests.processes import wait_until

_ANSWER_S = 30.0
_AGAIN_S = 0.2
_LOOK_S = 0.05
_DEATHS_MAX = 2
"""What the farm promises. Not asked of it, so that it cannot excuse itself."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A submit that was answered with 200, and whose it is."""

    job: str
    who: Customer
    price: float


@dataclass(frozen=True, slots=True)
class Ends:
    """How the jobs of a farm ended, by state, and what the oracle complains of."""

    states: Mapping[str, int]
    complaints: tuple[str, ...]


class Oracle:
    """Submits through the API, and remembers; may be used by several threads."""

    def __init__(self, farm: TrialFarm) -> None:
        self._farm = farm
        self._lock = threading.Lock()
        self._acknowledged: list[Acknowledged] = []
        self._began: dict[uuid.UUID, tuple[Customer, float]] = {}
        self._requests: dict[str, tuple[Customer, dict[str, Any], dict[str, str]]] = {}
        self.watch(farm.who)

    def watch(self, who: Customer) -> Customer:
        """Look at this customer's money from now on; theirs are the oracle's jobs alone."""
        self._began[who.account_id] = (who, _balance(self._farm, who))
        return who

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """Every submit that was answered, in order."""
        with self._lock:
            return list(self._acknowledged)

    def submit(
        self,
        prompt: str = "",
        *,
        who: Customer | None = None,
        model: str = "sdxl",
        patience_s: float = 60.0,
        **more: Any,
    ) -> str:
        """Ask for a picture as a careful client does: with an Idempotency-Key, again while nobody
        answers or the answer is 5xx or 409. Returns the job's id.

        Raises:
            urllib.error.HTTPError: it was refused.
            OSError, HTTPException: nobody answered for as long as the patience lasts.
        """
        who = who or self._farm.who
        # By this word the jobs of one request are known, also those that nobody was told of.
        ask = uuid.uuid4().hex
        body = {"prompt": f"a red circle {prompt} ask={ask}", "model": model, **more}
        return self._ask(who, body, {"Idempotency-Key": ask}, patience_s)

    def again(self, job: str) -> str:
        """Send the request of an earlier submit once more, as a client does who heard no answer.
        Raises as :meth:`submit` does."""
        return self._ask(*self._requests[job], _ANSWER_S)

    def _ask(
        self, who: Customer, body: dict[str, Any], headers: dict[str, str], patience_s: float
    ) -> str:
        until = time.monotonic() + patience_s
        while True:
            try:
                answer = call(self._farm, who, "POST", "/v1/image/generate", body, headers)
                break
            except (OSError, http.client.HTTPException) as error:
                code = getattr(error, "code", None)
                is_refused = code is not None and code < 500 and code != 409
                if is_refused or time.monotonic() > until:
                    raise
                time.sleep(_AGAIN_S)
        job = str(answer["generation_id"])
        self._requests[job] = (who, body, headers)
        self.note(job, who, float(answer["credits_used"]))
        return job

    def note(self, job: str, who: Customer, price: float) -> None:
        """Remember a submit that was acknowledged."""
        with self._lock:
            self._acknowledged.append(Acknowledged(job, who, price))

    def ended(self, job: str, patience_s: float) -> bool:
        """Wait until a job has ended; False where it has not within the patience."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            try:
                state = self._farm.services.db.attempt(
                    lambda c: c.execute(_STATE, {"id": job}).scalar_one()
                )
                if JobState(state).is_terminal:
                    return True
            except DatabaseUnavailable:
                # Away on somebody's purpose.
                pass
            time.sleep(_LOOK_S)
        return False

    def quiet(self, timeout_s: float = 60.0) -> None:
        """Wait until no job lives any more."""
        wait_until(lambda: not self._live(), timeout_s, lambda: f"{self._live()}\n{self._tail()}")

    def verdict(self, timeout_s: float = 60.0, *, repeats: int | None = None) -> Ends:
        """Wait until all is quiet, and say what is wrong.

        ``repeats`` is how many runs the faults of a test excuse, of the jobs whose engine was
        not told to fail; None is any number. Where it is given, none of those may have failed.
        """
        self.quiet(timeout_s)
        services = self._farm.services
        rows = {str(row.id): row for row in _rows(services)}
        complaints = [*written(services), *self._run_twice(), *self._money(rows)]
        if repeats is not None:
            complaints += self._needless(rows, repeats)
        for one in self.acknowledged:
            complaints += self._kept(one, rows.get(one.job))
        return Ends(Counter(row.state for row in rows.values()), tuple(complaints))

    def check(self, timeout_s: float = 60.0, *, repeats: int | None = None) -> Ends:
        """The verdict; AssertionError where there is anything to complain of."""
        ends = self.verdict(timeout_s, repeats=repeats)
        assert not ends.complaints, "\n".join([*ends.complaints[:20], self._tail()])
        return ends

    def _run_twice(self) -> list[str]:
        starts = Counter(run[1:3] for run in self._farm.runs() if run[0] == "start")
        return [f"attempt {n} of {job} ran {times} times" for (job, n), times in starts.items()
                if times > 1]  # fmt: skip

    def _needless(self, rows: Mapping[str, Any], repeats: int) -> list[str]:
        """Runs and failures of this oracle's jobs that no fault excuses."""
        sound = [one.job for one in self.acknowledged if not rows[one.job].is_to_fail]
        starts = Counter(run[1] for run in self._farm.runs() if run[0] == "start")
        more = sum(max(0, starts[job] - 1) for job in sound)
        found = [
            f"{job} ended as {rows[job].state} although nothing was wrong with it"
            for job in sound
            if rows[job].state != "succeeded"
        ]
        if more > repeats:
            found.append(f"{more} runs were repeated, and the faults excuse {repeats}")
        return found

    def _money(self, rows: Mapping[str, Any]) -> list[str]:
        found = []
        for account_id, (who, began) in self._began.items():
            paid = sum(
                row.price / 10
                for row in rows.values()
                if row.account_id == account_id and row.state == "succeeded"
            )
            now = _balance(self._farm, who)
            if abs(began - paid - now) > 0.01:
                found.append(f"{who.email} has {now} and not {began} - {paid}")
        return found

    def _kept(self, one: Acknowledged, row: Any) -> list[str]:
        """What is wrong with an acknowledged submit, as its customer sees it."""
        if row is None:
            return [f"{one.job} was acknowledged and is not there"]
        if row.price != round(one.price * 10):
            return [f"{one.job} was to cost {one.price} and costs {row.price / 10}"]
        status = call(self._farm, one.who, "GET", f"/v1/image/{one.job}")
        if row.state != "succeeded":
            shown = status["status"]
            right = shown in (row.state, "failed")
            return [] if right else [f"{one.job} is {row.state} and shown as {shown}"]
        if status["status"] != "completed":
            return [f"{one.job} succeeded and is shown as {status['status']}"]
        return self._delivered(one, row, status["output_url"])

    def _delivered(self, one: Acknowledged, row: Any, url: str) -> list[str]:
        try:
            asked = urllib.request.Request(url, headers=_from(one.who))
            with urllib.request.urlopen(asked, timeout=_ANSWER_S) as reply:
                data = reply.read()
        except urllib.error.HTTPError as error:
            error.close()
            return [f"{one.job} was charged and its file answers {error.code}"]
        if hashlib.sha256(data).digest() != bytes(row.output_sha256):
            return [f"the file of {one.job} is another than the one that was settled"]
        if not data.startswith(f"{one.job} {row.settled_attempt}\n".encode()):
            return [f"the file of {one.job} is not of attempt {row.settled_attempt}"]
        return []

    def _live(self) -> list[str]:
        try:
            rows = self._farm.services.db.attempt(lambda c: c.execute(_LIVE).all())
        except DatabaseUnavailable as error:
            # Away on somebody's purpose; nothing is quiet meanwhile.
            return [str(error)]
        return [" ".join(map(str, row)) for row in rows]

    def _tail(self) -> str:
        return self._farm.logs()


def call(
    farm: TrialFarm,
    who: Customer,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """One API call of a customer; the JSON answer.

    Raises:
        urllib.error.HTTPError: it was refused; closed already.
        OSError, HTTPException: nobody answered.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{farm.api_port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {who.key}",
            "Content-Type": "application/json",
            **_from(who),
            **(headers or {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        error.close()
        raise


def _from(who: Customer) -> dict[str, str]:
    """Every customer has an address of their own: files are counted by address."""
    a, b, c = who.account_id.bytes[:3]
    return {"X-Forwarded-For": f"10.{a}.{b}.{c}"}


def written(services: Services) -> list[str]:
    """What is wrong with the database by itself: what the audit finds, and a few things more."""
    complaints = [
        f"audit {found.number}: {found.sentence}: {found.offenders}, as {found.example}"
        for found in audit(services)
        if not found.holds
    ]
    rows = _rows(services)
    for row in rows:
        if row.deaths > _DEATHS_MAX:
            complaints.append(f"{row.id} has ended {row.deaths} workers")
        if row.output_key and not row.output_key.startswith(f"{row.id}/{row.settled_attempt}/"):
            complaints.append(f"{row.id} was settled with the file of another attempt")
    asked = Counter(row.ask for row in rows if row.ask)
    return [*complaints, *(f"one request made {n} jobs" for n in asked.values() if n > 1)]


def _rows(services: Services) -> list[Any]:
    return list(services.db.attempt(lambda c: c.execute(_JOBS).all()))


def _balance(farm: TrialFarm, who: Customer) -> float:
    return float(call(farm, who, "GET", "/v1/account/balance")["credits_remaining"])


_JOBS = text(
    "SELECT id, account_id, state, price, attempt, deaths, settled_attempt, output_key, "
    "output_sha256, substring(params ->> 'prompt' FROM 'ask=([0-9a-f]+)') AS ask, "
    "coalesce(params ->> 'prompt' LIKE '%fail=%', false) AS is_to_fail FROM jobs"
)
_STATE = text("SELECT state FROM jobs WHERE id = :id")
_LIVE = text(
    "SELECT id, state, attempt, deaths, queue, worker FROM jobs "
    "WHERE state IN ('queued', 'running') ORDER BY created_at LIMIT 10"
)
