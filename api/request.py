"""The request as the API sees it: Flask's, with what one call learns about its caller."""

from __future__ import annotations

from typing import cast

from flask import Request
from flask.globals import request as flask_request
from limits import RateLimitItem

from api.hosts import ASKED_PATH, FRONT
from api.rates import Rate
from farm.errors import FarmError
from farm.types import Principal


class FarmRequest(Request):
    """One HTTP request.

    ``principal`` is who calls, where a key was needed or given; ``bucket`` whose calls this
    one is counted with, ``per_minute`` how many of them may pass, ``calls`` how many it counts
    for, ``counted`` how many of those passed, where the storage says (0: all), and
    ``counted_by`` the limit that they were counted by, where the library was not asked;
    ``rate`` where the caller stands once that is known; ``refusal`` why the caller is not let
    in, which is said after the call was counted, and ``known_as`` the storefront of one who is
    known and refused; ``started`` the monotonic second it came in.
    """

    principal: Principal | None = None
    bucket: str = ""
    per_minute: int = 0
    calls: int = 1
    counted: int = 0
    counted_by: RateLimitItem | None = None
    rate: Rate | None = None
    refusal: FarmError | None = None
    known_as: str = ""
    request_id: str = ""
    started: float = 0.0

    @property
    def agent(self) -> str:
        """The User-Agent header, empty where there is none."""
        return str(self.environ.get("HTTP_USER_AGENT", ""))

    @property
    def front(self) -> str:
        """The storefront whose own host was asked; empty where the host is everybody's."""
        return str(self.environ.get(FRONT, ""))

    @property
    def asked_path(self) -> str:
        """The path as the caller wrote it."""
        raw = self.environ.get(ASKED_PATH)
        return self.path if raw is None else raw.encode("latin-1").decode("utf-8", "replace")

    def caller(self) -> Principal:
        """The authenticated caller of a route that needs one."""
        assert self.principal is not None, "the route is not declared as one that needs a key"
        return self.principal


def current_request() -> FarmRequest:
    """The request being answered, without the proxy around it."""
    return cast(FarmRequest, flask_request._get_current_object())  # type: ignore[attr-defined]
