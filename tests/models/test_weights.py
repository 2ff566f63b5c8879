"""Where weights come from: the tiny recipes, a folder, the hub's cache, and fetching them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

import models.tiny.sdxl
from farm.cards import FileSource, HubSource
from farm.catalog import built_in_catalog
from farm.errors import SetupError, WeightsMissing
from models import registry, weights
from models.weights import layout
from tests.contracts.engine import EngineContract, ignore, pixels
from tests.models.hub import REVISION, Card, File, Repository

PLAIN = Card()
WITH_VAE = Card(
    weights={
        "pipeline": Repository(variant="fp16"),
        "vae": Repository("someone/vae", layout="model"),
    }
)
TINY_PAINTERS = ("sdxl", "flux-schnell")
TINY_PIPELINES = (*TINY_PAINTERS, "replace-background", "flux-dev", "flux-2", "flux-kontext")


def locate(card: Card, where: str, cache: Path, part: str = "pipeline") -> weights.Located:
    return weights.locate(registry.setup_of(card, where, cache), part)


class Small(EngineContract):
    model_id = "sdxl"
    steps = 2


@pytest.fixture(scope="session")
def tiny(tiny_cache: Path) -> Path:
    """The tiny SDXL checkpoint."""
    return locate(PLAIN, "tiny", tiny_cache).path


def as_fp16(tiny: Path, target: Path) -> Path:
    """A copy of the checkpoint whose files say that they are the fp16 variant."""
    shutil.copytree(tiny, target)
    for file in list(target.glob("*/*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))
    return target


def test_every_part_of_every_card_is_pinned() -> None:
    for card in built_in_catalog().models.values():
        assert card.weights or card.is_hosted, card.id
        for source in card.weights.values():
            pin = source.sha256 if isinstance(source, FileSource) else source.revision
            assert len(set(pin)) > 6, pin  # no row of zeros


def test_the_tiny_recipes_give_the_same_bytes_in_every_process(
    tmp_path: Path, tiny_cache: Path
) -> None:
    code = (
        "import sys, pathlib; from models.weights import tiny\n"
        "for model_id in sys.argv[2:]: "
        "tiny.built(model_id, 'pipeline', pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *TINY_PIPELINES], timeout=120, check=True
    )
    for model_id in TINY_PIPELINES:
        ours = locate(Card(model_id), "tiny", tiny_cache).path
        files = sorted(file.relative_to(ours) for file in ours.rglob("*") if file.is_file())
        assert len(files) >= 10
        for file in files:
            assert (ours / file).read_bytes() == (tmp_path / ours.name / file).read_bytes(), file


def test_a_built_checkpoint_is_kept(tiny: Path, tiny_cache: Path) -> None:
    before = tiny.stat().st_ino
    assert locate(PLAIN, "tiny", tiny_cache).path.stat().st_ino == before


def test_losing_the_race_to_build_uses_the_winners(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = tmp_path / tiny.name

    def build_while_another_finishes(folder: Path) -> None:
        shutil.copytree(tiny, folder, dirs_exist_ok=True)
        shutil.copytree(tiny, winner)

    monkeypatch.setattr(models.tiny.sdxl, "build", build_while_another_finishes)
    assert locate(PLAIN, "tiny", tmp_path).path == winner
    assert list(tmp_path.iterdir()) == [winner]


def test_a_build_that_breaks_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models.tiny.sdxl, "build", full)
    with pytest.raises(OSError, match="No space"):
        locate(PLAIN, "tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(WeightsMissing, match=str(blocked / "cache")):
        locate(PLAIN, "tiny", blocked / "cache")


def test_a_model_without_a_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no tiny checkpoint of dall-e"):
        locate(Card("dall-e"), "tiny", tmp_path)


@pytest.mark.usefixtures("no_network")
def test_tiny_engines_never_touch_the_network(tmp_path: Path) -> None:
    for model_id in TINY_PAINTERS:
        made = registry.create(built_in_catalog().models[model_id], "tiny", cache=tmp_path)
        made.load("cpu")
        assert made.resident_bytes > 0, f"{model_id} loaded nothing"
        made.unload()


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_loaded_like_the_tiny_checkpoint(
    tmp_path: Path, tiny: Path, tiny_cache: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "plain" / "sdxl")
    assert locate(WITH_VAE, str(tmp_path / "plain"), tmp_path).variant is None
    as_fp16(tiny, tmp_path / "variant" / "sdxl")
    folder = registry.create(WITH_VAE, str(tmp_path / "variant"), cache=tmp_path / "unused")
    assert folder.served_by == "sdxl"
    pictures = set()
    for made in (registry.create(PLAIN, "tiny", cache=tiny_cache), folder):
        made.load("cpu")
        pictures.add(pixels(made.run(Small.request(), ignore)[0]).tobytes())
        made.unload()
    assert len(pictures) == 1


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=rf"{tmp_path}/sdxl.*FARM_WEIGHTS"):
        locate(PLAIN, str(tmp_path), tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
    ],
)
def test_a_checkpoint_that_is_not_whole_names_the_place(
    tmp_path: Path, tiny: Path, file: str
) -> None:
    shutil.copytree(tiny, tmp_path / "sdxl")
    (tmp_path / "sdxl" / file).unlink()
    with pytest.raises(WeightsMissing, match=str(tmp_path / "sdxl" / Path(file).parent)):
        locate(PLAIN, str(tmp_path), tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path, tiny: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "sdxl")
    stem = path / "unet" / "diffusion_pytorch_model"
    stem.with_suffix(".safetensors").rename(f"{stem}-00001-of-00002.safetensors")
    shards = {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}
    shards["b"] = "diffusion_pytorch_model-00002-of-00002.safetensors"
    index = json.dumps({"weight_map": shards})
    stem.with_suffix(".safetensors.index.json").write_text(index)
    with pytest.raises(WeightsMissing, match="00002-of-00002"):
        layout.check_pipeline(path, None)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe\x00"])
def test_an_index_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model_index.json").write_bytes(content)
    with pytest.raises(WeightsMissing, match=r"model_index\.json"):
        layout.check_pipeline(tmp_path, None)


def test_files_that_are_no_safetensors_are_not_loaded(tmp_path: Path, tiny: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "sdxl")
    (path / "vae" / "diffusion_pytorch_model.safetensors").rename(
        path / "vae" / "diffusion_pytorch_model.bin"
    )
    with pytest.raises(WeightsMissing, match="no safetensors file"):
        layout.check_pipeline(path, None)


def cached(root: Path, hub_id: str, tree: Path) -> None:
    """Lay a folder into a hub cache as the snapshot of a repository."""
    snapshot = root / f"models--{hub_id.replace('/', '--')}" / "snapshots" / REVISION
    shutil.copytree(tree, snapshot)


@pytest.mark.usefixtures("no_network")
def test_the_hubs_cache_is_used_offline_with_the_replaced_vae(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    variant = as_fp16(tiny, tmp_path / "fp16")
    shutil.rmtree(variant / "vae")
    made = registry.create(WITH_VAE, "hub", cache=tmp_path / "unused")
    with pytest.raises(WeightsMissing, match="farm models pull sdxl"):
        made.load("cpu")
    cached(tmp_path / "hub", "someone/model", variant)
    with pytest.raises(WeightsMissing, match=r"someone/vae.*farm models pull sdxl"):
        made.load("cpu")
    cached(tmp_path / "hub", "someone/vae", tiny / "vae")
    made.load("cpu")
    assert pixels(made.run(Small.request(), ignore)[0]).shape == (256, 256, 3)
    made.unload()


def test_a_part_that_the_card_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="names no weights 'refiner', only pipeline, vae"):
        locate(WITH_VAE, "hub", tmp_path, "refiner")


def test_the_tiny_vae_is_the_tiny_pipelines_own(tiny: Path, tiny_cache: Path) -> None:
    assert locate(WITH_VAE, "tiny", tiny_cache, "vae").path == tiny / "vae"


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["model.safetensors"], None, None),
        (["model.safetensors", "model.fp16.safetensors"], "fp16", "fp16"),
        (["model.safetensors", "model.fp16.safetensors"], None, None),
        (["model.safetensors"], "fp16", None),
        (["diffusion_pytorch_model.fp16.safetensors"], None, "fp16"),
        (["model.fp16-00001-of-00002.safetensors"], "fp16", "fp16"),
        (["model-00001-of-00002.fp16.safetensors"], "fp16", "fp16"),
        (["model-00001-of-00002.safetensors"], "fp16", None),
        (["optimizer.fp16.safetensors"], "fp16", None),
        ([], "fp16", None),
    ],
)
def test_a_folders_precision_is_what_is_in_it(
    tmp_path: Path, names: list[str], wanted: str | None, found: str | None
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert layout.variant_in(tmp_path, "model", wanted) == found


@pytest.mark.parametrize(
    ("format", "name"),
    [("onnx", "net.onnx"), ("torch", "net.safetensors"), ("torchscript", "net.safetensors")],
)
def test_a_file_of_a_folder_is_named_after_its_part(tmp_path: Path, format: str, name: str) -> None:
    card = Card("cutter", {"net": File("https://somewhere/a/best.pth", "0" * 64, format)})
    where = tmp_path / "cutter" / name
    with pytest.raises(WeightsMissing, match=rf"no file {where}. Put best.pth.* there") as caught:
        locate(card, str(tmp_path), tmp_path, "net")
    assert ("converted to safetensors" in str(caught.value)) == (format != "onnx")
    where.parent.mkdir()
    where.touch()
    assert locate(card, str(tmp_path), tmp_path, "net").path == where


def test_a_repository_that_is_no_pipeline_lies_in_a_folder_of_its_own(
    tmp_path: Path, tiny: Path
) -> None:
    card = Card("finder", {"detector": Repository("someone/dino", layout="model")})
    shutil.copytree(tiny / "text_encoder", tmp_path / "finder" / "detector")
    found = locate(card, str(tmp_path), tmp_path, "detector")
    assert found == weights.Located(tmp_path / "finder" / "detector")
    (found.path / "config.json").unlink()
    with pytest.raises(WeightsMissing, match=r"config\.json is missing"):
        locate(card, str(tmp_path), tmp_path, "detector")


LISTED = Repository("someone/song", layout="files", files=("state.bin", "deep/down/net.bin"))


def test_listed_files_are_all_that_is_looked_for_in_a_folder(tmp_path: Path) -> None:
    card = Card("singer", {"music": LISTED})
    where = tmp_path / "singer" / "music"
    with pytest.raises(WeightsMissing, match=rf"no folder {where}. Put a checkpoint of someone"):
        locate(card, str(tmp_path), tmp_path, "music")
    (where / "deep" / "down").mkdir(parents=True)
    (where / "state.bin").touch()
    with pytest.raises(WeightsMissing, match=rf"{where}/deep/down/net\.bin is missing"):
        locate(card, str(tmp_path), tmp_path, "music")
    (where / "deep" / "down" / "net.bin").touch()
    assert locate(card, str(tmp_path), tmp_path, "music") == weights.Located(where)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("files", [LISTED.files, LISTED.files[::-1]])
def test_listed_files_are_found_in_the_hubs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    card = Card("singer", {"music": dataclasses.replace(LISTED, files=files)})
    with pytest.raises(WeightsMissing, match="farm models pull singer"):
        locate(card, "hub", tmp_path, "music")
    for file in LISTED.files:
        (tmp_path / "song" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "song" / file).touch()
    cached(tmp_path / "hub", "someone/song", tmp_path / "song")
    found = locate(card, "hub", tmp_path, "music").path
    assert all((found / file).is_file() for file in LISTED.files)
    (found / files[1]).unlink()
    with pytest.raises(WeightsMissing, match=f"{files[1]} is missing"):
        locate(card, "hub", tmp_path, "music")


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "files"},
        {"files": ["state.bin"]},
        {"layout": "files", "files": ["state.bin"], "variant": "fp16"},
        {"layout": "files", "files": ["../state.bin"]},
        {"layout": "files", "files": ["/state.bin"]},
        {"layout": "files", "files": ["*.bin"]},
    ],
)
def test_a_card_lists_plain_paths_or_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HubSource.model_validate({"hub_id": "someone/song", "revision": REVISION, **wrong})


def test_only_the_parts_that_the_options_ask_for_are_checked(tmp_path: Path) -> None:
    small, large = {"finder": "small"}, {"finder": "large"}
    parts = {
        "always": File("https://somewhere/a.onnx", "0" * 64),
        "few": File("https://somewhere/b.onnx", "0" * 64, only_with=small),
        "many": File("https://somewhere/c.onnx", "0" * 64, only_with=large),
    }
    (tmp_path / "hole").mkdir()
    for part in ("always", "few"):
        (tmp_path / "hole" / f"{part}.onnx").touch()
    setups = [
        registry.setup_of(Card("hole", parts, options), str(tmp_path), tmp_path)
        for options in (small, large)
    ]
    assert set(weights.check(setups[0])) == {"always", "few"}
    with pytest.raises(WeightsMissing, match=r"many\.onnx"):
        weights.check(setups[1])


def test_a_twin_without_weights_has_nothing_to_check(tmp_path: Path) -> None:
    card = built_in_catalog().models["upscale-4x"]
    assert weights.check(registry.setup_of(card, "tiny", tmp_path)) == {}
    assert list(tmp_path.iterdir()) == []
