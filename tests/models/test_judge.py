"""Judging results, on a small ViT that finds red indecent."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from farm.catalog import built_in_catalog
from farm.errors import EngineFault, SetupError, WeightsMissing
from farm.types import Artifact
from models import registry
from models.base import Judge
from tests.models import classifier
from tests.models.hub import REVISION, Repository

RED, GREEN, GREY, WHITE = (230, 10, 20), (10, 200, 30), (128, 128, 128), (255, 255, 255)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier.write(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Judge]:
    made = registry.create_judge(str(folder), {"nsfw": 0.8}, None)
    made.load("cpu")
    yield made
    made.unload()


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def artifact(image: Image.Image, kind: str = "PNG") -> Artifact:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Artifact(buffer.getvalue(), f"image/{kind.lower()}", "images", kind.lower())


def plain(colour: tuple[int, ...], size: tuple[int, int] = (90, 60)) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("colour", "refused"), [(RED, "nsfw"), (GREEN, None), (GREY, None), (WHITE, None)]
)
def test_what_is_like_a_refused_label_is_refused(
    judge: Judge, colour: tuple[int, ...], refused: str | None, kind: str
) -> None:
    assert judge.refusal(artifact(plain(colour), kind)) == refused


def test_what_is_transparent_is_not_seen(judge: Judge) -> None:
    assert judge.refusal(artifact(plain((*RED, 0)))) is None
    assert judge.refusal(artifact(plain((*RED, 20)))) is None
    assert judge.refusal(artifact(plain((*RED, 255)))) == "nsfw"
    grey = Image.new("LA", (40, 30), (90, 128))
    assert judge.refusal(artifact(grey)) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_larger_than_pillow_opens_is_looked_at(
    judge: Judge, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = [artifact(plain(colour, (3000, 2100)), kind) for colour in (RED, GREEN)]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert [judge.refusal(picture) for picture in large] == ["nsfw", None]


def test_a_picture_of_a_kind_that_no_engine_makes_does_not_pass(judge: Judge) -> None:
    with pytest.raises(EngineFault, match="cannot open image/gif"):
        judge.refusal(artifact(plain(GREEN), "GIF"))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_any_shape_is_looked_at(judge: Judge, size: tuple[int, int]) -> None:
    assert judge.refusal(artifact(plain(RED, size))) == "nsfw"


def test_results_that_are_no_pictures_pass(judge: Judge) -> None:
    assert judge.refusal(Artifact(b"RIFF", "audio/wav", "audio", "wav")) is None


def test_a_result_that_cannot_be_read_does_not_pass(judge: Judge) -> None:
    with pytest.raises(EngineFault, match="looking at a result"):
        judge.refusal(Artifact(b"no picture", "image/png", "images", "png"))


def test_the_limit_is_the_operators(folder: Path) -> None:
    grey = artifact(plain(GREY))  # 0.12
    for limit, refused in ((0.11, "nsfw"), (0.13, None)):
        made = registry.create_judge(str(folder), {"NSFW": limit}, None)
        made.load("cpu")
        assert made.refusal(grey) == refused
        made.unload()


def test_of_several_labels_the_one_furthest_over_its_limit_is_named(folder: Path) -> None:
    made = registry.create_judge(str(folder), {"normal": 0.01, "nsfw": 0.9}, None)
    made.load("cpu")
    assert made.refusal(artifact(plain(GREEN))) == "normal"
    assert made.refusal(artifact(plain(RED))) == "nsfw"


def test_labels_that_do_not_exclude_each_other_count_each(tmp_path: Path) -> None:
    several = classifier.write(tmp_path, ("gore", "nsfw"), "multi_label_classification")
    made = registry.create_judge(str(several), {"gore": 0.85, "nsfw": 0.99}, None)
    made.load("cpu")
    # 0.88 by the bias alone; beside red's other logit it would be nothing.
    assert made.refusal(artifact(plain(RED))) == "gore"


def test_an_unknown_label_names_those_that_the_classifier_knows(folder: Path) -> None:
    made = registry.create_judge(str(folder), {"nsfw": 0.8, "gore": 0.5}, None)
    with pytest.raises(SetupError, match=r"names gore, but .* only knows normal, nsfw"):
        made.load("cpu")


def test_a_judge_that_was_not_loaded_lets_nothing_pass(folder: Path) -> None:
    made = registry.create_judge(str(folder), {"nsfw": 0.8}, None)
    with pytest.raises(EngineFault, match="before it was loaded"):
        made.refusal(artifact(plain(GREEN)))


def test_it_may_be_loaded_and_unloaded_again(folder: Path) -> None:
    made = registry.create_judge(str(folder), {"nsfw": 0.8}, None)
    for _ in range(2):
        made.load("cpu")
        made.load("cpu")
        assert made.refusal(artifact(plain(RED))) == "nsfw"
        made.unload()
        made.unload()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def half_the_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:300])


def no_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def another_kind_of_model(folder: Path) -> None:
    change(folder, model_type="gpt-9000")


def no_labels(folder: Path) -> None:
    change(folder, id2label={})


def code_of_its_own(folder: Path) -> None:
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    change(
        folder,
        model_type="mine",
        auto_map={"AutoConfig": "mine.A", "AutoModelForImageClassification": "mine.B"},
    )


def change(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    "spoil",
    [
        no_weights,
        no_processor,
        half_the_weights,
        no_head,
        another_kind_of_model,
        no_labels,
        code_of_its_own,
    ],
)
def test_a_broken_checkpoint_stops_results(copied: Path, spoil: Callable[[Path], None]) -> None:
    spoil(copied)
    made = registry.create_judge(str(copied), {"nsfw": 0.8}, None)
    for _ in range(2):
        with pytest.raises(SetupError, match=str(copied)):
            made.load("cpu")
        with pytest.raises(EngineFault):
            made.refusal(artifact(plain(GREEN)))


def test_a_classifier_that_computes_nothing_sensible_lets_nothing_pass(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    tensors["classifier.bias"][0] = np.nan
    save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    made = registry.create_judge(str(copied), {"nsfw": 0.8}, None)
    made.load("cpu")
    with pytest.raises(EngineFault, match="no probabilities"):
        made.refusal(artifact(plain(GREEN)))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=f"no folder {tmp_path}/none"):
        registry.create_judge(f"{tmp_path}/none", {"nsfw": 0.8}, None).load("cpu")


@pytest.mark.usefixtures("no_network")
def test_the_hubs_cache_is_used_offline(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    source = Repository("someone/eyes", layout="model")
    made = registry.create_judge("hub", {"nsfw": 0.8}, source)
    with pytest.raises(WeightsMissing, match="farm models pull result-moderation"):
        made.load("cpu")
    shutil.copytree(folder, tmp_path / "models--someone--eyes" / "snapshots" / REVISION)
    made.load("cpu")
    assert made.refusal(artifact(plain(RED))) == "nsfw"


def test_a_catalogue_without_a_classifier_says_what_to_set() -> None:
    with pytest.raises(SetupError, match=r"no \[result_moderation\]"):
        registry.create_judge("hub", {"nsfw": 0.8}, None).load("cpu")


def test_the_catalogues_classifier_is_pinned() -> None:
    source = built_in_catalog().result_moderation
    assert source is not None
    assert (source.layout, len(source.revision)) == ("model", 40)
