"""The public list of models, and its prices."""

from __future__ import annotations

import pytest
from flask import Flask

from api.catalogue import encode_models
from farm.catalog import Catalog, Price
from tests.api.caller import Caller


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
    assert sdxl["seconds_typical"] == list(card.typical_s)
    assert sdxl["limits"]["width"] == {"min": 512, "max": 1536, "default": 1024}
    assert sdxl["limits"]["prompt"] == {"min_length": 1, "max_length": 2000, "required": True}
    assert sdxl["served_by"] == "sdxl-tiny"
    assert sdxl["license"] == card.license


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
        model = encode_models(changed, "pixelapi", "hub")["data"][0]
        assert {k: v for k, v in model.items() if k.startswith("credits")} == shown
        assert model["served_by"] == "sdxl"
