"""Calling an upstream: bounded in time and number, and never without an ear for a cancel."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import openai

from farm.errors import UpstreamFault, UpstreamUnavailable
from models.base import UpstreamSetup
from models.parts.upstream.problems import Blame, Problem, understood

T = TypeVar("T")
Client = openai.AsyncOpenAI

CALLS_MAX = 5
"""How often one question is asked in one run. The job has a few runs, the upstream a gate."""
RETRY_AFTER_MAX_S = 60.0
"""Who asks for a longer wait is asked again by the job's next run, or not at all."""
GATE_MAX_S = 30.0
"""How long a run waits for an upstream that is left alone. Where that happens in the middle of
a run, the run ends: the job's next one waits."""
_BACKOFF_MAX_S = 8.0
_TICK_S = 0.5


class UnknownParameter(Exception):
    """The upstream does not know a parameter of the request."""

    def __init__(self, problem: Problem) -> None:
        self.name = problem.unknown
        self.error = problem.error
        super().__init__(self.name)


class Caller:
    """One run's calls of one upstream.

    ``still_here`` is called at least every second, whatever is waited for, and ends the run by
    raising.
    """

    def __init__(
        self, setup: UpstreamSetup, client: Client, still_here: Callable[[], None]
    ) -> None:
        self._setup = setup
        self._client = client
        self._still_here = still_here
        self._ends = time.monotonic() + setup.run_s

    @property
    def left_s(self) -> float:
        """Seconds left for this run. Raises UpstreamFault where there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise UpstreamFault(f"{self._setup.name} took longer than the job may take.")
        return left

    async def ask(self, send: Callable[[Client], Awaitable[T]]) -> T:
        """The answer to one question, asked again where that may help.

        Raises:
            UnknownParameter: one of the request's parameters is not known there.
            ContentRefused, UpstreamUnavailable, UpstreamFault: there is no answer.
        """
        for number in range(1, CALLS_MAX + 1):
            await self._pass_gate()
            try:
                answer = await self.watched(send(self._client))
            except Exception as error:
                problem = understood(error, self._setup)
                if problem is None:
                    raise
            else:
                self._setup.gate.went_well()
                return answer
            # Not inside the block above: what is raised there would be chained to the client's
            # own error, and end in the log with it.
            await self._before_the_next(problem, number)
        raise AssertionError("the number of calls is bounded")

    async def pause(self, seconds: float) -> None:
        """Wait, and hear of a cancel meanwhile."""
        await self.watched(asyncio.sleep(seconds))

    async def watched(self, work: Awaitable[T]) -> T:
        """What ``work`` gives; it is dropped when the run ends before it does."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=min(_TICK_S, self.left_s))
                if done:
                    return task.result()
                self._still_here()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_TICK_S)
            if task.done() and not task.cancelled():
                # Asked for, or asyncio would write into the log what nobody asked for.
                task.exception()

    async def _pass_gate(self) -> None:
        waited_from = time.monotonic()
        while (wait_s := self._setup.gate.wait_s()) > 0:
            if time.monotonic() - waited_from + wait_s > GATE_MAX_S:
                raise UpstreamUnavailable(
                    f"{self._setup.name} broke several times in a row and is left alone for now."
                )
            await self.pause(min(wait_s, _TICK_S))

    async def _before_the_next(self, problem: Problem, number: int) -> None:
        """Tell the gate, and wait as long as is due. Raises where there is no next call."""
        if problem.blame is Blame.NONE:
            self._setup.gate.went_well()
        elif problem.blame is Blame.EACH or number == 1:
            self._setup.gate.went_wrong()
        if problem.unknown:
            raise UnknownParameter(problem)
        given_up = problem.blame is not Blame.NONE and self._setup.gate.wait_s() > 0
        too_long = problem.after_s > RETRY_AFTER_MAX_S
        if given_up or too_long or not problem.again or number >= CALLS_MAX:
            raise problem.error
        backoff_s = min(self._setup.backoff_s * 2.0 ** (number - 1), _BACKOFF_MAX_S)
        # Never sooner than was asked for; and not all who wait at the same moment.
        wait_s = max(problem.after_s, backoff_s) * random.uniform(1.0, 1.25)
        if wait_s > self.left_s:
            raise problem.error
        await self.pause(wait_s)


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` gives. Its thread ends by itself, also when nobody waits for it any more."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        # Not a pool's thread: the loop and the process would wait for it at their end.
        try:
            done.set_result(work())
        except Exception as error:  # noqa: BLE001
            done.set_exception(error)

    # It cannot be cancelled any more, so its end may always be told.
    done.set_running_or_notify_cancel()
    threading.Thread(target=run, name="upstream", daemon=True).start()
    return await asyncio.wrap_future(done)
