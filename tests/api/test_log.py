"""The access log: every line, soon, and bounded."""

from __future__ import annotations

import json

import pytest

from api import log
from api.log import Access, AccessLog
from tests.processes import wait_until


def _line(number: int) -> Access:
    return Access(1_700_000_000.5, f"id{number}", "GET", "/x", 200, 0.00123, None)


def test_lines_are_written_soon_without_closing(capsys: pytest.CaptureFixture[str]) -> None:
    access_log = AccessLog("INFO")
    seen: list[str] = []

    def written() -> bool:
        seen.extend(capsys.readouterr().err.splitlines())
        return len(seen) >= 2

    try:
        for number in range(2):
            access_log.add(_line(number))
        wait_until(written, 5, "the lines were not written")
    finally:
        access_log.close()
    first = json.loads(seen[0])
    assert first["request_id"] == "id0"
    assert first["timestamp"] == "2023-11-14T22:13:20.500+00:00"
    assert first["ms"] == 1.23


def test_closing_writes_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    access_log = AccessLog("INFO")
    for number in range(50):
        access_log.add(_line(number))
    access_log.close()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["request_id"] for line in lines] == [f"id{n}" for n in range(50)]


def test_a_log_that_cannot_keep_up_stays_bounded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LINES_MAX", 10)
    monkeypatch.setattr(log, "_GATHER_S", 60.0)
    access_log = AccessLog("INFO")
    for number in range(1000):
        access_log.add(_line(number))
    access_log.close()
    assert len(capsys.readouterr().err.splitlines()) <= 10


def test_operators_may_do_without(capsys: pytest.CaptureFixture[str]) -> None:
    access_log = AccessLog("WARNING")
    access_log.add(_line(1))
    access_log.close()
    assert capsys.readouterr().err == ""
