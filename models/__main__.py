"""``python -m models pull|check``: models' files, for `farm models`, which imports no engine.

Reads one JSON object on stdin, ``{"weights": …, "cache": folder, "models": [{"id": …,
"served_by": …, "options": {…}, "sources": {part: {…}}}, …]}``, and writes one JSON line a model
on stdout: ``{"id": …, "ok": …, "message": …}``. Exits 0 when all are ok.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from models import weights
from models.base import EngineSetup, Source


@dataclass(frozen=True, slots=True)
class _Repository:
    hub_id: str
    revision: str
    layout: str
    variant: str | None = None
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
    for model in request["models"]:
        setup = EngineSetup(
            model_id=model["id"],
            weights=request["weights"],
            sources={part: _source(fields) for part, fields in model["sources"].items()},
            options=model["options"],
            served_by=model["served_by"],
            cache=Path(request["cache"]),
        )
        try:
            found = weights.pull(setup) if action == "pull" else weights.check(setup)
        except FarmError as error:
            failed += 1
            answer = {"id": setup.model_id, "ok": False, "message": str(error)}
        else:
            answer = {"id": setup.model_id, "ok": True, "message": _places(setup, found)}
        print(json.dumps(answer), flush=True)
    return 1 if failed else 0


def _source(fields: dict[str, Any]) -> Source:
    return _File(**fields) if "url" in fields else _Repository(**fields)


def _places(setup: EngineSetup, found: dict[str, Path]) -> str:
    if not found:
        return f"{setup.served_by} needs no weights"
    if len(found) == 1:
        return str(next(iter(found.values())))
    return ", ".join(f"{part} in {path}" for part, path in found.items())


if __name__ == "__main__":
    sys.exit(main())
