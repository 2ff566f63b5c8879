"""Films that another service makes: a task is made there, asked about, and its film looked at."""

from __future__ import annotations

import base64
import io
import uuid
from typing import Any

import numpy as np
import pytest
from PIL import Image

from farm.errors import Cancelled, ContentRefused, UpstreamFault, UpstreamUnavailable
from farm.types import RunRequest
from models.engines import upstream
from models.engines.upstream import UpstreamEngine
from models.parts import video
from tests.models.upstream.jobs import ignore, tiff
from tests.models.upstream.service import OpenaiServer, Reply, problem

MAKE, LOOK = "/v1/async/videos/generations", "/v1/tasks/task_1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask about tasks more often than is polite."""
    monkeypatch.setattr(upstream, "_POLL_S", 0.01)


@pytest.fixture(scope="module")
def film() -> bytes:
    """Half a second of grey, 64x48."""
    frames = [np.full((48, 64, 3), 8 * n, np.uint8) for n in range(8)]
    return video.mp4(frames, 64, 48, 16, {})


def job(image: Image.Image | None = None) -> RunRequest:
    params = {"prompt": "waves", "duration": 4.0, "resolution": "720p", "seed": 7}
    operation = "video" if image is None else "image-to-video"
    inputs = {} if image is None else {"image": tiff(image)}
    return RunRequest(uuid.uuid4(), 1, "veo", operation, params, inputs)


def task(status: str, **more: Any) -> Reply:
    made = {"id": "task_1", "object": "task", "status": status, "model": "their-model"}
    return Reply(body={**made, "created": 1, "error": None, **more})


def completed(server: OpenaiServer, data: bytes) -> Reply:
    """The task with a film that lies on the service's own host."""
    server.at["/films/1.mp4"] = Reply(body=data, headers={"Content-Type": "video/mp4"})
    url = f"http://127.0.0.1:{server.port}/films/1.mp4"
    return task("completed", progress=100, data=[{"url": url}])


def test_a_film_is_asked_for_waited_for_and_kept(
    engine: UpstreamEngine, server: OpenaiServer, film: bytes
) -> None:
    server.then(
        task("submitted", progress=0),
        task("processing", progress=40),
        Reply(503, problem("server_error")),
        completed(server, film),
    )
    request = job()
    seen: list[tuple[int, int]] = []
    [artifact] = engine.run(request, lambda step, steps: seen.append((step, steps)))
    assert artifact.data == film
    assert (artifact.media_type, artifact.folder, artifact.extension) == (
        "video/mp4",
        "video",
        "mp4",
    )
    assert artifact.facts == {
        "seed": 7,
        "upstream_model": "their-model",
        "width": 64,
        "height": 48,
        "frames": 8,
        "fps": 16.0,
        "duration_s": 0.5,
    }
    made, *looks = server.asked
    assert [(each.method, each.path) for each in looks[:-1]] == [("GET", LOOK)] * 3
    assert (made.method, made.path) == ("POST", MAKE)
    assert made.headers["idempotency-key"] == str(request.job_id)
    assert made.json == {
        "model": "their-model",
        "prompt": "waves",
        "seconds": 4.0,
        "resolution": "720p",
        "seed": 7,
    }
    steps = [step for step, _ in seen]
    assert steps == sorted(steps)
    assert {0, 40, 100, 101, 102} <= set(steps)
    assert seen[-1] == (102, 102)


def test_the_first_picture_is_sent_along(
    engine: UpstreamEngine, server: OpenaiServer, film: bytes
) -> None:
    server.then(completed(server, film))
    engine.run(job(Image.new("RGB", (40, 30), "red")), ignore)
    head, _, words = server.asked[0].json["image"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(words))) as sent:
        assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (40, 30), (255, 0, 0))


def test_a_film_that_is_refused(engine: UpstreamEngine, server: OpenaiServer) -> None:
    why = {"code": "content_policy_violation", "message": "No.", "type": "invalid_request_error"}
    server.then(task("submitted"), task("failed", error=why))
    with pytest.raises(ContentRefused):
        engine.run(job(), ignore)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_film_that_fails_is_not_asked_for_again(
    engine: UpstreamEngine, server: OpenaiServer, status: str
) -> None:
    why = {"code": "engine_failed", "message": "It broke.", "type": "server_error"}
    server.then(task("submitted"), task(status, error=why))
    with pytest.raises(UpstreamFault, match=f"ended as {status}. It said 'It broke.'") as caught:
        engine.run(job(), ignore)
    assert not isinstance(caught.value, UpstreamUnavailable)


def test_a_cancel_is_heard_between_two_looks(engine: UpstreamEngine, server: OpenaiServer) -> None:
    server.otherwise = task("processing", progress=30)
    cancelled = Cancelled("The customer changed their mind.")

    def cancel(step: int, steps: int) -> None:
        if step == 30:
            raise cancelled

    with pytest.raises(Cancelled) as caught:
        engine.run(job(), cancel)
    assert caught.value is cancelled


def test_a_service_without_films_is_the_farms_trouble(
    engine: UpstreamEngine, server: OpenaiServer
) -> None:
    server.then(Reply(404, problem("not_found_error")))
    with pytest.raises(UpstreamFault, match="status 404"):
        engine.run(job(), ignore)


def long_film() -> bytes:
    return video.mp4([np.zeros((16, 16, 3), np.uint8)] * 62, 16, 16, 1, {})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no MP4"),
        (b"GIF89a" * 100, "no MP4"),
        (b"\0\0\0\x18ftypisom" + bytes(500), "cannot be decoded"),
        (None, "cannot be decoded"),
        (long_film(), "plays too long"),
    ],
    ids=["empty", "gif", "zeros", "cut", "long"],
)
def test_what_is_no_film_is_not_kept(
    engine: UpstreamEngine, server: OpenaiServer, film: bytes, data: bytes | None, why: str
) -> None:
    server.then(completed(server, film[: len(film) // 2] if data is None else data))
    with pytest.raises(UpstreamFault, match=why):
        engine.run(job(), ignore)


def test_a_task_with_a_strange_id_is_not_asked_about(
    engine: UpstreamEngine, server: OpenaiServer
) -> None:
    server.then(Reply(body={"id": "../keys?x=", "status": "submitted"}))
    with pytest.raises(UpstreamFault, match="not the answer expected"):
        engine.run(job(), ignore)
    assert len(server.asked) == 1
