"""Which engines stay loaded."""

from __future__ import annotations

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from farm.cards import ModelCard
from farm.catalog import Catalog
from farm.errors import WeightsMissing
from tasks.residency import GIB, LoadInterrupted, Residency
from tests.tasks.engines import Workshop


def card(catalog: Catalog, name: str, vram_gb: float) -> ModelCard:
    return catalog.models["sdxl"].model_copy(update={"id": name, "vram_gb": vram_gb})


def test_an_engine_is_loaded_at_its_first_use_and_stays(catalog: Catalog) -> None:
    workshop = Workshop()
    residency = workshop.residency()
    sdxl = catalog.models["sdxl"]
    assert workshop.engines == {}
    for _ in range(3):
        with residency.use(sdxl) as engine:
            assert engine is workshop.engines["sdxl"]
    assert workshop.engines["sdxl"].loads == 1
    assert residency.loaded == ("sdxl",)


def test_the_least_recently_used_goes_first(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=10, sizes_gib={"a": 4, "b": 4, "c": 4})
    residency = workshop.residency()
    for name in "abac":
        with residency.use(card(catalog, name, 4)):
            pass
    assert residency.loaded == ("a", "c")
    assert workshop.engines["b"].unloads == 1


def test_several_stay_within_the_budget(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=12, sizes_gib={"a": 4, "b": 4, "c": 4})
    residency = workshop.residency()
    for name in "abcabc":
        with residency.use(card(catalog, name, 4)):
            pass
    assert residency.loaded == ("a", "b", "c")
    assert all(engine.loads == 1 for engine in workshop.engines.values())


def test_the_card_counts_before_a_load_and_the_measure_after_it(catalog: Catalog) -> None:
    # Each card asks for 8 of 12, and each holds 3 once it is loaded: while one runs it may
    # need its 8, so that two fit and three do not.
    workshop = Workshop(budget_gib=12, sizes_gib={"a": 3, "b": 3, "c": 3})
    residency = workshop.residency()
    for name in "ab":
        with residency.use(card(catalog, name, 8)):
            pass
    assert residency.loaded == ("a", "b")
    with residency.use(card(catalog, "c", 8)):
        pass
    assert residency.loaded == ("b", "c")


def test_a_model_measured_bigger_than_its_card_needs_what_was_measured(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=10, sizes_gib={"a": 7, "b": 4})
    residency = workshop.residency()
    for name in "aba":
        with residency.use(card(catalog, name, 2)):
            pass
    assert residency.loaded == ("a",)


def test_none_in_use_is_dropped(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=5, sizes_gib={"a": 4, "b": 4})
    residency = workshop.residency()
    with residency.use(card(catalog, "a", 4)) as first, residency.use(card(catalog, "b", 4)):
        assert first.resident_bytes
        residency.clear()
        assert residency.loaded == ("a", "b")
    residency.clear()
    assert residency.loaded == ()


def test_a_model_too_big_for_the_budget_is_tried_alone(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=5, sizes_gib={"a": 1, "b": 4})
    residency = workshop.residency()
    for name, size in (("a", 1), ("b", 33)):
        with residency.use(card(catalog, name, size)):
            pass
    assert residency.loaded == ("b",)


def test_tiny_weights_do_not_count_as_the_real_ones(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=5, sizes_gib={"sdxl": 0.1, "flux-schnell": 0.1})
    residency = workshop.residency(trust_cards=False)
    for name in ("sdxl", "flux-schnell", "sdxl"):
        with residency.use(catalog.models[name]):
            pass
    assert residency.loaded == ("flux-schnell", "sdxl")


def test_an_engine_that_cannot_be_loaded_leaves_nothing_behind(catalog: Catalog) -> None:
    workshop = Workshop(unloadable={"sdxl"})
    residency = workshop.residency()
    with pytest.raises(WeightsMissing), residency.use(catalog.models["sdxl"]):
        raise AssertionError("never here")
    assert residency.loaded == ()


def test_a_hosted_model_asks_for_no_device_and_takes_nobodys_place(catalog: Catalog) -> None:
    workshop = Workshop(budget_gib=1.0)
    residency = workshop.residency()
    with residency.use(catalog.models["gpt-image-2"]):
        pass
    assert residency.device is None
    with residency.use(catalog.models["sdxl"]):
        pass
    with residency.use(catalog.models["gpt-image-1.5"]):
        pass
    assert set(residency.loaded) >= {"sdxl", "gpt-image-1.5"}


def test_a_load_that_is_cut_short_is_told_from_a_run_that_is(catalog: Catalog) -> None:
    def device() -> str:
        raise SoftTimeLimitExceeded

    residency = Residency(Workshop().create, device, lambda name: GIB)
    with pytest.raises(LoadInterrupted), residency.use(catalog.models["sdxl"]):
        pass
    whole = Workshop().residency().use(catalog.models["sdxl"])
    with pytest.raises(SoftTimeLimitExceeded) as caught, whole:
        raise SoftTimeLimitExceeded
    assert not isinstance(caught.value, LoadInterrupted)
