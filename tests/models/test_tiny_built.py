"""Tiny checkpoints that are made with trained weights: which, when anew, and what breaks them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import models.tiny.flux
import models.tiny.flux_dev
import models.tiny.sdxl
import models.tiny.sdxl_inpaint
from farm.errors import WeightsMissing
from models.tiny import card
from models.weights.tiny import built


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one trained file that the tiny SDXL checkpoint is then made with."""
    folder = tmp_path / "trained"
    folder.mkdir()
    shutil.copy(card.FOLDER / card.NAME, folder)
    file = folder / "unet.safetensors"
    save_file({"a": np.arange(20)}, file)
    card.update(folder, {})

    def build(target: Path) -> None:
        save_file(load_file(file), target / file.name)

    monkeypatch.setattr(card, "FOLDER", folder)
    monkeypatch.setattr(models.tiny.sdxl, "build", build)
    return file


def test_new_weights_are_built_anew_and_the_same_ones_are_not(
    tmp_path: Path, trained: Path
) -> None:
    before = built("sdxl", "pipeline", tmp_path / "cache")
    os.utime(trained, (1, 1))
    assert built("sdxl", "pipeline", tmp_path / "cache") == before
    content = trained.read_bytes()
    trained.write_bytes(content[:-1] + b"\x01")  # of the same size, and its card is the old one
    after = built("sdxl", "pipeline", tmp_path / "cache")
    assert after != before
    assert (before / trained.name).read_bytes() == content
    assert (after / trained.name).read_bytes() == trained.read_bytes()


@pytest.mark.parametrize("length", [None, 0, 30])
def test_a_broken_trained_file_is_named_when_it_is_to_be_used(
    tmp_path: Path, trained: Path, length: int | None
) -> None:
    content = trained.read_bytes()
    trained.unlink() if length is None else trained.write_bytes(content[:length])
    with pytest.raises(WeightsMissing, match=rf"{trained} is .*Get it again with `"):
        built("sdxl", "pipeline", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_checkpoint_is_made_with_the_files_that_its_card_names(tmp_path: Path) -> None:
    recipes = {
        "sdxl": models.tiny.sdxl,
        "flux-schnell": models.tiny.flux,
        "flux-dev": models.tiny.flux_dev,
        "replace-background": models.tiny.sdxl_inpaint,
    }
    known = card.read()
    for model_id, recipe in recipes.items():
        files = known.files_of(model_id)
        assert files, model_id
        weights = tmp_path / model_id
        weights.mkdir()
        for file in files:
            shutil.copy(card.FOLDER / file.name, weights)
        recipe.build(tmp_path / f"{model_id}-built", weights)  # finds all that it reads
        for file in files:
            (weights / file.name).unlink()
            with pytest.raises(WeightsMissing, match=str(weights)):
                recipe.build(tmp_path / f"{model_id}-broken", weights)
            shutil.copy(card.FOLDER / file.name, weights)
