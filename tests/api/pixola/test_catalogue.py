"""What can be chosen: models, styles and shapes, with and without a key."""

from __future__ import annotations

from typing import Any

import pytest

from api.storefronts.pixola.previews import LOOK_EVERY_S, Previews
from farm.errors import StorageUnavailable
from farm.previews import preview_key
from farm.storage import Storage
from farm.styles import built_in_styles
from tests.api.caller import Caller
from tests.contracts.storefront import Shop

BASE = "/pixola/api/v1"


@pytest.fixture
def caller(shop: Shop) -> Caller:
    """A customer on the free plan."""
    return shop.caller("pixola", "free")


def anybody(shop: Shop, path: str) -> Any:
    """What somebody without a key gets."""
    answer = shop.app.test_client().get(f"{BASE}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json


def test_every_picture_model_is_sold_under_its_own_slug(shop: Shop, caller: Caller) -> None:
    listed = {model["slug"]: model for model in anybody(shop, "models")["models"]}
    catalog = shop.services.catalog
    pictures = {card.id for card in catalog.models.values() if card.does("generate")}
    assert set(listed) == pictures >= {"flux-2", "gpt-image-1.5"}
    prices = catalog.storefronts["pixola"].prices
    for slug, model in listed.items():
        assert model["pricing"] == {
            "standard": prices[slug].credits,
            "hd": 2 * (prices[slug].credits or 0),
        }
        assert type(model["pricing"]["standard"]) is int
        page = caller.get(f"{BASE}/models/{slug}").json
        assert page.items() >= model.items()
        assert page["researcherUrl"].startswith("https://")
        assert len(page["samplePrompts"]) >= 2
    assert caller.get(f"{BASE}/models/flux").json["slug"] == "flux-schnell"


def test_whoever_makes_a_hosted_model_is_told_truly(shop: Shop) -> None:
    listed = {model["slug"]: model for model in anybody(shop, "models")["models"]}
    for slug, model in listed.items():
        card = shop.services.catalog.models[slug]
        assert model["servedBy"].endswith("-tiny")
        assert (model["servedBy"] == f"{slug}-tiny") is (not card.is_hosted)


def test_styles_come_by_category(shop: Shop, caller: Caller) -> None:
    categories = anybody(shop, "styles")["categories"]
    assert len(categories) >= 8
    styles = [style for each in categories for style in each["styles"]]
    assert [style["slug"] for style in styles] == list(built_in_styles().styles)
    assert all(
        style["category"] == each["category"] for each in categories for style in each["styles"]
    )
    for style in styles[::9]:
        page = caller.get(f"{BASE}/styles/{style['slug']}").json
        assert page.items() >= style.items()
        assert page["prompt"].count("{prompt}") == 1
        if style["alias"]:
            assert caller.get(f"{BASE}/styles/{style['alias']}").json == page


def test_shapes_say_their_sides(shop: Shop, caller: Caller) -> None:
    shapes = anybody(shop, "shapes")["shapes"]
    assert len(shapes) >= 12
    for shape in shapes:
        assert caller.get(f"{BASE}/shapes/{shape['slug']}").json == shape
        across, down = map(int, shape["aspectRatio"].split(":"))
        assert abs(shape["width"] / shape["height"] - across / down) < 0.02


def test_a_key_of_another_storefront_opens_not_even_what_is_open(shop: Shop) -> None:
    stranger = shop.caller("pixelapi", "free")
    for path in ("models", "styles", "shapes"):
        answer = stranger.get(f"{BASE}/{path}")
        assert (answer.status_code, answer.json["error"]["code"]) == (401, "unauthorized")


def test_a_preview_that_is_not_there_is_a_404_and_no_file_is_reached_beside_it(
    shop: Shop,
) -> None:
    client = shop.app.test_client()
    for slug in ("no-style", "nothing", "..", "oil", "%2e%2e", "no-style%00"):
        answer = client.get(f"{BASE}/styles/{slug}/preview.webp")
        assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found"), slug


class Shelf:
    """A storage of previews that can be away."""

    def __init__(self) -> None:
        self.names: dict[str, float] = {}
        self.away = False

    def kept(self, folder: str) -> dict[str, float]:
        """The names, where the storage is there."""
        if self.away:
            raise StorageUnavailable("The disk is gone.")
        assert preview_key("x").startswith(f"{folder}/")
        return self.names


def test_previews_are_looked_up_now_and_then_and_forgotten_for_no_trouble() -> None:
    shelf, now = Shelf(), [0.0]
    storage: Storage = shelf  # type: ignore[assignment]
    previews = Previews(storage, "https://farm.example/styles", lambda: now[0])
    assert previews.urls() == {}
    shelf.names = {"oil-painting.webp": 1700000000.5, "notes.txt": 1.0}
    assert previews.urls() == {}, "looked at every time"
    now[0] += LOOK_EVERY_S
    known = {"oil-painting": "https://farm.example/styles/oil-painting/preview.webp?v=1700000000"}
    assert previews.urls() == known
    shelf.away = True
    now[0] += LOOK_EVERY_S
    assert previews.urls() == known
    shelf.away, shelf.names = False, {"oil-painting.webp": 1700000099.0}
    now[0] += LOOK_EVERY_S
    assert previews.urls()["oil-painting"].endswith("?v=1700000099")
