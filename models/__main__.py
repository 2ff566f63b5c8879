"""``python -m models pull|check``: a model's files, for `farm models`, which imports no engine.

Reads one JSON object on stdin, ``{"weights": …, "cache": folder, "models": {id: source, …}}``,
and writes one JSON line a model on stdout: ``{"id": …, "ok": …, "message": …}``. Exits 0 when
all are ok.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from farm.errors import FarmError
from models.weights import pull, resolve


@dataclass(frozen=True, slots=True)
class _Source:
    hub_id: str
    revision: str
    variant: str | None = None
    vae_hub_id: str | None = None
    vae_revision: str | None = None


def main() -> int:
    """Run the one action on every model of the request; returns the exit code."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    if action not in ("pull", "check"):
        print("usage: python -m models pull|check < request.json", file=sys.stderr)
        return 2
    request = json.load(sys.stdin)
    failed = 0
    for model_id, fields in request["models"].items():
        source = _Source(**fields)
        try:
            if action == "pull":
                path = pull(model_id, source)
            else:
                cache = Path(request["cache"])
                path = resolve(model_id, request["weights"], source, cache).path
        except FarmError as error:
            failed += 1
            answer = {"id": model_id, "ok": False, "message": str(error)}
        else:
            answer = {"id": model_id, "ok": True, "message": str(path)}
        print(json.dumps(answer), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
