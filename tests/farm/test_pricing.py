"""Prices: every row of the price list, the edges between tiers, and what is not sold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.catalog import built_in_catalog
from farm.errors import InvalidRequest
from farm.pricing import quote

SHOP = built_in_catalog().storefronts["pixelapi"]


@pytest.mark.parametrize(
    ("model", "params", "tenths", "rule"),
    [
        ("flux-schnell", {}, 30, "flux-schnell: 3"),
        ("sdxl", {"width": 1536, "steps": 50}, 30, "sdxl: 3"),
        ("remove-background", {}, 20, "remove-background: 2"),
        ("replace-background", {}, 50, "replace-background: 5"),
        ("restore-face", {}, 30, "restore-face: 3"),
        ("remove-object", {}, 50, "remove-object: 5"),
        ("upscale-4x", {}, 200, "upscale-4x: 20"),
        ("musicgen-small", {"duration": 5}, 50, "musicgen-small up to 15 s: 5"),
        ("musicgen-small", {"duration": 15}, 50, "musicgen-small up to 15 s: 5"),
        ("musicgen-small", {"duration": 15.001}, 100, "musicgen-small up to 30 s: 10"),
        ("musicgen-small", {"duration": 16}, 100, "musicgen-small up to 30 s: 10"),
        ("musicgen-small", {"duration": 30}, 100, "musicgen-small up to 30 s: 10"),
        ("wan2.1", {"resolution": "480p"}, 500, "wan2.1 480p: 50"),
        ("wan2.1", {"resolution": "720p", "duration": 10}, 1000, "wan2.1 720p: 100"),
        ("cogvideo-2b", {"duration": 10}, 250, "cogvideo-2b: 25"),
        ("virtual-tryon", {}, 250, "virtual-tryon: 25"),
    ],
)
def test_the_price_list(model: str, params: dict[str, object], tenths: int, rule: str) -> None:
    price = quote(SHOP, model, params)
    assert (price.tenths, price.rule) == (tenths, rule)


@pytest.mark.parametrize(
    ("model", "params", "field"),
    [
        ("dall-e", {}, "model"),
        ("SDXL", {}, "model"),
        ("musicgen-small", {"duration": 30.001}, "duration"),
        ("musicgen-small", {"duration": float("inf")}, "duration"),
        ("musicgen-small", {"duration": float("nan")}, "duration"),
        ("wan2.1", {"resolution": "1080p"}, "resolution"),
        ("wan2.1", {"resolution": ""}, "resolution"),
    ],
)
def test_what_has_no_price_is_refused_by_its_field(
    model: str, params: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        quote(SHOP, model, params)
    assert [error.field for error in caught.value.errors] == [field]


def test_the_refusal_names_what_is_sold() -> None:
    with pytest.raises(InvalidRequest, match="480p, 720p"):
        quote(SHOP, "wan2.1", {"resolution": "4k"})
    with pytest.raises(InvalidRequest, match="at most 30 seconds"):
        quote(SHOP, "musicgen-small", {"duration": 31})


@given(st.floats(min_value=0, max_value=30), st.floats(min_value=0, max_value=30))
def test_a_longer_clip_is_never_cheaper(one: float, other: float) -> None:
    prices = [
        quote(SHOP, "musicgen-small", {"duration": seconds}).tenths
        for seconds in sorted((one, other))
    ]
    assert prices == sorted(prices)


@pytest.mark.parametrize(
    ("storefront", "words", "tenths", "rule"),
    [
        ("pixola", {"quality": "hd"}, 20, "flux-schnell: 1 x 2 for quality hd"),
        ("pixola", {"quality": "standard", "style": "hd"}, 10, "flux-schnell: 1"),
        ("pixapi", {"quality": "high"}, 40, "flux-schnell: 2 x 2 for quality high"),
        ("pixapi", {"quality": ["hd"]}, 20, "flux-schnell: 2"),
        ("pixelapi", {"quality": "hd"}, 30, "flux-schnell: 3"),
        ("pixelapi", None, 30, "flux-schnell: 3"),
    ],
)
def test_a_word_of_the_request_may_multiply_the_price(
    storefront: str, words: dict[str, object] | None, tenths: int, rule: str
) -> None:
    shop = built_in_catalog().storefronts[storefront]
    found = quote(shop, "flux-schnell", {}, words)
    assert (found.tenths, found.rule) == (tenths, rule)
