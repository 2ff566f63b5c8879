"""Styles, shapes and qualities: data that is whole, and what it makes of a request."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from farm import gallery, previews, styles
from farm.cards import ModelCard
from farm.catalog import Catalog
from farm.errors import InvalidRequest, SetupError
from farm.moderation import PromptPolicy
from farm.offers import Offers
from farm.styles import BUILT_IN, Look, StyleBook, built_in_styles, load_styles


@pytest.fixture
def book() -> StyleBook:
    """The styles that ship with the farm."""
    return built_in_styles()


def look(book: StyleBook, style: str, shape: str = "square", quality: str = "standard") -> Look:
    """A look by its names."""
    return Look(book.style(style), book.shape(shape), book.quality(quality))


def test_there_is_enough_to_choose_from(book: StyleBook) -> None:
    assert len(book.styles) >= 40
    assert len(book.categories) >= 8
    assert all(len(found) >= 3 for found in book.categories.values())
    assert len(book.shapes) >= 12
    assert {"square", "portrait", "portrait-tall", "landscape", "landscape-wide"} <= set(
        book.shapes
    )
    assert "no-style" in book.styles
    templates = {style.prompt for style in book.styles.values()}
    assert len(templates) == len(book.styles), "two styles do the same"


def test_every_quality_with_a_price_is_in_the_book(catalog: Catalog, book: StyleBook) -> None:
    factors = catalog.storefronts["pixola"].factors["quality"]
    assert set(factors) <= set(book.qualities)
    assert factors["hd"] == 2


def test_no_style_is_refused_by_the_farms_own_content_policy(book: StyleBook) -> None:
    policy = PromptPolicy.from_file()
    for style in book.styles.values():
        assert policy.verdict(style.applied("a cat")) is None, style.id
        assert policy.verdict(style.negative) is None, style.id


def test_every_shape_is_what_it_says_and_fits_every_model_in_hd(
    catalog: Catalog, book: StyleBook
) -> None:
    hd = book.quality("hd")
    for card in catalog.offered("pixola", "generate"):
        for shape in book.shapes.values():
            params = Look(book.style("no-style"), shape, hd).params(card, "a cat")
            assert params["width"] == shape.width * 3 // 2
            assert params["height"] == shape.height * 3 // 2
            assert params["width"] <= card.params["width"].max


def test_a_look_stops_at_the_models_own_limits(catalog: Catalog, book: StyleBook) -> None:
    card = catalog.models["sdxl"]
    specs = dict(card.params)
    specs["width"] = specs["width"].model_copy(update={"max": 1280})
    specs["steps"] = specs["steps"].model_copy(update={"max": 35})
    small = card.model_copy(update={"params": specs})
    params = look(book, "no-style", "landscape-wide", "hd").params(small, "a cat")
    assert (params["width"], params["height"], params["steps"]) == (1280, 720, 35)


def test_words_in_braces_are_the_customers_own(catalog: Catalog, book: StyleBook) -> None:
    card = catalog.models["flux-schnell"]
    words = "{prompt} {0} {name} $1 \\1"
    params = look(book, "sticker").params(card, words)
    assert params["prompt"] == f"die-cut sticker of {words}, thick white border, bright flat " + (
        "colour, plain ground"
    )
    assert look(book, "no-style").params(card, words)["prompt"] == words


def test_the_negative_prompt_is_only_for_models_that_take_one(
    catalog: Catalog, book: StyleBook
) -> None:
    takes = [
        card.id
        for card in catalog.offered("pixola", "generate")
        if look(book, "comic").params(card, "a cat").get("negative_prompt")
    ]
    assert takes == ["sdxl"]
    assert look(book, "no-style").params(catalog.models["sdxl"], "a")["negative_prompt"] == ""


def longest(card: ModelCard) -> int:
    """How long a prompt of this model may be."""
    return int(card.params["prompt"].max)


def test_a_prompt_may_be_as_long_as_the_style_leaves_room(
    catalog: Catalog, book: StyleBook
) -> None:
    card = catalog.models["sdxl"]
    style = book.style("blueprint")
    room = longest(card) - style.added
    assert len(look(book, "blueprint").params(card, "a" * room)["prompt"]) == longest(card)
    with pytest.raises(InvalidRequest, match=f"at most {room} characters with the style"):
        look(book, "blueprint").params(card, "a" * (room + 1))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('prompt = "{prompt}, one clear', 'prompt = "one clear', "styles.clean: "),
        ('prompt = "{prompt}, one', 'prompt = "{prompt}{prompt}, one', "names {prompt} once"),
        ('prompt = "{prompt}"', 'prompt = "{prompt}!"', "no-style, and nothing else"),
        ('alias = "oil"', 'alias = "photo"', "'photo' names two styles"),
        ("[styles.no-style]", "[styles.plain]", "styles.plain"),
        ("[shapes.square]", "[shapes.quadrat]", "'square' is missing"),
        ("[qualities.standard]", "[qualities.usual]", "'standard' is missing"),
        ('shape = "square"', 'shape = "round"', "'round' is missing"),
        ("width = 1024", "width = 1023", "shapes.square.width"),
        ("width = 1280", "width = 1200", "is not 9:16|is not 16:9|is not 2:1"),
        ('ratio = "21:9"', 'ratio = "21/9"', "shapes.panorama.ratio"),
        ("scale = 1.5", "scale = 0.5", "qualities.hd.scale"),
        ('name = "Macro"', 'nam = "Macro"', "styles.macro"),
        ("[preview]", "[preview", "not valid TOML"),
    ],
)
def test_a_slip_in_the_file_stops_the_start(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    text = BUILT_IN.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "styles.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SetupError) as caught:
        load_styles(path)
    assert str(path) in str(caught.value)
    assert any(each in str(caught.value) for each in problem.split("|")), str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"style book .* cannot be read"):
        load_styles(tmp_path / "styles.toml")


def test_a_name_that_is_not_known_is_answered_with_the_nearest(book: StyleBook) -> None:
    with pytest.raises(InvalidRequest, match="Did you mean oil-painting"):
        book.style("oil-paintin")
    with pytest.raises(InvalidRequest, match=r"Such as square, .*GET /shapes lists them all"):
        book.shape("\u2603")
    assert book.style("sumi-e").id == "ink-wash"


def test_every_model_that_is_sold_has_its_texts(catalog: Catalog) -> None:
    texts = gallery.built_in_gallery()
    sold = {card.id: card for card in catalog.offered("pixola", "generate")}
    assert set(sold) == set(texts.root)
    for card in sold.values():
        text = texts.root[card.id]
        assert ("hosted" in text.tags) == card.is_hosted, card.id
        assert ("non-commercial" in text.tags) == card.non_commercial, card.id
        assert ("servedBy" in text.description) == card.is_hosted, card.id
    assert texts.about("nobody") is None


def test_a_slip_in_the_gallery_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "gallery.toml"
    text = gallery.BUILT_IN.read_text(encoding="utf-8")
    path.write_text(text.replace("https://bfl.ai", "http://bfl.ai", 1), encoding="utf-8")
    with pytest.raises(SetupError, match=r"gallery .*researcher_url"):
        gallery.load_gallery(path)


def test_a_preview_is_a_small_webp() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (900, 300), "red").save(buffer, "PNG")
    with Image.open(io.BytesIO(previews.as_webp(buffer.getvalue(), 512))) as small:
        assert (small.format, small.size, small.mode) == ("WEBP", (512, 171), "RGB")
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    with Image.open(io.BytesIO(previews.as_webp(buffer.getvalue(), 512))) as small:
        assert small.size == (40, 30)


def test_a_preview_shows_only_what_the_style_changes(catalog: Catalog, book: StyleBook) -> None:
    offer = Offers(catalog).find("pixola", "generate")
    one, other = (
        previews.preview_request(offer, book, book.style(name)) for name in ("photo", "comic")
    )
    same = {name: value for name, value in one.params.items() if name != "prompt"}
    assert same == {name: value for name, value in other.params.items() if name != "prompt"}
    assert one.params["prompt"] != other.params["prompt"]
    assert styles.SLOT not in one.params["prompt"]
