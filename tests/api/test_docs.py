"""The documentation: served offline, complete, and saying what is enforced."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from farm.catalog import Catalog

HTTP_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


@pytest.fixture
def spec(app: Flask) -> dict[str, Any]:
    """The OpenAPI description of pixelapi."""
    response = app.test_client().get("/docs/pixelapi/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


@pytest.mark.parametrize("path", ["/docs", "/docs/pixelapi"])
def test_the_page_loads_nothing_from_elsewhere(app: Flask, path: str) -> None:
    response = app.test_client().get(path)
    assert response.status_code == 200
    assert "/docs/pixelapi/openapi.json" in response.text
    loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=.([^>\s]*)", response.text)
    assert [url for url in loads if re.match(r"(https?:)?//", url)] == []
    policy = response.headers["Content-Security-Policy"]
    assert "http" not in policy
    assert "connect-src 'self'" in policy


def test_every_route_of_the_storefront_is_described(app: Flask, spec: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & HTTP_METHODS
        if rule.rule.startswith("/v1/")
    }
    described = {(path, method) for path, ops in spec["paths"].items() for method in ops}
    assert described == routes


def test_the_description_names_its_server_and_its_keys(spec: dict[str, Any]) -> None:
    assert spec["info"]["title"] == "PixelAPI"
    assert spec["servers"] == [{"url": "http://127.0.0.1:8000"}]
    assert spec["components"]["securitySchemes"]["Bearer"] == {"type": "http", "scheme": "bearer"}
    assert spec["security"] == [{"Bearer": []}]


def test_every_reference_leads_somewhere(spec: dict[str, Any]) -> None:
    found = re.findall(r"#/components/schemas/([^'\"]+)", str(spec))
    assert found
    assert set(found) <= set(spec["components"]["schemas"])


def test_ranges_are_the_catalogues(spec: dict[str, Any], catalog: Catalog) -> None:
    schemas = spec["components"]["schemas"]
    body = spec["paths"]["/v1/image/generate"]["post"]["requestBody"]
    union = schemas[body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    variants = [schemas[v["$ref"].rpartition("/")[2]] for v in union["anyOf"]]
    by_model = {_names(v["properties"]["model"])[0]: v for v in variants}
    cards = {card.id: card for card in catalog.offered("pixelapi", "generate")}
    assert by_model.keys() == cards.keys()
    for model, variant in by_model.items():
        card = cards[model]
        assert _names(variant["properties"]["model"]) == [model, *card.aliases]
        assert set(variant["properties"]) == {"model", *card.params}
        for name, spec_ in card.params.items():
            shown = _bounds(variant["properties"][name])
            assert shown["min"] == (spec_.min if spec_.kind != "text" or spec_.min else None)
            assert shown["max"] == spec_.max
            assert (name in variant.get("required", [])) == spec_.required
            assert variant["properties"][name].get("default") == spec_.default


def _names(schema: dict[str, Any]) -> list[str]:
    options = [schema, *schema.get("anyOf", [])]
    for option in options:
        if "enum" in option:
            return list(option["enum"])
        if "const" in option:
            return [option["const"]]
    raise AssertionError(f"no names in {schema}")


def _bounds(schema: dict[str, Any]) -> dict[str, Any]:
    option = next((o for o in schema.get("anyOf", []) if o["type"] != "null"), schema)
    return {
        "min": option.get("minimum", option.get("minLength")),
        "max": option.get("maximum", option.get("maxLength")),
    }
