"""Parameters: defaults in, both edges of every range, each kind of wrong value named."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.cards import ModelCard
from farm.catalog import built_in_catalog
from farm.errors import InvalidRequest
from farm.parameters import resolve, unknown_fields

SDXL = built_in_catalog().models["sdxl"]
FLUX = built_in_catalog().models["flux-schnell"]


def wrong_fields(card: ModelCard, **given_: Any) -> list[str]:
    """The fields named as wrong beside a good prompt; none when all is accepted."""
    try:
        resolve(card, {"prompt": "a fox", **given_})
    except InvalidRequest as error:
        return [item.field for item in error.errors]
    return []


def test_what_is_left_out_takes_its_default_and_the_seed_stays_to_be_drawn() -> None:
    params, warnings = resolve(SDXL, {"prompt": "a fox", "width": None})
    assert params == {
        "prompt": "a fox",
        "negative_prompt": "",
        "width": 1024,
        "height": 1024,
        "steps": 30,
        "guidance_scale": 7.5,
    }
    assert warnings == ()
    params, _ = resolve(FLUX, {"prompt": "a fox"})
    assert (params["steps"], params["guidance_scale"]) == (4, 0.0)
    assert "negative_prompt" not in params


def test_a_default_may_be_for_one_operation_only() -> None:
    painted, _ = resolve(FLUX, {"prompt": "a fox"}, "generate")
    assert (painted["width"], painted["height"]) == (1024, 1024)
    edited, _ = resolve(FLUX, {"prompt": "a fox"}, "edit")
    assert edited == {"prompt": "a fox", "steps": 4, "guidance_scale": 0.0, "strength": 0.85}
    assert resolve(FLUX, {"prompt": "a fox", "width": 600}, "edit")[0]["width"] == 600


def test_what_is_given_is_kept_as_it_is() -> None:
    given_ = {"prompt": "  a fox ", "width": 513, "steps": 20, "seed": 0, "negative_prompt": "x"}
    params, _ = resolve(SDXL, given_)
    assert {name: params[name] for name in given_} == given_


@pytest.mark.parametrize("card", [SDXL, FLUX], ids=lambda card: card.id)
def test_both_edges_of_every_range_are_inside_and_the_next_value_outside(card: ModelCard) -> None:
    for name, spec in card.params.items():
        if spec.kind in ("text", "choice") or spec.of:
            continue
        low, high = int(spec.min), int(spec.max)
        assert wrong_fields(card, **{name: low}) == []
        assert wrong_fields(card, **{name: high}) == []
        assert wrong_fields(card, **{name: low - 1}) == [name]
        assert wrong_fields(card, **{name: high + 1}) == [name]


def test_the_ends_of_a_prompt() -> None:
    for prompt in ("x", "x" * 2000, "狐" * 2000, "🦊" * 2000, " x "):
        assert resolve(SDXL, {"prompt": prompt})[0]["prompt"] == prompt
    for prompt in ("", "   ", "\n\t", "x" * 2001, " " * 2001):
        assert wrong_fields(SDXL, prompt=prompt) == ["prompt"]
    with pytest.raises(InvalidRequest, match="at most 2000 characters, got 2,001"):
        resolve(SDXL, {"prompt": "x" * 2001})
    assert wrong_fields(SDXL, negative_prompt="") == []
    assert wrong_fields(SDXL, negative_prompt="x" * 2001) == ["negative_prompt"]


def test_a_missing_prompt_is_named() -> None:
    for given_ in ({}, {"prompt": None}):
        with pytest.raises(InvalidRequest, match="prompt: is required"):
            resolve(SDXL, given_)


@pytest.mark.parametrize("value", [True, False, "1024", "", [1024], {"a": 1}, 30.0, 30.5])
def test_a_whole_number_is_a_whole_number(value: Any) -> None:
    assert wrong_fields(SDXL, steps=value) == ["steps"]


@pytest.mark.parametrize("value", [True, "7.5", [7.5], {}])
def test_a_number_is_a_number(value: Any) -> None:
    assert wrong_fields(SDXL, guidance_scale=value) == ["guidance_scale"]


@pytest.mark.parametrize("field", ["steps", "guidance_scale", "seed"])
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e308, 10**400, -(10**400)], ids=repr
)
def test_no_number_is_too_strange_to_be_refused_by_name(field: str, value: Any) -> None:
    assert wrong_fields(SDXL, **{field: value}) == [field]
    with pytest.raises(InvalidRequest) as caught:
        resolve(SDXL, {"prompt": "x", field: value})
    assert len(str(caught.value)) < 200


def test_a_whole_number_is_taken_where_a_number_is_wanted() -> None:
    value = resolve(SDXL, {"prompt": "x", "guidance_scale": 7})[0]["guidance_scale"]
    assert (value, type(value)) == (7.0, float)


@pytest.mark.parametrize("value", [5, 5.0, True, ["a fox"], {"text": "a fox"}])
def test_text_is_text(value: Any) -> None:
    assert wrong_fields(SDXL, prompt=value) == ["prompt"]


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", "a fox \udfff"])
def test_text_that_the_database_cannot_hold_is_refused(value: str) -> None:
    assert wrong_fields(SDXL, prompt=value) == ["prompt"]
    assert wrong_fields(FLUX, negative_prompt=value) == ["negative_prompt"]


def test_a_field_that_the_model_does_not_use_is_accepted_with_a_warning() -> None:
    params, warnings = resolve(FLUX, {"prompt": "a fox", "negative_prompt": "ugly"})
    assert warnings == ("negative_prompt is not used by flux-schnell.",)
    assert "negative_prompt" not in params
    assert resolve(FLUX, {"prompt": "a fox", "negative_prompt": ""})[1] == ()
    assert wrong_fields(FLUX, negative_prompt="x" * 2001) == ["negative_prompt"]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(SDXL, {"width": 255, "height": "tall", "steps": 51, "seed": -1})
    named = [error.field for error in caught.value.errors]
    assert named == ["prompt", "width", "height", "steps", "seed"]
    assert all(error.message.endswith(".") for error in caught.value.errors)


# A fresh checkout builds hypothesis' table of characters within the first example.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(max_size=20),
                st.lists(st.integers(), max_size=2),
            )
            for name in SDXL.params
        },
    )
)
def test_whatever_is_given_the_engine_gets_values_within_the_card_or_nothing(
    given_: dict[str, Any],
) -> None:
    try:
        params, _ = resolve(SDXL, given_)
    except InvalidRequest:
        return
    assert set(params) | {"seed"} == set(SDXL.params)
    for name, value in params.items():
        spec = SDXL.params[name]
        size = len(value) if spec.kind == "text" else value
        assert type(value) is {"text": str, "integer": int, "number": float}[spec.kind]
        assert spec.min <= size <= spec.max


def test_unknown_fields_are_named_with_the_nearest_known_one() -> None:
    known = ("model", *SDXL.params)
    assert unknown_fields(["prompt", "seed", "model"], known) == ()
    assert unknown_fields(["promt", "guidance", "sampler"], known) == (
        "promt is not a known field and was not used. Did you mean prompt?",
        "guidance is not a known field and was not used. Did you mean guidance_scale?",
        "sampler is not a known field and was not used.",
    )
    [warning] = unknown_fields(["x" * 100_000], known)
    assert len(warning) < 200
