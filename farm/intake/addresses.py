"""Which internet addresses a customer may send the farm to, and which an operator adds.

Python's ``is_global`` alone will not do: it follows one version of IANA's registry, and lets
through tunnels and translators that carry an internal IPv4 address inside a public IPv6 one.
So every range is written down here, ``is_global`` is asked besides, and an address inside an
address is unpacked and asked about as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORT_MAX = 65_535

NOT_PUBLIC: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), f"{meaning} ({source})")
    for network, meaning, source in (
        ("0.0.0.0/8", "this network", "RFC 1122"),
        ("10.0.0.0/8", "private", "RFC 1918"),
        ("100.64.0.0/10", "shared by a carrier's customers, and some clouds' own", "RFC 6598"),
        ("127.0.0.0/8", "this machine", "RFC 1122"),
        ("168.63.129.16/32", "Azure's host, though the range is public", "Azure's manual"),
        ("169.254.0.0/16", "this link, and clouds' metadata", "RFC 3927"),
        ("172.16.0.0/12", "private", "RFC 1918"),
        ("192.0.0.0/24", "protocol assignments, and a cloud's metadata", "RFC 6890"),
        ("192.0.2.0/24", "documentation", "RFC 5737"),
        ("192.31.196.0/24", "AS112 name servers", "RFC 7535"),
        ("192.52.193.0/24", "multicast relays", "RFC 7450"),
        ("192.88.99.0/24", "6to4 relays", "RFC 7526"),
        ("192.168.0.0/16", "private", "RFC 1918"),
        ("192.175.48.0/24", "AS112 name servers", "RFC 7534"),
        ("198.18.0.0/15", "benchmarks", "RFC 2544"),
        ("198.51.100.0/24", "documentation", "RFC 5737"),
        ("203.0.113.0/24", "documentation", "RFC 5737"),
        ("224.0.0.0/4", "multicast", "RFC 5771"),
        ("240.0.0.0/4", "reserved, and broadcast", "RFC 1112"),
        ("::/128", "no address", "RFC 4291"),
        ("::1/128", "this machine", "RFC 4291"),
        ("::/96", "an IPv4 address, the old way", "RFC 4291"),
        ("::ffff:0:0/96", "an IPv4 address, mapped", "RFC 4291"),
        ("::ffff:0:0:0/96", "an IPv4 address, translated", "RFC 2765"),
        ("64:ff9b::/96", "an IPv4 address behind NAT64", "RFC 6052"),
        ("64:ff9b:1::/48", "an IPv4 address behind a local NAT64", "RFC 8215"),
        ("100::/64", "discarded", "RFC 6666"),
        ("100:0:0:1::/64", "a dummy prefix", "RFC 9780"),
        ("2001::/23", "protocol assignments, Teredo and ORCHID among them", "RFC 2928"),
        ("2001:db8::/32", "documentation", "RFC 3849"),
        ("2002::/16", "an IPv4 address by 6to4", "RFC 3056"),
        ("2620:4f:8000::/48", "AS112 name servers", "RFC 7534"),
        ("3fff::/20", "documentation", "RFC 9637"),
        ("5f00::/16", "segment identifiers", "RFC 9602"),
        ("fc00::/7", "private", "RFC 4193"),
        ("fe80::/10", "this link", "RFC 4291"),
        ("fec0::/10", "this site", "RFC 3879"),
        ("ff00::/8", "multicast", "RFC 4291"),
    )
)
"""Every range that no customer's URL may lead to, with what it is and who says so."""

_GIVEN_OUT = IPv6Network("2000::/3")
"""All of IPv6 that has been given to anybody so far: IANA's unicast assignments, RFC 4291."""

_CARRIERS: tuple[tuple[IPv6Network, int], ...] = tuple(
    (IPv6Network(network), shift)
    for network, shift in (
        ("::/96", 0),
        ("::ffff:0:0/96", 0),
        ("::ffff:0:0:0/96", 0),
        ("64:ff9b::/96", 0),
        ("2002::/16", 80),
        ("2001::/32", 64),
    )
)
"""Ranges whose addresses hold an IPv4 one, and how many bits lie to the right of it.

Of Teredo's two this is the server's; the client's is written inverted, see :func:`carried`."""

_TEREDO = IPv6Network("2001::/32")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_ENTRY = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?")


def carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address holds, as its tunnel or translator would read it.

    RFC 4291 (mapped, compatible), RFC 2765, RFC 6052, RFC 3056, RFC 4380, RFC 5214.
    """
    bits = int(address)
    if isinstance(address, IPv4Address) or bits <= 1:
        # Of ``::`` and ``::1`` the low bits mean nothing.
        return ()
    low = [bits >> shift for network, shift in _CARRIERS if address in network]
    if address in _TEREDO:
        low.append(~bits)
    if (bits >> 32) & 0xFFFF_FFFF in _ISATAP:
        low.append(bits)
    return tuple(IPv4Address(value & 0xFFFF_FFFF) for value in low)


def why_not_public(address: Address) -> str | None:
    """What an address is when it is not one that anybody on the internet may answer at.

    None means that it is public, and so is whatever it carries.
    """
    for network, meaning in NOT_PUBLIC:
        if address in network:
            return meaning
    if not address.is_global or address.is_multicast:
        return "not global, says Python's registry"
    if isinstance(address, IPv6Address) and (address not in _GIVEN_OUT or address.scope_id):
        return "not given out to anybody (RFC 4291)"
    for inner in carried(address):
        if why := why_not_public(inner):
            return f"a carrier of {inner}, which is {why}"
    return None


@dataclass(frozen=True, slots=True)
class Trust:
    """Something an operator vouches for: a host's name, or a network; at one port or at all."""

    name: str = ""
    network: Network | None = None
    port: int | None = None

    def covers_name(self, name: str, port: int) -> bool:
        """True for the trusted name itself: it may lead to any address."""
        return bool(self.name) and self.name == name and self.port in (None, port)

    def covers_address(self, address: Address, port: int) -> bool:
        """True for an address within the trusted network, whatever name led to it."""
        return self.network is not None and address in self.network and self.port in (None, port)


def parse_trusts(text: str) -> frozenset[Trust]:
    """Read ``host``, ``host:port``, ``address``, ``[v6]:port`` and CIDR, separated by commas.

    Raises:
        ValueError: naming the entry that cannot be read.
    """
    return frozenset(_trust(entry.strip().lower()) for entry in text.split(",") if entry.strip())


def why_refused(address: Address, port: int, trusts: Iterable[Trust]) -> str | None:
    """What keeps an address from being connected to, or None when it may be.

    It must be public or trusted, and so must every address that it carries: who trusts a
    NAT64 does not thereby trust the private addresses behind it.
    """
    for form in (address, *carried(address)):
        if any(trust.covers_address(form, port) for trust in trusts):
            continue
        if meaning := why_not_public(form):
            return f"{form} is {meaning}"
    return None


def _trust(entry: str) -> Trust:
    network = _network(entry)
    if network is not None:
        return Trust(network=network)
    found = _ENTRY.fullmatch(entry)
    if not found:
        raise ValueError(_unreadable(entry))
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= PORT_MAX:
        raise ValueError(f"{entry!r} has a port that is not from 1 to {PORT_MAX}")
    host = found["six"] or found["host"]
    try:
        return Trust(network=ip_network(ip_address(host)), port=port)
    except ValueError as error:
        # What looks like a number is a mistyped address and never a name.
        is_number = re.fullmatch(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)", host)
        if found["six"] or is_number or not _NAME.fullmatch(host):
            raise ValueError(_unreadable(entry)) from error
    return Trust(name=host, port=port)


def _network(entry: str) -> Network | None:
    """A bare address or a CIDR; None when the entry is neither."""
    try:
        return ip_network(entry)
    except ValueError:
        return None


def _unreadable(entry: str) -> str:
    return (
        f"{entry!r} is not a host, host:port, address or network, "
        "such as pictures.internal, 127.0.0.1:8080, [::1]:8080 or 10.1.0.0/16"
    )
