"""Ids on the wire: a task is all the jobs of one request, known by the first of them."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from farm.errors import NotFound

PATTERN = r"task_[0-9a-f]{32}"


class TaskId(NamedTuple):
    """A task's id as it was asked for."""

    job_id: uuid.UUID

    def check(self, operation: str) -> None:
        """Every id fits every operation."""


def read_id(text: str) -> TaskId:
    """An id as a client wrote it. Raises NotFound for anything that is none."""
    if not re.fullmatch(PATTERN, text):
        raise NotFound("No such task.")
    return TaskId(uuid.UUID(hex=text.removeprefix("task_")))


def encode_id(batch_id: uuid.UUID) -> str:
    """The id of a batch of jobs as the wire has it."""
    return f"task_{batch_id.hex}"
