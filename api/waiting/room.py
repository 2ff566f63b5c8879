"""The waiting room of a web process: one event loop for everybody who waits."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from api.log import get_logger
from api.waiting.feed import Feed
from api.waiting.guests import Connection, Guest, Later, Reply
from farm.errors import FarmError, FarmFault, NotFound, Overloaded, RateLimited
from farm.events import JobEvent
from farm.views import JobView

GUESTS_MAX = 4000
"""In one web process. Each is a file descriptor and a few kilobytes."""
GUESTS_OF_ONE_MAX = 200
"""Of one key, in one web process."""
PREPARED_AT_ONCE = 2
"""Answers that hold whole files are large, and made so many at a time."""
STAY_EVERY_S = 10.0
"""A connection that says nothing for longer is closed by proxies."""
STAYS_A_LOOK = 3
"""How many times that is before the jobs of those who wait for an end alone are looked at, in case
one was not heard: that seldom happens, and to look is what waiting costs most."""
PLACES_EVERY_S = 5.0
_LOOK_AGAIN_S = 1.0
"""How often a job is looked at while its events are not heard, or could not be read."""
_RETRY_AFTER_S = 5

BATCH = 500
"""Jobs that are read at once; while they are, nobody is told anything."""

Look = Callable[[Sequence[uuid.UUID]], Mapping[uuid.UUID, JobView]]
"""Reads the jobs of these ids, those that are there. Raises DatabaseUnavailable."""

PlaceOf = Callable[[JobView], JobView]
"""The job with its place in the queue, where that is known. Called in the room's thread."""

Enter = Callable[[Guest], Connection]
"""Makes the guest's connection, in the room's thread; :meth:`WaitingRoom.leave` when it breaks."""

T = TypeVar("T")

_log = get_logger("api.waiting")


class WaitingRoom:
    """Everybody who waits in this process. Starts its threads when the first guest comes.

    Args:
        url: the Redis that carries the events, or empty: then jobs are looked at every second.
        look: reads jobs, many at a time. It is called in the room's own thread, which saves
            the end of a job two changes of thread on its way to the client; it must give up
            within a few seconds.
        place: gives a job its place in the queue, for guests that show it.
        stay_every_s: how often everybody is told that the connection lives. Then, or a few times
            later, their jobs are looked at: an event may have been lost.
    """

    def __init__(
        self,
        url: str,
        look: Look,
        *,
        place: PlaceOf = lambda job: job,
        stay_every_s: float = STAY_EVERY_S,
    ) -> None:
        self._url = url
        self._stay_every_s = stay_every_s
        self._look = look
        self._place = place
        self._starting = threading.Lock()
        # Starts its threads when they are first needed, so that a process may fork before.
        self._kitchen = ThreadPoolExecutor(PREPARED_AT_ONCE, thread_name_prefix="answers")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._empty = threading.Event()
        # What follows is the loop's own.
        self._guests: dict[uuid.UUID, set[Guest]] = {}
        self._owners: Counter[uuid.UUID] = Counter()
        self._timers: dict[Guest, asyncio.TimerHandle] = {}
        self._last: set[Guest] = set()
        self._feed: Feed | None = None
        self._preparing: dict[Guest, Future[Reply]] = {}
        self._asked: set[uuid.UUID] = set()
        self._looking: asyncio.Handle | None = None
        self._stays = 0

    @property
    def guests(self) -> int:
        """How many wait now."""
        return len(self._timers)

    def check(self, owner: uuid.UUID) -> None:
        """Whether one more of this key may come in.

        Raises:
            RateLimited: too many of them wait already.
            Overloaded: the room is full, or closing.
        """
        if self._owners[owner] >= GUESTS_OF_ONE_MAX:
            raise RateLimited(
                f"{GUESTS_OF_ONE_MAX} requests of this key are waiting already. End some of them, "
                "or poll without `wait`.",
                _RETRY_AFTER_S,
            )
        if self._closing or len(self._timers) >= GUESTS_MAX:
            raise Overloaded("Too many clients are waiting. Poll without `wait`, or come back.")

    def admit(self, guest: Guest, enter: Enter) -> None:
        """Let a guest in. From any thread; ``enter`` is called in the room's own."""
        self._start().call_soon_threadsafe(self._admit, guest, enter)

    def leave(self, guest: Guest) -> None:
        """The guest hung up, or was sent off. In the room's thread."""
        timer = self._timers.pop(guest, None)
        if timer is None:
            return
        timer.cancel()
        self._last.discard(guest)
        if guest in self._preparing:
            self._preparing.pop(guest).cancel()
        self._owners[guest.owner] -= 1
        if not self._owners[guest.owner]:
            del self._owners[guest.owner]
        for job_id in guest.job_ids:
            others = self._guests[job_id]
            others.discard(guest)
            if not others:
                del self._guests[job_id]
                self._the_feed.drop(job_id)
        if self._closing and not self._timers:
            self._empty.set()

    def close(self, timeout_s: float = 5.0) -> None:
        """Tell everybody how things stand, and see them off; give up after ``timeout_s``."""
        self._closing = True
        if self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._see_everybody_off)
        if not self._empty.wait(timeout_s):
            _log.warning("clients were left waiting", count=self.guests)
        self._kitchen.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def _the_feed(self) -> Feed:
        assert self._feed is not None, "the room has not been opened"
        return self._feed

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._feed = Feed(
                    self._url,
                    ended=self._ended,
                    heard=self._heard,
                    joined=self._ask,
                    opened=self._ask_all,
                )
                threading.Thread(
                    target=self._run, args=(loop,), name="waiting-room", daemon=True
                ).start()
                self._loop = loop
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        feeding = loop.create_task(self._the_feed.run())
        loop.call_later(_LOOK_AGAIN_S, self._look_at_the_unheard)
        loop.call_later(self._stay_every_s, self._stay)
        loop.call_later(PLACES_EVERY_S, self._look_at_the_queues)
        loop.run_forever()
        feeding.cancel()
        loop.run_until_complete(asyncio.gather(feeding, return_exceptions=True))
        loop.close()

    def _admit(self, guest: Guest, enter: Enter) -> None:
        loop = asyncio.get_running_loop()
        for job_id in guest.job_ids:
            self._guests.setdefault(job_id, set()).add(guest)
        self._owners[guest.owner] += 1
        wait_s = 0.0 if self._closing else guest.wait_s
        self._timers[guest] = loop.call_later(wait_s, self._time_is_up, guest)
        self._told(guest, lambda g: g.come_in(enter(g)))
        if guest not in self._timers:
            return
        for job_id in guest.job_ids:
            if guest.wants_steps:
                # Looked at again once its steps are heard: none is missed.
                self._the_feed.want(job_id)
            # It may have ended before this; from now on an end is heard.
            self._ask(job_id)

    def _time_is_up(self, guest: Guest) -> None:
        self._last.add(guest)
        for job_id in guest.job_ids:
            self._ask(job_id)

    def _ended(self, job_id: uuid.UUID) -> None:
        if job_id in self._guests:
            self._ask(job_id)

    def _heard(self, event: JobEvent) -> None:
        wanted = [self._told(guest, lambda g: g.hear(event)) for guest in self._of(event.job_id)]
        if any(wanted):
            self._ask(event.job_id)

    def _ask(self, job_id: uuid.UUID) -> None:
        """Look at this job once what is at hand is done, with all that are asked for by then."""
        self._asked.add(job_id)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_soon(self._look_at_the_asked)

    def _ask_all(self) -> None:
        for job_id in self._guests:
            self._ask(job_id)

    def _look_at_the_asked(self) -> None:
        self._looking = None
        asked = list(itertools.islice(self._asked, BATCH))
        self._asked.difference_update(asked)
        found: Mapping[uuid.UUID, JobView] | FarmError
        try:
            found = self._look(asked)
        except FarmError as error:
            found = error
        except Exception as error:  # noqa: BLE001
            # A bug must not leave everybody waiting for ever.
            _log.error("jobs could not be looked at", exc_info=error)
            found = FarmFault("This is a bug in the farm. It has been logged.")
        self._looked(asked, found)
        for job_id in list(self._asked)[:1]:
            self._ask(job_id)

    def _looked(
        self, asked: Sequence[uuid.UUID], found: Mapping[uuid.UUID, JobView] | FarmError
    ) -> None:
        for job_id in asked:
            for guest in self._of(job_id):
                if guest not in self._timers or guest in self._preparing:
                    continue
                if isinstance(found, FarmError):
                    self._could_not_look(guest, job_id, found)
                elif job_id in found:
                    self._show(guest, found[job_id])
                else:
                    self._told(guest, lambda g: g.fail(NotFound("No such job.")))
                    self.leave(guest)

    def _show(self, guest: Guest, job: JobView) -> None:
        last = guest in self._last
        if guest.shows_place(last=last):
            job = self._place(job)
        if self._told(guest, lambda g: g.see(job, last=last)):
            if guest.later is None:
                self.leave(guest)
            else:
                self._prepare(guest, guest.later)
        elif guest in self._timers:
            self._told(guest, lambda g: g.queue_moved(job))

    def _prepare(self, guest: Guest, later: Later) -> None:
        """Have an answer made for which files are read. The guest stays until it has it."""
        loop = asyncio.get_running_loop()
        self._timers[guest].cancel()
        made = self._kitchen.submit(later)
        self._preparing[guest] = made

        def ready(made: Future[Reply]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(self._serve, guest, made)

        made.add_done_callback(ready)

    def _serve(self, guest: Guest, made: Future[Reply]) -> None:
        if self._preparing.pop(guest, None) is None:
            return

        def tell(guest: Guest) -> None:
            try:
                guest.connection.answer(made.result())
            except FarmError as error:
                guest.fail(error)

        self._told(guest, tell)
        self.leave(guest)

    def _could_not_look(self, guest: Guest, job_id: uuid.UUID, error: FarmError) -> None:
        if guest in self._last:
            self._told(guest, lambda g: g.fail(error))
            self.leave(guest)
        else:
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look_if_there, job_id)

    def _told(self, guest: Guest, tell: Callable[[Guest], T]) -> T | None:
        """Tell one guest; a bug on the way costs that guest only."""
        try:
            return tell(guest)
        except Exception as error:  # noqa: BLE001
            _log.error("a waiting client could not be told", exc_info=error)
            self.leave(guest)
            if guest.is_in:
                guest.fail(FarmFault("This is a bug in the farm. It has been logged."))
            return None

    def _of(self, job_id: uuid.UUID) -> list[Guest]:
        return list(self._guests.get(job_id, ()))

    def _look_if_there(self, job_id: uuid.UUID) -> None:
        if job_id in self._guests:
            self._ask(job_id)

    def _look_at_the_unheard(self) -> None:
        if not self._the_feed.is_connected:
            self._ask_all()
        asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look_at_the_unheard)

    def _look_at_the_queues(self) -> None:
        for job_id, guests in self._guests.items():
            if any(guest.wants_place for guest in guests):
                self._ask(job_id)
        asyncio.get_running_loop().call_later(PLACES_EVERY_S, self._look_at_the_queues)

    def _stay(self) -> None:
        for guest in list(self._timers):
            self._told(guest, lambda g: g.stay())
        self._stays += 1
        for job_id, guests in self._guests.items():
            # Events may be lost on the way, and one may have been the last.
            if self._stays % STAYS_A_LOOK == 0 or any(guest.wants_steps for guest in guests):
                self._ask(job_id)
        asyncio.get_running_loop().call_later(self._stay_every_s, self._stay)

    def _see_everybody_off(self) -> None:
        for guest in list(self._timers):
            self._time_is_up(guest)
        if not self._timers:
            self._empty.set()
