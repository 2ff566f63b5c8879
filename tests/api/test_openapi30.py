"""3.1 as 3.0: what is translated, and that nothing else is touched."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from api.openapi30 import downgraded
from api.storefronts import DIALECTS
from tests.contracts.storefront import Shop

Json = Any
NULL = {"type": "null"}
REF = {"$ref": "#/components/schemas/Thing"}
NULLED = {"type": "string", "nullable": True, "enum": [None]}


def translated(schema: Json) -> Json:
    """One schema in 3.0."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {},
        "components": {"schemas": {"Thing": {"type": "object"}, "It": schema}},
    }
    found = downgraded(document)
    assert list(OpenAPIV30SpecValidator(found).iter_errors()) == []
    return found["components"]["schemas"]["It"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        (
            {"type": ["string", "integer"]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {"type": ["string", "integer", "null"]},
            {
                "anyOf": [
                    {"type": "string", "nullable": True},
                    {"type": "integer", "nullable": True},
                ],
                "nullable": True,
            },
        ),
        ({"type": "null"}, NULLED),
        ({"type": ["null"]}, NULLED),
        ({"const": "a", "type": "string"}, {"enum": ["a"], "type": "string"}),
        ({"const": None}, NULLED),
        (
            {"enum": ["a", None], "type": ["string", "null"]},
            {"enum": ["a", None], "type": "string", "nullable": True},
        ),
        ({"type": "integer", "examples": [3, 4]}, {"type": "integer", "example": 3}),
        ({"type": "integer", "examples": []}, {"type": "integer"}),
        (
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        ),
        ({"exclusiveMaximum": 9, "maximum": 5}, {"maximum": 5}),
        ({"exclusiveMaximum": 5, "maximum": 9}, {"maximum": 5, "exclusiveMaximum": True}),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, NULL], "default": 1, "title": "N"},
            {"type": "integer", "minimum": 1, "default": 1, "title": "N", "nullable": True},
        ),
        (
            {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]},
            {"type": "string", "enum": ["a", None], "nullable": True},
        ),
        ({"oneOf": [REF, NULL]}, {"allOf": [REF], "nullable": True}),
        (
            {"anyOf": [REF, {"type": "string"}, NULL]},
            {
                "anyOf": [
                    {"allOf": [REF], "nullable": True},
                    {"type": "string", "nullable": True},
                ],
                "nullable": True,
            },
        ),
        ({"anyOf": [NULL]}, NULLED),
        (REF, REF),
        ({**REF, "description": "d"}, {"allOf": [REF], "description": "d"}),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}]},
            {"type": "array", "items": {}},
        ),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "maxItems": 2,
            },
            {
                "type": "array",
                "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                "maxItems": 2,
            },
        ),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
            {"type": "array", "items": {"type": "integer"}},
        ),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "integer"}},
            {"type": "array", "items": {"type": "integer"}},
        ),
        ({"type": "array"}, {"type": "array", "items": {}}),
        (
            {"type": "object", "patternProperties": {"^a": {"type": "integer"}}},
            {"type": "object", "additionalProperties": True},
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^a": {"type": "integer"}},
                "additionalProperties": False,
            },
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "format": "byte"}),
        (
            {"type": "object", "propertyNames": {"pattern": "a"}, "$comment": "c", "x-kept": 1},
            {"type": "object", "x-kept": 1},
        ),
        (
            {"type": "object", "properties": {"const": {"const": 1}, "examples": True}},
            {"type": "object", "properties": {"const": {"enum": [1]}, "examples": {}}},
        ),
        ({"type": "array", "items": {"not": True}}, {"type": "array", "items": {"not": {}}}),
    ],
)
def test_a_schema_says_the_same(schema: Json, expected: Json) -> None:
    before = copy.deepcopy(schema)
    found = translated(schema)
    assert found == expected
    assert schema == before, "the document itself was changed"


def test_whatever_is_data_stays_as_it_is() -> None:
    data = {"const": 1, "type": ["a", "null"], "schema": {"type": ["x"]}}
    document = {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "t",
            "version": "1",
            "summary": "gone",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "webhooks": {"told": {}},
        "security": [{"Bearer": []}],
        "paths": {
            "/schema": {
                "get": {
                    "parameters": [
                        {
                            "name": "examples",
                            "in": "query",
                            "schema": {"type": ["integer", "null"]},
                            "examples": {"one": {"value": data}},
                        }
                    ],
                    "responses": {
                        "200": {
                            "description": "d",
                            "content": {
                                "application/json": {
                                    "schema": {"const": "a", "type": "string"},
                                    "example": data,
                                }
                            },
                        }
                    },
                }
            }
        },
        "components": {
            "pathItems": {"gone": {}},
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
    found = downgraded(document)
    assert list(OpenAPIV30SpecValidator(found).iter_errors()) == []
    assert set(found) == {"openapi", "info", "security", "paths", "components"}
    assert found["info"] == {"title": "t", "version": "1", "license": {"name": "MIT"}}
    assert set(found["components"]) == {"securitySchemes"}
    operation = found["paths"]["/schema"]["get"]
    [parameter] = operation["parameters"]
    assert parameter["schema"] == {"type": "integer", "nullable": True}
    assert parameter["examples"] == {"one": {"value": data}}
    media = operation["responses"]["200"]["content"]["application/json"]
    assert media == {"schema": {"enum": ["a"], "type": "string"}, "example": data}


@pytest.mark.parametrize("storefront", [dialect.id for dialect in DIALECTS])
def test_every_storefronts_document_can_be_said_in_3_0(shop: Shop, storefront: str) -> None:
    document = shop.app.test_client().get(f"/docs/{storefront}/openapi.json").json
    found = downgraded(document)
    assert found["openapi"] == "3.0.3"
    assert [str(error) for error in OpenAPIV30SpecValidator(found).iter_errors()] == []
    assert set(found["paths"]) == set(document["paths"])
    assert set(found["components"]["schemas"]) == set(document["components"]["schemas"])
    # Once more changes nothing: all of it is 3.0 already.
    assert downgraded(found) == found


def test_a_null_passes_where_it_passed() -> None:
    schema = translated({"anyOf": [{"type": "string", "enum": ["a"]}, NULL]})
    validator = OAS30Validator(schema)
    assert validator.is_valid(None)
    assert validator.is_valid("a")
    assert not validator.is_valid("b")
