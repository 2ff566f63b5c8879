"""The public list of models, and its prices."""

from __future__ import annotations

import uuid

import pytest
from flask import Flask
from sqlalchemy import text

from api.catalogue import encode_models
from api.runtime import Runtime
from api.storefronts import DIALECTS
from api.typical import ASK_EVERY_S, TypicalSeconds
from farm import views
from farm.catalog import Catalog, Price
from farm.offers import Offers
from farm.services import build_services
from tests import factories
from tests.api.caller import Caller

pytestmark = pytest.mark.usefixtures("own_app")


def test_the_list_needs_no_key_and_shows_every_model_sold(app: Flask, catalog: Catalog) -> None:
    listed = app.test_client().get("/v1/models").json
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]] == [c.id for c in catalog.offered("pixelapi")]
    sdxl = next(m for m in listed["data"] if m["id"] == "sdxl")
    card = catalog.models["sdxl"]
    assert sdxl["object"] == "model"
    assert sdxl["type"] == "image"
    assert sdxl["credits"] == 3.0
    assert sdxl["endpoint"] == "/v1/image/generate"
    assert sdxl["seconds_typical"] == sum(card.typical_s) / 2
    assert sdxl["seconds_range"] == list(card.typical_s)
    assert sdxl["limits"]["width"] == {"min": 512, "max": 1536, "default": 1024}
    assert sdxl["limits"]["prompt"] == {"min_length": 1, "max_length": 2000, "required": True}
    assert sdxl["served_by"] == "sdxl-tiny"
    assert sdxl["license"] == card.license
    assert "needs_one_of" not in sdxl


def test_words_to_choose_from_are_limits(app: Flask) -> None:
    listed = {m["id"]: m for m in app.test_client().get("/v1/models").json["data"]}
    wan, worn = listed["wan2.1"], listed["virtual-tryon"]
    assert wan["limits"]["resolution"] == {"choices": ["480p", "720p"], "default": "480p"}
    assert wan["credits_by_resolution"] == {"480p": 50.0, "720p": 100.0}
    assert "duration" not in listed["cogvideo-2b"]["limits"]
    assert worn["limits"]["category"] == {
        "choices": ["upperbody", "lowerbody", "dress"], "required": True
    }  # fmt: skip
    assert worn["endpoint"] == "/v1/virtual-tryon"


def test_the_seconds_are_those_of_the_last_fifty_jobs(
    app: Flask, runtime: Runtime, caller: Caller
) -> None:
    services = runtime.services
    for _ in range(3):
        factories.succeed(services, factories.claimed(services, _submitted(caller)))
    factories.fail(services, factories.claimed(services, _submitted(caller)))
    with services.db.statement() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET processing_ms = 4000 + 1000 * n FROM (SELECT id AS job, "
                "row_number() OVER (ORDER BY created_at) AS n FROM jobs) AS numbered "
                "WHERE id = job AND state = 'succeeded'"
            )
        )
    models = {m["id"]: m for m in app.test_client().get("/v1/models").json["data"]}
    assert models["sdxl"]["seconds_typical"] == 6.0
    assert models["sdxl"]["seconds_range"] == [8.0, 13.0]
    assert models["flux-schnell"]["seconds_typical"] == 4.0
    assert app.test_client().get("/v1/models/sdxl").json == models["sdxl"]


def test_run_times_are_asked_for_once_a_minute(runtime: Runtime, caller: Caller) -> None:
    services, now = runtime.services, [0.0]
    typical = TypicalSeconds(lambda: views.typical_seconds(services.db), lambda: now[0])
    assert typical.by_model() == {}
    factories.succeed(services, factories.claimed(services, _submitted(caller)))
    now[0] = ASK_EVERY_S - 1
    assert typical.by_model() == {}
    now[0] = ASK_EVERY_S
    assert typical.by_model() == {"sdxl": 0.012}


def test_run_times_are_kept_while_the_database_is_away(
    runtime: Runtime, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    services, now, databases = runtime.services, [0.0], [runtime.services.db]
    typical = TypicalSeconds(lambda: views.typical_seconds(databases[-1]), lambda: now[0])
    factories.succeed(services, factories.claimed(services, _submitted(caller)))
    known = typical.by_model()
    assert known == {"sdxl": 0.012}
    nowhere = "postgresql+psycopg2://farm@127.0.0.1:1/farm"
    away = build_services(services.settings.model_copy(update={"database_url": nowhere}))
    databases.append(away.db)
    now[0] = ASK_EVERY_S
    assert typical.by_model() == known
    assert "run times are not known" in capsys.readouterr().err
    away.dispose()


def _submitted(caller: Caller) -> uuid.UUID:
    answer = caller.generate({"prompt": "a", "model": "sdxl"}).json
    return uuid.UUID(answer["generation_id"])


def test_with_a_key_the_list_is_that_keys(app: Flask, caller: Caller) -> None:
    assert caller.get("/v1/models").json == app.test_client().get("/v1/models").json
    assert caller.get("/v1/models").headers["X-RateLimit-Limit"] == "600"


def test_a_wrong_key_is_not_taken_for_none(app: Flask) -> None:
    for key in ("pk_live_wrong", "sk_other"):
        headers = {"Authorization": f"Bearer {key}"}
        assert app.test_client().get("/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("name", ["sdxl", "stable-diffusion-xl"])
def test_one_model_by_id_or_alias(app: Flask, name: str) -> None:
    assert app.test_client().get(f"/v1/models/{name}").json["id"] == "sdxl"


def test_prices_that_depend_show_the_lowest_and_the_rule(catalog: Catalog) -> None:
    shop = catalog.storefronts["pixelapi"]
    for price, shown in (
        (shop.prices["musicgen-small"], {"credits": 5.0, "credits_by_duration": [
            {"up_to_s": 15.0, "credits": 5.0}, {"up_to_s": 30.0, "credits": 10.0}]}),
        (shop.prices["wan2.1"], {"credits": 50.0, "credits_by_resolution": {
            "480p": 50.0, "720p": 100.0}}),
        (Price(credits=2.5), {"credits": 2.5}),
    ):  # fmt: skip
        prices = shop.prices | {"sdxl": price}
        sold = shop.model_copy(update={"prices": prices})
        changed = catalog.model_copy(update={"storefronts": {"pixelapi": sold}})
        model = encode_models(
            changed.storefronts["pixelapi"], Offers(changed), DIALECTS[0], "hub", {}
        )["data"][0]
        assert {k: v for k, v in model.items() if k.startswith("credits")} == shown
        assert model["served_by"] == "sdxl"
