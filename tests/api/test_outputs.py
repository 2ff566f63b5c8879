"""Signed files: the owner's link works, every other link is a 404."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from api.runtime import Runtime
from farm import settle
from farm.types import Artifact
from tests import factories
from tests.api.caller import Caller

DATA = bytes(range(256)) * 40


@pytest.fixture
def link(runtime: Runtime, caller: Caller) -> str:
    """The path and query of a stored output, as the status object shows it."""
    job_id = caller.generate({"prompt": "a"}).json["generation_id"]
    claim = factories.claimed(runtime.services, uuid.UUID(job_id))
    output = factories.stored(runtime.services, claim, DATA)
    assert settle.succeed(
        runtime.services.db,
        claim,
        output,
        facts={},
        served_by="test",
        processing_ms=1,
        ttl_s=3600.0,
    )
    url = urlsplit(caller.get(f"/v1/image/{job_id}").json["output_url"])
    return f"{url.path}?{url.query}"


def _get(app: Flask, path: str, **headers: str) -> TestResponse:
    return app.test_client().get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_the_link_needs_no_key(app: Flask, link: str) -> None:
    with _get(app, link) as response:
        assert response.status_code == 200
        assert response.data == DATA
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Content-Length"] == str(len(DATA))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"].startswith("private")


def test_a_thing_is_served_as_what_viewers_open(
    app: Flask, runtime: Runtime, caller: Caller
) -> None:
    job_id = uuid.UUID(caller.generate({"prompt": "a"}).json["generation_id"])
    claim = factories.claimed(runtime.services, job_id)
    thing = Artifact(b"glTF" + DATA, "model/gltf-binary", "models", "glb")
    output = runtime.services.storage.put(claim.job_id, claim.attempt, thing)
    assert settle.succeed(
        runtime.services.db,
        claim,
        output,
        facts={"vertices": 8, "faces": 12},
        served_by="test",
        processing_ms=1,
        ttl_s=3600.0,
    )
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    query = runtime.signer.sign(output.public_path, expires_at)
    with _get(app, f"/outputs/{output.public_path}?{query}") as response:
        assert response.data == thing.data
        assert response.headers["Content-Type"] == "model/gltf-binary"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_head_says_the_same_without_the_bytes(app: Flask, link: str) -> None:
    with app.test_client().head(link) as response:
        assert response.status_code == 200
        assert response.data == b""
        assert response.headers["Content-Length"] == str(len(DATA))


def test_a_known_file_is_not_sent_again(app: Flask, link: str) -> None:
    with _get(app, link) as first:
        etag = first.headers["ETag"]
    with _get(app, link, If_None_Match=etag) as second:
        assert second.status_code == 304
        assert second.data == b""


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=10000-", 10_000, len(DATA) - 1), ("bytes=-5", 10_235, 10_239)],
)
def test_part_of_a_file(app: Flask, link: str, asked: str, first: int, last: int) -> None:
    with _get(app, link, Range=asked) as response:
        assert response.status_code == 206
        assert response.data == DATA[first : last + 1]
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"


def test_a_range_past_the_end_is_a_416(app: Flask, link: str) -> None:
    with _get(app, link, Range="bytes=999999-") as response:
        assert response.status_code == 416
        assert response.json["detail"]


def test_a_changed_link_is_a_404(app: Flask, link: str) -> None:
    path, _, query = link.partition("?")
    exp, sig = parse_qs(query)["exp"][0], parse_qs(query)["sig"][0]
    other = ("A" if sig[0] != "A" else "B") + sig[1:]
    late = int(exp) + 3600
    for changed in (
        path,
        f"{path}?exp={exp}",
        f"{path}?sig={sig}",
        f"{path}?exp={late}&sig={sig}",
        f"{path}?exp={exp}&sig={other}",
        f"{path}?exp={exp}&sig={sig}x",
        f"{path}?exp=%F0&sig=%F0",
        f"{path}?exp=&sig=",
        f"{path}x?{query}",
        f"/outputs/../{path}?{query}",
        f"/outputs/images/2026/01/01/nothing.png?{query}",
    ):
        with _get(app, changed) as response:
            assert response.status_code == 404, changed
            assert list(response.json) == ["detail"]


def test_a_late_link_is_a_404(app: Flask, runtime: Runtime, link: str) -> None:
    path = link.partition("?")[0].removeprefix("/outputs/")
    query = runtime.signer.sign(path, datetime.now(UTC) - timedelta(seconds=1))
    with _get(app, f"/outputs/{path}?{query}") as response:
        assert response.status_code == 404


def test_a_good_signature_on_an_output_that_has_expired_is_a_404(
    app: Flask, runtime: Runtime, link: str
) -> None:
    with runtime.services.db.statement() as connection:
        connection.execute(text("UPDATE jobs SET output_expires_at = now()"))
    with _get(app, link) as response:
        assert response.status_code == 404


def test_only_get_and_head(app: Flask, link: str) -> None:
    response = app.test_client().delete(link)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
