"""Ids on the wire: ``gen_`` and the job's id without hyphens."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from werkzeug.routing import BaseConverter

from farm.errors import NotFound
from farm.webhooks.pixza import ID_PREFIX


class GenerationId(NamedTuple):
    """An id as it was asked for."""

    job_id: uuid.UUID

    def check(self, operation: str) -> None:
        """Nothing: the id does not say what was asked for."""


class GenerationIdConverter(BaseConverter):
    """``<pixza_generation:…>`` in a path. All else is a 404."""

    regex = f"{ID_PREFIX}[0-9a-f]{{32}}"

    def to_python(self, value: str) -> GenerationId:
        """The id in parts."""
        return read_id(value)


def read_id(text: str) -> GenerationId:
    """An id as a client wrote it. Raises NotFound for anything that is none."""
    if not re.fullmatch(GenerationIdConverter.regex, text):
        raise NotFound("No such generation.")
    return GenerationId(uuid.UUID(hex=text.removeprefix(ID_PREFIX)))
