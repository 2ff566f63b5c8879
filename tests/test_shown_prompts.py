"""Prompts that newcomers are shown are made of words that the built-in checkpoints know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.storefronts.pixapi import wire as pixapi
from api.storefronts.pixapi import wire_edits as pixapi_edits
from api.storefronts.pixelapi import wire as pixelapi
from api.storefronts.pixelapi import wire_edits as pixelapi_edits
from api.storefronts.pixola import wire as pixola
from api.storefronts.pixza import wire as pixza
from farm.catalog import built_in_catalog
from farm.cli.demo import media, shops, steps
from farm.offers import Offers
from farm.styles import built_in_styles
from models.tiny.scenes import captions
from models.tiny.scenes.plan import COLOURS

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
OFFERS = Offers(built_in_catalog())
SMALL_WORDS = """
a an on in of the and at with to from put it photo picture background backdrop wall table
wooden plain gradient half two three row side by front
"""


def known() -> set[str]:
    """The words of the captions that the checkpoints were trained on."""
    tables = (
        *(COLOURS, captions.COLOUR_WORDS, captions.SHAPE_WORDS, captions.SIZE_WORDS),
        *(captions.PLACE_WORDS, captions.RELATION_WORDS),
    )
    words = " ".join(str(key) for table in tables for key in table)
    words += " " + " ".join(" ".join(said) for table in tables[1:] for said in table.values())
    singular = set(words.split()) - {"any"}
    return (
        set(SMALL_WORDS.split())
        | singular
        | {f"{word}s" for word in singular}
        | {"crosses", "boxes"}
    )


def shown() -> Iterator[tuple[str, str]]:
    """Where each prompt stands, and the prompt."""
    for number, prompt in enumerate(
        re.findall(r"""(?:prompt"?[:=] ?"|`(?=an? ))([^"`]+)""", README), 1
    ):
        yield f"README {number}", prompt
    yield "demo picture", steps.PROMPT
    yield "demo scene", steps.SCENE
    yield "demo film", media.FILM["prompt"]
    yield "demo storefronts", shops.PROMPT
    bodies: dict[str, Any] = {
        "pixelapi picture": pixelapi.generate_request(OFFERS, "pixelapi"),
        "pixelapi film": pixelapi.generate_request(OFFERS, "pixelapi", "video"),
        "pixelapi scene": pixelapi_edits.edit_json(built_in_catalog().models["replace-background"]),
        "pixapi picture": pixapi.generation_request(OFFERS),
        "pixapi edit": pixapi_edits.edit_request(OFFERS),
        "pixapi film": pixapi_edits.film_request(OFFERS),
        "pixola picture": pixola.generate_request(OFFERS, built_in_styles()),
        "pixza picture": pixza.generate_request(OFFERS, "pixza"),
    }
    for where, body in bodies.items():
        yield where, body.model_json_schema()["examples"][0]["prompt"]


PROMPTS = dict(shown())


@pytest.mark.parametrize("where", PROMPTS)
def test_every_word_of_it_is_known(where: str) -> None:
    words = set(re.findall(r"[a-z]+", PROMPTS[where].lower()))
    assert words - known() == set()


def test_the_readme_shows_some() -> None:
    assert sum(where.startswith("README") for where in PROMPTS) == 4
