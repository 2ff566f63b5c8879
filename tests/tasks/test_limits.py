"""Time limits that need nothing of Celery's, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time

from billiard.exceptions import SoftTimeLimitExceeded

from tasks.limits import past_the_limit

_HANG = """
import ctypes
from tasks.limits import process_ends_after

def hang():
    ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock: no thread of Python's runs

with process_ends_after(60):
    pass
with process_ends_after(0.2):
    pass
with process_ends_after(0.5):
    print("in time", flush=True)
    hang()
"""


def test_what_never_lets_another_thread_run_ends_and_is_named() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _HANG], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "in time\n"), done.stderr
    assert "Timeout (0:00:00.500000)!" in done.stderr
    assert "in hang" in done.stderr
    assert time.monotonic() - started < 30


def test_what_waits_after_a_run_goes_on_past_the_limit() -> None:
    signals = iter([SoftTimeLimitExceeded()])

    def settle() -> str:
        for signal in signals:
            raise signal
        return "settled"

    assert past_the_limit(settle) == "settled"
