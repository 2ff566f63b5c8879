"""One of each operation on real processes: what succeeded costs its price, the rest nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trimesh
from PIL import Image
from skimage import data as photographs

from farm import ledger
from farm.cli.demo import figures
from farm.cli.demo.drawing import product_photo
from tests import factories
from tests.clients.pictures import Pictures, served
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, scalar
from tests.farm.webhooks.receiver import Receiver
from tests.flows.orders import ORDERS, PLANS, bearer, contents, prices_seen, total
from tests.flows.whole_farm import WholeFarm, lasting_farm, visited
from tests.models import classifier
from tests.processes import wait_until
from tests.services import Databases

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("flow-operations")]

# Whatever it sees, one of the two is likely enough.
REFUSE_ALL = {"FARM_RESULT_MODERATION_REFUSE": "nsfw=0.0001,normal=0.0001"}
PLAN_PATHS = {
    "pixelapi": "/v1/account/balance",
    "pixola": "/pixola/api/v1/credits",
    "pixza": "/pixza/api/v1/credits",
}
"""Where an account is told its plan; PixAPI has no such path."""
BAD_PROMPT = "child porn"


@dataclass(frozen=True)
class Operation:
    """One way to spend credits: where, on what, and for how much."""

    path: str
    credits: float
    fields: dict[str, Any]
    picture: Callable[[], Image.Image] | None = None
    tryon: bool = False

    def submit(self, farm: WholeFarm, who: Customer, **changes: str) -> requests.Response:
        """Send it as a form with the picture, or as JSON where there is none."""
        url = f"http://127.0.0.1:{farm.api_port}{self.path}"
        headers = {"Authorization": f"Bearer {who.key}"}
        fields: dict[str, Any] = {**self.fields, **changes}
        if self.tryon:
            fields |= {
                "person_image": text(figures.person()),
                "garment_image": text(figures.garment()),
            }
        if self.picture is None:
            return requests.post(url, json=fields, headers=headers, timeout=60)
        files = {"image": ("photo.png", png(self.picture()), "image/png")}
        return requests.post(url, data=fields, files=files, headers=headers, timeout=60)


def photo() -> Image.Image:
    return product_photo(256)


def face() -> Image.Image:
    return Image.fromarray(photographs.astronaut()).resize((384, 384))


def small() -> Image.Image:
    return product_photo(64)


GENERATE = {"prompt": "a red circle", "width": 512, "height": 512}
SOUND = {"prompt": "a calm piano"}
FILM = {"prompt": "waves on a beach"}
OPERATIONS = {
    "sdxl": Operation("/v1/image/generate", 3.0, {"model": "sdxl", "steps": 20, **GENERATE}),
    "flux": Operation("/v1/image/generate", 3.0, {"steps": 1, **GENERATE}),
    "remove-background": Operation("/v1/image/remove-background", 2.0, {}, photo),
    "replace-background": Operation(
        "/v1/image/replace-background", 5.0, {"prompt": "a beach"}, photo
    ),
    "restore-face": Operation("/v1/image/restore-face", 3.0, {}, face),
    "remove-object": Operation("/v1/image/remove-object", 5.0, {"prompt": "the red ball"}, photo),
    "upscale": Operation("/v1/image/upscale", 20.0, {"scale": "4"}, small),
    "try-on": Operation("/v1/virtual-tryon", 25.0, {"category": "upperbody"}, tryon=True),
    "short audio": Operation("/v1/audio/generate", 5.0, {"duration": 5, **SOUND}),
    "long audio": Operation("/v1/audio/generate", 10.0, {"duration": 16, **SOUND}),
    "480p": Operation("/v1/video/generate", 50.0, {"duration": 1, **FILM}),
    "720p": Operation("/v1/video/generate", 100.0, {"duration": 1, "resolution": "720p", **FILM}),
    "cogvideo": Operation(
        "/v1/video/generate", 25.0, {"model": "cogvideo-2b", "num_frames": 9, "steps": 10, **FILM}
    ),
}
TOTAL = 256.0
FILES = {"short audio": b"RIFF", "long audio": b"RIFF", "480p": b"\0\0\0", "720p": b"\0\0\0",
         "cogvideo": b"\0\0\0"}  # fmt: skip
"""How the files of those begin that are no PNG."""


def text(picture: Image.Image) -> str:
    """The picture as a PNG in base64."""
    return base64.b64encode(png(picture)).decode("ascii")


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Who is told of ends, on a port of this machine."""
    with Receiver() as found:
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pictures]:
    """Pictures behind URLs of this machine."""
    with served(tmp_path_factory.mktemp("pictures")) as found:
        yield found


@pytest.fixture(scope="module")
def one_farm(
    servers_folder: Path, databases: Databases, receiver: Receiver, pictures: Pictures
) -> Iterator[WholeFarm]:
    """One farm for all tests here, which start its workers."""
    trusts = f"{receiver.trust},{pictures.host}"
    with lasting_farm(servers_folder / "operations", databases, FARM_FETCH_ALLOW=trusts) as found:
        yield found


@pytest.fixture
def farm(one_farm: WholeFarm) -> Iterator[WholeFarm]:
    """The farm with a new customer, and after it without the workers that the test started."""
    with visited(one_farm):
        yield one_farm


def spent(farm: WholeFarm, who: Customer) -> float:
    """What an account has been charged, in credits."""
    tenths = scalar(
        farm.services,
        "SELECT coalesce(-sum(amount), 0) FROM entries "
        "WHERE account_id = :id AND kind = 'charge' AND book = 'held'",
        id=who.account_id,
    )
    return float(tenths) / 10


def ended(farm: WholeFarm, answers: dict[str, requests.Response]) -> dict[str, Any]:
    """How each submitted job ended, as its owner sees it, by operation."""
    found = {}
    for name, answer in answers.items():
        assert answer.status_code == 200, f"{name}: {answer.text}"
        job_id = answer.json().get("generation_id") or answer.json()["job_id"]
        farm.finished(job_id[-36:])
        found[name] = farm.status(job_id)
    return found


def nothing_was_charged(farm: WholeFarm, who: Customer, jobs: dict[str, Any]) -> None:
    assert spent(farm, who) == 0
    for name, job in jobs.items():
        assert job["credits_used"] == 0, name
        assert job["output_url"] is None, name
        assert job["receipt"]["returned"] == OPERATIONS[name].credits, name
    held = "SELECT held FROM accounts WHERE id = :id"
    assert scalar(farm.services, held, id=who.account_id) == 0
    assert_books_balance(farm.services)


def test_one_of_each_costs_exactly_the_sum_of_the_prices(
    farm: WholeFarm, pictures: Pictures, receiver: Receiver
) -> None:
    """In every storefront, at the same time, by one worker."""
    farm.start_worker()
    who = farm.who
    shoppers = {
        shop: factories.customer(farm.services, storefront=shop, plan=plan)
        for shop, plan in PLANS.items()
    }
    secret = f"http://127.0.0.1:{farm.api_port}/v1/account/webhooks/default/secret"
    answer = requests.get(secret, headers=bearer(shoppers["pixza"]), timeout=60)
    receiver.secrets["/pixza"] = answer.json()["secret"]
    hooks = {"3d": {"webhook_url": receiver.url("/pixza")}}
    asked = {name: op.submit(farm, who) for name, op in OPERATIONS.items()}
    ordered = {
        shop: {
            name: order.submit(farm, shoppers[shop], pictures, **hooks.get(name, {}))
            for name, order in orders.items()
        }
        for shop, orders in ORDERS.items()
    }
    jobs = ended(farm, asked)
    for name, job in jobs.items():
        assert job["status"] == "completed", f"{name}: {job}\n{farm.logs()}"
        assert job["credits_used"] == OPERATIONS[name].credits
        file = requests.get(job["output_url"], timeout=30).content
        assert file.startswith(FILES.get(name, b"\x89PNG")), name
    assert sum(operation.credits for operation in OPERATIONS.values()) == TOTAL
    assert spent(farm, who) == TOTAL
    for shop, orders in ORDERS.items():
        for name, order in orders.items():
            done = order.ended(farm, shoppers[shop], ordered[shop][name])
            files = contents(json.dumps(done))
            assert len(files) == order.files, (shop, name, done)
            assert all(file.startswith(order.begins) for file in files), (shop, name)
            if name == "3d":
                mesh = trimesh.load(io.BytesIO(files[0]), file_type="glb", force="mesh")
                assert min(len(mesh.vertices), len(mesh.faces)) > 0
        assert spent(farm, shoppers[shop]) == total([*orders.values()]), shop
    wait_until(lambda: receiver.messages, 60, farm.logs)
    [message] = receiver.messages
    assert message.verified is not None, message
    assert (message.verified["id"], message.verified["status"]) == (
        ordered["pixza"]["3d"],
        "completed",
    )
    assert_books_balance(farm.services)


def test_an_account_of_each_storefront_sees_its_own_prices_and_plan(farm: WholeFarm) -> None:
    shops = farm.services.catalog.storefronts
    seen = {}
    for shop, plan in {"pixelapi": "scale", **PLANS}.items():
        who = factories.customer(farm.services, storefront=shop, plan=plan)
        prices = prices_seen(farm, who)
        assert prices == {
            model: price.least_tenths / 10 for model, price in shops[shop].prices.items()
        }
        seen[shop] = prices["flux-schnell"]
        if path := PLAN_PATHS.get(shop):
            url = f"http://127.0.0.1:{farm.api_port}{path}"
            assert requests.get(url, headers=bearer(who), timeout=30).json()["plan"] == plan
    assert seen == {"pixelapi": 3.0, "pixapi": 2.0, "pixola": 1.0, "pixza": 1.0}


def test_one_of_each_that_fails_costs_nothing(farm: WholeFarm, tmp_path: Path) -> None:
    farm.start_worker(FARM_WEIGHTS=str(tmp_path / "no-weights"), FARM_ATTEMPTS_MAX="1")
    who = farm.who
    jobs = ended(farm, {name: op.submit(farm, who) for name, op in OPERATIONS.items()})
    assert {name: job["status"] for name, job in jobs.items()} == dict.fromkeys(
        OPERATIONS, "failed"
    )
    nothing_was_charged(farm, who, jobs)


def test_one_of_each_with_a_refused_result_is_blocked_and_costs_nothing(
    farm: WholeFarm, tmp_path: Path
) -> None:
    folder = classifier.write(tmp_path / "classifier")
    farm.start_worker(FARM_RESULT_MODERATION=str(folder), **REFUSE_ALL)
    who = farm.who
    # The classifier knows pictures only: sound and films have their prompts looked at.
    pictures = {name: op for name, op in OPERATIONS.items() if name not in FILES}
    jobs = ended(farm, {name: op.submit(farm, who) for name, op in pictures.items()})
    assert {name: job["status"] for name, job in jobs.items()} == dict.fromkeys(pictures, "blocked")
    nothing_was_charged(farm, who, jobs)
    stored = "SELECT count(*) FROM jobs WHERE account_id = :id AND output_key IS NOT NULL"
    assert scalar(farm.services, stored, id=who.account_id) == 0


def test_one_of_each_that_is_refused_costs_nothing(farm: WholeFarm) -> None:
    who = farm.who
    refused = {
        name: op.submit(farm, who, prompt=BAD_PROMPT)
        for name, op in OPERATIONS.items()
        if "prompt" in op.fields
    }
    jobs = ended(farm, refused)
    assert {job["status"] for job in jobs.values()} == {"blocked"}
    nothing_was_charged(farm, who, jobs)

    poor = factories.customer(farm.services, plan="scale")
    with farm.services.db.transaction() as connection:
        ledger.grant(connection, poor.account_id, -3_000_000, reason="a test", kind="adjust")
    for name, operation in OPERATIONS.items():
        answer = operation.submit(farm, poor)
        assert answer.status_code == 402, name
        assert f"Required: {operation.credits:g}, available: 0" in answer.json()["detail"]
    assert scalar(farm.services, "SELECT count(*) FROM jobs WHERE account_id = :id",
                  id=poor.account_id) == 0  # fmt: skip
    assert_books_balance(farm.services)
