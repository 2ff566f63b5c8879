"""Where a host lies: its name looked up once, and every address checked.

Shared by all that connects to a host a customer chose. Nothing can interrupt the system's
resolver, so a lookup runs in a thread that is left behind when it hangs, and only so many of
those may be left.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address

from farm.intake.addresses import Address, Trust, why_refused
from farm.intake.urls import Target
from farm.intake.wire import Deadline

Resolve = Callable[[str, int], Sequence[str]]
"""Every address of (host, port). Raises OSError when there is none, or nobody to ask."""

_DIALLED_MAX = 4


class NoAddress(Exception):
    """Why a host may not be connected to, or where it lies is not known; for the log."""


def system_addresses(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(item[4][0]) for item in found]


class Lookups:
    """Room for lookups: at most so many hang at once. Threads may share it."""

    def __init__(self, at_once: int) -> None:
        self._room = threading.BoundedSemaphore(at_once)

    def addresses(
        self, target: Target, trusts: frozenset[Trust], resolve: Resolve, deadline: Deadline
    ) -> Sequence[Address]:
        """Where a target lies, every address checked: one that is refused refuses all.

        Raises:
            NoAddress: the name has none, one is refused, or nobody said so in time.
            httpcore2.TimeoutException: the deadline has passed.
        """
        if target.address is not None:
            return (target.address,)
        answers = self._looked_up(target, resolve, deadline)
        try:
            found = tuple(dict.fromkeys(ip_address(answer) for answer in answers))
        except ValueError as error:
            raise NoAddress(f"{target.host}: the resolver gave no address") from error
        if not found:
            raise NoAddress(f"{target.host}: has no address")
        if not any(trust.covers_name(target.host, target.port) for trust in trusts):
            for address in found:
                if reason := why_refused(address, target.port, trusts):
                    raise NoAddress(f"{target.host}: {reason}")
        return found[:_DIALLED_MAX]

    def _looked_up(self, target: Target, resolve: Resolve, deadline: Deadline) -> Sequence[str]:
        """The resolver's answer, asked once."""
        answer: Future[Sequence[str]] = Future()

        def look_up() -> None:
            try:
                answer.set_result(resolve(target.host, target.port))
            except (OSError, ValueError) as error:
                answer.set_exception(error)
            finally:
                self._room.release()

        if not self._room.acquire(timeout=deadline.left_s()):
            raise NoAddress(f"{target.host}: too many names are being looked up")
        try:
            threading.Thread(target=look_up, name="farm-lookup", daemon=True).start()
        except RuntimeError as error:
            self._room.release()
            raise NoAddress(f"{target.host}: no thread to look it up in") from error
        try:
            return answer.result(deadline.left_s())
        except (OSError, ValueError) as error:
            # A lookup that takes too long is a TimeoutError, which is an OSError.
            raise NoAddress(f"{target.host}: was not looked up: {error}") from error
