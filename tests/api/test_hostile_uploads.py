"""Uploads that nobody should send, to a real server: no 5xx, nothing kept, nothing held."""

from __future__ import annotations

import json
import random
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from farm.catalog import BUILT_IN
from tests import factories
from tests.api.caller import Part, form_body
from tests.api.garments import TRYON
from tests.api.pictures import mask, picture
from tests.farm.checks import assert_books_balance
from tests.farm.intake.hostile_pictures import HOSTILE
from tests.flows.whole_farm import WholeFarm, whole_farm
from tests.processes import Process

pytestmark = pytest.mark.timeout(300)

PATH = "/v1/image/remove-background"
PRICE_TENTHS = 20
STATUSES = {"ok": 200, "unreadable": 400, "invalid": 422, "too_large": 413}
ANSWER_S = 20.0
MEMORY_BYTES = 10**9
LARGEST = 10 * 1024 * 1024


@pytest.fixture
def farm(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[WholeFarm]:
    """An API process with rate limits that no test reaches, and nobody who works for it."""
    folder = tmp_path / "farm"
    folder.mkdir()
    catalog = folder / "catalog.toml"
    catalog.write_text(
        BUILT_IN.read_text("utf-8").replace("per_minute = 200", "per_minute = 100000"), "utf-8"
    )
    with whole_farm(folder, postgres_url, redis_url, redis_url, FARM_CATALOG=str(catalog)) as made:
        yield made


def _headers(farm: WholeFarm) -> dict[str, str]:
    return {"Authorization": f"Bearer {farm.who.key}"}


def _url(farm: WholeFarm, path: str = PATH) -> str:
    return f"http://127.0.0.1:{farm.api_port}{path}"


def _kept(farm: WholeFarm) -> dict[str, int]:
    """What is left of everything that was sent."""
    with farm.services.db.statement() as connection:
        found = {
            table: int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
            for table in ("jobs", "inputs", "holds")
        }
        held = connection.execute(text("SELECT sum(amount) FROM holds")).scalar_one()
    stored = farm.services.settings.data / "storage"
    files = sum(path.is_file() for path in stored.rglob("*"))
    return found | {"files": files, "held": int(held or 0)}


def _peak_bytes(api: Process) -> int:
    """The most memory that any process of the API ever had."""
    peaks = []
    for process in api.family():
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        peaks.append(int(found[1]) * 1024)
    assert len(peaks) >= 2, "a master and a worker"
    return max(peaks)


def test_every_hostile_picture_is_answered_and_only_good_ones_are_kept(farm: WholeFarm) -> None:
    api = farm.start_api()
    taken = 0
    with requests.Session() as session:
        session.headers.update(_headers(farm))
        for hostile in HOSTILE:
            began = time.monotonic()
            files = {"image": ("photo.jpg", hostile.content(), "image/jpeg")}
            answer = session.post(_url(farm), files=files, timeout=2 * ANSWER_S)
            assert time.monotonic() - began < ANSWER_S, hostile.name
            assert answer.status_code == STATUSES[hostile.expected], (hostile.name, answer.text)
            if hostile.expected == "ok":
                taken += 1
            else:
                assert [e["field"] for e in answer.json()["errors"]] == ["image"], hostile.name
                assert answer.json()["detail"].startswith("image: "), hostile.name
    assert len(HOSTILE) >= 60
    assert _kept(farm) == {
        "jobs": taken,
        "inputs": taken,
        "holds": taken,
        "files": taken,
        "held": taken * PRICE_TENTHS,
    }
    assert _peak_bytes(api) < MEMORY_BYTES
    assert_books_balance(farm.services)


IMAGE: Part = ("image", picture(), "shoe.png")
GOOD = form_body([IMAGE], "x")
_FORM = b"Content-Type: multipart/form-data; boundary=x"
_CHUNKED = _FORM + b"\r\nTransfer-Encoding: chunked"


def _chunks(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n" + end


RAW: list[tuple[str, bytes, bytes, set[int]]] = [
    ("a good one", _FORM + b"\r\nContent-Length: %d" % len(GOOD), GOOD, {200}),
    ("a good one in chunks", _CHUNKED, _chunks(GOOD), {200}),
    ("less than announced", _FORM + b"\r\nContent-Length: 99999", GOOD, {400}),
    ("more than announced", _FORM + b"\r\nContent-Length: 40", GOOD, {400}),
    ("a length that is none", _FORM + b"\r\nContent-Length: -1", GOOD, {400}),
    ("two lengths", _FORM + b"\r\nContent-Length: 5\r\nContent-Length: 6", GOOD, {400}),
    ("nothing", _FORM + b"\r\nContent-Length: 0", b"", {400}),
    ("no length", _FORM, b"", {400}),
    ("length and chunks", _CHUNKED + b"\r\nContent-Length: 5", _chunks(GOOD), {400}),
    ("a chunk that ends early", _CHUNKED, b"ffff\r\n" + GOOD, {400}),
    ("a chunk without a size", _CHUNKED, b"zz\r\n" + GOOD, {400}),
    ("a chunk without an end", _CHUNKED, b"5\r\n" + GOOD, {400}),
    ("no last chunk", _CHUNKED, _chunks(GOOD, b""), {400}),
    ("a trailer that is none", _CHUNKED, _chunks(GOOD, b"0\r\nbad trailer\r\n\r\n"), {200, 400}),
    ("a trailer cut off", _CHUNKED, _chunks(GOOD, b"0\r\nX: y"), {200, 400}),
    ("a body far too long", _FORM + b"\r\nContent-Length: 999999999999", GOOD, {413}),
    ("JSON cut off", b"Content-Type: application/json\r\nContent-Length: 99", b'{"a"', {400}),
    ("JSON in bad chunks", b"Content-Type: application/json\r\nTransfer-Encoding: chunked",
     b"2\r\n{}\r\n0\r\nbad trailer\r\n\r\n", {400, 422}),
]  # fmt: skip


def _exchange(farm: WholeFarm, head: bytes, body: bytes) -> int:
    """Send these bytes and no more; the status that comes back."""
    request = f"POST {PATH} HTTP/1.1\r\nHost: farm\r\nAuthorization: Bearer {farm.who.key}\r\n"
    with socket.create_connection(("127.0.0.1", farm.api_port), timeout=ANSWER_S) as connection:
        connection.sendall(request.encode() + head + b"\r\n\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    line = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert line is not None, answer[:200]
    return int(line[1])


def test_requests_that_break_http_or_break_off_are_answered(farm: WholeFarm) -> None:
    api = farm.start_api()
    taken = 0
    for name, head, body, statuses in RAW:
        status = _exchange(farm, head, body)
        assert status in statuses, (name, status)
        taken += status == 200
    assert _kept(farm)["jobs"] == _kept(farm)["files"] == taken
    # A client that goes away in the middle, many times, leaves the server as it was.
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", farm.api_port)) as connection:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: farm\r\n".encode())
            connection.sendall(_FORM + b"\r\nContent-Length: 500\r\n\r\n--x\r\n")
    assert requests.get(_url(farm, "/healthz"), timeout=ANSWER_S).status_code == 200
    assert '"status":5' not in api.output()
    assert "unhandled exception" not in api.output()


def test_whoever_is_refused_while_uploading_hears_why(farm: WholeFarm) -> None:
    farm.start_api()
    poor = factories.customer(farm.services)  # 10 credits, 5 submits a minute
    large = b"\x89PNG\r\n\x1a\n" + bytes(LARGEST - 8)

    def send(data: bytes, path: str = PATH, times: int = 1, key: str = poor.key) -> int:
        # urllib sends all of it before it looks for an answer.
        body, headers = (
            form_body([("image", data, "photo.png")], "x"),
            {
                "Authorization": f"Bearer {key}",
                "Content-Type": "multipart/form-data; boundary=x",
            },
        )
        for _ in range(times):
            request = urllib.request.Request(_url(farm, path), data=body, headers=headers)
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(request, timeout=ANSWER_S)
            with refusal.value as answer:
                assert json.load(answer)["detail"]
        return refusal.value.code

    assert send(large, key="pk_live_unknown") == 401
    assert send(large + b"x") == 413
    assert send(large + bytes(3 * 1024 * 1024)) == 413
    assert send(large) == 400
    assert send(picture(), "/v1/image/upscale") == 402
    assert send(large, "/v1/nowhere") == 404
    assert send(large) == 400
    assert send(large, times=3) == 429
    assert _kept(farm)["jobs"] == 0


def test_whoever_sends_too_large_a_try_on_hears_why(farm: WholeFarm) -> None:
    farm.start_api()
    body = b'{"person_image": "' + b"A" * 40_000_000 + b'"}'
    headers = {**_headers(farm), "Content-Type": "application/json"}
    request = urllib.request.Request(_url(farm, TRYON), data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=ANSWER_S)
    with refusal.value as answer:
        assert answer.code == 413
        assert json.load(answer)["detail"]["error"] == "too_large"
    assert _kept(farm)["jobs"] == 0


def test_forms_that_a_fuzzer_makes_are_answered(farm: WholeFarm) -> None:
    """Good forms with bytes changed, cut, doubled: whatever comes out of it, never a 5xx."""
    farm.start_api()
    good = form_body([IMAGE, ("mask", mask(), "m.png"), ("prompt", "the red ball")], "bound")
    path = "/v1/image/remove-object"
    dice = random.Random(20261121)
    seen: set[int] = set()
    with requests.Session() as session:
        session.headers.update(_headers(farm))
        for number in range(150):
            body = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                at, length = dice.randrange(len(body)), dice.randint(0, 12)
                what = dice.choice(
                    (b"", dice.randbytes(length), body[at : at + 40], b"\r\n--bound")
                )
                body[at : at + length] = what
            answer = session.post(
                _url(farm, path),
                data=bytes(body),
                headers={"Content-Type": "multipart/form-data; boundary=bound"},
                timeout=ANSWER_S,
            )
            assert answer.status_code in (200, 400, 413, 422), (number, answer.text)
            assert json.loads(answer.text).get("detail") or answer.status_code == 200
            seen.add(answer.status_code)
    assert {400, 422} <= seen
    assert _kept(farm)["held"] == _kept(farm)["jobs"] * 50
