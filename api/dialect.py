"""What makes a storefront: everything that differs between wire dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint
from pydantic import BaseModel
from spectree import SpecTree

from api.runtime import Runtime
from farm.errors import FarmError

ErrorRenderer = Callable[[FarmError, str], dict[str, Any]]
"""``render(error, pricing_url)``: the JSON body of an error answer. Pure."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One storefront's wire dialect.

    ``id`` is the storefront's id in the catalogue. ``paths`` are the path prefixes under
    which errors speak this dialect, unknown paths included. ``statuses`` overrides the
    shared table of error code -> HTTP status where this dialect's clients expect another.
    ``problem`` is the shape that ``render_error`` gives, for the documentation.
    """

    id: str
    title: str
    paths: tuple[str, ...]
    blueprint: Callable[[Runtime, SpecTree], Blueprint]
    render_error: ErrorRenderer
    problem: type[BaseModel]
    statuses: Mapping[str, int] = field(default_factory=dict)
