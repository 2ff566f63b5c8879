"""Inputs fetched by the control worker: ready, refused, or left for another try."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from farm import inputs, settle
from farm.broker import messages_waiting
from farm.config import Settings
from farm.errors import BrokerUnavailable, StorageUnavailable
from farm.services import Services
from farm.storage import LocalStorage
from farm.submit import submit
from farm.types import JobState, RemotePicture, StoredOutput
from farm.views import JobView, get_job
from tasks.child import Child
from tasks.fetch import fetch
from tasks.sweep import sweep
from tests import factories
from tests.factories import Customer
from tests.farm.checks import amounts, assert_books_balance, run
from tests.farm.intake.hostile_server import HostileServer

QUEUE = "gpu.remove-object"


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as found:
        yield found


@pytest.fixture
def settings(settings: Settings, server: HostileServer) -> Settings:
    """The server of this test is trusted although it is on this machine."""
    return settings.model_copy(update={"fetch_allow": server.trust, "fetch_timeout_s": 3.0})


@pytest.fixture
def who(services: Services) -> Customer:
    return factories.customer(services)


def png(width: int = 8, height: int = 6, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


def cut(width: int = 8, height: int = 6) -> bytes:
    """White, with a transparent left edge of three pixels."""
    image = Image.new("RGBA", (width, height), "white")
    image.paste((255, 255, 255, 0), (0, 0, 3, height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def submitted(services: Services, who: Customer, **urls: str) -> uuid.UUID:
    request = factories.edit(**{name: RemotePicture(url) for name, url in urls.items()})
    return submit(services, who.principal, request).job_id


def after(child: Child, who: Customer, job_id: uuid.UUID) -> JobView:
    """Fetch, then look at the job."""
    fetch(child, job_id)
    return get_job(child.services.db, who.account_id, job_id)


def test_a_fetched_picture_makes_the_job_ready_and_rings_its_model(
    child: Child, services: Services, server: HostileServer, who: Customer
) -> None:
    server.pictures["/a.png"] = png()
    job_id = submitted(services, who, image=server.url("/a.png"))
    assert after(child, who, job_id).state is JobState.QUEUED
    assert messages_waiting(child.celery)[QUEUE] == 1
    claim = factories.claimed(services, job_id)
    with (
        services.storage.open(claim.inputs["image"]) as file,
        Image.open(file) as picture,
    ):
        assert (picture.format, picture.size, picture.mode) == ("TIFF", (8, 6), "RGB")


def test_a_second_message_for_the_same_job_does_nothing(
    child: Child, services: Services, server: HostileServer, who: Customer
) -> None:
    server.pictures["/a.png"] = png()
    job_id = submitted(services, who, image=server.url("/a.png"))
    for _ in range(50):
        fetch(child, job_id)
    assert server.paths() == ["/a.png"]
    assert messages_waiting(child.celery)[QUEUE] == 1


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "unreadable_image", "image_url"),
        (b"<html>hello</html>", "unreadable_image", "image_url"),
        (png()[:40], "unreadable_image", "image_url"),
        (png(4097, 1), "invalid_request", "4096"),
        (None, "input_unavailable", "image_url"),
        (b"x" * (10 * 1024 * 1024 + 1), "too_large", "image_url"),
    ],
    ids=["empty", "html", "cut", "too wide", "missing", "too large"],
)
def test_what_is_no_picture_fails_the_job_with_a_sentence_and_costs_nothing(
    child: Child,
    services: Services,
    server: HostileServer,
    who: Customer,
    content: bytes | None,
    code: str,
    words: str,
) -> None:
    if content is not None:
        server.pictures["/a.png"] = content
    job = after(child, who, submitted(services, who, image=server.url("/a.png")))
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert job.error_message is not None
    assert words in job.error_message
    assert job.error_message.endswith("Nothing was charged.")
    assert amounts(services, who.account_id) == (100, 0, 100)
    assert_books_balance(services)


def test_an_address_inside_that_nobody_trusts_fails_the_job(
    child: Child, services: Services, who: Customer
) -> None:
    with HostileServer({"/a.png": png()}) as stranger:
        job = after(child, who, submitted(services, who, image=stranger.url("/a.png")))
        assert stranger.paths() == []
    assert (job.state, job.error_code) == (JobState.FAILED, "input_unavailable")


def test_a_mask_of_another_size_fails_the_job(
    child: Child, services: Services, server: HostileServer, who: Customer
) -> None:
    server.pictures |= {"/a.png": png(8, 6), "/m.png": png(6, 8)}
    job_id = submitted(services, who, image=server.url("/a.png"), mask=server.url("/m.png"))
    job = after(child, who, job_id)
    assert (job.state, job.error_code) == (JobState.FAILED, "invalid_request")
    assert "mask" in str(job.error_message)


def test_a_fetched_mask_is_compared_with_the_uploaded_picture(
    child: Child, services: Services, server: HostileServer, who: Customer
) -> None:
    server.pictures |= {"/right.png": png(8, 6), "/wrong.png": png(6, 8)}
    states = []
    for path in ("/right.png", "/wrong.png"):
        mask = RemotePicture(server.url(path))
        request = factories.edit(image=factories.picture(8, 6), mask=mask)
        job_id = submit(services, who.principal, request).job_id
        states.append(after(child, who, job_id).state)
    assert states == [JobState.QUEUED, JobState.FAILED]


def test_a_mask_that_is_cut_out_is_read_by_its_transparency(
    child: Child, services: Services, server: HostileServer, who: Customer
) -> None:
    server.pictures |= {"/a.png": png(), "/clear.png": png(mode="RGBA"), "/cut.png": cut()}
    jobs = {}
    for name in ("a", "clear", "cut"):
        mask = RemotePicture(server.url(f"/{name}.png"), cut_out=True)
        asked = factories.edit(image=factories.picture(8, 6), mask=mask)
        jobs[name] = after(child, who, submit(services, who.principal, asked).job_id)
    for name in ("a", "clear"):
        assert jobs[name].state is JobState.FAILED
        assert jobs[name].error_code == "invalid_request"
        assert "must be transparent where" in str(jobs[name].error_message)
    assert jobs["cut"].state is JobState.QUEUED
    request = inputs.run_request(services.storage, factories.claimed(services, jobs["cut"].id))
    with Image.open(io.BytesIO(request.inputs["mask"])) as mask:
        assert [mask.getpixel((x, 0)) for x in range(8)] == [255] * 3 + [0] * 5


def test_a_full_disk_leaves_the_job_for_another_fetch(
    child: Child,
    services: Services,
    server: HostileServer,
    who: Customer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.pictures["/a.png"] = png()
    job_id = submitted(services, who, image=server.url("/a.png"))

    def full(*_: object) -> None:
        raise StorageUnavailable("An output could not be stored: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "put", full)
        with pytest.raises(StorageUnavailable):
            fetch(child, job_id)
    assert get_job(services.db, who.account_id, job_id).state is JobState.QUEUED
    run(services, "UPDATE jobs SET fetch_until = now() - interval '1 s', rung_at = NULL")
    assert sweep(child) == 1
    assert messages_waiting(child.celery)["intake"] == 1
    fetch(child, job_id)
    assert factories.claimed(services, job_id).inputs.keys() == {"image"}


def test_a_broker_that_is_away_delays_the_job_no_longer_than_the_sweeper(
    child: Child,
    services: Services,
    server: HostileServer,
    who: Customer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.pictures["/a.png"] = png()
    job_id = submitted(services, who, image=server.url("/a.png"))

    def away(*_: object) -> None:
        raise BrokerUnavailable("The message broker does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(type(child.dispatcher), "ring_now", away)
        with pytest.raises(BrokerUnavailable):
            fetch(child, job_id)
    run(services, "UPDATE jobs SET rung_at = now() - interval '1 hour'")
    assert sweep(child) == 1
    assert messages_waiting(child.celery)[QUEUE] == 1


def test_a_job_cancelled_while_it_is_fetched_stays_cancelled(
    child: Child,
    services: Services,
    server: HostileServer,
    who: Customer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.pictures["/a.png"] = png()
    job_id = submitted(services, who, image=server.url("/a.png"))
    store = inputs.store

    def cancel_then_store(*what: Any) -> StoredOutput:
        settle.cancel(services.db, None, job_id)
        return store(*what)

    monkeypatch.setattr(inputs, "store", cancel_then_store)
    assert after(child, who, job_id).state is JobState.CANCELLED
    assert messages_waiting(child.celery)[QUEUE] == 0
    assert_books_balance(services)
    assert inputs.delete_spent(services.db, services.storage) == 1
