"""What storefronts sell, and which model runs for it."""

from __future__ import annotations

import pytest

from farm.catalog import Catalog
from farm.errors import InvalidRequest
from farm.offers import Offers

HOSTED = ("gpt-image-2", "gpt-image-1.5", "gemini-2.5-flash-image", "seedream", "veo")


def ids(offers: Offers, storefront: str, operation: str | None = None) -> list[str]:
    """What is sold there, by id."""
    return [card.id for card in offers.sold(storefront, operation)]


def test_a_model_of_the_farm_runs_itself_within_the_storefronts_limits(catalog: Catalog) -> None:
    offers = Offers(catalog)
    offer = offers.find("pixelapi", "generate", "flux")
    assert (offer.sold.id, offer.card.id, offer.sold_as) == ("flux-schnell", "flux-schnell", "")
    widths = {
        shop: offers.find(shop, "generate", "flux-schnell").card.params["width"]
        for shop in ("pixelapi", "pixza")
    }
    assert (widths["pixelapi"].min, widths["pixelapi"].max) == (512, 1536)
    assert (widths["pixza"].min, widths["pixza"].max) == (256, 2048)
    assert all(spec.default == 1024 for spec in widths.values())


def test_without_a_name_it_is_the_storefronts_default(catalog: Catalog) -> None:
    offers = Offers(catalog)
    assert offers.find("pixza", "3d").card.id == "shap-e"
    assert offers.find("pixapi", "edit").card.id == "flux-kontext"
    assert offers.default("pixola", "generate") == "flux-schnell"


@pytest.mark.parametrize(
    ("storefront", "operation", "name", "runs"),
    [
        ("pixapi", "generate", "gpt-image-2", "flux-schnell"),
        ("pixapi", "edit", "nano-banana", "flux-kontext"),
        ("pixapi", "video", "veo", "wan2.1"),
        ("pixapi", "image-to-video", "veo", "wan-i2v"),
        ("pixza", "generate", "flux-pro", "flux-dev"),
    ],
)
def test_a_hosted_model_is_served_by_a_local_one_until_it_has_an_upstream(
    catalog: Catalog, storefront: str, operation: str, name: str, runs: str
) -> None:
    offer = Offers(catalog).find(storefront, operation, name)
    sold = catalog.card(name)
    assert sold is not None
    assert (offer.sold.id, offer.card.id, offer.sold_as) == (sold.id, runs, sold.id)
    hosted = Offers(catalog, upstreams={sold.id}).find(storefront, operation, name)
    assert (hosted.card.id, hosted.sold_as, hosted.card.queue) == (sold.id, "", "upstream")


def test_where_a_licence_forbids_it_another_model_stands_in_or_none(catalog: Catalog) -> None:
    offers = Offers(catalog, commercial_only=True)
    assert offers.find("pixapi", "edit", "flux-kontext").card.id == "flux-schnell"
    assert offers.find("pixapi", "edit", "gpt-image-2").card.id == "flux-schnell"
    assert offers.find("pixza", "generate", "flux-pro").sold_as == "flux-pro"
    assert ids(offers, "pixelapi", "audio") == []
    with pytest.raises(InvalidRequest, match="'musicgen-small' is not a model here"):
        offers.find("pixelapi", "audio")
    for storefront in catalog.storefronts:
        for card in offers.sold(storefront):
            for operation in card.operations:
                runner = offers.runner(card, operation)
                assert runner is None or not runner.non_commercial


def test_who_made_it_is_told_for_what_the_storefront_does(catalog: Catalog) -> None:
    offers, models = Offers(catalog), catalog.models
    both = offers.served_by("pixapi", models["gpt-image-2"], "hub")
    assert both == "flux-schnell, flux-kontext"
    assert offers.served_by("pixola", models["gpt-image-2"], "hub") == "flux-schnell"
    assert offers.served_by("pixelapi", models["remove-background"], "tiny") == "grabcut"


@pytest.mark.parametrize("name", ["", "dall-e", "FLUX", "x" * 5000, "musicgen-small", "flux-2"])
def test_what_is_not_sold_is_refused_with_what_is(catalog: Catalog, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Offers(catalog).find("pixelapi", "generate", name)
    assert [error.field for error in caught.value.errors] == ["model"]
    assert "Choose one of sdxl, flux-schnell." in str(caught.value)
    assert len(str(caught.value)) < 200


def test_every_storefront_sells_what_something_can_make(catalog: Catalog) -> None:
    offers = Offers(catalog)
    for shop in catalog.storefronts.values():
        assert ids(offers, shop.id) == [card.id for card in catalog.offered(shop.id)]
        for operation, model in shop.default_model.items():
            assert model in ids(offers, shop.id, operation)
    assert set(HOSTED) <= {name for shop in catalog.storefronts for name in ids(offers, shop)}
