"""The model card of the trained miniatures: it tells of the files that are there, no other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import save_file

from farm.errors import SetupError, WeightsMissing
from models.tiny import card
from models.tiny.evaluate.prompts import held_out_questions
from models.tiny.evaluate.scoring import judge, tally
from models.tiny.scenes import captions, draw, sampling

FACTS: dict[str, Any] = {
    "parts": {
        "autoencoder": {"file": "vae.safetensors", "steps": 900, "seconds": 5400, "loss": 0.01234},
        "painter": {
            "file": ["unet.safetensors", "words.safetensors"],
            "parameters": 1_234_567,
            "steps": 12_000,
            "serves": ["sdxl", "wan2.1"],
        },
    },
    "seed": 7,
    "machine": "2 CPU cores",
}
SCORES = {
    "how": "200 questions at 512x512",
    "rows": [
        {"name": "single", "about": "colour and shape", "right": 97, "asked": 100},
        {"name": "pairs", "right": 43, "asked": 50, "interval": [0.7381, 0.9305]},
        {"name": "count", "right": 1, "asked": 2},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Trained weights, small ones, as they lie in a source tree, and their card."""
    made = tmp_path / "models" / "tiny" / "weights"
    made.mkdir(parents=True)
    blank = ModelCard.load(card.FOLDER / card.NAME)
    blank.data["media_farm"] = {}
    blank.save(made / card.NAME)
    for name, count in (("vae", 6), ("unet", 20), ("words", 4)):
        save_file({"a": np.arange(count, dtype=np.float32)}, made / f"{name}.safetensors")
    card.update(made, FACTS)
    return made


def change(file: Path) -> None:
    """Make the last number in a file another one."""
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_the_committed_card_tells_of_the_committed_files(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(card.FOLDER, tmp_path / "weights"))
    card.update(copy, {})
    written = (copy / card.NAME).read_text(encoding="utf-8")
    committed = (card.FOLDER / card.NAME).read_text(encoding="utf-8")
    assert written == committed, "Run `python -m models.tiny.card`, and commit the card."
    files = card.read().files
    assert {file.name for file in files} == {path.name for path in card.trained_files()}
    assert sum(file.size for file in files) <= card.BYTES_MAX


def test_the_card_tells_what_the_files_are(folder: Path) -> None:
    vae, unet = (
        next(file for file in card.read(folder).files if file.name == f"{name}.safetensors")
        for name in ("vae", "unet")
    )
    assert unet.parameters == 20
    assert unet.size == (folder / unet.name).stat().st_size
    sha256sum = subprocess.check_output(["sha256sum", folder / unet.name], text=True)
    assert sha256sum.split()[0] == unet.sha256
    assert unet.serves == ("sdxl", "wan2.1"), "as the facts say"
    assert set(vae.serves) > {"sdxl", "flux-schnell", "flux-dev", "replace-background"}


def test_changed_weights_with_an_old_card_are_refused_until_it_is_written(folder: Path) -> None:
    card.check("sdxl", folder)
    change(folder / "unet.safetensors")
    with pytest.raises(WeightsMissing, match=r"unet\.safetensors is not the file .*tiny\.card`"):
        card.check("sdxl", folder)
    card.check("flux-schnell", folder)  # it is not made with that file
    card.update(folder, {})
    card.check("sdxl", folder)


@pytest.mark.parametrize("harm", [Path.unlink, change, lambda file: file.write_bytes(b"{")])
def test_what_is_said_to_type_brings_a_file_back(folder: Path, harm: Any) -> None:
    root = folder.parents[2]

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", root, *who, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "weights")
    harm(folder / "unet.safetensors")
    with pytest.raises(WeightsMissing, match=r"unet\.safetensors") as caught:
        card.check("sdxl", folder)
    command = re.search("`(git .*?)`", str(caught.value))
    assert command
    subprocess.run(shlex.split(command[1]), check=True, timeout=60)
    card.check("sdxl", folder)


def test_whoever_has_the_package_gets_the_package_again(folder: Path) -> None:
    (folder / "vae.safetensors").unlink()
    with pytest.raises(WeightsMissing, match=r"vae.* is missing.*`pip install --force-reinstall"):
        card.check("flux-dev", folder)


def test_the_line_says_what_a_checkpoint_is_and_how_good(folder: Path) -> None:
    built = "built-in checkpoint"
    assert card.check("sdxl", folder) == f"{built}, MIT, not scored"
    card.update(folder, {"scores": {"sdxl": SCORES}})
    assert card.check("sdxl", folder) == f"{built}, MIT, single 97 %, pairs 86 %"
    assert card.check("wan2.1", folder) == f"{built}, MIT, single 97 %, pairs 86 % (as sdxl)"
    assert card.check("flux-dev", folder) == f"{built}, MIT, not scored"
    assert card.check("flux-2", folder) == f"{built}, random weights"


def test_what_was_known_stays_when_scores_come_later(folder: Path) -> None:
    card.update(folder, {"scores": {"sdxl": SCORES}})
    card.update(folder, {"scores": {"flux-schnell": SCORES}, "seed": 8})
    text = (folder / card.NAME).read_text(encoding="utf-8")
    assert "| autoencoder | `vae.safetensors` |  | 900 | 90 | 0.0123 |" in text
    painter = "| painter | `unet.safetensors`, `words.safetensors` | 1,234,567 | 12,000 |  |  |"
    assert painter in text
    assert "90 minutes in all, seed 8, on 2 CPU cores." in text
    assert "`sdxl` (200 questions at 512x512):" in text
    assert text.count("| pairs | 43 of 50 | 86.0 % | 73.8 to 93.0 |") == 2
    assert "## Limits" in text, "what people wrote stays"


def test_a_stage_of_training_is_told_of_without_a_file(folder: Path) -> None:
    card.update(folder, {"parts": {"straight": {"steps": 3000, "seconds": 60, "loss": 0.5}}})
    text = (folder / card.NAME).read_text(encoding="utf-8")
    assert "| straight |  |  | 3,000 | 1 | 0.5000 |" in text
    assert "91 minutes in all" in text


def test_a_part_whose_file_is_gone_is_told_of_no_more(folder: Path) -> None:
    (folder / "words.safetensors").unlink()
    card.update(folder, {})
    assert {file.name for file in card.read(folder).files} == {
        "vae.safetensors",
        "unet.safetensors",
    }
    assert "| painter |" not in (folder / card.NAME).read_text(encoding="utf-8")


def test_the_hubs_own_reader_finds_licence_and_scores(folder: Path) -> None:
    card.update(folder, {"scores": {"sdxl": SCORES, "flux-schnell": SCORES}})
    data: Any = ModelCard.load(folder / card.NAME).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "mit",
        "diffusers",
        "text-to-image",
    )
    results = {(each.dataset_config, each.metric_name): each for each in data.eval_results}
    assert len(results) == 6
    assert results["sdxl", "pairs"].metric_value == 0.86
    assert results["flux-schnell", "single: colour and shape"].metric_value == 0.97
    assert {each.dataset_split for each in results.values()} == {"held-out"}


def test_every_word_of_the_captions_is_on_the_card() -> None:
    text = (card.FOLDER / card.NAME).read_text(encoding="utf-8")
    told = text.partition("<!-- words:")[2].partition("<!-- end of words")[0]
    known = set(re.findall("[a-z]+", told))
    known |= {f"{word}s" for word in known}  # the table has a thing once, not as two of it
    rng = np.random.default_rng(5)
    said = " ".join(captions.caption(sampling.sample(rng), rng) for _ in range(4000))
    used = set(re.findall("[a-z]+", said))
    assert len(used) > 80
    assert used <= known


def test_the_command_takes_what_training_and_evaluation_leave(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = held_out_questions(1, 3)[0]
    drawn = draw.draw(question.scene, 256, 256, np.random.default_rng(0))
    scores = tally([(question, judge(question, drawn))]).as_json()
    (tmp_path / "sdxl.json").write_text(json.dumps(scores))
    stages = {"sdxl": {"steps": 12_000, "seconds": 3600, "loss": 0.1}}
    (tmp_path / "facts.json").write_text(json.dumps(stages))
    monkeypatch.setattr(card, "FOLDER", folder)
    told = ("--scores", "sdxl", str(tmp_path / "sdxl.json"), "--how", "30 steps")
    card.main(["--parts", str(tmp_path / "facts.json"), *told])
    text = (folder / card.NAME).read_text(encoding="utf-8")
    assert "| sdxl |  |  | 12,000 | 60 | 0.1000 |" in text
    assert "`sdxl` (30 steps):" in text
    assert f"| {question.kind}: " in text
    assert "of 1 |" in text


def test_facts_that_a_card_does_not_have_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"colour: a card has only parts, seed"):
        card.update(folder, {"colour": "red"})


def test_a_file_that_holds_no_tensors_is_named(folder: Path) -> None:
    (folder / "vae.safetensors").write_bytes(b"version https://git-lfs")
    with pytest.raises(SetupError, match=r"vae\.safetensors is no safetensors file"):
        card.update(folder, {})


@pytest.mark.parametrize("mark", ["<!-- scores: written by models/tiny/card.py -->", "<!-- end of"])
def test_a_card_without_its_marks_is_left_as_it_is(folder: Path, mark: str) -> None:
    file = folder / card.NAME
    without = file.read_text(encoding="utf-8").replace(mark, "")
    file.write_text(without, encoding="utf-8")
    with pytest.raises(SetupError, match="it needs the lines `<!-- "):
        card.update(folder, {"seed": 9})
    assert file.read_text(encoding="utf-8") == without
    assert sorted(path.suffix for path in folder.iterdir()) == [".md"] + [".safetensors"] * 3


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff\xfe",
        b"---\nlicense: [\n---\n",
        b"---\n- a\n---\n",
        b"---\nmedia_farm: 3\n---\n",
        b"---\nmedia_farm:\n  files:\n    a.safetensors: {sha256: b}\n---\n",
    ],
)
def test_a_card_that_cannot_be_read_is_named(folder: Path, content: bytes | None) -> None:
    file = folder / card.NAME
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(WeightsMissing, match=rf"{file}, cannot be read .*pip install"):
        card.check("sdxl", folder)
