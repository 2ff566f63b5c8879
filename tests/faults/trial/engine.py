"""An engine that does what the prompt says, so that a request sets run time, memory and failure.

The words are ``name=value`` with spaces between; whatever else the prompt holds is ignored:

============ ======= ==========================================================================
``run``      0.05    seconds that the run takes
``steps``    5       model steps that it is made of
``mb``       0       megabytes that it fills meanwhile
``bytes``    200     size of the result
``fail``             ``error``, ``oom``, ``wrong`` (the customer's fault), ``exit``, ``abort``,
                     ``refuse`` (the content policy's no), ``hang`` (sleeps on), ``hang-hard``
                     (sleeps on and lets no other thread of the process run), ``gpu`` (as when
                     a kernel went wrong)
``times``    99      fail in so many attempts, the first ones
============ ======= ==========================================================================

Each run leaves two lines in ``<folder>/runs.log``: who started which attempt, and that it ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from farm.errors import ContentRefused, EngineFault, FieldError, InvalidRequest, OutOfMemory
from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup

FOLDER = "FAULTS_FOLDER"
"""The environment variable that names the folder of a trial farm."""
RUNS = "runs.log"
SLOW_LOAD = "slow-load"
"""While a file of this name is in the folder, loading the engine takes for ever."""
_FOREVER_S = 3600


@dataclass(frozen=True, slots=True)
class Orders:
    """What a prompt asks of the engine."""

    run: float = 0.05
    steps: int = 5
    mb: int = 0
    bytes: int = 200
    fail: str = ""
    times: int = 99


def read_orders(prompt: str) -> Orders:
    """The orders in a prompt. Raises ValueError for a number that is none."""
    words = dict(word.split("=", 1) for word in prompt.split() if "=" in word)
    kinds = {"run": float, "steps": int, "mb": int, "bytes": int, "fail": str, "times": int}
    return Orders(**{name: kinds[name](value) for name, value in words.items() if name in kinds})  # type: ignore[arg-type]


def content(job: object, attempt: int, size: int) -> bytes:
    """A result that tells whose it is: job and attempt, then zeros."""
    return f"{job} {attempt}\n".encode().ljust(size, b"\0")


class TrialEngine:
    """Keeps the protocol of ``models.base.Engine``."""

    def __init__(self, setup: EngineSetup) -> None:
        self.served_by = setup.served_by
        self.resident_bytes = 0

    def load(self, device: str) -> None:
        """Pretend to hold a megabyte."""
        if (Path(os.environ[FOLDER]) / SLOW_LOAD).exists():
            time.sleep(_FOREVER_S)
        self.resident_bytes = 1 << 20

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """Do as told."""
        orders = read_orders(str(request.params.get("prompt", "")))
        _note(f"start {request.job_id} {request.attempt} {os.getpid()}")
        filled = bytearray(orders.mb << 20)
        for step in range(orders.steps):
            time.sleep(orders.run / orders.steps)
            on_step(step + 1, orders.steps)
        if orders.fail and request.attempt <= orders.times:
            _fail(orders.fail)
        _note(f"end {request.job_id} {request.attempt} {os.getpid()} {len(filled)}")
        data = content(request.job_id, request.attempt, orders.bytes)
        return [Artifact(data, "image/png", "images", "png", {"seed": request.attempt})]

    def unload(self) -> None:
        """Hold nothing."""
        self.resident_bytes = 0


def _fail(how: str) -> None:
    match how:
        case "error":
            raise EngineFault("It was told to break.")
        case "gpu":
            raise RuntimeError("CUDA error: it was told to break the GPU.")
        case "oom":
            raise OutOfMemory("It was told to run out of memory.")
        case "wrong":
            raise InvalidRequest([FieldError("prompt", "It was told to be wrong.")])
        case "refuse":
            raise ContentRefused("It was told to refuse.")
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "hang":
            time.sleep(_FOREVER_S)
        case "hang-hard":
            # Called as Python's own functions are: without letting go of the interpreter. No
            # signal wakes it, as none wakes a call into a driver.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            ctypes.PyDLL(None).sleep(_FOREVER_S)
        case _:
            raise AssertionError(f"no failure is called {how!r}")


def _note(line: str) -> None:
    # One write to a file that is open for appending: lines of several processes never mix.
    path = Path(os.environ[FOLDER]) / RUNS
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
