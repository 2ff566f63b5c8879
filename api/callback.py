"""``webhook_url``, which every submit takes beside its own fields: who is told of the end."""

from __future__ import annotations

from typing import Any, Self

from farm.errors import FieldError, InvalidRequest
from farm.intake.urls import FetchPolicy
from farm.parameters import type_name
from farm.webhooks import check_target

FIELD = "webhook_url"


class Problems:
    """Gathers what several looks at one body find wrong, so that all of it is said at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def gathered(self) -> Self:
        """Keep what is wrong within the block; go on after it."""
        return self

    # By hand: every submit goes through a few of these, and a generator takes five times as long.
    def __enter__(self) -> None:
        """The block begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        """The block ended, perhaps by an error that is kept."""
        if isinstance(error, InvalidRequest):
            self.errors += error.errors
            return True
        return False

    def check(self) -> None:
        """Raise InvalidRequest where something was found."""
        if self.errors:
            raise InvalidRequest(self.errors)


def decode_webhook(value: Any, policy: FetchPolicy) -> str | None:
    """The field's value as a URL that may be told; None where it was left out.

    Raises:
        InvalidRequest: it is no text, or no URL that a webhook may go to.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRequest([FieldError(FIELD, f"must be text, not {type_name(value)}.")])
    return check_target(value, FIELD, policy)
