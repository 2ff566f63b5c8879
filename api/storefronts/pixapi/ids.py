"""Ids on the wire: a task is all the jobs of one request, known by the first of them."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from farm import views
from farm.db import Database
from farm.errors import NotFound
from farm.types import Principal
from farm.views import JobView

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


def find_task(db: Database, caller: Principal, text: str) -> list[JobView]:
    """The jobs of a task. Raises NotFound for what is none, or another account's."""
    task_id = read_id(text)
    try:
        return views.get_batch(db, caller.account_id, task_id.job_id)
    except NotFound as error:
        raise NotFound("No such task.") from error


def encode_id(batch_id: uuid.UUID) -> str:
    """The id of a batch of jobs as the wire has it."""
    return f"task_{batch_id.hex}"
