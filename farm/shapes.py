"""What decides how long a job of a model takes: jobs of one shape are measured together."""

from __future__ import annotations

import math

from farm.cards import ModelCard
from farm.types import JobRequest, Picture


def shape_of(card: ModelCard, request: JobRequest) -> str:
    """The parameters and the size of the pictures that the run time hangs on, as one word.

    Words, seeds and how closely a prompt is followed cost no time. A picture counts by its
    pixels, to the next power of two: each size by itself would have too few jobs to measure.
    One that is still to be fetched has no size yet, and counts as a size of its own.
    """
    counted = (n for n, s in card.params.items() if s.kind != "text" and s.timed and not s.drawn)
    parts = [f"{name}={request.params[name]}" for name in counted if name in request.params]
    for name in card.inputs:
        picture = request.inputs.get(name)
        if isinstance(picture, Picture):
            parts.append(f"{name}=2^{math.ceil(math.log2(picture.width * picture.height))}px")
        elif picture is not None:
            parts.append(f"{name}=?")
    return " ".join(parts)
