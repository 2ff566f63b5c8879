"""``python -m models.tiny.train``: makes the weights in ``models/tiny/weights`` again.

Every stage saves itself each minute in ``--folder`` and goes on from there when the command is
given again, so it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from models.tiny import networks
from models.tiny.train import autoencoder, flux, latents, sdxl, words
from models.tiny.train.batches import Batches
from models.tiny.train.device import Device
from models.tiny.train.stage import Progress, run
from models.tiny.trained import FOLDER, load

STEPS = {
    "inner": 1_000,
    "decoder": 1_500,
    "words": 3_000,
    "painter": 5_000,
    "sdxl": 10_000,
    "flux": 5_000,
    "guided": 1_000,
}
"""Of each stage, unless told."""
_LATENTS_AT_ONCE = 4_096
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "vae": networks.autoencoder,
    "text_encoder": networks.text_encoder,
    "text_encoder_2": networks.text_encoder_2,
    "unet": networks.unet,
    "flux_text_encoder": networks.text_encoder,
    "flux_text_encoder_2": networks.t5,
    "flux_transformer": lambda: networks.transformer(guidance=True),
}
"""What is exported, by the names of its files."""
STAGES = ("autoencoder", "latents", "decoder", "words", "sdxl", "flux", "export")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages that were asked for; see ``--help``."""
    asked = _arguments().parse_args(arguments)
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    device = Device(asked.device)
    work: dict[str, Callable[[], None]] = {
        "autoencoder": lambda: _autoencoder(asked, device),
        "latents": lambda: latents.make(
            _trained_autoencoder(asked.folder, device), device, asked.folder / "latents", tell=_tell
        ),
        "decoder": lambda: _decoder(asked, device),
        "words": lambda: _words(asked, device),
        "sdxl": lambda: _sdxl(asked, device),
        "flux": lambda: _flux(asked, device),
        "export": lambda: _export(asked),
    }
    for stage in asked.stages or STAGES:
        try:
            work[stage]()
        except FileNotFoundError as error:
            earlier = " ".join(STAGES[: STAGES.index(stage)])
            raise SystemExit(
                f"The stage {stage} needs what an earlier one makes ({error}). Give these first, "
                f"with the same --folder: {earlier}."
            ) from error


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.tiny.train", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=STAGES, help="all of them, unless told")
    parser.add_argument("--folder", type=Path, default=Path("tiny-training"))
    parser.add_argument("--weights", type=Path, default=FOLDER, help="where export writes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    for name, steps in STEPS.items():
        parser.add_argument(f"--{name}-steps", type=int, default=steps)
    return parser


def _tell(line: str) -> None:
    print(line, flush=True)


def _note(folder: Path, name: str, progress: Progress) -> None:
    """What a stage took, for the model card."""
    file = folder / "facts.json"
    facts = json.loads(file.read_text()) if file.exists() else {}
    seconds, loss = round(progress.seconds), round(progress.loss, 4)
    facts[name] = {"steps": progress.step, "seconds": seconds, "loss": loss}
    file.write_text(json.dumps(facts, indent=1))


def _autoencoder(asked: argparse.Namespace, device: Device) -> None:
    """Settles the latents."""
    model = autoencoder.begun()
    device.place(model)
    stage = autoencoder.inner(model, device, asked.inner_steps)
    _note(asked.folder, stage.name, run(stage, asked.folder, _tell))
    autoencoder.centre(model, autoencoder.seen(model, device))
    _keep(asked.folder, "vae-inner", model)


def _decoder(asked: argparse.Namespace, device: Device) -> None:
    """Sharpens what comes of them."""
    model = _trained_autoencoder(asked.folder, device)
    stage = autoencoder.outer(model, device, asked.decoder_steps)
    _note(asked.folder, stage.name, run(stage, asked.folder, _tell))
    _keep(asked.folder, "vae", model)


def _keep(folder: Path, name: str, module: torch.nn.Module) -> None:
    # Cloned, because T5 has its embedding under two names, which safetensors refuses.
    found = {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
    save_file({key: value.contiguous() for key, value in found.items()}, _file(folder, name))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _trained_autoencoder(folder: Path, device: Device) -> AutoencoderTiny:
    model = networks.autoencoder()
    model.load_state_dict(load_file(_file(folder, "vae-inner")))
    device.place(model.eval().requires_grad_(False))
    return model


def _words(asked: argparse.Namespace, device: Device) -> None:
    model = words.Readers.begun()
    for module in model.modules.values():
        module.to(device.name)
    stage = words.stage(model, device, asked.words_steps)
    _note(asked.folder, stage.name, run(stage, asked.folder, _tell))
    for name, module in model.modules.items():
        _keep(asked.folder, f"words-{name}", module)


def _readers(asked: argparse.Namespace, device: Device) -> words.Readers:
    model = words.Readers.begun()
    for name, module in model.modules.items():
        module.load_state_dict(load_file(_file(asked.folder, f"words-{name}")))
        module.to(device.name)
    return model


def _sdxl(asked: argparse.Namespace, device: Device) -> None:
    model = sdxl.begun()
    device.place(model)
    batches = Batches(asked.folder / "latents", _LATENTS_AT_ONCE)
    alone = sdxl.painter(model, batches, device, asked.painter_steps)
    _note(asked.folder, alone.name, run(alone, asked.folder, _tell))
    model.requires_grad_(True)
    readers = _readers(asked, device)
    stage = sdxl.stage(model, readers, batches, device, asked.sdxl_steps)
    _note(asked.folder, stage.name, run(stage, asked.folder, _tell))
    for name, module in sdxl.modules(model, readers).items():
        _keep(asked.folder, name, module)


def _flux(asked: argparse.Namespace, device: Device) -> None:
    model = flux.begun()
    device.place(model)
    batches = Batches(asked.folder / "latents", _LATENTS_AT_ONCE)
    alone = flux.painter(model, batches, device, asked.painter_steps)
    _note(asked.folder, alone.name, run(alone, asked.folder, _tell))
    model.requires_grad_(True)
    readers = _readers(asked, device)
    told = flux.Words(readers, device)
    stage = flux.stage(model, told, batches, device, asked.flux_steps)
    _note(asked.folder, stage.name, run(stage, asked.folder, _tell))
    teacher = copy.deepcopy(model)
    model.requires_grad_(True)
    guided = flux.guided_stage(model, teacher, told, batches, device, asked.guided_steps)
    _note(asked.folder, guided.name, run(guided, asked.folder, _tell))
    _keep(asked.folder, "flux_transformer", model)
    _keep(asked.folder, "flux_text_encoder", readers.text_encoder)
    _keep(asked.folder, "flux_text_encoder_2", readers.t5)


def _export(asked: argparse.Namespace) -> None:
    """Put what was trained where the recipes find it, in half precision."""
    asked.weights.mkdir(parents=True, exist_ok=True)
    for name, network in NETWORKS.items():
        found = load_file(_file(asked.folder, name))
        halved = {key: value.half().contiguous() for key, value in found.items()}
        save_file(halved, _file(asked.weights, name))
        load(network(), name, asked.weights)  # as the recipes will
    _tell(f"export: {len(NETWORKS)} files in {asked.weights}")


if __name__ == "__main__":
    main()
