"""Where weights come from: the tiny recipes, a folder, the hub's cache, and fetching them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import models.tiny.sdxl
from farm.catalog import built_in_catalog
from farm.errors import WeightsMissing
from models import registry, weights
from tests.contracts.engine import EngineContract, ignore, pixels
from tests.models.hub import REVISION, Source, hub

WITH_VAE = Source(variant="fp16", vae_hub_id="someone/vae", vae_revision=REVISION)


class Small(EngineContract):
    model_id = "sdxl"
    steps = 2


@pytest.fixture(scope="session")
def tiny(tiny_cache: Path) -> Path:
    """The tiny SDXL checkpoint."""
    return weights.resolve("sdxl", "tiny", Source(), tiny_cache).path


def as_fp16(tiny: Path, target: Path) -> Path:
    """A copy of the checkpoint whose files say that they are the fp16 variant."""
    shutil.copytree(tiny, target)
    for file in list(target.glob("*/*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))
    return target


def test_the_catalogues_cards_are_sources_of_every_engine() -> None:
    cards = built_in_catalog().models
    for model_id in registry.engine_ids():
        assert len(cards[model_id].weights.revision) == 40


def test_the_tiny_recipes_give_the_same_bytes_in_every_process(
    tmp_path: Path, tiny_cache: Path
) -> None:
    code = (
        "import sys, pathlib; from models import registry, weights\n"
        "for model_id in registry.engine_ids(): "
        "weights.resolve(model_id, 'tiny', None, pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=120, check=True)
    for model_id in registry.engine_ids():
        ours = weights.resolve(model_id, "tiny", Source(), tiny_cache).path
        files = sorted(file.relative_to(ours) for file in ours.rglob("*") if file.is_file())
        assert len(files) >= 12
        for file in files:
            assert (ours / file).read_bytes() == (tmp_path / ours.name / file).read_bytes(), file


def test_a_built_checkpoint_is_kept(tiny: Path, tiny_cache: Path) -> None:
    before = tiny.stat().st_ino
    assert weights.resolve("sdxl", "tiny", Source(), tiny_cache).path.stat().st_ino == before


def test_losing_the_race_to_build_uses_the_winners(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = tmp_path / tiny.name

    def build_while_another_finishes(folder: Path) -> None:
        shutil.copytree(tiny, folder, dirs_exist_ok=True)
        shutil.copytree(tiny, winner)

    monkeypatch.setattr(models.tiny.sdxl, "build", build_while_another_finishes)
    assert weights.resolve("sdxl", "tiny", Source(), tmp_path).path == winner
    assert list(tmp_path.iterdir()) == [winner]


def test_a_build_that_breaks_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models.tiny.sdxl, "build", full)
    with pytest.raises(OSError, match="No space"):
        weights.resolve("sdxl", "tiny", Source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(WeightsMissing, match=str(blocked / "cache")):
        weights.resolve("sdxl", "tiny", Source(), blocked / "cache")


def test_a_model_without_a_recipe_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no tiny checkpoint of dall-e"):
        weights.resolve("dall-e", "tiny", Source(), tmp_path)


@pytest.mark.usefixtures("no_network")
def test_tiny_engines_never_touch_the_network(tmp_path: Path) -> None:
    for model_id in registry.engine_ids():
        made = registry.create(model_id, "tiny", Source(), cache=tmp_path)
        made.load("cpu")
        assert made.resident_bytes > 0, f"{model_id} loaded nothing"
        made.unload()


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_loaded_like_the_tiny_checkpoint(
    tmp_path: Path, tiny: Path, tiny_cache: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "plain" / "sdxl")
    as_fp16(tiny, tmp_path / "variant" / "sdxl")
    expected = weights.resolve("sdxl", "tiny", Source(), tiny_cache)
    made = registry.create("sdxl", "tiny", Source(), cache=tiny_cache)
    pictures = []
    for place in ("plain", "variant", ""):
        if place:
            where = str(tmp_path / place)
            made = registry.create("sdxl", where, WITH_VAE, cache=tmp_path / "unused")
            assert made.served_by == "sdxl"
        made.load("cpu")
        pictures.append(pixels(made.run(Small.request(), ignore)[0]).tobytes())
        made.unload()
    assert len(set(pictures)) == 1
    assert expected.variant is None


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=rf"{tmp_path}/sdxl.*FARM_WEIGHTS"):
        weights.resolve("sdxl", str(tmp_path), Source(), tmp_path)


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
        weights.resolve("sdxl", str(tmp_path), Source(), tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path, tiny: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "sdxl")
    stem = path / "unet" / "diffusion_pytorch_model"
    stem.with_suffix(".safetensors").rename(f"{stem}-00001-of-00002.safetensors")
    shards = {"a": "diffusion_pytorch_model-00001-of-00002.safetensors"}
    shards["b"] = "diffusion_pytorch_model-00002-of-00002.safetensors"
    index = json.dumps({"weight_map": shards})
    stem.with_suffix(".safetensors.index.json").write_text(index)
    with pytest.raises(WeightsMissing, match="00002-of-00002"):
        weights.check(path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe\x00"])
def test_an_index_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model_index.json").write_bytes(content)
    with pytest.raises(WeightsMissing, match=r"model_index\.json"):
        weights.check(tmp_path)


def test_files_that_are_no_safetensors_are_not_loaded(tmp_path: Path, tiny: Path) -> None:
    path = shutil.copytree(tiny, tmp_path / "sdxl")
    (path / "vae" / "diffusion_pytorch_model.safetensors").rename(
        path / "vae" / "diffusion_pytorch_model.bin"
    )
    with pytest.raises(WeightsMissing, match="no safetensors file"):
        weights.check(path)


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
    made = registry.create("sdxl", "hub", WITH_VAE, cache=tmp_path / "unused")
    with pytest.raises(WeightsMissing, match="farm models pull sdxl"):
        made.load("cpu")
    cached(tmp_path / "hub", "someone/model", variant)
    with pytest.raises(WeightsMissing, match=r"someone/vae.*farm models pull sdxl"):
        made.load("cpu")
    cached(tmp_path / "hub", "someone/vae", tiny / "vae")
    made.load("cpu")
    assert pixels(made.run(Small.request(), ignore)[0]).shape == (512, 512, 3)
    made.unload()


def pull(
    endpoint: str, home: Path, source: Source, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Fetch in a process of its own: the hub's address is read when its library is imported."""
    code = (
        "from models.weights import pull\n"
        "from farm.errors import FarmError\n"
        "from tests.models.hub import Source\n"
        f"try: print(pull('sdxl', {source!r}))\n"
        "except FarmError as error: print(type(error).__name__, error)"
    )
    set_here = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": os.getcwd()}
    set_here |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, check=True, env=kept | set_here | settings,
    )  # fmt: skip


def test_pull_fetches_one_precision_and_nothing_else(tmp_path: Path, tiny: Path) -> None:
    published = as_fp16(tiny, tmp_path / "published")
    (published / "everything.safetensors").write_bytes(b"a second copy of the whole model")
    (published / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"float32")
    (published / "unet" / "model.onnx").write_bytes(b"another runtime's")
    (published / "unet" / "diffusion_pytorch_model.fp16.bin").write_bytes(b"a pickle")
    with hub({"someone/model": published, "someone/vae": tiny / "vae"}) as url:
        done = pull(url, tmp_path / "home", WITH_VAE)
    path = Path(done.stdout.strip())
    assert path.is_dir(), (done.stdout, done.stderr)
    got = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    offered = {str(file.relative_to(published)) for file in published.rglob("*") if file.is_file()}
    unwanted = {"everything.safetensors", "unet/diffusion_pytorch_model.safetensors"}
    unwanted |= {"unet/model.onnx", "unet/diffusion_pytorch_model.fp16.bin"}
    unwanted |= {file for file in offered if file.startswith("vae/")}
    assert got == offered - unwanted
    assert weights.check(path, "fp16", without=("vae",)) == path


def test_pull_says_how_to_pass_a_licence_gate(tmp_path: Path, tiny: Path) -> None:
    with hub({"someone/model": tiny}, gated=True) as url:
        done = pull(url, tmp_path / "home", Source())
    assert done.stdout.startswith("SetupError")
    assert "hf auth login" in done.stdout


def test_pull_without_a_network_says_so(tmp_path: Path) -> None:
    done = pull("http://127.0.0.1:9", tmp_path / "home", Source(), HF_HUB_OFFLINE="1")
    assert done.stdout.startswith("SetupError The weights of sdxl could not be fetched")
