"""The documentation: served offline, complete, and saying what is enforced."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate

from api.storefronts import DIALECTS
from api.storefronts.pixelapi.ids import PREFIXES
from farm.cards import ParamSpec
from farm.catalog import Catalog
from tests.api.caller import Caller
from tests.api.pictures import picture
from tests.contracts.storefront import Shop

OBJECTS = {"400": "TryOnProblem", "413": "TryOnProblem", "422": "TryOnRefusal"}
"""How a try-on's errors look, by status."""
WEBHOOKS = "/v1/account/webhooks"
HTTP_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}


IDS = [dialect.id for dialect in DIALECTS]
SHARED = ("/v1/models", "/v1/jobs/", WEBHOOKS)
"""Where the paths begin that every storefront has."""


@pytest.fixture
def app(shop: Shop) -> Flask:
    """One application for this file."""
    return shop.app


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer of pixelapi on the largest plan."""
    return shop.caller("pixelapi", "scale")


def described(app: Flask, storefront: str) -> dict[str, Any]:
    """A storefront's OpenAPI description."""
    response = app.test_client().get(f"/docs/{storefront}/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json
    return found


@pytest.fixture
def spec(app: Flask) -> dict[str, Any]:
    """The OpenAPI description of pixelapi."""
    return described(app, "pixelapi")


@pytest.mark.parametrize("storefront", IDS)
def test_a_document_is_valid_and_says_its_own_paths_errors_and_keys(
    app: Flask, storefront: str
) -> None:
    document = described(app, storefront)
    validate(document)
    dialect = next(each for each in DIALECTS if each.id == storefront)
    assert document["openapi"].startswith("3.0." if storefront == "pixola" else "3.1.")
    assert document["info"]["title"] == dialect.title
    assert document["components"]["securitySchemes"]["Bearer"] == {
        "type": "http",
        "scheme": "bearer",
    }
    assert document["security"] == [{"Bearer": []}]
    others = [each for each in DIALECTS if each is not dialect]
    for path, operations in document["paths"].items():
        assert path.startswith((*dialect.paths, *SHARED)), path
        assert not any(path.startswith(other.paths) for other in others), path
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/v1/virtual-tryon":
                    shape = answer["content"]["application/json"]["schema"]["$ref"]
                    assert shape.endswith("/Problem"), path
    job = document["paths"]["/v1/jobs/{job_id}"]["get"]["responses"]["200"]
    shape = job["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert shape == dialect.job_shape.__name__
    found = re.findall(r"#/components/schemas/([^'\"]+)", str(document))
    assert found
    assert set(found) <= set(document["components"]["schemas"])


@pytest.mark.parametrize("storefront", IDS)
def test_every_route_is_described(app: Flask, storefront: str) -> None:
    dialect = next(each for each in DIALECTS if each.id == storefront)
    unsaid = {dialect.openapi_path, "/outputs/<path:public_path>"}
    # Files, which no program asks for by itself.
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) & HTTP_METHODS
        if rule.rule.startswith((*dialect.paths, *SHARED))
        and rule.rule not in unsaid
        and not rule.rule.endswith(".webp")
    }
    paths = described(app, storefront)["paths"]
    assert {(path, method) for path, ops in paths.items() for method in ops} == routes


def test_the_front_page_leads_to_every_storefront(app: Flask) -> None:
    page = app.test_client().get("/docs")
    assert page.status_code == 200
    for dialect in DIALECTS:
        assert f'href="/docs/{dialect.id}"' in page.text
        assert f'href="/docs/{dialect.id}/openapi.json"' in page.text
    assert "http" not in page.text
    assert "http" not in page.headers["Content-Security-Policy"]


def test_pixolas_document_is_on_its_own_paths_too(app: Flask) -> None:
    own = app.test_client().get("/pixola/api/v1/openapi.json")
    assert own.json == described(app, "pixola")


@pytest.mark.parametrize("storefront", IDS)
def test_the_page_loads_nothing_from_elsewhere(app: Flask, storefront: str) -> None:
    response = app.test_client().get(f"/docs/{storefront}")
    assert response.status_code == 200
    assert f"/docs/{storefront}/openapi.json" in response.text
    loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=.([^>\s]*)", response.text)
    assert [url for url in loads if re.match(r"(https?:)?//", url)] == []
    policy = response.headers["Content-Security-Policy"]
    assert "http" not in policy
    assert "connect-src 'self'" in policy


def test_the_description_names_its_server(spec: dict[str, Any]) -> None:
    assert [server["url"] for server in spec["servers"]] == ["/", "http://127.0.0.1:8000"]


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
                _check_field(shape["properties"][name], param)
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
    spec: dict[str, Any], shop: Shop, operation: str, path: str
) -> None:
    schemas = spec["components"]["schemas"]
    body = spec["paths"][path]["post"]["requestBody"]
    union = schemas[body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    variants = [schemas[v["$ref"].rpartition("/")[2]] for v in union.get("anyOf", [union])]
    by_model = {_names(v["properties"]["model"])[0]: v for v in variants}
    cards = {card.id: card for card in shop.services.offers.sold("pixelapi", operation)}
    assert by_model.keys() == cards.keys()
    for model, variant in by_model.items():
        card = cards[model]
        assert _names(variant["properties"]["model"]) == [model, *card.aliases]
        params = card.params_of(operation)
        assert set(variant["properties"]) == {"model", *params, "webhook_url"}
        for name, spec_ in params.items():
            _check_field(variant["properties"][name], spec_)
            assert (name in variant.get("required", [])) == spec_.required
            assert variant["properties"][name].get("default") == spec_.default


def _check_field(schema: dict[str, Any], param: ParamSpec) -> None:
    """The bounds, or the words, are the card's."""
    if param.kind == "choice":
        assert _names(schema) == list(param.choices)
        return
    shown = _bounds(schema)
    assert shown["min"] == (param.min if param.kind != "text" or param.min else None)
    assert shown["max"] == param.max


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
