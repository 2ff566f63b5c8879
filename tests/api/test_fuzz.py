"""Whatever a body holds, the answer is the contract's: never a 5xx, never half a job."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, given
from hypothesis import settings as run
from hypothesis import strategies as st
from pydantic import ValidationError

from api.app import create_app, runtime_of
from api.forms import Fields
from api.storefronts.pixelapi import edits, translate, wire, wire_edits
from api.storefronts.pixelapi.ids import PREFIXES
from farm.catalog import built_in_catalog
from farm.config import Settings
from farm.errors import InvalidRequest
from farm.intake.urls import FetchPolicy
from farm.offers import Offers
from tests import factories
from tests.api.caller import Caller

FIELDS = [
    "prompt",
    "negative_prompt",
    "model",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "seed",
    "duration",
    "resolution",
    "num_frames",
]
DOCUMENTED = {
    operation: wire.generate_request(Offers(built_in_catalog()), "pixelapi", operation)
    for operation in ("generate", "audio", "video")
}
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-10, 2**33)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["sdxl", "flux", "flux-schnell", "stable-diffusion-xl", "a red circle"])
    | st.sampled_from([1, 8, 20, 50, 511, 512, 1024, 1536, 1537, 2**32 - 1, 2**32, 7.5, 20.0])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=12), values, max_size=10)
likely = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1, max_size=20)},
    optional={
        "model": st.sampled_from(["sdxl", "flux-schnell", "flux", "nothing"]),
        "width": st.sampled_from([511, 512, 1024, 1536, 1537, 1024.0]),
        "steps": st.sampled_from([0, 1, 8, 9, 19, 20, 50, 51]),
        "guidance_scale": st.sampled_from([-1, 0, 7.5, 20, 20.5]),
        "seed": st.sampled_from([-1, 0, 2**32 - 1, 2**32]),
        "negative_prompt": st.text(max_size=5),
    },
)


def test_no_body_breaks_the_api(unlimited: Settings) -> None:
    app = create_app(unlimited)
    runtime = runtime_of(app)
    caller = Caller(app, runtime.services, factories.customer(runtime.services, plan="scale"))

    @run(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(body=bodies | likely | values)
    def check(body: Any) -> None:
        before = caller.footprint()
        response = caller.post_bytes(json.dumps(body).encode(), "application/json")
        assert response.status_code in (200, 400, 422), response.data
        if response.status_code != 200:
            assert response.json["detail"]
            assert caller.footprint() == before

    try:
        check()
    finally:
        runtime.close()


def test_no_bytes_break_the_api(unlimited: Settings) -> None:
    app = create_app(unlimited)
    runtime = runtime_of(app)
    caller = Caller(app, runtime.services, factories.customer(runtime.services, plan="scale"))

    @run(max_examples=60, deadline=None)
    @given(data=st.binary(max_size=60), label=st.sampled_from(["application/json", "text/plain"]))
    def check(data: bytes, label: str) -> None:
        response = caller.post_bytes(data, label)
        assert 400 <= response.status_code < 500, response.data
        assert response.json["detail"]

    try:
        check()
    finally:
        runtime.close()


media = st.fixed_dictionaries(
    {"prompt": st.text(max_size=6) | st.sampled_from(["abc", " ab", "x" * 501, "x" * 2001])},
    optional={
        "model": st.sampled_from(["musicgen-small", "wan2.1", "wan", "cogvideo-2b", "sdxl"]),
        "duration": st.sampled_from(
            [0.5, 1, 1.0, 3, 4, 5, 10, 10.5, 11, 30, 31, "3", float("nan")]
        ),
        "resolution": st.sampled_from(["480p", "720p", "1080p", 480, ""]),
        "num_frames": st.sampled_from([8, 9, 49, 50, 9.0]),
        "steps": st.sampled_from([9, 10, 50, 51]),
        "seed": st.sampled_from([-1, 0, 2**32 - 1, 2**32, None]),
    },
)


@run(max_examples=400, deadline=None)
@given(
    asked=st.tuples(st.just("generate"), bodies | likely)
    | st.tuples(st.sampled_from(["audio", "video"]), media | bodies)
)
def test_the_documented_schema_accepts_what_is_accepted(asked: tuple[str, dict[str, Any]]) -> None:
    """One oracle for the other: pydantic's reading of the documentation, and the catalogue's."""
    operation, body = asked
    catalog = built_in_catalog()
    documented = DOCUMENTED[operation]
    try:
        translate.decode_generate(body, Offers(catalog), "pixelapi", FetchPolicy(), operation)
        accepted = True
    except InvalidRequest:
        accepted = False
    try:
        documented.model_validate(_without_strangers(body), strict=True)
        said_to_be = True
    except ValidationError:
        said_to_be = False
    assert accepted == said_to_be


def _without_strangers(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in FIELDS}


picture_urls = st.sampled_from(
    [
        "https://example.com/a.png",
        "HTTP://example.com:8443/a b.png",
        "http://example.com/?q=1#top",
        "http://example.com",
        "ftp://example.com/a.png",
        "example.com/a.png",
        "http://",
        "",
        "https://example.com/" + "x" * 2048,
    ]
)
edit_bodies = st.dictionaries(
    st.sampled_from(["image_url", "mask_url"]), picture_urls | scalars, max_size=2
).flatmap(
    lambda urls: st.dictionaries(
        st.sampled_from(["prompt", "scale", "seed", "strange"]), values, max_size=3
    ).map(lambda more: urls | more)
)


EDITS = {
    card.id: (
        card,
        jsonschema_rs.Draft202012Validator(wire_edits.edit_json(card).model_json_schema()),
    )
    for card in built_in_catalog().models.values()
    if card.operation in PREFIXES
}


@run(max_examples=300, deadline=None)
@given(model=st.sampled_from(sorted(EDITS)), body=edit_bodies)
def test_the_documented_schema_of_an_edit_accepts_what_is_accepted(
    model: str, body: dict[str, Any]
) -> None:
    card, documented = EDITS[model]
    try:
        edits.decode_edit(Fields(body), card, FetchPolicy())
        accepted = True
    except InvalidRequest:
        accepted = False
    # JSON Schema takes 4.0 for a whole number; the farm, as Python does, for another kind.
    pretends = any(isinstance(value, float) for value in body.values())
    assert accepted == documented.is_valid(body) or pretends
