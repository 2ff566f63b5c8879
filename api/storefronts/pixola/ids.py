"""Ids on the wire: a word says what it is the id of, so that none is taken for another."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from werkzeug.routing import BaseConverter

from farm.errors import NotFound

BATCH, IMAGE = "batch_", "img_"
_UUID = "[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}"


class BatchId(NamedTuple):
    """A batch's id: that of the first of its jobs."""

    job_id: uuid.UUID

    def check(self, operation: str) -> None:
        """Every batch's id says ``batch_``, whatever its jobs are."""


class BatchIdConverter(BaseConverter):
    """``<pixola_batch:…>`` in a path. All else is a 404."""

    regex = f"{BATCH}{_UUID}"

    def to_python(self, value: str) -> uuid.UUID:
        """The batch's first job."""
        return read_batch_id(value).job_id


class ImageIdConverter(BaseConverter):
    """``<pixola_image:…>`` in a path. All else is a 404."""

    regex = f"{IMAGE}{_UUID}"

    def to_python(self, value: str) -> uuid.UUID:
        """The image's job."""
        return uuid.UUID(value.removeprefix(IMAGE))


def read_batch_id(text: str) -> BatchId:
    """An id as a client wrote it. Raises NotFound for anything that is none of a batch."""
    if not re.fullmatch(BatchIdConverter.regex, text):
        raise NotFound("No such batch.")
    return BatchId(uuid.UUID(text.removeprefix(BATCH)))


def batch_id(job_id: uuid.UUID) -> str:
    """A batch's id as the wire has it, by its first job."""
    return f"{BATCH}{job_id}"


def image_id(job_id: uuid.UUID) -> str:
    """An image's id as the wire has it."""
    return f"{IMAGE}{job_id}"
