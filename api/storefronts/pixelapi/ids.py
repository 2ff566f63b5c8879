"""Ids on the wire: an edit's begin with a word for what was asked, the others are bare."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from werkzeug.routing import BaseConverter

from farm.errors import NotFound

PREFIXES = {
    "remove-background": "bg-rm-",
    "replace-background": "bg-rp-",
    "restore-face": "face-",
    "remove-object": "obj-rm-",
    "upscale": "up-",
}
"""The word of each operation that has one."""

_OPERATIONS = {prefix: operation for operation, prefix in PREFIXES.items()}
_UUID = "[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}"


class GenerationId(NamedTuple):
    """An id as it was asked for. ``operation`` is what its prefix says; None where it is bare,
    which fits every job."""

    job_id: uuid.UUID
    operation: str | None

    def check(self, operation: str) -> None:
        """Raise NotFound where the prefix says another operation than the job's."""
        if self.operation not in (None, operation):
            raise NotFound("No such generation.")


class GenerationIdConverter(BaseConverter):
    """``<generation:…>`` in a path: a UUID, with or without a prefix. All else is a 404."""

    regex = f"(?:{'|'.join(_OPERATIONS)})?{_UUID}"

    def to_python(self, value: str) -> GenerationId:
        """The id in parts."""
        return read_id(value)


def read_id(text: str) -> GenerationId:
    """An id as a client wrote it. Raises NotFound for anything that is none."""
    if not re.fullmatch(GenerationIdConverter.regex, text):
        raise NotFound("No such generation.")
    prefix, job_id = text[:-36], text[-36:]
    return GenerationId(uuid.UUID(job_id), _OPERATIONS[prefix] if prefix else None)


def encode_id(operation: str, job_id: uuid.UUID) -> str:
    """A job's id as the wire has it."""
    return f"{PREFIXES.get(operation, '')}{job_id}"
