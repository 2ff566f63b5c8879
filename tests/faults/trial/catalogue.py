"""The farm's own catalogue with short time limits and without rate limits."""

from __future__ import annotations

import re
from pathlib import Path

from farm.catalog import BUILT_IN

MODELS = ("sdxl", "flux-schnell", "remove-background")
"""The models that the trial engine stands in for. Each has a queue of its own."""
PRICE = 3.0
"""Credits for one picture of the first two."""
SOFT_S, HARD_S = 4, 6
_MANY = 1_000_000


def write_catalogue(
    path: Path, *, soft_s: int = SOFT_S, hard_s: int = HARD_S, jobs_max: int | None = None
) -> Path:
    """Write it to ``path``; ``jobs_max`` is the cap of every plan, many where left out."""
    text = BUILT_IN.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^(submits|reads)_per_minute = \d+$", rf"\1_per_minute = {_MANY}", text)
    text = re.sub(r"(?m)^submits_per_day = \d+$", f"submits_per_day = {_MANY}", text)
    text = re.sub(r"(?m)^(jobs_max|queue_max) = \d+\n", "", text)
    plan_cap = f"jobs_max = {jobs_max or _MANY}"
    text = re.sub(r"(?m)^(submits_per_minute = \d+)$", rf"\1\n{plan_cap}", text)
    for model in MODELS:
        head, mark, rest = text.partition(f"[models.{model}]\n")
        assert mark, f"the catalogue has no {model}"
        rest = re.sub(r"(?m)^soft_limit_s = \d+$", f"soft_limit_s = {soft_s}", rest, count=1)
        rest = re.sub(
            r"(?m)^hard_limit_s = \d+$",
            f"hard_limit_s = {hard_s}\nqueue_max = {_MANY}",
            rest,
            count=1,
        )
        text = head + mark + rest
    path.write_text(text, encoding="utf-8")
    return path
