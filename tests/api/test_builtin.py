"""What the documents tell of the built-in checkpoints, and where they say nothing."""

from __future__ import annotations

import pytest

from api import builtin
from api.storefronts import DIALECTS
from farm.catalog import built_in_catalog
from farm.config import Settings
from farm.offers import Offers
from models.tiny.scenes.plan import COLOURS, Product, Shape
from tests.contracts.storefront import Shop

NOISE = {
    "pixelapi": "",
    "pixapi": "flux-2-tiny, flux-kontext-tiny",
    "pixola": "flux-2-tiny",
    "pixza": "flux-kontext-tiny",
}
"""What each storefront sells of random weights."""


def told(storefront: str, weights: str) -> str | None:
    """What is said where nothing but the catalogue's own models runs."""
    settings = Settings(
        DATABASE_URL="postgresql://nobody@nowhere/farm",
        BROKER_URL="redis://nowhere/0",
        weights=weights,
    )
    return builtin.told(settings, Offers(built_in_catalog()), storefront)


@pytest.mark.parametrize("storefront", NOISE)
def test_it_names_what_can_be_drawn_and_what_is_noise(storefront: str) -> None:
    text = told(storefront, "tiny")
    assert text is not None
    for word in (*Shape, *Product, *COLOURS):
        assert word in text
    _, _, noise = text.partition("which paint noise: ")
    assert noise.rstrip(".") == NOISE[storefront]


@pytest.mark.parametrize("weights", ["hub", "/srv/weights"])
@pytest.mark.parametrize("storefront", NOISE)
def test_of_real_weights_it_says_nothing(storefront: str, weights: str) -> None:
    assert told(storefront, weights) is None


def test_a_document_begins_with_it(shop: Shop) -> None:
    assert set(NOISE) == {dialect.id for dialect in DIALECTS}
    for storefront in NOISE:
        document = shop.app.test_client().get(f"/docs/{storefront}/openapi.json").json
        assert document["info"]["description"] == told(storefront, "tiny")
