"""The load: a process of its own that keeps connections open and asks again at once.

``python -m tests.bench.load`` reads a :class:`Plan` as JSON from stdin and writes a
:class:`Tally` to stdout. One thread on raw sockets: on a machine of two cores a client that
parses HTTP properly would be half of what is measured.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_STALL_S = 10.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask of 127.0.0.1:``port``.

    Each of ``connections`` connections sends the next of ``requests`` (whole HTTP/1.1
    requests, in turn, for ever) as soon as its last answer has arrived. What happens in the
    first ``warm_up_s`` seconds is not counted; then it ends after ``seconds`` seconds or
    ``count`` answers, whichever comes first.
    """

    port: int
    requests: Sequence[str]
    connections: int = 1
    warm_up_s: float = 0.0
    seconds: float = 60.0
    count: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """What came back within ``seconds``; every answer had status 200."""

    answers: int
    seconds: float
    p50_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


def post(path: str, key: str, body: object, *headers: str) -> str:
    """A whole POST request with a JSON body. ``headers`` are more lines of its head."""
    text = json.dumps(body)
    more = "".join(f"{line}\r\n" for line in headers)
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n{more}"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n{text}"
    )


def get(path: str, key: str) -> str:
    """A whole GET request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    )


def run_load(plan: Plan) -> Tally:
    """Carry out a plan in a process of its own. AssertionError when an answer was not a 200."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(dataclasses.asdict(plan)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=plan.warm_up_s + plan.seconds + 3 * _STALL_S,
        check=False,
    )
    assert done.returncode == 0, f"the load broke:\n{done.stderr[-2000:]}"
    return Tally(**json.loads(done.stdout))


class _Line:
    """One connection: what it has received of the current answer, and since when it waits."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_STALL_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.since = 0.0

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self._received = b""
        self.since = time.perf_counter()
        self.socket.sendall(request)

    def hear(self) -> bool:
        """Take what has arrived; True when the answer is whole."""
        data = self.socket.recv(1 << 16)
        assert data, "the server closed a connection"
        self._received += data
        head, found, body = self._received.partition(_HEAD_END)
        if not found:
            return False
        start = head.lower().index(_LENGTH) + len(_LENGTH)
        if len(body) < int(head[start:].split(b"\r\n", 1)[0]):
            return False
        assert head.startswith(b"HTTP/1.1 200"), self._received[:1000].decode("latin-1")
        return True


def carry_out(plan: Plan) -> Tally:
    """Carry out a plan in this process."""
    requests = itertools.cycle([request.encode() for request in plan.requests])
    busy: dict[int, _Line] = {}
    poll = select.epoll()
    for line in (_Line(plan.port) for _ in range(plan.connections)):
        busy[line.socket.fileno()] = line
        poll.register(line.socket, select.EPOLLIN)
        line.ask(next(requests))
    begin = last = time.perf_counter() + plan.warm_up_s
    end = begin + plan.seconds
    times: list[float] = []
    while busy:
        ready = poll.poll(_STALL_S)
        assert ready, f"no answer within {_STALL_S:g} s"
        for number, _ in ready:
            line = busy[number]
            if not line.hear():
                continue
            now = time.perf_counter()
            if begin <= now < end:
                times.append(now - line.since)
                last = now
            if now < end and len(times) + len(busy) <= plan.count:
                line.ask(next(requests))
            else:
                # What is under way is waited for: the next round starts on a quiet server.
                poll.unregister(number)
                busy.pop(number).socket.close()
    return Tally(len(times), last - begin, statistics.median(times), time.process_time())


if __name__ == "__main__":
    json.dump(dataclasses.asdict(carry_out(Plan(**json.load(sys.stdin)))), sys.stdout)
