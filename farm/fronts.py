"""Which storefronts a farm serves, and which host names are one storefront's own.

``FARM_STOREFRONTS`` and ``FARM_HOSTS``: what they may look like, and what they mean once it is
known which storefronts there are. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from farm.errors import SetupError

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def parse_storefronts(text: str) -> tuple[str, ...]:
    """The ids with commas between, as they stand; empty: none is named. Raises ValueError."""
    ids = [item.strip() for item in text.split(",")] if text.strip() else []
    if "" in ids:
        raise ValueError("is a list of storefronts with commas between, as pixelapi,pixola")
    if doubled := [each for each in ids if ids.count(each) > 1]:
        raise ValueError(f"names {doubled[0]} twice")
    return tuple(ids)


def parse_hosts(text: str) -> dict[str, str]:
    """Storefront ids by host name, in lower case. Raises ValueError."""
    found: dict[str, str] = {}
    for item in text.split(",") if text.strip() else ():
        host, _, storefront = (part.strip() for part in item.partition("="))
        host = host.lower()
        if not _HOST.fullmatch(host) or not storefront:
            raise ValueError(
                f"{item.strip()!r} is no host name with its storefront, as "
                "img.example.com=pixola; no port, commas between them"
            )
        if host in found:
            raise ValueError(f"names {host} twice")
        found[host] = storefront
    return found


def storefronts_served(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The storefronts that are on, in the order of ``known``; all where ``text`` is empty.

    Raises:
        SetupError: one that is named is not known; the message names those that are.
    """
    named = parse_storefronts(text)
    _check(named, known, "FARM_STOREFRONTS")
    return tuple(each for each in known if each in named) if named else tuple(known)


def hosts_served(text: str, served: Sequence[str]) -> Mapping[str, str]:
    """The storefront of each host name that has one.

    Raises:
        SetupError: one that is named is not served; the message names those that are.
    """
    hosts = parse_hosts(text)
    _check(tuple(hosts.values()), served, "FARM_HOSTS")
    return hosts


def host_of(header: str) -> str:
    """The host name of a Host header: without port and final dot, in lower case."""
    name = header.strip().lower()
    if not name.startswith("["):
        name = name.partition(":")[0]
    return name.removesuffix(".")


def _check(named: Sequence[str], known: Sequence[str], setting: str) -> None:
    unknown = [each for each in named if each not in known]
    if unknown:
        raise SetupError(
            f"{setting} names {unknown[0]!r}, which is no storefront that is served here. "
            f"Choose from {', '.join(known)}."
        )
