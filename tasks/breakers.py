"""Whether an upstream should be called now: a circuit breaker that a worker's children share.

Closed, calls pass. After FAILURES_MAX failures in a row it opens: for OPEN_S nobody calls. Then
it is half open: one child calls, the others wait for what it finds; a success closes it.

A worker's children inherit the memory where this is kept, so that eight of them together do not
send a dying service eight times as many calls. Other workers find out by themselves: to share it
in Redis would make every call depend on a second service, and save a few calls at most.

Nothing here is locked. Of two children that write at the same moment one is lost: the breaker
then opens a failure later, or two calls find out instead of one.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FAILURES_MAX = 5
OPEN_S = 10.0
PROBE_S = 30.0
"""Who calls to find out and is not heard of again, cancelled or killed, is waited for this long."""
_LOOK_S = 1.0
"""How often those look who wait for what it finds."""
_STATE = struct.Struct("qdd")


@dataclass(frozen=True, slots=True)
class Breaker:
    """One upstream's breaker. ``clock`` counts alike in every process."""

    memory: mmap.mmap
    offset: int
    clock: Callable[[], float] = time.monotonic

    def wait_s(self) -> float:
        """Seconds until the upstream may be called, or asked about again; 0: call it now."""
        failures, opened_until, probed_until = self._read()
        if failures < FAILURES_MAX:
            return 0.0
        now = self.clock()
        if now < opened_until:
            return opened_until - now
        if now < probed_until:
            return min(_LOOK_S, probed_until - now)
        self._write(failures, opened_until, now + PROBE_S)
        return 0.0

    def went_well(self) -> None:
        """It answered: close."""
        self._write(0, 0.0, 0.0)

    def went_wrong(self) -> None:
        """It broke: open, if that was one too many."""
        failures, opened_until, _ = self._read()
        failures += 1
        if failures >= FAILURES_MAX:
            opened_until = self.clock() + OPEN_S
        self._write(failures, opened_until, 0.0)

    def _read(self) -> tuple[int, float, float]:
        failures, opened_until, probed_until = _STATE.unpack_from(self.memory, self.offset)
        return failures, opened_until, probed_until

    def _write(self, failures: int, opened_until: float, probed_until: float) -> None:
        _STATE.pack_into(self.memory, self.offset, failures, opened_until, probed_until)


class Breakers:
    """The breakers of a process and of the children that it forks after making this.

    Args:
        base_urls: where the upstreams are; models of the same one share its breaker.
    """

    def __init__(
        self, base_urls: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        places = {url: index * _STATE.size for index, url in enumerate(dict.fromkeys(base_urls))}
        memory = mmap.mmap(-1, max(1, len(places)) * _STATE.size)
        self._found = {url: Breaker(memory, offset, clock) for url, offset in places.items()}

    def of(self, base_url: str) -> Breaker:
        """The breaker of one of them."""
        return self._found[base_url]
