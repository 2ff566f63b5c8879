"""Pixola's own document: OpenAPI 3.0, for anybody, and true."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from api.app import create_app, runtime_of
from tests import factories
from tests.api.caller import Caller
from tests.contracts.storefront import Shop

BASE = "/pixola/api/v1"
TABLE = {
    ("get", "/models"),
    ("get", "/models/{slug}"),
    ("get", "/styles"),
    ("get", "/styles/{slug}"),
    ("get", "/shapes"),
    ("get", "/shapes/{slug}"),
    ("get", "/credits"),
    ("post", "/generate"),
    ("get", "/batches"),
    ("get", "/batches/{batch_id}"),
    ("get", "/images"),
    ("get", "/images/{image_id}"),
    ("patch", "/images/{image_id}"),
}


@pytest.fixture(scope="module")
def document(shop: Shop) -> dict[str, Any]:
    """What anybody gets who asks for it."""
    answer = shop.app.test_client().get(f"{BASE}/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


def test_the_document_is_valid_openapi_3_0(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.0.")
    assert [str(error) for error in OpenAPIV30SpecValidator(document).iter_errors()] == []


def test_every_path_of_the_storefront_is_in_it(document: dict[str, Any]) -> None:
    found = {
        (method, path.removeprefix(BASE))
        for path, operations in document["paths"].items()
        if path.startswith(BASE)
        for method in operations
    }
    assert found == TABLE
    keyless = {"/models", "/styles", "/shapes"}
    for path in keyless:
        assert {} in document["paths"][f"{BASE}{path}"]["get"]["security"]
    for method, path in TABLE:
        if path not in keyless:
            assert "security" not in document["paths"][f"{BASE}{path}"][method]
    assert document["security"] == [{"Bearer": []}]


def test_answers_are_what_the_document_says(shop: Shop, document: dict[str, Any]) -> None:
    caller = shop.caller("pixola", "plus")
    body = {"prompt": "a cat", "style": "oil", "count": 2, "stranger": 1}
    batch_id = caller.post(f"{BASE}/generate", body).json["batchId"]
    images = caller.get(f"{BASE}/batches/{batch_id}").json["images"]
    one, other = (image["imageId"] for image in images)
    job_id = caller.services.db.attempt(
        lambda c: c.exec_driver_sql(f"SELECT id FROM jobs WHERE id = '{one[4:]}'").scalar_one()
    )
    factories.succeed(caller.services, factories.claimed(caller.services, job_id))
    filled = {
        "{slug}": {"models": "flux-2", "styles": "no-style", "shapes": "square"},
        "{batch_id}": batch_id,
    }
    checked = 0
    for method, path in sorted(TABLE - {("patch", "/images/{image_id}")}):
        kind = path.split("/")[1]
        asked = path.replace("{slug}", filled["{slug}"].get(kind, ""))  # type: ignore[union-attr]
        asked = asked.replace("{batch_id}", batch_id)
        for image_id in (one, other):
            url = f"{BASE}{asked.replace('{image_id}', image_id)}"
            answer = caller.post(url, body) if method == "post" else caller.get(url)
            check(document, document["paths"][f"{BASE}{path}"][method], answer)
            checked += 1
    for path, method in ((f"{BASE}/batches?cursor=x", "get"), (f"{BASE}/images/{one}x", "get")):
        check_against(document, "Problem", caller.get(path).json)
        checked += method == "get"
    assert checked == 2 * len(TABLE)


def check(document: dict[str, Any], operation: dict[str, Any], answer: Any) -> None:
    """The answer has a status and a shape that the operation names."""
    described = operation["responses"][str(answer.status_code)]
    shape = described["content"]["application/json"]["schema"]["$ref"]
    check_against(document, shape.rpartition("/")[2], answer.json)


def check_against(document: dict[str, Any], shape: str, value: Any) -> None:
    """The value is of this shape."""
    schema = {"$ref": f"#/components/schemas/{shape}", "components": document["components"]}
    assert [error.message for error in OAS30Validator(schema).iter_errors(value)] == []


def test_every_model_style_and_shape_is_named_in_the_request(
    shop: Shop, document: dict[str, Any]
) -> None:
    body = document["components"]["schemas"]["Generate"]["properties"]
    client = shop.app.test_client()
    models = client.get(f"{BASE}/models").json["models"]
    assert {model["slug"] for model in models} <= set(body["model"]["enum"])
    assert {shape["slug"] for shape in client.get(f"{BASE}/shapes").json["shapes"]} == (
        set(body["shape"]["enum"]) - {None}
    )
    assert (body["count"]["minimum"], body["count"]["maximum"]) == (1, 4)
    assert set(body["quality"]["enum"]) == {"standard", "hd", None}


def test_the_document_names_this_host_and_the_public_one(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["/", "http://127.0.0.1:8000"]


def test_on_a_host_of_its_own_the_paths_and_the_server_are_that_hosts(
    shop: Shop, document: dict[str, Any]
) -> None:
    app = create_app(shop.services.settings.model_copy(update={"hosts": "img.example.com=pixola"}))
    try:
        headers = {"Host": "img.example.com"}
        found = app.test_client().get("/api/v1/openapi.json", headers=headers).json
    finally:
        runtime_of(app).close()
    assert [server["url"] for server in found["servers"]] == ["/"]
    own = {path.replace(BASE, "/api/v1") for path in document["paths"]}
    assert set(found["paths"]) == own
    assert found["components"] == document["components"]
    assert list(OpenAPIV30SpecValidator(found).iter_errors()) == []


def test_a_caller_is_nobody_special_to_the_document(shop: Shop, document: dict[str, Any]) -> None:
    caller: Caller = shop.caller("pixola", "free")
    assert caller.get(f"{BASE}/openapi.json").json == document
