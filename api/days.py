"""How many submits a key has in a day, on plans that say so.

Only a request that made jobs counts: one that was refused, and one that an earlier request had
answered already, cost the day nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from api.runtime import Runtime
from farm.errors import RateLimited
from farm.submission import Batch, Submission
from farm.submit import is_repeated
from farm.types import Idempotency, Principal

Made = TypeVar("Made", Submission, Batch)


def within_the_day(
    runtime: Runtime, caller: Principal, idempotency: Idempotency | None, submit: Callable[[], Made]
) -> Made:
    """Submit, where the day allows it.

    Raises:
        RateLimited: the key has made as many as its plan allows a day. A repeated request is
            answered nevertheless.
        FarmError: whatever ``submit`` raises.
    """
    plan = runtime.services.catalog.storefronts[caller.storefront].plans[caller.plan]
    limit = plan.submits_per_day
    if limit is None:
        return submit()
    take_back = runtime.days.take(str(caller.key_id), limit)
    if take_back is None:
        if idempotency and is_repeated(runtime.services.db, caller, idempotency):
            return submit()
        raise _over(limit, runtime.days.seconds_left())
    made = False
    try:
        answer = submit()
        made = not answer.replayed
        return answer
    finally:
        if not made:
            take_back()


def _over(limit: int, retry_after_s: int) -> RateLimited:
    return RateLimited(
        f"Daily limit reached: {limit:,} requests that create jobs for each key. "
        f"The next day begins at 00:00 UTC, in {retry_after_s:,} s.",
        retry_after_s,
    )
