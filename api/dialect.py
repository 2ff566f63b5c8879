"""What makes a storefront: everything that differs between wire dialects."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, Protocol

from flask import Blueprint
from pydantic import BaseModel
from spectree import SpecTree

from api.runtime import Runtime
from farm.cards import ModelCard
from farm.errors import FarmError
from farm.storage import UrlSigner
from farm.views import JobView


class JobRef(Protocol):
    """An id as a storefront's client wrote it."""

    @property
    def job_id(self) -> uuid.UUID: ...

    def check(self, operation: str) -> None:
        """Raise NotFound where the id says another operation than the job's."""


JobEncoder = Callable[[Sequence[JobView], str, UrlSigner, str], Mapping[str, Any]]
"""``encode(jobs, user agent, signer, public_url)``: the object of a batch's jobs, of one job
where the dialect knows no batches. Pure."""

ErrorRenderer = Callable[[FarmError, str], dict[str, Any]]
"""``render(error, pricing_url)``: the JSON body of an error answer. Pure."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One storefront's wire dialect.

    ``id`` is the storefront's id in the catalogue. ``paths`` are the path prefixes under
    which errors speak this dialect, unknown paths included. ``statuses`` overrides the
    shared table of error code -> HTTP status where this dialect's clients expect another.
    ``problem`` is the shape that ``render_error`` gives, ``job_shape`` that of ``encode_job``,
    for the documentation. ``read_id`` raises NotFound for what is no id.
    ``cancel_path`` is a path of the storefront's own under which DELETE cancels; its one
    variable, ``generation_id``, is a JobRef. ``batched`` means that its ids are those of batches.
    ``endpoint`` says where a model is asked for. ``openapi`` is the version that its document is
    written in, ``openapi_path`` a path of its own under which that is found besides ``/docs``.
    """

    id: str
    title: str
    paths: tuple[str, ...]
    blueprint: Callable[[Runtime, SpecTree], Blueprint]
    render_error: ErrorRenderer
    problem: type[BaseModel]
    job_shape: type[BaseModel]
    encode_job: JobEncoder
    read_id: Callable[[str], JobRef]
    endpoint: Callable[[ModelCard], str] = attrgetter("endpoint")
    batched: bool = False
    cancel_path: str = ""
    openapi: Literal["3.0", "3.1"] = "3.1"
    openapi_path: str = ""
    statuses: Mapping[str, int] = field(default_factory=dict)
