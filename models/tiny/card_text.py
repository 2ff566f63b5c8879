"""What a machine writes into the model card: its metadata, and the text between its marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from models.tiny.card import files_of
from models.tiny.scenes import captions, plan

_MODEL = "media-farm-tiny"


def written(content: str, field: str, ours: Mapping[str, Any]) -> str:
    """A card's text with ``ours`` as its metadata's ``field``, and all that follows from it.

    Raises:
        ValueError: a mark is missing.
    """
    for name, block in _blocks(ours).items():
        start, end = f"<!-- {name}: written by models/tiny/card.py -->", f"<!-- end of {name} -->"
        marked = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        before, *after = marked.split(content)
        if len(after) != 1:
            raise ValueError(f"it needs the lines `{start}` and `{end}` once each, in this order.")
        content = "\n".join([f"{before}{start}", "", *block, "", f"{end}{after[0]}"])
    card = ModelCard(content)
    card.data[field] = dict(ours)
    results = list(_results(ours.get("scores", {})))
    card.data["model_name"] = _MODEL if results else None
    card.data["eval_results"] = results or None
    return str(card)


def words() -> list[str]:
    """What captions say, as rows of a table; most of it is read from their own word lists."""
    colours = {name: captions.COLOUR_WORDS.get(name, (name,)) for name in plan.COLOURS}
    shapes = {shape: captions.SHAPE_WORDS[shape] for shape in plan.Shape}
    products = {product: captions.SHAPE_WORDS[product] for product in plan.Product}
    rows = {
        "colours": _alternatives(colours.values()),
        "things": _alternatives(shapes.values()),
        "things of photographs": _alternatives(products.values()),
        "sizes": _alternatives(captions.SIZE_WORDS.values()),
        "places of one thing": _alternatives(captions.PLACE_WORDS.values()),
        "relations of two things": _alternatives(captions.RELATION_WORDS.values()),
        "several": "two, three (circles, boxes, crosses, …); in a row, side by side, "
        "from left to right",
        "backgrounds": "[plain] red background / backdrop, gradient from red to blue, "
        "red to blue gradient, red and blue background, background half red, half blue, "
        "background red at the top (on the left) and blue at the bottom (on the right), "
        "an empty / just a … background",
        "backgrounds of photographs": "on a wooden / white table, in front of a (with a, and a) "
        "grey wall / background; an empty table",
        "before a thing": "a, an; " + _unique(captions.OPENINGS),
        "before a photographed thing": _unique(captions.PHOTO_OPENINGS),
        "between a thing and its background": "on, against, over, with a",
    }
    return _table(("what", "words"), "ll", rows.items())


def _blocks(ours: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "words": words(),
        "sizes": _sizes(ours.get("files", {})),
        "training": list(_training(ours)),
        "scores": list(_scores(ours.get("scores", {}))),
    }


def _sizes(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not files:
        return ["No file is trained yet: all weights are random."]
    rows: list[Sequence[str]] = [
        (f"`{name}`", f"{file['parameters']:,}", f"{file['size']:,}", ", ".join(file["serves"]))
        for name, file in files.items()
    ]
    numbers, size = (sum(file[each] for file in files.values()) for each in ("parameters", "size"))
    rows.append(("together", f"{numbers:,}", f"{size:,}", ""))
    return _table(("file", "numbers in it", "bytes", "serves"), "lrrl", rows)


def _training(ours: Mapping[str, Any]) -> Iterator[str]:
    parts: Mapping[str, Mapping[str, Any]] = ours.get("parts", {})
    if not parts:
        yield "Nothing was told of it yet."
        return
    rows = [
        (
            name,
            ", ".join(f"`{file}`" for file in sorted(files_of(part))),
            *(f"{part[each]:,}" if each in part else "" for each in ("parameters", "steps")),
            f"{part['seconds'] / 60:,.0f}" if "seconds" in part else "",
            f"{part['loss']:.4f}" if "loss" in part else "",
        )
        for name, part in parts.items()
    ]
    heads = ("part", "file", "parameters", "steps", "minutes", "last loss")
    yield from _table(heads, "llrrrr", rows)
    yield ""
    minutes = sum(part.get("seconds", 0) for part in parts.values()) / 60
    said = [f"{minutes:,.0f} minutes in all"] if minutes else []
    said += [f"{name} {ours[name]}" for name in ("seed",) if name in ours]
    said += [f"on {ours['machine']}"] if "machine" in ours else []
    said += [f"by `{ours['command']}`"] if "command" in ours else []
    if said:
        yield f"{', '.join(said)}."


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not scores:
        yield "Not measured yet."
        return
    for number, (model_id, told) in enumerate(scores.items()):
        if number:
            yield ""
        how = f" ({told['how']})" if "how" in told else ""
        yield f"`{model_id}`{how}:"
        yield ""
        rows = [
            (
                _label(row),
                f"{row['right']} of {row['asked']}",
                f"{100 * row['right'] / row['asked']:.1f} %",
                " to ".join(f"{100 * end:.1f}" for end in row.get("interval", ())),
            )
            for row in told["rows"]
        ]
        heads = ("asked for", "right", "share", "95 % interval")
        yield from _table(heads, "lrrr", rows)


def _results(scores: Mapping[str, Mapping[str, Any]]) -> Iterator[EvalResult]:
    """The same for the hub, which knows tasks, data sets and metrics."""
    for model_id, told in scores.items():
        for row in told["rows"]:
            yield EvalResult(
                task_type="text-to-image",
                task_name=f"Text to image with the checkpoint of {model_id}",
                dataset_type="media-farm-scenes",
                dataset_name="Scenes that training never showed",
                dataset_config=model_id,
                dataset_split="held-out",
                metric_type="accuracy",
                metric_name=_label(row),
                metric_value=round(row["right"] / row["asked"], 4),
            )


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['name']}: {row['about']}" if row.get("about") else str(row["name"])


def _alternatives(groups: Iterable[Iterable[str]]) -> str:
    """Groups of words for the same: ``grey / gray, purple / violet``."""
    each = (" / ".join(word for word in dict.fromkeys(group) if word) for group in groups)
    return ", ".join(group for group in each if group)


def _unique(said: Iterable[str]) -> str:
    return ", ".join(each.strip(",") for each in dict.fromkeys(said) if each)


def _table(heads: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown; ``align`` has a letter for each column, l or r."""
    rules = ["---:" if each == "r" else "---" for each in align]
    return [f"| {' | '.join(row)} |" for row in (heads, rules, *rows)]
