"""The documentation: served offline, complete, and saying what is enforced."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from flask import Flask

from api.storefronts.pixelapi.ids import PREFIXES
from farm.catalog import Catalog
from tests.api.caller import Caller
from tests.api.pictures import picture

OBJECTS = {"400": "TryOnProblem", "413": "TryOnProblem", "422": "TryOnRefusal"}
"""How a try-on's errors look, by status."""
WEBHOOKS = "/v1/account/webhooks"
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
    assert [server["url"] for server in spec["servers"]] == ["/", "http://127.0.0.1:8000"]
    assert spec["components"]["securitySchemes"]["Bearer"] == {"type": "http", "scheme": "bearer"}
    assert spec["security"] == [{"Bearer": []}]


def test_every_reference_leads_somewhere(spec: dict[str, Any]) -> None:
    found = re.findall(r"#/components/schemas/([^'\"]+)", str(spec))
    assert found
    assert set(found) <= set(spec["components"]["schemas"])


def test_every_path_parameter_says_what_it_takes(spec: dict[str, Any]) -> None:
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            named = {p["name"]: p["schema"] for p in operation["parameters"] if p["in"] == "path"}
            assert set(named) == set(re.findall(r"{(\w+)}", path))
            assert all(schema["type"] == "string" for schema in named.values())
    shown = spec["paths"]["/v1/image/{generation_id}"]["get"]["parameters"][0]["schema"]
    for prefix in ("", "bg-rm-", "bg-rp-", "face-", "obj-rm-", "up-"):
        assert re.search(shown["pattern"], f"{prefix}4d28614e-8ded-4108-91af-4116728f4eb5")
    assert not re.search(shown["pattern"], "x-4d28614e-8ded-4108-91af-4116728f4eb5")


def test_only_answers_that_are_given_are_documented(spec: dict[str, Any]) -> None:
    reads = {"200", "401", "403", "429", "503"}
    submits = reads | {"400", "402", "409", "413", "422"}
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            documented = set(operation["responses"])
            if path.startswith(WEBHOOKS):
                assert reads <= documented <= reads | {"400", "404", "413", "422"}, path
            elif "requestBody" in operation:
                assert documented == submits, path
            else:
                assert documented - {"204", "404", "405", "409", "422"} == reads, path
            for status, answer in operation["responses"].items():
                assert answer["description"]
                if int(status) < 400:
                    continue
                shape = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                own = OBJECTS.get(status) if path == "/v1/virtual-tryon" else None
                assert shape == (own or "Problem"), path
    assert "ValidationError" not in spec["components"]["schemas"]


def test_every_example_works_when_it_is_pressed(caller: Caller, spec: dict[str, Any]) -> None:
    """As the page does it: what is shown as an example is sent as it stands."""
    schemas, pressed = spec["components"]["schemas"], 0
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            if re.search(r"{(generation|job|endpoint|message)_id}|{ref}", path):
                continue
            for kind, body in _bodies(schemas, operation):
                filled = path
                for parameter in operation["parameters"]:
                    shown = str(parameter.get("example", ""))
                    filled = filled.replace(f"{{{parameter['name']}}}", shown)
                response = caller.app.test_client().open(
                    filled, method=method, headers=caller.headers, data=body, content_type=kind
                )
                assert response.status_code == 200, (path, kind, response.json)
                assert "warnings" not in response.json, path
                pressed += 1
    assert pressed == 3 + 2 * 5 + 1 + 4 + 2


def _bodies(schemas: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str | None, Any]]:
    """The example bodies of an operation, each with its content type."""
    found: list[tuple[str | None, Any]] = []
    for kind, media in operation.get("requestBody", {"content": {}})["content"].items():
        schema = schemas[media["schema"]["$ref"].rpartition("/")[2]]
        if kind == "application/json":
            found.append((kind, json.dumps(schema["examples"][0])))
            continue
        # A file input that is left empty is sent as a file without a name.
        fields: dict[str, Any] = {}
        for name, shown in schema["properties"].items():
            if shown.get("format") == "binary":
                chosen = name in schema["required"]
                fields[name] = (io.BytesIO(picture() if chosen else b""), "a.png" * chosen)
            else:
                fields[name] = str(shown.get("examples", [shown.get("default", "")])[0])
        found.append((kind, fields))
    return found or [(None, None)]


def test_edits_show_the_fields_of_their_cards(spec: dict[str, Any], catalog: Catalog) -> None:
    schemas = spec["components"]["schemas"]
    edits = [card for card in catalog.offered("pixelapi") if card.operation in PREFIXES]
    assert len(edits) == 5
    for card in edits:
        content = spec["paths"][card.endpoint]["post"]["requestBody"]["content"]
        form, by_url = (
            schemas[content[kind]["schema"]["$ref"].rpartition("/")[2]]
            for kind in ("multipart/form-data", "application/json")
        )
        fields = {*card.params, "webhook_url"}
        assert set(form["properties"]) == {*card.inputs, *fields}
        assert set(by_url["properties"]) == {*(f"{n}_url" for n in card.inputs), *fields}
        for name, given in card.inputs.items():
            assert form["properties"][name]["format"] == "binary"
            assert (name in form["required"]) == given.required
            assert (f"{name}_url" in by_url["required"]) == given.required
            assert f"{given.side_max} pixels" in form["properties"][name]["description"]
        for name, param in card.params.items():
            for shape in (form, by_url):
                assert _bounds(shape["properties"][name])["max"] == param.max
                assert (name in shape["required"]) == param.required


def test_a_try_on_shows_the_fields_of_its_card(spec: dict[str, Any], catalog: Catalog) -> None:
    card = catalog.models["virtual-tryon"]
    shown = spec["components"]["schemas"]["TryOn"]
    assert set(shown["properties"]) == {*card.inputs, *card.params, "webhook_url"}
    assert set(shown["required"]) == {*card.inputs, "category"}
    assert shown["properties"]["category"]["enum"] == list(card.params["category"].choices)


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("generate", "/v1/image/generate"),
        ("audio", "/v1/audio/generate"),
        ("video", "/v1/video/generate"),
    ],
)
def test_ranges_are_the_catalogues(
    spec: dict[str, Any], catalog: Catalog, operation: str, path: str
) -> None:
    schemas = spec["components"]["schemas"]
    body = spec["paths"][path]["post"]["requestBody"]
    union = schemas[body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    variants = [schemas[v["$ref"].rpartition("/")[2]] for v in union.get("anyOf", [union])]
    by_model = {_names(v["properties"]["model"])[0]: v for v in variants}
    cards = {card.id: card for card in catalog.offered("pixelapi", operation)}
    assert by_model.keys() == cards.keys()
    for model, variant in by_model.items():
        card = cards[model]
        assert _names(variant["properties"]["model"]) == [model, *card.aliases]
        assert set(variant["properties"]) == {"model", *card.params, "webhook_url"}
        for name, spec_ in card.params.items():
            if spec_.kind == "choice":
                assert _names(variant["properties"][name]) == list(spec_.choices)
            else:
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
