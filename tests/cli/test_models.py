"""``farm models``: parts of weights, twins without weights, and what looks at results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from farm.catalog import BUILT_IN
from tests.cli.conftest import Farm
from tests.models import classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier.write(tmp_path_factory.mktemp("classifier"))


def test_a_models_parts_are_listed_with_their_pins(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {row["id"]: row for row in farm("models", "list", "--json").json()}
    scene, upscaler = rows["replace-background"], rows["upscale-4x"]
    assert set(scene["sources"]) == {"pipeline", "vae", "matting"}
    assert len(upscaler["sources"]["upscaler"]["sha256"]) == 64
    assert (upscaler["served_by"], upscaler["weights"]) == ("lanczos", "built-in tiny")

    monkeypatch.setenv("FARM_WEIGHTS", "hub")
    rows = {row["id"]: row for row in farm("models", "list", "--json").json()}
    assert rows["upscale-4x"]["served_by"] == "realesrgan"
    assert rows["upscale-4x"]["weights"] == "RealESRGAN_x4plus.pth"
    assert rows["remove-object"]["weights"] == "big-lama.pt and 3 more"
    assert rows["sdxl"]["weights"] == "stabilityai/stable-diffusion-xl-base-1.0 and 1 more"


def test_a_twin_needs_no_weights_and_says_so(farm: Farm) -> None:
    ran = farm("models", "check", "upscale-4x", "real-esrgan", "remove-background")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "upscale-4x: lanczos needs no weights",
        "upscale-4x: lanczos needs no weights",
        "remove-background: grabcut needs no weights",
    ]


def test_every_missing_model_of_a_folder_is_named(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "remove-background").mkdir()
    (tmp_path / "remove-background" / "matting.onnx").touch()
    monkeypatch.setenv("FARM_WEIGHTS", str(tmp_path))
    ran = farm("models", "check", "remove-background", "restore-face", "remove-object")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0] == f"remove-background: {tmp_path}/remove-background/matting.onnx"
    assert f"MISSING: No weights for restore-face: there is no file {tmp_path}" in lines[1]
    assert "inpainter.safetensors. Put big-lama.pt, converted to safetensors, there" in lines[2]


def test_files_that_cannot_be_fetched_say_so_and_the_others_are_tried(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = BUILT_IN.read_text(encoding="utf-8").replace("https://github.com/", "https://[::1]:9/")
    (tmp_path / "catalog.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("FARM_CATALOG", str(tmp_path / "catalog.toml"))
    ran = farm("models", "pull", "upscale-4x", "remove-background")
    assert ran.code != 0
    assert ran.err.count("could not be fetched from https://[::1]:9/") == 2


def test_what_looks_at_results_is_checked_where_it_is_configured(
    farm: Farm, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_RESULT_MODERATION", str(folder))
    assert farm("models", "check", "result-moderation").out == f"result-moderation: {folder}\n"

    monkeypatch.setenv("FARM_RESULT_MODERATION_REFUSE", "nsfw=0.8,gore=0.5")
    looks = {look["name"]: look for look in farm("doctor", "--json").json()}
    assert not looks["weights result-moderation"]["ok"]
    assert "only knows normal, nsfw" in looks["weights result-moderation"]["says"]
    assert looks["weights upscale-4x"]["ok"]


def test_a_classifier_that_is_not_whole_is_named(
    farm: Farm, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    (half / "model.safetensors").unlink()
    monkeypatch.setenv("FARM_RESULT_MODERATION", str(half))
    ran = farm("models", "check", "result-moderation", "--json")
    [answer] = json.loads(ran.out)
    assert (ran.code, answer["ok"]) == (1, False)
    assert f"{half} holds no safetensors file" in answer["message"]


def test_an_unknown_model_names_the_known_ones(farm: Farm) -> None:
    ran = farm("models", "check", "dall-e")
    assert ran.code != 0
    assert "virtual-tryon, " in ran.err
    assert "veo-3-fast, result-moderation." in ran.err
