"""The catalogue: the numbers customers were promised, and slips that are refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.catalog import BUILT_IN, Catalog, built_in_catalog, load_catalog
from farm.errors import SetupError

# USD, credits a month, submits a minute, webhooks; the lowest priority first.
PLANS = {
    "free": (0, 10, 5, False),
    "starter": (10, 10_000, 20, False),
    "pro": (50, 60_000, 60, True),
    "scale": (200, 300_000, 200, True),
}

FLAT_PRICES = {
    "flux-schnell": 3,
    "sdxl": 3,
    "remove-background": 2,
    "replace-background": 5,
    "restore-face": 3,
    "remove-object": 5,
    "upscale-4x": 20,
    "cogvideo-2b": 25,
    "virtual-tryon": 25,
}

# kind, min, max, default
IMAGE_PARAMS = {
    "sdxl": {
        "prompt": ("text", 1, 2000, None),
        "negative_prompt": ("text", 0, 2000, ""),
        "width": ("integer", 256, 2048, 1024),
        "height": ("integer", 256, 2048, 1024),
        "steps": ("integer", 20, 50, 30),
        "guidance_scale": ("number", 0, 20, 7.5),
        "seed": ("integer", 0, 2**32 - 1, None),
    },
    "flux-schnell": {
        "prompt": ("text", 1, 2000, None),
        "negative_prompt": ("text", 0, 2000, None),
        "width": ("integer", 256, 2048, 1024),
        "height": ("integer", 256, 2048, 1024),
        "steps": ("integer", 1, 8, 4),
        "guidance_scale": ("number", 0, 20, 0),
        "seed": ("integer", 0, 2**32 - 1, None),
    },
}
TYPICAL_S = {"flux-schnell": (3, 5), "sdxl": (8, 13)}


def altered(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The built-in catalogue's file, each text replaced where it first stands."""
    content = BUILT_IN.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in content
        content = content.replace(before, after, 1)
    path = tmp_path / "catalog.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_the_plans_are_those_of_the_price_list(catalog: Catalog) -> None:
    plans = catalog.storefronts["pixelapi"].plans
    found = {
        name: (plan.price_usd, plan.credits_month, plan.submits_per_minute, plan.webhooks)
        for name, plan in plans.items()
    }
    assert found == PLANS
    assert catalog.storefronts["pixelapi"].default_plan == "free"
    assert plans["free"].grant_tenths == 100


def test_dearer_plans_are_served_first(catalog: Catalog) -> None:
    plans = catalog.storefronts["pixelapi"].plans
    order = [plans[name].priority for name in PLANS]
    assert order == sorted(set(order), reverse=True)
    assert (order[0], order[-1]) == (9, 0)


def test_the_prices_are_those_of_the_price_list(catalog: Catalog) -> None:
    prices = catalog.storefronts["pixelapi"].prices
    flat = {name: price.credits for name, price in prices.items() if price.credits is not None}
    assert flat == FLAT_PRICES
    tiers = {
        name: [(tier.up_to_s, tier.credits) for tier in price.by_duration]
        for name, price in prices.items()
        if price.by_duration
    }
    assert tiers == {"musicgen-small": [(15, 5), (30, 10)]}
    sizes = {name: price.by_resolution for name, price in prices.items() if price.by_resolution}
    assert sizes == {"wan2.1": {"480p": 50, "720p": 100}}


def test_the_image_models_take_what_the_documentation_says(catalog: Catalog) -> None:
    for model, expected in IMAGE_PARAMS.items():
        card = catalog.models[model]
        found = {
            name: (spec.kind, spec.min, spec.max, spec.default)
            for name, spec in card.params_of("generate").items()
        }
        assert expected.items() <= found.items()
        assert [name for name, spec in card.params.items() if spec.required] == ["prompt"]
        assert [name for name, spec in card.params.items() if spec.drawn] == ["seed"]
        assert (card.endpoint, card.typical_s) == ("/v1/image/generate", TYPICAL_S[model])
    unused = [name for name, s in catalog.models["flux-schnell"].params.items() if s.unused]
    assert unused == ["negative_prompt"]
    assert not any(spec.unused for spec in catalog.models["sdxl"].params.values())
    assert catalog.storefronts["pixelapi"].default_model["generate"] == "flux-schnell"


def test_a_model_is_found_by_its_id_and_its_aliases(catalog: Catalog) -> None:
    for card in catalog.models.values():
        assert all(catalog.card(name) is card for name in (card.id, *card.aliases))
    assert catalog.card("flux") is catalog.models["flux-schnell"]
    assert catalog.card("SDXL") is None
    assert catalog.card("") is None


def test_every_model_has_a_queue_and_a_price_of_its_own(catalog: Catalog) -> None:
    local = [card for card in catalog.models.values() if not card.is_hosted]
    assert all(card.queue == f"gpu.{card.id}" for card in local)
    assert catalog.queues == (*(card.queue for card in local), "upstream")
    sold = {name for shop in catalog.storefronts.values() for name in shop.prices}
    assert sold == set(catalog.models)
    assert [c.id for c in catalog.offered("pixelapi", "generate")] == ["sdxl", "flux-schnell"]
    assert list(catalog.offered("pixelapi", "no-such-operation")) == []


def test_two_models_may_share_a_queue_which_is_named_once(tmp_path: Path) -> None:
    path = altered(tmp_path, ('queue = "gpu.flux-schnell"', 'queue = "gpu.sdxl"'))
    queues = load_catalog(path).queues
    assert queues.count("gpu.sdxl") == 1
    assert "gpu.flux-schnell" not in queues


def test_a_model_without_a_price_is_not_offered(tmp_path: Path) -> None:
    path = altered(tmp_path, ("\nsdxl = { credits = 3 }", ""))
    offered = load_catalog(path).offered("pixelapi", "generate")
    assert [card.id for card in offered] == ["flux-schnell"]


def test_the_built_in_catalogue_is_read_once_and_is_what_its_file_says() -> None:
    assert built_in_catalog() is built_in_catalog()
    assert built_in_catalog() == load_catalog(BUILT_IN)


@pytest.mark.parametrize(
    ("before", "after", "place", "says"),
    [
        ('aliases = ["flux"]', 'aliases = ["sdxl"]', "catalogue", "'sdxl' names both"),
        ('aliases = ["flux"]', 'aliases = ["a", "a"]', "catalogue", "'a' names both"),
        ("vram_gb = 9.5", "vram = 9.5", "models.sdxl.vram", "Extra inputs"),
        ("vram_gb = 9.5", "vram = 9.5", "models.sdxl.vram_gb", "Field required"),
        (
            "width = { kind",
            "width = { colour = 1, kind",
            "models.sdxl.params.width.colour",
            "Extra inputs",
        ),
        (
            "min = 20, max = 50",
            "min = 60, max = 50",
            "models.sdxl.params.steps",
            "min 60 is above max 50",
        ),
        (
            "max = 50, default = 30",
            "max = 50, default = 51",
            "models.sdxl.params.steps",
            "default 51 is outside 20 to 50",
        ),
        (
            "required = true, min = 1",
            "required = true, default = 'x', min = 1",
            "models.sdxl.params.prompt",
            "no default",
        ),
        ("soft_limit_s = 300", "soft_limit_s = 330", "models.sdxl", "below hard_limit_s"),
        ("typical_s = [8, 13]", "typical_s = [13, 8]", "models.sdxl", "fast, slow"),
        ('queue = "gpu.sdxl"', 'queue = "celery"', "models.sdxl.queue", "pattern"),
        ("462165984030d8", "main", "models.sdxl.weights.pipeline.hub.revision", "pattern"),
        (
            "sdxl = { credits = 3 }",
            "sdxl = { credits = 3, by_resolution = { a = 1 } }",
            "storefronts.pixelapi.prices.sdxl",
            "exactly one",
        ),
        (
            "sdxl = { credits = 3 }",
            "sdxl = {}",
            "storefronts.pixelapi.prices.sdxl",
            "exactly one",
        ),
        (
            "sdxl = { credits = 3 }",
            "sdxl = { credits = 0.25 }",
            "storefronts.pixelapi.prices.sdxl",
            "at most one decimal",
        ),
        (
            "sdxl = { credits = 3 }",
            "sdxl = { credits = -3 }",
            "storefronts.pixelapi.prices.sdxl.credits",
            "greater than or equal to 0",
        ),
        (
            "sdxl = { credits = 3 }",
            "sdxl = { credits = nan }",
            "storefronts.pixelapi.prices.sdxl.credits",
            "Input should be",
        ),
        (
            "up_to_s = 15, credits = 5",
            "up_to_s = 45, credits = 5",
            "storefronts.pixelapi.prices.musicgen-small",
            "tiers must rise",
        ),
        (
            "up_to_s = 15, credits = 5",
            "up_to_s = 30, credits = 5",
            "storefronts.pixelapi.prices.musicgen-small",
            "tiers must rise",
        ),
        (
            'default_plan = "free"',
            'default_plan = "gold"',
            "storefronts.pixelapi",
            "default_plan 'gold' is not in plans",
        ),
        ("priority = 9", "priority = 10", "storefronts.pixelapi.plans.free.priority", "equal to 9"),
        (
            'default_model]\ngenerate = "flux-schnell"',
            'default_model]\ngenerate = "dall-e"',
            "catalogue",
            "pixelapi: default model 'dall-e' does not do 'generate'",
        ),
        (
            'default_model]\ngenerate = "flux-schnell"',
            'default_model]\nsculpt = "flux-schnell"',
            "catalogue",
            "does not do 'sculpt'",
        ),
        (
            "[storefronts.pixelapi.plans.free]",
            "[storefronts.pixelapi.plans.'no good']",
            "plans",
            "",
        ),
        ("[models.sdxl]", "[models.'']", "models", "pattern"),
        (
            'instead = { generate = "flux-schnell" }',
            'instead = { edit = "flux-schnell" }',
            "models.flux-dev",
            "instead names a model for every operation",
        ),
        (
            'instead = { edit = "flux-schnell" }',
            'instead = { edit = "sdxl" }',
            "catalogue",
            "flux-kontext: 'sdxl' does not do 'edit' instead",
        ),
        (
            'image = { of = "edit" }',
            'image = { of = "sculpt" }',
            "models.flux-schnell",
            "image is of 'sculpt', which the model does not do",
        ),
        (
            "[storefronts.pixapi.factors.quality]\nhd = 2",
            "[storefronts.pixapi.factors.quality]\nhd = 0",
            "storefronts.pixapi.factors.quality.hd",
            "greater than or equal to 1",
        ),
        ("width = [512, 1536]", "width = [1536, 512]", "storefronts.pixelapi", "bounds.width"),
        ("width = [512, 1536]", "girth = [1, 2]", "catalogue", "pixelapi: bounds.girth"),
    ],
)
def test_a_slip_is_refused_with_its_place(
    tmp_path: Path, before: str, after: str, place: str, says: str
) -> None:
    path = altered(tmp_path, (before, after))
    with pytest.raises(SetupError) as caught:
        load_catalog(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert f"{place}: " in sentence or f"{place}." in sentence
    assert says in sentence


def test_every_slip_is_named_at_once(tmp_path: Path) -> None:
    path = altered(
        tmp_path, ("vram_gb = 9.5", "vram_gb = -1"), ("sdxl = { credits = 3 }", "sdxl = {}")
    )
    with pytest.raises(SetupError) as caught:
        load_catalog(path)
    assert "models.sdxl.vram_gb" in str(caught.value)
    assert "prices.sdxl" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"models = [", "not valid TOML"),
        (b"[models]\n[models]", "not valid TOML"),
        (b"title = '\xff'", "not valid TOML"),
        (b"", "models: Field required"),
        (b"models = 3\nstorefronts = 4", "storefronts: Input should be"),
        (b"[models]\nsdxl = 3\n[storefronts]\n", "models.sdxl: "),
        (b"[models]\nsdxl = 'x'\n[storefronts]\n", "models.sdxl: "),
        (b"[models]\n[storefronts.pixelapi]\nplans = { free = 1 }", "plans.free: "),
        (b"[models]\n[storefronts.pixelapi]\nplans = 1", "storefronts.pixelapi.plans: "),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "catalog.toml"
    path.write_bytes(content)
    with pytest.raises(SetupError) as caught:
        load_catalog(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"catalog\.toml cannot be read: No such file"):
        load_catalog(tmp_path / "catalog.toml")
    with pytest.raises(SetupError, match="cannot be read: Is a directory"):
        load_catalog(tmp_path)
