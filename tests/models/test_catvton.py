"""Trying on with CatVTON's classes; the weights are random, the parser knows drawn people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file

from farm.catalog import built_in_catalog
from farm.errors import SetupError
from models import weights
from models.base import Engine
from models.engines import catvton
from models.engines.catvton import CatvtonEngine, Window
from models.parts.tryon.clothes import ClothesParser, Parsed, place
from models.registry import setup_of
from tests.contracts.edit_engine import Pixels, TimeIsUp
from tests.contracts.tryon_engine import TryOnEngineContract
from tests.models import figures
from tests.models.checkpoints import catvton as checkpoint
from tests.models.checkpoints import making
from tests.models.figures import LABELS, NUMBERS, Figure

MODEL = "virtual-tryon"
SIZE, STEPS = (48, 64), 3


def folder(cache: Path) -> Path:
    """A folder of weights; written once."""
    made = cache / "catvton"
    if not (made / MODEL).exists():
        checkpoint.write(made / MODEL)
    return made


def engine(cache: Path, **options: str) -> Engine:
    small = {"size": f"{SIZE[0]}x{SIZE[1]}", "steps": str(STEPS), **options}
    return making.engine(MODEL, folder(cache), TimeIsUp, **small)


class TestCatvton(TryOnEngineContract):
    served_by = "catvton"
    size = (240, 320)  # smaller people the small parser does not know
    text: ClassVar = {"seed": "7", "steps": str(STEPS), "category": "upperbody"}

    @classmethod
    def create(cls, cache: Path) -> Engine:
        return engine(cache)

    def test_another_seed_and_another_garment_make_a_difference(self, editor: Engine) -> None:
        blue = figures.shirt(colour=(30, 60, 200), stripe=None)
        first, second = (self.run(editor, self.worn("upperbody", seed)) for seed in (7, 8))
        third = self.run(editor, self.worn("upperbody", garment_image=blue))
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, third)

    def test_every_denoising_step_is_a_step(self, editor: Engine) -> None:
        seen: list[tuple[int, int]] = []
        editor.run(self.request(), lambda step, steps: seen.append((step, steps)))
        # The pictures, who wears what, the denoising, the decoding, and the picture put together.
        assert len(seen) == seen[0][1] == STEPS + 4

    def test_the_network_sees_person_and_garment_one_above_the_other(
        self, editor: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = watched(editor, monkeypatch)
        self.run(editor, self.worn("upperbody"))
        assert len(calls) == STEPS
        rows, columns = SIZE[1] // 2, SIZE[0] // 2
        for inputs, text in calls:
            assert text is None
            assert inputs.shape == (2, 9, 2 * rows, columns)
            noisy, hole, known = inputs[:, :4], inputs[:, 4], inputs[:, 5:]
            assert torch.equal(noisy[0], noisy[1])
            assert set(hole[:, :rows].unique().tolist()) == {0.0, 1.0}
            assert not hole[:, rows:].any()
            # The second does without the garment, and is else the same.
            assert torch.equal(known[0, :, :rows], known[1, :, :rows])
            assert known[0, :, rows:].any()
            assert not known[1, :, rows:].any()

    def test_faces_stay_bit_for_bit_as_they_are(self, editor: Engine) -> None:
        assert isinstance(editor, CatvtonEngine)
        assert editor._parser is not None
        picture = self.figure().picture
        kept = place(editor._parser.parse(picture), "dress").kept > 0
        made = self.run(editor, self.worn("dress"))
        assert kept.sum() > 1000
        assert np.array_equal(made[kept], picture[kept])

    def test_a_wide_picture_is_worked_on_in_part_and_stays_wide(self, editor: Engine) -> None:
        drawn = figures.person(Figure(size=(480, 360)))
        made = self.run(editor, self.worn("dress", person_image=drawn.picture))
        assert made.shape == drawn.picture.shape
        assert np.array_equal(made[:, :90], drawn.picture[:, :90])


def watched(editor: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What the network is given at each step, and its text."""
    assert isinstance(editor, CatvtonEngine)
    assert editor._network is not None
    unet, calls = editor._network._unet, []
    whole = unet.forward

    def forward(inputs: Any, moment: Any, encoder_hidden_states: Any) -> Any:
        calls.append((inputs.clone(), encoder_hidden_states))
        return whole(inputs, moment, encoder_hidden_states=encoder_hidden_states)

    monkeypatch.setattr(unet, "forward", forward)
    return calls


def opened(cache: Path) -> Any:
    root = folder(cache) / MODEL / "unet" / "unet"
    return UNet2DConditionModel.from_pretrained(root, variant="fp16", local_files_only=True)


def test_attention_is_the_files_and_all_else_the_repositorys(tiny_cache: Path) -> None:
    unet = opened(tiny_cache)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    file = folder(tiny_cache) / MODEL / "attention" / checkpoint.ATTENTION
    catvton.drop_text_attention(unet)
    catvton.load_attention(unet, file)
    after = unet.state_dict()
    assert not [name for name in after if "attn2" in name]
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (".attn1." not in name), name
    kept = torch.cat([tensor.flatten() for n, tensor in after.items() if ".attn1." in n])
    stored = torch.cat([tensor.flatten() for tensor in load_file(file).values()])
    assert torch.equal(kept.sort().values, stored.sort().values)


def test_a_block_without_text_adds_its_normalised_input() -> None:
    states = torch.randn(1, 4, 8)
    assert catvton.PassedOn()(states, encoder_hidden_states=None) is states


@pytest.mark.parametrize("slip", ["one too few", "another shape", "another name"])
def test_attention_of_another_network_is_refused(
    tiny_cache: Path, tmp_path: Path, slip: str
) -> None:
    state = load_file(folder(tiny_cache) / MODEL / "attention" / checkpoint.ATTENTION)
    if slip == "one too few":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("0.")}
    elif slip == "another shape":
        state["0.to_q.weight"] = torch.zeros(3, 3)
    else:
        state["down.to_q.weight"] = state.pop("0.to_q.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(SetupError, match="network"):
        catvton.load_attention(opened(tiny_cache), tmp_path / "model.safetensors")


@pytest.mark.parametrize("options", [{"size": "large"}, {"steps": "0"}])
def test_options_that_are_none_are_refused(tiny_cache: Path, options: dict[str, str]) -> None:
    with pytest.raises(SetupError, match="size"):
        engine(tiny_cache, **options)


def test_a_size_that_the_network_cannot_halve_is_refused(tiny_cache: Path) -> None:
    made = engine(tiny_cache, size="50x64")
    with pytest.raises(SetupError, match="multiple of 4"):
        made.load("cpu")
    assert made.resident_bytes == 0


def test_a_parser_of_something_else_is_refused(tiny_cache: Path, tmp_path: Path) -> None:
    for file in (folder(tiny_cache) / MODEL / "parser").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {number: f"tree {number}" for number in config["id2label"]}
    config["label2id"] = {name: number for number, name in config["id2label"].items()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SetupError, match="upper-clothes"):
        ClothesParser(tmp_path).load("cpu")


def test_the_card_names_parts_that_a_folder_can_hold(tiny_cache: Path) -> None:
    setup = setup_of(built_in_catalog().models[MODEL], str(folder(tiny_cache)))
    assert set(weights.check(setup)) == {"unet", "vae", "attention", "parser"}


def test_the_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**checkpoint.FULL.unet)
    attention = [p for n, p in unet.named_parameters() if ".attn1." in n]
    assert sum(p.numel() for p in unet.parameters()) == 859_535_364
    # The published attention file has 198,303,368 bytes, 7,048 of which are its names.
    assert 4 * sum(p.numel() for p in attention) == 198_303_368 - 7_048


def parsed(figure: Figure) -> tuple[figures.Drawn, Parsed]:
    drawn = figures.person(figure)
    numbers = {name.lower(): number for number, name in enumerate(LABELS)}
    return drawn, Parsed(drawn.labels.astype(np.uint8), numbers)


@pytest.mark.parametrize("dress", [None, (160, 60, 120)])
@pytest.mark.parametrize("category", ["upperbody", "lowerbody", "dress"])
def test_the_region_holds_the_clothes_and_spares_face_hands_and_feet(
    category: str, dress: figures.Colour | None
) -> None:
    drawn, known = parsed(Figure(sleeves=0.2, dress=dress))
    where = place(known, category).painted > 0
    assert not where[drawn.where("Face", "Hair", "Left-shoe", "Right-shoe")].any()
    arms = drawn.where("Left-arm", "Right-arm")
    reach = np.flatnonzero(arms.any(axis=1))[-1]
    hands = arms.copy()
    hands[: reach - 20] = False
    assert not where[hands].any()
    waist = 240
    clothes = drawn.where("Upper-clothes", "Pants", "Dress")
    upper, lower = clothes.copy(), clothes.copy()
    upper[int(0.8 * waist) :] = False
    lower[:waist] = False
    assert where[upper].mean() > 0.99 if category != "lowerbody" else not where[upper].any()
    assert where[lower].mean() > 0.99 if category != "upperbody" else where[lower].mean() < 0.4
    elbows = arms & ~hands
    elbows[int(0.4 * 480) :] = False
    assert where[elbows].mean() > 0.9 if category != "lowerbody" else not where[elbows].any()


def test_bare_feet_are_spared_and_knees_are_not() -> None:
    drawn, known = parsed(Figure(dress=(160, 60, 120)))
    bare = Parsed(
        np.where(drawn.where("Left-shoe", "Right-shoe"), NUMBERS["Left-leg"], drawn.labels).astype(
            np.uint8
        ),
        known.numbers,
    )
    where = place(bare, "dress").painted > 0
    assert where[380:420][drawn.where("Left-leg")[380:420]].all()
    assert not where[drawn.where("Left-shoe")][-50:].any()


@pytest.mark.parametrize("size", [(300, 400), (500, 200), (120, 700)])
def test_a_window_holds_the_person_and_gives_back_what_it_took(size: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    picture: Pixels = random.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(picture).resize((20, 20)).resize(size))
    who = np.zeros((size[1], size[0]), np.uint8)
    who[10 : size[1] - 5, size[0] // 2 : size[0] // 2 + 40] = 255
    window = Window.around(who, (96, 128))
    assert window.width / window.height == pytest.approx(0.75, abs=0.02)
    assert window.cut(who, (96, 128), outside=0).any()
    shown = window.cut(picture, (window.width, window.height))
    assert np.array_equal(window.put_back(picture, shown, who, 4), picture)
    other = window.put_back(picture, np.zeros((128, 96, 3), np.uint8), who, 4)
    assert not other[who > 0].any()
    assert np.array_equal(other[:, : size[0] // 2 - 10], picture[:, : size[0] // 2 - 10])
