"""Hosts that are one storefront's own, storefronts that are off, and a fifth one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response
from spectree import SpecTree

from api.app import create_app, runtime_of
from api.auth import Access, needs
from api.docs import Answers
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts import DIALECTS
from api.storefronts.pixza import DIALECT as PIXZA
from api.storefronts.pixza.wire import Credits
from farm.accounts import set_status
from farm.catalog import BUILT_IN
from farm.config import Settings
from farm.errors import FarmError, SetupError
from farm.types import AccountStatus
from tests import factories
from tests.api.caller import GENERATE, Caller

HOST = "gen.example.com"
HOSTED = {"hosts": f"{HOST}=pixza,api.example.com=pixelapi", "pixza_wait_s": 0}
BODY = {"type": "image", "prompt": "a"}


@contextlib.contextmanager
def serving(settings: Settings, **changed: Any) -> Iterator[Flask]:
    """The application with these settings changed, for the block."""
    app = create_app(settings.model_copy(update=changed))
    try:
        yield app
    finally:
        runtime_of(app).close()


def customer(app: Flask, storefront: str) -> Caller:
    """A new customer of a storefront."""
    services = runtime_of(app).services
    return Caller(app, services, factories.customer(services, storefront=storefront))


def test_a_storefront_is_at_home_on_its_own_host(settings: Settings) -> None:
    with serving(settings, **HOSTED) as app:
        caller = customer(app, "pixza")
        there = {"Host": f"{HOST.upper()}:8443"}
        made = caller.post("/api/v1/generate", BODY, **there)
        assert made.status_code == 200, made.text
        polled = caller.get(f"/api/v1/generate/{made.json['id']}", **there)
        assert polled.json["id"] == made.json["id"]
        for path in ("/pixza/api/v1/credits", "/api/v1/credits"):
            assert caller.get(path, **there).json["plan"] == "free"
        for path in ("/v1/jobs/", "/pixza/api/v1/generate/"):
            assert caller.get(path + made.json["id"], **there).status_code == 200
        elsewhere = caller.get("/api/v1/credits")
        assert elsewhere.status_code == 404
        # The same body by the other name of the path is the same request.
        once = {"Idempotency_Key": "k"}
        first = caller.post("/api/v1/generate", BODY, **there, **once)
        again = caller.post("/pixza/api/v1/generate", BODY, **once)
        assert again.json == first.json


def test_on_a_storefronts_host_there_is_no_other(settings: Settings) -> None:
    with serving(settings, **HOSTED) as app:
        there = {"Host": HOST}
        pixelapi, pixza = customer(app, "pixelapi"), customer(app, "pixza")
        for caller in (pixelapi, pixza):
            for path in (GENERATE, "/v1/images/generations", "/pixola/api/v1/generate"):
                refused = caller.post(path, BODY, **there)
                assert refused.status_code == 404
                assert refused.json["error"] == "not_found"
                assert path in refused.json["message"]
        for path in ("/api/v1", "/api/v1/", "/api/v1/nothing", "/v1/image/x", "/api/v11/credits"):
            refused = pixza.get(path, **there)
            assert refused.status_code == 404
            assert path in refused.json["message"]
        stranger = pixelapi.get("/v1/models", **there)
        assert (stranger.status_code, stranger.json["error"]) == (401, "unauthorized")
        public = app.test_client().get("/v1/models", headers=there).json["data"]
        prices = {model["id"]: model["credits"] for model in public}
        assert prices["flux-schnell"] == 1.0
        assert (
            pixelapi.post("/api/v1/image/generate", {"prompt": "a"}, Host="api.example.com").json[
                "model"
            ]
            == "flux-schnell"
        )


def test_a_hosts_documentation_is_its_storefronts(settings: Settings) -> None:
    with serving(settings, **HOSTED) as app:
        client, there = app.test_client(), {"Host": HOST}
        assert "/docs/pixza/openapi.json" in client.get("/docs", headers=there).text
        assert client.get("/docs/pixola", headers=there).status_code == 404
        assert client.get("/docs/pixola/openapi.json", headers=there).status_code == 404
        shown = client.get("/docs/pixza/openapi.json", headers=there).json
        assert "/api/v1/generate" in shown["paths"]
        assert "/v1/jobs/{job_id}" in shown["paths"]
        assert not any(path.startswith("/pixza/") for path in shown["paths"])
        elsewhere = client.get("/docs/pixza/openapi.json").json
        assert "/pixza/api/v1/generate" in elsewhere["paths"]
        assert f"{HOST}/api/v1" in client.get("/docs").text


def test_a_storefront_that_is_off_is_not_there(settings: Settings) -> None:
    with serving(settings, storefronts="pixza,pixapi") as app:
        client = app.test_client()
        pixza, pixelapi, pixola = (customer(app, each) for each in ("pixza", "pixelapi", "pixola"))
        assert pixza.get("/pixza/api/v1/credits").status_code == 200
        for caller in (pixelapi, pixola):
            for path in (GENERATE, "/pixola/api/v1/generate"):
                assert caller.post(path, BODY).status_code == 404
            refused = caller.get("/v1/models")
            assert refused.status_code == 403
            assert "not served here" in refused.text
            assert client.get("/v1/jobs/x", headers=caller.headers).status_code == 403
        assert client.get("/v1/models").json["data"][0]["id"] == "sdxl"
        assert client.get("/docs/pixola").status_code == 404
        assert client.get("/docs/pixza/openapi.json").status_code == 200
        assert "Pixola" not in client.get("/docs").text
        assert client.get("/healthz").status_code == 200


def test_whoever_is_blocked_hears_it_in_their_own_words(settings: Settings) -> None:
    with serving(settings) as app:
        for storefront, field in (("pixelapi", "detail"), ("pixza", "message")):
            caller = customer(app, storefront)
            with caller.services.db.transaction() as connection:
                set_status(connection, caller.customer.account_id, AccountStatus.BLOCKED)
            refused = caller.get("/v1/jobs/x")
            assert refused.status_code == 403
            assert "blocked" in refused.json[field]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"storefronts": "pixza,nothing"}, "pixelapi, pixapi, pixola, pixza"),
        ({"storefronts": "pixza", "hosts": "a.example.com=pixola"}, "Choose from pixza"),
    ],
)
def test_a_storefront_that_there_is_not_stops_the_start(
    settings: Settings, changed: dict[str, str], word: str
) -> None:
    with pytest.raises(SetupError, match=word):
        create_app(settings.model_copy(update=changed))


TOY = """
[storefronts.toy]
base_path = "/toy/v1"
key_prefix = "toy_"
default_plan = "free"
reads_per_minute = 600

[storefronts.toy.default_model]
generate = "flux-schnell"

[storefronts.toy.plans.free]
price_usd = 0
credits_month = 7
submits_per_minute = 10
webhooks = false
priority = 9

[storefronts.toy.prices]
flux-schnell = { credits = 2 }
"""


def toy_blueprint(runtime: Runtime, spec: SpecTree) -> Blueprint:
    """One path."""
    routes = Blueprint("toy", __name__, url_prefix="/toy/v1")

    @routes.get("/plan")
    @spec.validate(resp=Answers(HTTP_200=Credits), skip_validation=True)
    @needs(Access.READ, "toy")
    def plan() -> Response:
        """The plan."""
        return json_reply({"plan": current_request().caller().plan})

    return routes


def toy_error(error: FarmError, pricing_url: str) -> dict[str, Any]:
    """An error as nobody else says it."""
    return {"oh": str(error)}


def test_a_fifth_storefront_is_a_folder_a_table_and_a_line(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(BUILT_IN.read_text(encoding="utf-8") + TOY, encoding="utf-8")
    toy = replace(
        PIXZA,
        id="toy",
        title="Toy",
        paths=("/toy/",),
        blueprint=toy_blueprint,
        render_error=toy_error,
    )
    changed = {"catalog": path, "hosts": "toy.example.com=toy"}
    app = create_app(settings.model_copy(update=changed), dialects=(*DIALECTS, toy))
    try:
        caller, other = customer(app, "toy"), customer(app, "pixza")
        assert caller.get("/toy/v1/plan").json == {"plan": "free"}
        assert caller.get("/api/v1/plan", Host="toy.example.com").json == {"plan": "free"}
        assert [m["credits"] for m in caller.get("/v1/models").json["data"]] == [2.0]
        assert caller.get("/v1/jobs/nothing").json == {"oh": "No such generation."}
        assert list(other.get("/toy/v1/plan").json) == ["oh"]
        assert list(caller.get("/pixza/api/v1/credits").json) == ["error", "message"]
        document = caller.get("/docs/toy/openapi.json").json
        assert "/toy/v1/plan" in document["paths"]
        assert '"/docs/toy"' in caller.get("/docs").text
        for storefront in ("pixelapi", "pixza"):
            shown = caller.get(f"/docs/{storefront}/openapi.json").json
            assert not any("toy" in path for path in shown["paths"])
    finally:
        runtime_of(app).close()
