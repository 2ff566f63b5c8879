"""What a route calls that answers once jobs have ended."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from flask import Response

from api.request import FarmRequest
from api.runtime import Runtime
from api.waiting.guests import Conclude, Refuse, Waiter
from api.waiting.handover import Handover


def check_room(runtime: Runtime, request: FarmRequest) -> None:
    """Whether the caller may wait. To be asked before a job is made that is waited for.

    Raises:
        RateLimited: too many requests of this key wait already.
        Overloaded: too many clients wait here, or this process is closing.
    """
    runtime.room.check(request.caller().key_id)


def until_ended(
    runtime: Runtime,
    request: FarmRequest,
    job_ids: Sequence[uuid.UUID],
    wait_s: float,
    conclude: Conclude,
    refuse: Refuse,
) -> Response:
    """The answer that ``conclude`` gives once every job has ended, or after ``wait_s``.

    The client leaves its thread meanwhile. One that hangs up costs nothing; the jobs go on.
    """
    owner = request.caller().key_id
    return Handover(runtime.room, Waiter(job_ids, owner, wait_s, conclude, refuse))
