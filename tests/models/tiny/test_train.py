"""The stages that train the miniatures: what each learns from, and that each can be stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from farm.errors import WeightsMissing
from models.parts.quiet import numpy_copy_warning_ignored
from models.tiny import networks
from models.tiny.scenes import captions, draw, sampling
from models.tiny.scenes.plan import Background, Backing, Scene, Shape, Thing
from models.tiny.train import autoencoder, codes, flux, latents, sdxl, stage, words
from models.tiny.train.__main__ import NETWORKS, main
from models.tiny.train.batches import Batches, importance
from models.tiny.train.device import Device
from models.tiny.train.latents import Bucket
from models.tiny.trained import load

CPU = Device("cpu")


def line(steps: int, upto: int | None = None) -> stage.Stage:
    """A stage that fits a line to points that each step draws."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1)

    def loss(step: int) -> Tensor:
        if step == upto:
            raise KeyboardInterrupt
        x = torch.rand(32, 1)
        return (model(x) - (3 * x - 1)).square().mean()

    return stage.Stage("line", steps, 0.1, {"model": model}, loss, average=0.9)


def weights(trained: stage.Stage) -> dict[str, Tensor]:
    return trained.modules["model"].state_dict()


def test_a_stage_that_was_stopped_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_SAVE_EVERY_S", 0.0)
    whole, cut, rest = line(60), line(60, upto=25), line(60)
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    stage.run(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        stage.run(cut, tmp_path / "cut")
    told: list[str] = []
    progress = stage.run(rest, tmp_path / "cut", told.append)
    assert told[0] == "line: going on from step 25 of 60"
    assert progress.step == 60
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(rest)[name])


def test_a_stage_learns(tmp_path: Path) -> None:
    trained = line(400)
    progress = stage.run(trained, tmp_path)
    assert progress.loss < 0.01
    found = weights(trained)
    assert found["weight"].item() == pytest.approx(3, abs=0.2)
    assert found["bias"].item() == pytest.approx(-1, abs=0.2)


def test_a_loss_that_is_no_number_stops_the_stage(tmp_path: Path) -> None:
    broken = line(5)
    broken.loss = lambda step: torch.tensor(float("nan"), requires_grad=True)
    with pytest.raises(FloatingPointError, match="line: the loss of step 0"):
        stage.run(broken, tmp_path)


def pictures(count: int, side: int) -> list[draw.Pixels]:
    rng = np.random.default_rng(0)
    return [draw.draw(sampling.single(rng), side, side, rng) for _ in range(count)]


def as_published(model: torch.nn.Module, colours: Tensor) -> Tensor:
    """What the autoencoder's own forward makes of pictures from 0 to 1."""
    rebuilt: Tensor = model(colours * 2 - 1).sample
    return rebuilt / 2 + 0.5


def test_the_autoencoder_begins_as_one_that_blurs() -> None:
    model = autoencoder.begun()
    CPU.place(model)
    colours = CPU.pictures(pictures(4, 256))
    with torch.no_grad():
        rebuilt = as_published(model, colours)
    means, wanted = (each.mean((2, 3)) for each in (rebuilt, colours))
    assert (means - wanted).abs().max() < 0.15
    assert (rebuilt - colours).abs().mean() < 0.15


def test_latents_of_small_pictures_are_those_of_the_whole_encoder() -> None:
    model = autoencoder.begun()
    CPU.place(model)
    large = pictures(2, 256)
    small = [each.reshape(64, 4, 64, 4, 3).mean((1, 3)).round().astype(np.uint8) for each in large]
    with torch.no_grad():
        whole = model.encoder(CPU.pictures(large) * 2 - 1)
    assert (autoencoder.encode(model, CPU, small) - whole).abs().mean() < 0.05


def test_centred_latents_have_mean_0_and_spread_1_and_decode_as_before() -> None:
    model = autoencoder.begun()
    CPU.place(model)
    colours = CPU.pictures(pictures(4, 256))
    with torch.no_grad():
        before = model.decoder.layers(model.encoder(colours * 2 - 1))
        autoencoder.centre(model, autoencoder.seen(model, CPU))
        after = model.decoder.layers(model.encoder(colours * 2 - 1))
    made = autoencoder.seen(model, CPU)
    assert made.mean((0, 2, 3)).abs().max() < 0.05
    assert (made.std((0, 2, 3)) - 1).abs().max() < 0.05
    # At the edges, what the layers pad with has another meaning now.
    assert (after - before)[..., 64:-64, 64:-64].abs().max() < 0.02


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder with few small latents of each bucket that a test reads."""
    folder = tmp_path_factory.mktemp("training") / "latents"
    model = autoencoder.begun()
    CPU.place(model)
    latents.make(model, CPU, folder, (Bucket(128, 192, 6),), lambda line: None)
    return folder


def test_latents_are_kept_with_what_they_show(prepared: Path) -> None:
    found = latents.read(prepared, Bucket(128, 192, 6))
    assert found.latents.shape == (6, 4, 6, 4)
    assert [len(ways) for ways in found.said] == [latents.CAPTIONS] * 6
    torch.manual_seed(0)
    drawn, told, said = found.draw(5)
    assert drawn.shape == (5, 4, 6, 4)
    assert told.shape == (5, codes.SLOTS, codes.FACTS)
    rows = [next(n for n, ways in enumerate(found.said) if each in ways) for each in said]
    assert torch.equal(drawn, found.latents[rows].float())
    assert torch.equal(told, found.told[rows].float())


def test_batches_of_large_pictures_come_late_and_are_small(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = Bucket(128, 192, 6), Bucket(256, 192, 6)
    model = autoencoder.begun()
    CPU.place(model)
    latents.make(model, CPU, prepared, (large,), lambda line: None)
    monkeypatch.setattr(
        "models.tiny.train.batches._GROUPS", ((small,), (large,), (large,), (large,))
    )
    batches = Batches(prepared, 480)
    torch.manual_seed(0)
    early = [batches.draw(0.1) for _ in range(10)]
    assert {batch.size for batch in early} == {(128, 192)}
    assert {len(batch.said) for batch in early} == {20}
    late = [batches.draw(0.9) for _ in range(30)]
    sizes = {(batch.size, len(batch.said)) for batch in late}
    assert sizes == {((128, 192), 20), ((256, 192), 10)}
    for batch in late:
        # Who is told nothing is told nothing in either language.
        assert [not any(told.flatten()) for told in batch.told] == [not each for each in batch.said]
    assert any("" in batch.said for batch in late)


def test_what_differs_from_most_of_a_picture_counts_most() -> None:
    picture = torch.zeros(1, 4, 8, 8)
    picture[..., 2:4, 2:4] = 2
    found = importance(picture)
    assert found.mean().item() == pytest.approx(1)
    assert found[0, 0, 2, 2] > 4 * found[0, 0, 0, 0]


def test_the_unet_is_called_as_its_pipeline_calls_it() -> None:
    readers, model = words.Readers.begun(), sdxl.begun()
    seen: list[dict[str, Any]] = []
    model.register_forward_pre_hook(lambda _, __, told: seen.append(told), with_kwargs=True)
    tokenizer = networks.clip_tokenizer()
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder.begun(),
        text_encoder=readers.text_encoder,
        text_encoder_2=readers.text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=model,
        scheduler=networks.euler(),
        add_watermarker=False,
    )
    asked = {"width": 192, "height": 256, "guidance_scale": 1.0, "output_type": "latent"}
    with numpy_copy_warning_ignored():
        pipeline("a red circle", num_inference_steps=1, **asked)
    told = sdxl.read(readers, words.Tokens(CPU).clip(["a red circle"]))
    sdxl.predict(model, torch.randn(1, 4, 8, 6), torch.tensor([999]), told, (192, 256))
    theirs, ours = seen
    assert torch.equal(theirs["encoder_hidden_states"], ours["encoder_hidden_states"])
    for name, value in ours["added_cond_kwargs"].items():
        assert torch.equal(theirs["added_cond_kwargs"][name], value)


def test_the_transformers_latents_are_packed_as_its_pipeline_packs_them() -> None:
    torch.manual_seed(0)
    model = flux.begun()
    nn.init.normal_(model.proj_out.weight)
    noisy, times = torch.randn(1, 4, 4, 6), torch.tensor([0.5])
    told = flux.Words(words.Readers.begun(), CPU)(["a blue star"])
    with torch.no_grad():
        found = flux.velocity(model, noisy, times, told, 1.0)
        packed = model(
            hidden_states=FluxPipeline._pack_latents(noisy, 1, 4, 4, 6),
            timestep=times,
            guidance=torch.ones(1),
            img_ids=FluxPipeline._prepare_latent_image_ids(1, 2, 3, noisy.device, noisy.dtype),
            **told,
        ).sample
    # The pipeline's own way back, for an autoencoder of factor 1.
    assert torch.equal(found, FluxPipeline._unpack_latents(packed, 4, 6, 1))


def scene(colour: str, x: float = 0.5) -> Scene:
    """A square beside another, on white."""
    things = (Thing(Shape.SQUARE, colour, x, 0.5, 0.16), Thing(Shape.STAR, "blue", 0.7, 0.5, 0.16))
    return Scene(Background(Backing.PLAIN, ("white",)), things)


def test_facts_differ_in_the_row_of_what_differs() -> None:
    usual = codes.facts(scene("red"))
    for other in (scene("green"), scene("red", x=0.3)):
        assert (codes.facts(other) != usual).any(axis=1).tolist() == [False, True, False, False]
    vague = codes.facts(scene("red"), np.random.default_rng(0))
    assert 0 < np.abs(vague - usual).max() < 0.7


def test_codes_are_the_same_in_every_process_and_nothing_is_said_of_nothing() -> None:
    told = torch.from_numpy(np.stack([codes.facts(scene("red")), 0 * codes.facts(scene("red"))]))
    first, again = codes.Codes("cpu"), codes.Codes("cpu")
    made = [*first.sequences(told), *first.pooled(told)]
    assert [each.shape[-1] for each in made] == [64, 96, 96, 64, 96]
    for one, other in zip(made, [*again.sequences(told), *again.pooled(told)], strict=True):
        assert torch.equal(one, other)
        assert one[0].std().item() == pytest.approx(2, rel=0.05)
        assert not one[1].any()


def test_codes_are_said_after_the_end_of_a_text() -> None:
    tokens, ends = words.Tokens(CPU), torch.tensor([5, 9])
    said = ["a red circle", "a blue star and a green ring"]
    assert tokens.clip_ends(tokens.clip(said)).tolist() == [4, 8]
    slots = torch.arange(1.0, 1 + codes.SLOTS)[None, :, None].expand(2, codes.SLOTS, 3)
    found, told = codes.in_clip(slots, ends)
    assert found.shape == (2, networks.CLIP_TOKENS_MAX, 3)
    assert told.sum(1).tolist() == [40 - 5, 40 - 9]
    assert found[:, :12, 0].tolist() == [
        [0, 0, 0, 0, 0, 2, 3, 4, 1, 2, 3, 4],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 4],
    ]
    found, told = codes.in_t5(slots, ends)
    assert found.shape == (2, networks.T5_TOKENS_MAX, 3)
    assert found[0, :16, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 4, 0, 0]
    assert torch.equal(found[..., 0] > 0, told)


def test_reading_learns_the_codes_of_what_the_captions_tell() -> None:
    said, told = words._batch(3)
    assert told.shape == (len(said), codes.SLOTS, codes.FACTS)
    assert [not row.any() for row in told] == [not each for each in said]
    rng = np.random.default_rng(0)
    every = [captions.caption(sampling.sample(rng), rng) for _ in range(2000)]
    # After the longest there is room to say every code.
    clip, t5 = networks.clip_tokenizer(), networks.t5_tokenizer()
    assert max(map(len, clip(every).input_ids)) <= networks.CLIP_TOKENS_MAX - codes.SLOTS
    assert max(map(len, t5(every).input_ids)) <= networks.T5_TOKENS_MAX - codes.SLOTS


def test_painters_and_readers_take_a_step(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (Bucket(128, 192, 6),)
    monkeypatch.setattr("models.tiny.train.batches._GROUPS", (small,) * 4)
    batches, readers = Batches(prepared, 120), words.Readers.begun()
    unet, transformer = sdxl.begun(), flux.begun()
    told = flux.Words(readers, CPU)
    stages = [
        words.stage(readers, CPU, 2),
        sdxl.painter(unet, batches, CPU, 2),
        sdxl.stage(unet, readers, batches, CPU, 2),
        flux.painter(transformer, batches, CPU, 2),
        flux.stage(transformer, told, batches, CPU, 2),
    ]
    for each in stages:
        torch.manual_seed(0)
        loss = each.loss(0)
        torch.autograd.backward(loss)
        assert torch.isfinite(loss), each.name
        used = [any(p.grad is not None for p in m.parameters()) for m in each.modules.values()]
        assert all(used), each.name


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [
        "--folder",
        str(tmp_path),
        "--threads",
        "1",
        "--inner-steps",
        "2",
        "--decoder-steps",
        "1",
    ]
    main(["autoencoder", "decoder", *few])
    first = load_file(tmp_path / "vae.safetensors")
    main(["autoencoder", "decoder", *few])
    assert "autoencoder-inner: going on from step 2 of 2" in capsys.readouterr().out
    again = load_file(tmp_path / "vae.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)
    networks.autoencoder().load_state_dict(again)


def test_what_is_exported_is_half_as_large_and_read_back(tmp_path: Path) -> None:
    for name, network in NETWORKS.items():
        found = network().state_dict()
        save_file({key: value.clone().contiguous() for key, value in found.items()},
                  tmp_path / f"{name}.safetensors")  # fmt: skip
    main(["export", "--folder", str(tmp_path), "--weights", str(tmp_path / "weights")])
    files = sorted((tmp_path / "weights").iterdir())
    assert [file.stem for file in files] == sorted(NETWORKS)
    assert sum(file.stat().st_size for file in files) <= 24_000_000
    with pytest.raises(WeightsMissing, match=r"unet\.safetensors"):
        load(networks.autoencoder(), "unet", tmp_path / "weights")


@pytest.mark.parametrize("name", ["latents", "sdxl", "export"])
def test_a_stage_without_the_ones_before_it_says_what_to_type(tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit, match=rf"The stage {name} needs .* first, .*: autoencoder"):
        main([name, "--folder", str(tmp_path), "--weights", str(tmp_path / "weights")])
