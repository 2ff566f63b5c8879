"""Who waits, and what each is told: pure, but for the connection that it is written to."""

from __future__ import annotations

import abc
import uuid
from collections.abc import Callable, Mapping
from typing import Any

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


Render = Callable[[JobView], Mapping[str, Any]]
"""The job object in the caller's dialect. Pure."""

Refuse = Callable[[FarmError], tuple[int, Mapping[str, Any]]]
"""Status and body of an error in the caller's dialect. Pure."""


class Connection(abc.ABC):
    """The way back to a client, owned by the room from now on. Used by the room's thread."""

    @abc.abstractmethod
    def answer(self, status: int, body: bytes) -> None:
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
    """One client that waits for one job.

    Args:
        job_id: the job, which the client may see.
        owner: whose call it is; so many at once are theirs.
        wait_s: after this many seconds it is told how things stand and leaves.
        render: the job in the caller's dialect.
    """

    def __init__(
        self, job_id: uuid.UUID, owner: uuid.UUID, wait_s: float, render: Render, refuse: Refuse
    ) -> None:
        self.job_id = job_id
        self.owner = owner
        self.wait_s = wait_s
        self._render = render
        self._refuse = refuse
        self._connection: Connection | None = None

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

    @abc.abstractmethod
    def see(self, job: JobView, *, last: bool) -> bool:
        """The job as it is now. True: the client has all that it came for and has been sent
        off; with ``last`` it always is."""

    @abc.abstractmethod
    def hear(self, event: JobEvent) -> bool:
        """Something happened to the job, but not its end. True: it is worth a look."""

    @abc.abstractmethod
    def fail(self, error: FarmError) -> None:
        """Its time is up and the job cannot be read: send it off with the reason."""

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
    def queue_moved(self, place: Place | None) -> None:
        """Where the job now stands in its queue."""


class Waiter(Guest):
    """A client that asked with ``?wait=``: one answer, when the job has ended or time is up."""

    def see(self, job: JobView, *, last: bool) -> bool:
        """Answer, if there is anything to answer with yet."""
        if not (last or job.state.is_terminal):
            return False
        self.connection.answer(200, encode_json(self._render(job)).encode())
        return True

    def hear(self, event: JobEvent) -> bool:
        """Nothing but the end is worth a look, and that is told in another way."""
        return False

    def fail(self, error: FarmError) -> None:
        """The error, in the caller's dialect."""
        status, body = self._refuse(error)
        self.connection.answer(status, encode_json(body).encode())

    def stay(self) -> None:
        """Nothing: there is no saying anything before the answer."""

    def queue_moved(self, place: Place | None) -> None:
        """Nothing: it is told with the answer."""


class Watcher(Guest):
    """A client of server-sent events (WHATWG HTML, 9.2): the states, the steps, the end.

    ``state`` and ``end`` carry the job object, ``progress`` step and steps, ``queue`` the place
    in the queue. The id of an event is its :class:`farm.events.Moment`; with the last id that a
    client saw, it gets what came after it: the state or step that the job is in by now.

    Args:
        seen: the last moment that the client has seen, or None.
    """

    def __init__(
        self,
        job_id: uuid.UUID,
        owner: uuid.UUID,
        wait_s: float,
        render: Render,
        refuse: Refuse,
        seen: Moment | None,
    ) -> None:
        super().__init__(job_id, owner, wait_s, render, refuse)
        self._seen = seen
        self._queued = False
        self._place: Place | None = None

    @property
    def wants_steps(self) -> bool:
        """All of them."""
        return True

    @property
    def wants_place(self) -> bool:
        """While the job is queued."""
        return self._queued

    def come_in(self, connection: Connection) -> None:
        """The head of the stream goes out at once."""
        super().come_in(connection)
        connection.begin()
        connection.send(f"retry: {RECONNECT_MS}\n\n".encode())

    def see(self, job: JobView, *, last: bool) -> bool:
        """Tell the state, where the client has not seen it; the end ends the stream."""
        moment = Moment.of(job.state, job.attempt, job.step)
        self._queued = job.state is JobState.QUEUED
        if self._seen is None or moment.turn > self._seen.turn:
            self._seen, self._place = moment, job.place
            name = "end" if moment.is_end else "state"
            self.connection.send(event_bytes(name, self._render(job), moment))
        elif moment > self._seen and job.steps:
            self._tell_step(moment, job.step, job.steps)
        if last or moment.is_end:
            self.connection.close()
            return True
        return False

    def hear(self, event: JobEvent) -> bool:
        """Pass a step on; another state is worth a look."""
        moment = event.moment
        if self._seen is None or moment.turn != self._seen.turn:
            return True
        if moment > self._seen and event.steps:
            self._tell_step(moment, event.step, event.steps)
        return False

    def fail(self, error: FarmError) -> None:
        """Nothing to say: the client comes back by itself, and is told then."""
        self.connection.close()

    def stay(self) -> None:
        """A comment, which clients pass over."""
        self.connection.send(b": still here\n\n")

    def queue_moved(self, place: Place | None) -> None:
        """Tell a queued job's place, where it has changed."""
        if self._queued and place is not None and place != self._place:
            self._place = place
            self.connection.send(event_bytes("queue", place.told(), None))

    def _tell_step(self, moment: Moment, step: int, steps: int) -> None:
        self._seen = moment
        self.connection.send(event_bytes("progress", {"step": step, "steps": steps}, moment))


def event_bytes(name: str, data: Mapping[str, Any], moment: Moment | None) -> bytes:
    """One event as it goes over the wire. JSON has no line breaks, so one data line holds it."""
    head = f"id: {moment}\n" if moment is not None else ""
    return f"{head}event: {name}\ndata: {encode_json(data)}\n\n".encode()
