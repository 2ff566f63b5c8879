"""The model card of the trained miniatures: which files there are, and what is known of them.

``weights/README.md`` is a model card as the Hugging Face hub has them (huggingface/hub-docs,
``modelcard.md``). Its metadata hold, beside the hub's own fields, ``media_farm``: what the farm
reads. :func:`update` writes these, and the parts of the text that follow from them;
``python -m models.tiny.card`` does it by hand.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.errors import ExtraMissing, SetupError, WeightsMissing

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

FOLDER = Path(__file__).parent / "weights"
NAME = "README.md"
BYTES_MAX = 24_000_000
"""Of all files together: they are part of the source, and of the wheel."""

_FIELD = "media_farm"
_FACTS = ("parts", "seed", "machine", "command", "scores")
_ROW = ("name", "about", "right", "asked", "interval")
_SDXL = ("sdxl", "replace-background", "wan2.1", "cogvideo-2b")
_FLUX = ("flux-schnell", "flux-dev")
_SERVES = {"flux*": _FLUX, "text_encoder*": _SDXL, "unet*": _SDXL, "*": (*_SDXL, *_FLUX)}
"""Which models a file serves where nobody says so: the first pattern that its name fits. That
it serves too many costs nothing but a look at it."""


@dataclass(frozen=True, slots=True)
class TrainedFile:
    """A safetensors file beside the card: its name, SHA-256 (hex) and bytes, the ids of the
    models whose checkpoints are made with it, and the numbers in it."""

    name: str
    sha256: str
    size: int
    serves: tuple[str, ...]
    parameters: int


@dataclass(frozen=True, slots=True)
class TinyCard:
    """What the farm reads of the card. ``scores`` are by model id, as :func:`update` has them."""

    license: str
    files: tuple[TrainedFile, ...]
    scores: Mapping[str, Mapping[str, Any]]

    def files_of(self, model_id: str) -> tuple[TrainedFile, ...]:
        """Those that a model's tiny checkpoint is made with; none where its weights are random."""
        return tuple(file for file in self.files if model_id in file.serves)

    def line(self, model_id: str) -> str:
        """What a model's tiny checkpoint is, and how good, in a few words."""
        files = self.files_of(model_id)
        if not files:
            return "built-in checkpoint, random weights"
        alike = (other for other in self.scores if self.files_of(other) == files)
        scored = model_id if model_id in self.scores else next(alike, None)
        said = ["built-in checkpoint", self.license.upper()]
        if scored is None:
            return ", ".join([*said, "not scored"])
        rows = self.scores[scored]["rows"][:2]
        said += [f"{row['name']} {100 * row['right'] / row['asked']:.0f} %" for row in rows]
        return ", ".join(said) + ("" if scored == model_id else f" (as {scored})")


def read(folder: Path = FOLDER) -> TinyCard:
    """The card of a folder of trained weights.

    Raises:
        ExtraMissing: a package of the worker extra is not installed.
        WeightsMissing: there is no card, or it cannot be read.
    """
    data = _opened(folder).data
    ours = data.get(_FIELD) or {}
    try:
        files = tuple(
            TrainedFile(**{**fields, "name": name, "serves": tuple(fields["serves"])})
            for name, fields in ours.get("files", {}).items()
        )
        return TinyCard(str(data.get("license")), files, dict(ours.get("scores", {})))
    except (AttributeError, KeyError, TypeError) as error:
        raise _unreadable(folder, error) from error


def check(model_id: str, folder: Path = FOLDER) -> str:
    """What a model's tiny checkpoint is, in a few words, once the files that it is made with are
    those that the card tells of.

    Raises:
        ExtraMissing: a package of the worker extra is not installed.
        WeightsMissing: a file or the card is missing or another; the message says what to type.
    """
    card = read(folder)
    for file in card.files_of(model_id):
        path = folder / file.name
        if not path.is_file():
            raise WeightsMissing(
                f"The trained weights of {model_id} are not whole: {path} is missing. "
                f"{_way_back(folder)}."
            )
        if (found := digest(path)) != file.sha256:
            raise WeightsMissing(
                f"The trained weights of {model_id} are broken: {path} is not the file that its "
                f"card tells of (its SHA-256 is {found[:12]}…, not {file.sha256[:12]}…). "
                f"{_way_back(folder)}; or, if you trained it anew, write its card with "
                "`python -m models.tiny.card`."
            )
    return card.line(model_id)


def digest(path: Path) -> str:
    """A file's SHA-256, in hex; computed once in a process while the file stays as it is."""
    there = path.stat()
    return _digest(path, there.st_size, there.st_mtime_ns)


def trained_files(folder: Path = FOLDER) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def update(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what ``folder`` holds and what training or evaluation found out.

    What the files themselves tell (sizes, digests, numbers in them) is read from them. Of
    ``facts``, JSON's types, each may be left out; what was known before stays, of those parts
    whose file is still there::

        {"parts": {"autoencoder": {"file": "vae.safetensors", "parameters": 1_000_000,
                                   "steps": 9000, "seconds": 5400.0, "loss": 0.0123}},
         "seed": 7, "machine": "2 CPU cores", "command": "python -m models.tiny.train",
         "scores": {"sdxl": {"how": "512x512, 30 steps, guidance 6, seed 0",
                             "rows": [{"name": "single", "about": "its colour and shape",
                                       "right": 97, "asked": 100, "interval": [0.92, 0.99]}]}}}

    A part, or a stage of training, need not say all of it. Its ``file`` is a list where it is
    kept in several; it may say which models they serve (``"serves"``, a list of ids), otherwise
    their names do. Scores are as ``python -m models.tiny.evaluate --json`` leaves them, and
    ``how`` says what they were measured with; the first two rows make the short line of
    ``farm models check``.

    Raises:
        ExtraMissing: a package of the worker extra is not installed.
        SetupError: there is no card to update, it has lost a mark that a block of text goes
            between, or a file is no safetensors file.
        ValueError: ``facts`` has something else.
    """
    from models.tiny import card_text

    if unknown := facts.keys() - set(_FACTS):
        raise ValueError(f"{', '.join(sorted(unknown))}: a card has only {', '.join(_FACTS)}.")
    card = _opened(folder)
    known = {**(card.data.get(_FIELD) or {})}
    known.update({name: facts[name] for name in ("seed", "machine", "command") if name in facts})
    for name in ("parts", "scores"):
        known[name] = {**known.get(name, {}), **facts.get(name, {})}
    known["scores"] = {name: _of_scores(told) for name, told in known["scores"].items()}
    files = {path.name: path for path in trained_files(folder)}
    known["parts"] = {k: v for k, v in known["parts"].items() if files_of(v) <= files.keys()}
    known["files"] = {name: _of_file(path, known["parts"]) for name, path in files.items()}
    ours = {name: known[name] for name in ("files", *_FACTS) if known.get(name)}
    try:
        text = card_text.written(card.content, _FIELD, ours)
    except ValueError as error:
        raise SetupError(f"{folder / NAME} cannot be updated: {error}") from error
    draft = folder / f".{NAME}.draft"
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, folder / NAME)


def files_of(part: Mapping[str, Any]) -> set[str]:
    """The names of the files that a part is kept in; none where nobody said."""
    file = part.get("file", ())
    return {file} if isinstance(file, str) else set(file)


def _of_scores(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a card keeps of scores; the rest follows from it."""
    rows = [{name: row[name] for name in _ROW if name in row} for row in told["rows"]]
    for row in rows:
        if "interval" in row:
            row["interval"] = [round(end, 4) for end in row["interval"]]
    return {**({"how": told["how"]} if "how" in told else {}), "rows": rows}


def _of_file(path: Path, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    own = (part for part in parts.values() if path.name in files_of(part))
    told = (part["serves"] for part in own if "serves" in part)
    usual = next(ids for pattern, ids in _SERVES.items() if fnmatch(path.name, pattern))
    return {
        "sha256": digest(path),
        "size": path.stat().st_size,
        "serves": list(next(told, usual)),
        "parameters": sum(_numbers_in(path)),
    }


def _numbers_in(path: Path) -> Iterator[int]:
    """How many numbers each tensor of a file has; only its header is read."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                yield prod(file.get_slice(name).get_shape())
    except SafetensorError as error:
        raise SetupError(f"{path} is no safetensors file ({error}). Train it again.") from error


@functools.lru_cache
def _digest(path: Path, _size: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(folder: Path) -> ModelCard:
    try:
        from huggingface_hub import ModelCard
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"Reading a model card needs the Python package {error.name!r}: "
            "install the worker extra with `pip install 'media-farm[worker]'`."
        ) from error
    try:
        # A path, not a string: for that, where there is no file, the hub would be asked.
        card: ModelCard = ModelCard.load(folder / NAME)
        return card
    except Exception as error:  # the file's, YAML's and the hub's own
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> WeightsMissing:
    why = " ".join(str(error).split())  # YAML's have several lines
    return WeightsMissing(
        f"The card of the trained weights, {folder / NAME}, cannot be read "
        f"({type(error).__name__}: {why}). {_way_back(folder)}."
    )


def _way_back(folder: Path) -> str:
    """How whoever lost a file gets it again: from the source, or from the package."""
    root = folder.parents[2]
    if (root / ".git").exists():
        return f"Get it again with `git -C {root} restore {folder.relative_to(root)}`"
    return "Get it again with `pip install --force-reinstall --no-deps media-farm`"


def main(words: Sequence[str] | None = None) -> None:
    """Write the card of the committed weights anew; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m models.tiny.card", description=main.__doc__)
    parser.add_argument("--facts", type=_json, default={}, help="a JSON file; see update()")
    parser.add_argument("--parts", type=_json, default={}, help="the training's facts.json")
    parser.add_argument("--scores", nargs=2, action="append", default=[], metavar=("MODEL", "FILE"))
    parser.add_argument("--how", help="what the scores were measured with: size, steps, …")
    asked = parser.parse_args(words)
    facts = dict(asked.facts)
    if asked.parts:
        facts["parts"] = {**facts.get("parts", {}), **asked.parts}
    for model_id, file in asked.scores:
        scores = {**_json(file), **({"how": asked.how} if asked.how else {})}
        facts["scores"] = {**facts.get("scores", {}), model_id: scores}
    update(FOLDER, facts)
    files = read(FOLDER).files
    print(f"{FOLDER / NAME}: {len(files)} files, {sum(f.size for f in files) / 1e6:.1f} MB.")


def _json(file: str) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
