"""The request as the API sees it: Flask's, with what one call learns about its caller."""

from __future__ import annotations

from typing import cast

from flask import Request
from flask.globals import request as flask_request

from api.limits import Rate
from farm.types import Principal


class FarmRequest(Request):
    """One HTTP request.

    ``principal`` is who calls, where a key was needed or given; ``rate`` where the caller
    stands with its limit; ``started`` the second it came in (``time.perf_counter``).
    """

    principal: Principal | None = None
    rate: Rate | None = None
    request_id: str = ""
    started: float = 0.0

    @property
    def agent(self) -> str:
        """The User-Agent header, empty where there is none."""
        return str(self.environ.get("HTTP_USER_AGENT", ""))

    def caller(self) -> Principal:
        """The authenticated caller of a route that needs one."""
        assert self.principal is not None, "the route is not declared as one that needs a key"
        return self.principal


def current_request() -> FarmRequest:
    """The request being answered, without the proxy around it."""
    return cast(FarmRequest, flask_request._get_current_object())  # type: ignore[attr-defined]
