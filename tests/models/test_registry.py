"""The registry: from a catalogue id to an engine, and helpful when that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from farm.catalog import built_in_catalog
from farm.errors import ExtraMissing, SetupError
from models import registry
from tests.models.hub import Card

CARDS = built_in_catalog().models


@pytest.mark.parametrize("weights", ["hub", "tiny"])
@pytest.mark.parametrize("model_id", ["sdxl", "flux-schnell", "flux-dev", "flux-2", "flux-kontext"])
def test_every_engine_can_be_created_unloaded(model_id: str, weights: str, tmp_path: Path) -> None:
    made = registry.create(CARDS[model_id], weights, cache=tmp_path)
    assert (made.served_by, made.resident_bytes) == (CARDS[model_id].served_by(weights), 0)


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(SetupError, match=r"'flux-schnel'.*flux-schnell"):
        registry.create(Card("flux-schnel"), "tiny")


@pytest.mark.parametrize("package", ["torch", "diffusers", "transformers"])
def test_a_missing_package_is_named_with_its_cure(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [name for name in sys.modules if name.startswith(("models.engines.", "models.parts."))]
    for name in (*loaded, f"{package}.utils"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExtraMissing, match=rf"'{package}'.*pip install") as caught:
        registry.create(CARDS["sdxl"], "tiny")
    assert str(caught.value).count(".") == 1


def test_importing_the_registry_and_the_base_loads_no_torch() -> None:
    code = (
        "import sys, models.registry, models.base, models.weights; "
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
