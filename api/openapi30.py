"""An OpenAPI 3.1 document as OpenAPI 3.0 says the same, for importers that know no other.

3.1 takes schemas from JSON Schema 2020-12, 3.0 from its own dialect of an older draft. What 3.0
has no word for is said more widely or left out. A reference that may be null is ``allOf`` with
``nullable`` beside it, as generators of clients read it.
See https://spec.openapis.org/oas/v3.0.3 and https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERSION = "3.0.3"

_VERBATIM = ("example", "examples", "default", "enum", "const", "security", "mapping", "scopes")
"""Keys whose values are data and no part of the document's grammar."""

# What a 3.0 schema may say. Everything else is translated above or dropped.
_KEPT = frozenset(
    (
        *("title", "multipleOf", "maximum", "minimum", "maxLength", "minLength", "pattern"),
        *("exclusiveMaximum", "exclusiveMinimum"),
        *("maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties", "required"),
        *("enum", "type", "allOf", "oneOf", "anyOf", "not", "items", "properties"),
        *("additionalProperties", "description", "format", "default", "nullable", "discriminator"),
        *("readOnly", "writeOnly", "xml", "externalDocs", "example", "deprecated"),
    )
)

Schema = dict[str, Any]


def downgraded(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document in OpenAPI 3.0.3. Pure: the document itself is left as it is."""
    found = {k: v for k, v in document.items() if k not in ("jsonSchemaDialect", "webhooks")}
    found["openapi"] = VERSION
    found["info"] = _info(document.get("info", {}))
    found["paths"] = _part(document.get("paths", {}))
    if "components" in document:
        components = document["components"]
        found["components"] = {
            kind: {name: _schema(one) for name, one in table.items()}
            if kind == "schemas"
            else _part(table)
            for kind, table in components.items()
            if kind != "pathItems"
        }
    return found


def _info(info: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in info.items() if key != "summary"}
    if isinstance(licence := found.get("license"), Mapping):
        found["license"] = {k: v for k, v in licence.items() if k != "identifier"}
    return found


def _part(value: Any) -> Any:
    """Anything but a schema: what lies within it is looked through for schemas."""
    if isinstance(value, list):
        return [_part(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "schema" and isinstance(inner, Mapping | bool):
            found[key] = _schema(inner)
        elif key == "examples" and isinstance(inner, list):
            found["example"] = inner[0] if inner else None
        elif key in _VERBATIM:
            found[key] = inner
        else:
            found[key] = _part(inner)
    return found


def _schema(schema: Any) -> Schema:
    """One schema with everything inside it."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if "$ref" in schema:
        return _reference(schema)
    found = dict(schema)
    _inner(found)
    _constant(found)
    _bounds(found)
    _tuple(found)
    _types(found)
    _alternatives(found)
    if "examples" in found:
        examples = found.pop("examples")
        if examples:
            found.setdefault("example", examples[0])
    if "contentEncoding" in found and "format" not in found:
        found["format"] = "byte" if found["contentEncoding"] == "base64" else "binary"
    if found.get("type") == "array":
        found.setdefault("items", {})
    if found.get("nullable") and None not in found.get("enum", (None,)):
        found["enum"] = [*found["enum"], None]
    return {k: v for k, v in found.items() if k in _KEPT or k.startswith("x-")}


def _reference(schema: Mapping[str, Any]) -> Schema:
    """In 3.0 whatever stands beside a reference is ignored."""
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    pointer = {"$ref": schema["$ref"]}
    return {**_schema(beside), "allOf": [pointer]} if beside else pointer


def _inner(found: Schema) -> None:
    """Translate the schemas within a schema, and those under names that 3.0 does not have."""
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if key in found:
            found[key] = [_schema(item) for item in found[key]]
    for key in ("items", "not"):
        if key in found:
            found[key] = _schema(found[key])
    if "properties" in found:
        found["properties"] = {n: _schema(one) for n, one in found["properties"].items()}
    if isinstance(found.get("additionalProperties"), Mapping):
        found["additionalProperties"] = _schema(found["additionalProperties"])
    if patterns := found.pop("patternProperties", None):
        # 3.0 knows no names by pattern: what fits one of them, and what fitted before.
        more = found.get("additionalProperties", True)
        kinds = [_schema(one) for one in patterns.values()]
        if isinstance(more, Mapping):
            kinds.append(dict(more))
        widest = more is True and bool(patterns)
        found["additionalProperties"] = True if widest else _any_of(kinds)


def _constant(found: Schema) -> None:
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if None in (values := found.get("enum", ())):
        found["nullable"] = True
        if len(values) == 1:
            # Nothing but null; without a type, ``nullable`` would mean nothing.
            found.setdefault("type", "string")


def _bounds(found: Schema) -> None:
    """3.1 has the excluded bound itself, 3.0 a mark beside the bound."""
    for exclusive, bound, tighter in (
        ("exclusiveMinimum", "minimum", max),
        ("exclusiveMaximum", "maximum", min),
    ):
        limit = found.get(exclusive)
        if limit is None or isinstance(limit, bool):
            continue
        plain = found.get(bound)
        if plain is None or tighter(limit, plain) == limit:
            found[bound], found[exclusive] = limit, True
        else:
            del found[exclusive]


def _tuple(found: Schema) -> None:
    """A list whose places differ: in 3.0 each item is of any of their kinds."""
    if places := found.pop("prefixItems", None):
        rest = found.get("items")
        if rest is None and found.get("maxItems") != len(places):
            found["items"] = {}
        else:
            closed = rest is None or rest == {"not": {}}
            found["items"] = _any_of(places if closed else [*places, rest or {}])


def _types(found: Schema) -> None:
    """A list of types is one type, or any of several; ``null`` is a mark of its own."""
    kinds = found.get("type")
    if kinds == "null":
        found.update(type="string", nullable=True, enum=[None])
        return
    if not isinstance(kinds, list):
        return
    named = [kind for kind in kinds if kind != "null"]
    del found["type"]
    if len(named) == 1:
        found["type"] = named[0]
    elif named and "anyOf" not in found:
        found["anyOf"] = [{"type": kind} for kind in kinds]
        _alternatives(found)
    elif not named:
        found.update(type="string", enum=[None])
    if "null" in kinds:
        found["nullable"] = True


def _alternatives(found: Schema) -> None:
    """Null among the alternatives becomes the mark; one that is left alone stands by itself."""
    for key in ("anyOf", "oneOf"):
        if key not in found:
            continue
        kinds = [kind for kind in found[key] if not _is_null(kind)]
        has_null = len(kinds) < len(found[key])
        if has_null:
            found["nullable"] = True
        if len(kinds) == 1 and has_null:
            del found[key]
            _merge(found, kinds[0])
        elif has_null:
            # In 3.0 ``nullable`` counts only beside a type, so every alternative says it too.
            found[key] = [_nullable(kind) for kind in kinds]
        if not kinds:
            found.pop(key, None)
            found.update(type="string", enum=[None])


def _merge(found: Schema, kind: Schema) -> None:
    """Let a schema say what its one alternative says."""
    if "$ref" in kind or any(found.get(k, v) != v for k, v in kind.items() if k != "title"):
        found["allOf"] = [*found.get("allOf", ()), kind]
        return
    for key, value in kind.items():
        found.setdefault(key, value)


def _nullable(kind: Schema) -> Schema:
    if "$ref" in kind:
        return {"allOf": [kind], "nullable": True}
    return {**kind, "nullable": True}


def _is_null(kind: Schema) -> bool:
    return kind.get("enum") == [None] or kind.get("type") == "null"


def _any_of(kinds: list[Schema]) -> Schema:
    different = [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    return different[0] if len(different) == 1 else {"anyOf": different}
