"""``python -m models pull|check``: models' files, for `farm models`, which imports no engine.

Reads one JSON object on stdin, ``{"cache": folder, "models": [{"id": …, "weights": …,
"served_by": …, "options": {…}, "sources": {part: {…}}}, …]}``, and writes one JSON line a model
on stdout: ``{"id": …, "ok": …, "message": …}``. Exits 0 when all are ok. What looks at results
may stand among the models, as ``{"id": …, "weights": …, "refused": {label: …}, "source": {…}}``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from models import judge, weights
from models.base import EngineSetup, Source


@dataclass(frozen=True, slots=True)
class _Repository:
    hub_id: str
    revision: str
    layout: str
    variant: str | None = None
    files: tuple[str, ...] = ()
    only_with: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    sha256: str
    format: str
    only_with: dict[str, str] = field(default_factory=dict)


def main() -> int:
    """Run the one action on every model of the request; returns the exit code."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action not in ("pull", "check"):
        print("usage: python -m models pull|check < request.json", file=sys.stderr)
        return 2
    request = json.load(sys.stdin)
    failed = 0
    for asked in request["models"]:
        try:
            look = _judge if "refused" in asked else _model
            answer = {"ok": True, "message": look(action, asked, Path(request["cache"]))}
        except FarmError as error:
            failed += 1
            answer = {"ok": False, "message": str(error)}
        print(json.dumps({"id": asked["id"], **answer}), flush=True)
    return 1 if failed else 0


def _model(action: str, asked: dict[str, Any], cache: Path) -> str:
    setup = EngineSetup(
        model_id=asked["id"],
        weights=asked["weights"],
        sources={part: _source(fields) for part, fields in asked["sources"].items()},
        options=asked["options"],
        served_by=asked["served_by"],
        cache=cache,
    )
    found = weights.pull(setup) if action == "pull" else weights.check(setup)
    if not found:
        return f"{setup.served_by} needs no weights"
    if len(found) == 1:
        return str(next(iter(found.values())))
    return ", ".join(f"{part} in {path}" for part, path in found.items())


def _judge(action: str, asked: dict[str, Any], cache: Path) -> str:
    """The classifier that looks at results, which is no model and takes no option."""
    source = _Repository(**asked["source"]) if asked["source"] else None
    if action == "pull" and source is not None:
        return str(weights.fetch_checkpoint(asked["id"], source))
    return str(judge.check(asked["weights"], asked["refused"], source))


def _source(fields: dict[str, Any]) -> Source:
    return _File(**fields) if "url" in fields else _Repository(**fields)


if __name__ == "__main__":
    sys.exit(main())
