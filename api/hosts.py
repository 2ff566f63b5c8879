"""Host names that are one storefront's own: there its paths are at ``/api/v1`` too.

Paths that storefronts share are there as well; the other storefronts' own are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from farm.fronts import host_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OWN_BASE = "/api/v1"
FRONT = "farm.front"
"""In a request's environment: the storefront whose host was asked."""
ASKED_PATH = "farm.asked_path"
"""In a request's environment: the path as it was asked for, where that was another."""


def at_hosts(
    app: WSGIApplication, hosts: Mapping[str, str], bases: Mapping[str, str]
) -> WSGIApplication:
    """The application with each storefront at its own hosts.

    Args:
        hosts: storefront ids by host name.
        bases: by storefront id, where its paths begin on every other host.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        storefront = hosts.get(host_of(environ.get("HTTP_HOST", "")))
        if storefront is not None:
            environ[FRONT] = storefront
            path = environ.get("PATH_INFO", "")
            if path == OWN_BASE or path.startswith(f"{OWN_BASE}/"):
                environ[ASKED_PATH] = path
                environ["PATH_INFO"] = bases[storefront] + path.removeprefix(OWN_BASE)
        return app(environ, start)

    return answer
