"""This farm with another one as its upstream, over HTTP between real processes; its death too."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import requests
from PIL import Image
from sqlalchemy import text

from farm import views
from farm.broker import make_celery, messages_waiting
from farm.cli.demo.drawing import product_photo
from farm.config import Settings
from farm.embedded import start_redis
from farm.services import Services
from tests import factories
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, scalar
from tests.flows.whole_farm import TORCH_S, WholeFarm, whole_farm
from tests.processes import Process, wait_until
from tests.services import Databases

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("flow-upstream")]

SIZE = {"prompt": "a red circle", "size": "256x256", "seed": 7}
PICTURE = {"model": "gpt-image-2", **SIZE}
LATER = "gemini-2.5-flash-image"
THERE = {"gpt-image-2": "flux-schnell", "veo": "wan2.1", LATER: "sdxl"}
"""What runs there: a small model for pictures, which edits as well, one for films, and one whose
worker is started by the test that wants a job to wait."""
LATER_COSTS, IT_COSTS_THERE = 80, 20
"""In tenths: what our customer pays, and what we pay."""


@dataclass
class Side:
    """One of the two farms, and its customer on pixapi."""

    farm: WholeFarm
    who: Customer
    before: int

    @classmethod
    def of(cls, farm: WholeFarm) -> Side:
        who = factories.customer(farm.services, storefront="pixapi", plan="business")
        return cls(farm, who, views.balance(farm.services.db, who.account_id).posted_tenths)

    @property
    def services(self) -> Services:
        return self.farm.services

    @property
    def settings(self) -> Settings:
        return self.farm.services.settings

    @property
    def charged_tenths(self) -> int:
        """What the customer has paid; nothing is held any more."""
        balance = views.balance(self.services.db, self.who.account_id)
        assert balance.held_tenths == 0
        return self.before - balance.posted_tenths

    @property
    def jobs(self) -> int:
        number = scalar(self.services, "SELECT count(*) FROM jobs")
        assert isinstance(number, int)
        return number

    def answers(self) -> bool:
        """Whether the farm's API is there."""
        with contextlib.suppress(requests.ConnectionError):
            return bool(self.call("GET", "/healthz"))
        return False

    def call(self, method: str, path: str, **more: Any) -> Any:
        """One call with the customer's key; its JSON."""
        url = f"http://127.0.0.1:{self.farm.api_port}{path}"
        headers = {"Authorization": f"Bearer {self.who.key}"}
        answer = requests.request(method, url, headers=headers, timeout=TORCH_S, **more)
        assert answer.status_code == 200, f"{answer.text}\n{self.farm.logs()}"
        return answer.json()

    def submit(self, path: str, **more: Any) -> str:
        """An asynchronous request; the job's id."""
        return str(self.call("POST", path, **more)["id"]).removeprefix("task_")

    def ended(self, job_id: str) -> dict[str, Any]:
        """The task, once it has ended."""
        wait_until(lambda: self.farm.column("finished_at", job_id), TORCH_S, self.farm.logs)
        found: dict[str, Any] = self.call("GET", f"/v1/tasks/task_{job_id}")
        return found


@dataclass
class Pair:
    """The farm under test and its upstream."""

    ours: Side
    theirs: Side
    their_api: Process

    def kill_their_api(self) -> None:
        """SIGKILL for gunicorn and its children, in the middle of whatever they do."""
        for member in self.their_api.family():
            member.kill()
        self.their_api.wait(10)

    def revive_their_api(self) -> None:
        """Start it where it is dead."""
        if self.their_api.exit_code() is not None:
            self.their_api = self.theirs.farm.start_api()

    def asked_there(self) -> None:
        """Wait until the upstream has a job that is rung for and that nobody takes."""
        settings, catalog = self.theirs.settings, self.theirs.services.catalog
        celery = make_celery(settings, catalog)
        wait_until(lambda: messages_waiting(celery)["gpu.sdxl"] == 1, 30, self.ours.farm.logs)

    def check_books_and_key(self) -> None:
        """Both farms' books are right, and the key of one is nowhere in the other."""
        for side in (self.ours, self.theirs):
            assert_books_balance(side.services)
        key = self.theirs.who.key
        logs = [log.read_text(errors="replace") for log in self.ours.farm.folder.rglob("*.log")]
        assert key not in self.ours.farm.logs() + "".join(logs)
        with self.ours.services.db.statement() as connection:
            rows = connection.execute(text("SELECT jobs::text FROM jobs")).scalars().all()
        assert rows
        assert key not in "".join(rows)


@pytest.fixture(scope="module")
def two_farms(databases: Databases, servers_folder: Path, tmp_path_factory: Any) -> Iterator[Pair]:
    """Two farms, each with a Redis that no test empties."""
    with (
        databases.fresh() as our_db,
        databases.fresh() as their_db,
        start_redis(servers_folder / "our-redis") as our_redis,
        start_redis(servers_folder / "their-redis") as their_redis,
        whole_farm(
            tmp_path_factory.mktemp("theirs"), their_db, their_redis.url, their_redis.url
        ) as their_farm,
    ):
        theirs = Side.of(their_farm)
        table = {
            ours: {
                "base_url": f"http://127.0.0.1:{their_farm.api_port}/v1",
                "key_env": "THEIR_KEY",
                "model": model,
                "name": "another farm",
            }
            for ours, model in THERE.items()
        }
        with whole_farm(
            tmp_path_factory.mktemp("ours"),
            our_db,
            our_redis.url,
            our_redis.url,
            FARM_UPSTREAMS=json.dumps(table),
            FARM_ATTEMPTS_MAX="2",
        ) as our_farm:
            ours = Side.of(our_farm)
            # All at once: each takes seconds to start.
            our_api = our_farm.start("api", "--port", str(our_farm.api_port))
            worker = our_farm.start(
                "worker", "--queues", "upstream", "--concurrency", "2", THEIR_KEY=theirs.who.key
            )
            their_farm.start_worker("flux-schnell", "wan2.1")
            their_api = their_farm.start_api()
            wait_until(ours.answers, 60, our_api.output)
            wait_until(lambda: " ready." in worker.output(), 60, worker.output)
            yield Pair(ours, theirs, their_api)


@pytest.fixture
def pair(two_farms: Pair) -> Iterator[Pair]:
    """The two farms, both alive; afterwards their books are looked at."""
    two_farms.revive_their_api()
    yield two_farms
    two_farms.check_books_and_key()


def test_a_death_while_a_job_waits_there_costs_a_try_and_nothing_else(pair: Pair) -> None:
    paid, paid_there = pair.ours.charged_tenths, pair.theirs.charged_tenths
    jobs_there = pair.theirs.jobs
    body = {"model": LATER, **SIZE}
    job_id = pair.ours.submit("/v1/async/images/generations", json=body)
    pair.asked_there()
    pair.kill_their_api()
    assert pair.ours.farm.column("state", job_id) == "running"
    pair.revive_their_api()
    pair.theirs.farm.start_worker("sdxl")
    task = pair.ours.ended(job_id)
    assert (task["status"], task["served_by"]) == ("completed", f"{LATER} by another farm")
    assert pair.theirs.jobs == jobs_there + 1, "it was asked for again with the same key"
    assert pair.ours.charged_tenths == paid + LATER_COSTS
    assert pair.theirs.charged_tenths == paid_there + IT_COSTS_THERE


def test_a_picture_is_made_there_and_handed_out_here(pair: Pair) -> None:
    body = {**PICTURE, "response_format": "b64_json"}
    answer = pair.ours.call("POST", "/v1/images/generations", json=body)
    with Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) as image:
        image.load()
        assert (image.format, image.size, image.info["model"]) == ("PNG", (256, 256), "gpt-image-2")
    assert answer["usage"] == {"credits": 12.0}
    listed = {model["id"]: model for model in pair.ours.call("GET", "/v1/models")["data"]}
    assert listed["gpt-image-2"]["served_by"] == "gpt-image-2 by another farm"
    # The other farm makes films of words only; a model without an upstream is served here.
    assert listed["gemini-3-pro-image-preview"]["served_by"] == (
        "flux-schnell-tiny, flux-kontext-tiny"
    )


def test_a_picture_is_edited_there(pair: Pair) -> None:
    buffer = io.BytesIO()
    product_photo(256).save(buffer, "PNG")
    answer = pair.ours.call(
        "POST",
        "/v1/images/edits",
        data={"model": "gpt-image-2", "prompt": "make it blue", "response_format": "b64_json"},
        files={"image": ("photo.png", buffer.getvalue(), "image/png")},
    )
    with Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) as image:
        assert image.size == (256, 256)
    operations = "SELECT operation FROM jobs ORDER BY created_at DESC LIMIT 1"
    assert scalar(pair.theirs.services, operations) == "edit"


def test_a_film_is_made_there(pair: Pair) -> None:
    film = {"model": "veo", "prompt": "waves", "seconds": 1, "resolution": "480p"}
    task = pair.ours.ended(pair.ours.submit("/v1/async/videos/generations", json=film))
    assert (task["status"], task["served_by"]) == ("completed", "veo by another farm")
    data = requests.get(task["data"][0]["url"], timeout=30).content
    with av.open(io.BytesIO(data), "r", format="mp4") as opened:
        stream = opened.streams.video[0].codec_context
        assert (stream.name, stream.width, stream.height) == ("h264", 832, 480)


def test_a_death_for_good_fails_the_job_which_costs_nothing(pair: Pair) -> None:
    before = pair.ours.charged_tenths
    pair.kill_their_api()
    task = pair.ours.ended(pair.ours.submit("/v1/async/images/generations", json=PICTURE))
    assert (task["status"], task["error"]["code"]) == ("failed", "upstream_unavailable")
    assert task["error"]["message"].startswith("The model is not available at the moment.")
    assert pair.ours.charged_tenths == before
