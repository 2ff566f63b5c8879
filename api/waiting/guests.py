"""Who waits, and what each is told: pure, but for the connection that it is written to."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from api.replies import encode_json
from farm.errors import FarmError
from farm.events import JobEvent, Moment
from farm.outlook import Place
from farm.types import JobState
from farm.views import JobView

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
RECONNECT_MS = 2000
"""When a client whose stream broke comes back."""


Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: its status, its body as JSON bytes, and headers of its own."""

    status: int
    body: bytes
    headers: Headers = ()

    @classmethod
    def of(cls, status: int, body: Mapping[str, Any], headers: Headers = ()) -> Self:
        """The answer with this JSON object."""
        return cls(status, encode_json(body).encode(), headers)


Later = Callable[[], Reply]
"""Makes an answer for which files must be read. Never called in the room's thread. Raises
FarmError, which is the answer then."""

Conclude = Callable[[Sequence[JobView]], Reply | Later]
"""What is answered about jobs as they are now. Raises FarmError, which is the answer then."""

Render = Callable[[Sequence[JobView]], Mapping[str, Any]]
"""The object of these jobs in the caller's dialect. Pure."""

Refuse = Callable[[FarmError], Reply]
"""An error in the caller's dialect. Pure."""


class Connection(abc.ABC):
    """The way back to a client, owned by the room from now on. Used by the room's thread."""

    @abc.abstractmethod
    def answer(self, reply: Reply) -> None:
        """Send a whole answer, and no more."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Send the head of a stream."""

    @abc.abstractmethod
    def send(self, data: bytes) -> None:
        """Send more of a stream."""

    @abc.abstractmethod
    def close(self) -> None:
        """Send what is left and hang up."""


class Guest(abc.ABC):
    """One client that waits for one job, or for the jobs of one batch.

    Args:
        job_ids: the jobs, which the client may see, in their order.
        owner: whose call it is; so many at once are theirs.
        wait_s: after this many seconds it is told how things stand and leaves.
        refuse: an error in the caller's dialect.
    """

    def __init__(
        self, job_ids: Sequence[uuid.UUID], owner: uuid.UUID, wait_s: float, refuse: Refuse
    ) -> None:
        self.job_ids = tuple(job_ids)
        self.owner = owner
        self.wait_s = wait_s
        self.later: Later | None = None
        """Its answer, where it has seen all it came for and the answer is still to be made."""
        self._refuse = refuse
        self._connection: Connection | None = None
        self._found: dict[uuid.UUID, JobView] = {}

    @property
    def is_in(self) -> bool:
        """Whether its connection is the room's yet."""
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        """The client's connection, once it has come in."""
        assert self._connection is not None, "the guest has not come in yet"
        return self._connection

    def come_in(self, connection: Connection) -> None:
        """The client's connection is the room's from now on."""
        self._connection = connection

    def look_at(self, job: JobView) -> list[JobView] | None:
        """Keep a job as it is now; all of them in their order, once each has been seen."""
        self._found[job.id] = job
        if len(self._found) < len(self.job_ids):
            return None
        return [self._found[job_id] for job_id in self.job_ids]

    @abc.abstractmethod
    def see(self, job: JobView, *, last: bool) -> bool:
        """One of the jobs as it is now. True: the client has all that it came for and has been
        sent off, or ``later`` makes what it is sent; with ``last`` it always is, once it has
        seen every job."""

    @abc.abstractmethod
    def hear(self, event: JobEvent) -> bool:
        """Something happened to a job, but not its end. True: it is worth a look."""

    @abc.abstractmethod
    def fail(self, error: FarmError) -> None:
        """There is no other answer: send it off with the reason."""

    @abc.abstractmethod
    def stay(self) -> None:
        """Nothing happened for a while: keep the connection from looking dead."""

    @property
    def wants_steps(self) -> bool:
        """Whether it wants to hear of more than the end."""
        return False

    @property
    def wants_place(self) -> bool:
        """Whether it wants to hear how the queue moves."""
        return False

    @abc.abstractmethod
    def shows_place(self, *, last: bool) -> bool:
        """Whether a job that it sees is to have its place in the queue, which is dear to know."""

    @abc.abstractmethod
    def queue_moved(self, job: JobView) -> None:
        """A job's place in its queue may be another one now."""


class Waiter(Guest):
    """A client that waits for one answer, when every job has ended or time is up."""

    def __init__(
        self,
        job_ids: Sequence[uuid.UUID],
        owner: uuid.UUID,
        wait_s: float,
        conclude: Conclude,
        refuse: Refuse,
    ) -> None:
        super().__init__(job_ids, owner, wait_s, refuse)
        self._conclude = conclude

    def see(self, job: JobView, *, last: bool) -> bool:
        """Answer, if there is anything to answer with yet."""
        jobs = self.look_at(job)
        if jobs is None or not (last or all(job.state.is_terminal for job in jobs)):
            return False
        try:
            answer = self._conclude(jobs)
        except FarmError as error:
            answer = self._refuse(error)
        if isinstance(answer, Reply):
            self.connection.answer(answer)
        else:
            self.later = answer
        return True

    def hear(self, event: JobEvent) -> bool:
        """Nothing but the end is worth a look, and that is told in another way."""
        return False

    def fail(self, error: FarmError) -> None:
        """The error, in the caller's dialect."""
        self.connection.answer(self._refuse(error))

    def stay(self) -> None:
        """Nothing: there is no saying anything before the answer."""

    def shows_place(self, *, last: bool) -> bool:
        """In an answer that comes before the end."""
        return last

    def queue_moved(self, job: JobView) -> None:
        """Nothing: it is told with the answer."""


class Watcher(Guest):
    """A client of server-sent events (WHATWG HTML, 9.2): the states, the steps, the end.

    ``state`` carries the object of the jobs whenever the state of one has changed, ``end`` once
    all have ended; ``progress`` has step and steps, ``queue`` the place in the queue, and where
    there are several jobs both have the ``index`` of theirs, from 0. The id of an event is the
    :class:`farm.events.Moment` of each job; with the last id that a client saw, it gets what
    came after it: the states or steps that the jobs are in by now.

    Args:
        seen: the last moment of each job that the client has seen, or None.
    """

    def __init__(
        self,
        job_ids: Sequence[uuid.UUID],
        owner: uuid.UUID,
        wait_s: float,
        render: Render,
        refuse: Refuse,
        seen: Sequence[Moment] | None,
    ) -> None:
        super().__init__(job_ids, owner, wait_s, refuse)
        self._render = render
        self._seen = list(seen) if seen is not None else None
        self._queued = False
        self._places: dict[uuid.UUID, Place | None] = {}

    @property
    def wants_steps(self) -> bool:
        """All of them."""
        return True

    @property
    def wants_place(self) -> bool:
        """While a job is queued."""
        return self._queued

    def come_in(self, connection: Connection) -> None:
        """The head of the stream goes out at once."""
        super().come_in(connection)
        connection.begin()
        connection.send(f"retry: {RECONNECT_MS}\n\n".encode())

    def see(self, job: JobView, *, last: bool) -> bool:
        """Tell the states, where the client has not seen them; the end ends the stream."""
        jobs = self.look_at(job)
        if jobs is None:
            return False
        moments = moments_of(jobs)
        seen = self._seen
        self._queued = any(job.state is JobState.QUEUED for job in jobs)
        if seen is None or any(m.turn > s.turn for m, s in zip(moments, seen, strict=True)):
            self._seen = list(map(max, moments, seen or moments))
            self._places = {job.id: job.place for job in jobs}
            name = "end" if all(moment.is_end for moment in moments) else "state"
            self.connection.send(event_bytes(name, self._render(jobs), self._seen))
        else:
            for index, (moment, job_) in enumerate(zip(moments, jobs, strict=True)):
                if moment > seen[index] and job_.steps:
                    self._tell_step(seen, index, moment, job_.steps)
        if last or all(moment.is_end for moment in moments):
            self.connection.close()
            return True
        return False

    def hear(self, event: JobEvent) -> bool:
        """Pass a step on; another state is worth a look."""
        moment, index = event.moment, self.job_ids.index(event.job_id)
        if self._seen is None or moment.turn != self._seen[index].turn:
            return True
        if moment > self._seen[index] and event.steps:
            self._tell_step(self._seen, index, moment, event.steps)
        return False

    def fail(self, error: FarmError) -> None:
        """Nothing to say: the client comes back by itself, and is told then."""
        self.connection.close()

    def stay(self) -> None:
        """A comment, which clients pass over."""
        self.connection.send(b": still here\n\n")

    def shows_place(self, *, last: bool) -> bool:
        """All of them."""
        return True

    def queue_moved(self, job: JobView) -> None:
        """Tell a queued job's place, where it has changed."""
        if job.state is not JobState.QUEUED or job.place is None or job.id not in self._places:
            return
        if job.place != self._places[job.id]:
            self._places[job.id] = job.place
            told = job.place.told() | self._which(self.job_ids.index(job.id))
            self.connection.send(event_bytes("queue", told, None))

    def _tell_step(self, seen: list[Moment], index: int, moment: Moment, steps: int) -> None:
        seen[index] = moment
        told = {"step": moment.step, "steps": steps} | self._which(index)
        self.connection.send(event_bytes("progress", told, seen))

    def _which(self, index: int) -> dict[str, Any]:
        return {"index": index} if len(self.job_ids) > 1 else {}


def moments_of(jobs: Sequence[JobView]) -> list[Moment]:
    """Where each job is in its life."""
    return [Moment.of(job.state, job.attempt, job.step) for job in jobs]


def parse_moments(text: str, count: int) -> list[Moment] | None:
    """The moments of so many jobs as an event's id has them; None where the text is no such id."""
    found = [Moment.parse(part) for part in text.split(",", count)]
    moments = [moment for moment in found if moment is not None]
    return moments if len(moments) == len(found) == count else None


def event_bytes(name: str, data: Mapping[str, Any], moments: Sequence[Moment] | None) -> bytes:
    """One event as it goes over the wire. JSON has no line breaks, so one data line holds it."""
    head = f"id: {','.join(map(str, moments))}\n" if moments is not None else ""
    return f"{head}event: {name}\ndata: {encode_json(data)}\n\n".encode()
