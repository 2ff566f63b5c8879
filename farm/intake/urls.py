"""The form of a picture's URL, decided without asking anybody.

URL parsers disagree with each other, and with what looks names up: a shell's ``curl``, a
browser, ``urllib`` and ``getaddrinfo`` read ``http://0x7f.1/`` or ``http://a\\@b/`` in four
ways. What could be read in two ways is refused; what is left has one reading, written anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from urllib.parse import quote

import idna

from farm.cards import InputSpec
from farm.config import Settings
from farm.errors import FieldError, InvalidRequest
from farm.intake.addresses import PORT_MAX, Address, Trust, parse_trusts, why_refused

URL_MAX = 2048
"""Characters, as given and as written anew."""

_PORTS = {"http": 80, "https": 443}
_LOW_PORTS = 1024
_OTHER_DOTS = frozenset("。．｡")  # U+3002, U+FF0E and U+FF61: dots to IDNA 2003
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<target>[^#]*)(#.*)?", re.I | re.A
)
_AUTHORITY = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^\[\]:]+))(?::(?P<port>[^:]*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Letters, digits, hyphens (RFC 1123), and the underscore that some stores' hosts have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A host whose last label is one of these is taken for a number somewhere (WHATWG URL, 3.5).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_INNER_NAMES = frozenset(
    {
        "alt",  # RFC 9476
        "arpa",  # RFC 3172, home.arpa (RFC 8375) and ipv4only.arpa (RFC 7050) among them
        "corp",  # RFC 6762, appendix G, as home, intranet, lan and private
        "home",
        "internal",  # reserved by ICANN in 2024; the clouds' metadata
        "intranet",
        "invalid",  # RFC 6761
        "lan",
        "local",  # RFC 6762
        "localdomain",
        "localhost",  # RFC 6761
        "onion",  # RFC 7686
        "private",
        "test",  # RFC 6761
    }
)
"""Last labels that are looked up inside a network or not at all."""


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What fetching may do: whom it trusts, and when it gives up.

    ``timeout_s`` is over everything one fetch does, looking names up and redirects included;
    ``bytes_max`` is of the picture.
    """

    allow: frozenset[Trust] = frozenset()
    timeout_s: float = 10.0
    bytes_max: int = InputSpec().bytes_max
    redirects_max: int = 3


def policy_of(settings: Settings) -> FetchPolicy:
    """The policy that the settings describe, for pictures of the size that cards allow."""
    return FetchPolicy(parse_trusts(settings.fetch_allow), settings.fetch_timeout_s)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts. ``host`` is a lower-case ASCII name, or an address without brackets;
    ``path`` has the query with it; ``address`` is the host where that is an address."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them: no port where it is the scheme's own."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The one way to write it."""
        return f"{self.scheme}://{self.authority}{self.path}"


class UrlRefused(ValueError):
    """A URL that will not be fetched; the text continues "image_url: ..."."""


def check_url(url: str, field: str, policy: FetchPolicy) -> str:
    """The URL written anew, when its form is one that may be fetched. Asks no network.

    Raises:
        InvalidRequest: it is malformed, too long, not http(s), can be read in two ways, or
            plainly leads inside.
    """
    try:
        return read_url(url, policy.allow).url
    except UrlRefused as error:
        raise InvalidRequest([FieldError(field, str(error))]) from error


def read_url(url: str, trusts: frozenset[Trust]) -> Target:
    """Take a URL apart (RFC 3986, and stricter). Raises UrlRefused saying what to change."""
    check_characters(url)
    found = _URL.fullmatch(url)
    if not found:
        raise UrlRefused(
            "must be a whole URL that starts with http:// or https://, "
            "such as https://example.com/picture.jpg."
        )
    if "@" in found["authority"]:
        raise UrlRefused("must not contain a user name or password.")
    scheme: Literal["http", "https"] = "https" if found["scheme"].lower() == "https" else "http"
    parts = _AUTHORITY.fullmatch(found["authority"])
    if not parts:
        raise UrlRefused("has a host or port that cannot be read. Write it like example.com:8443.")
    port = _port(parts["port"], scheme)
    host, address = _host(parts["six"], parts["host"])
    if address is not None:
        if why_refused(address, port, trusts):
            raise UrlRefused(_not_public(host))
    elif not any(trust.covers_name(host, port) for trust in trusts):
        _check_name(host)
    _check_port(port, scheme, host, address, trusts)
    path = quote(found["target"], safe=_VISIBLE)
    target = Target(scheme, host, port, path if path.startswith("/") else f"/{path}", address)
    if len(target.url) > URL_MAX:
        raise UrlRefused(_too_long(len(target.url)))
    return target


def check_characters(url: str) -> None:
    """Refuse what some readers of URLs drop or change before they read. Raises UrlRefused."""
    if len(url) > URL_MAX:
        raise UrlRefused(_too_long(len(url)))
    if "\\" in url or not url.isprintable() or any(c.isspace() for c in url):
        raise UrlRefused(
            "must not contain spaces, backslashes or invisible characters. "
            "Write %20 where a space belongs."
        )


def _host(six: str | None, other: str) -> tuple[str, Address | None]:
    """A host as it will be looked up or connected to, and the address that it is, if any."""
    if six:
        try:
            address: Address = IPv6Address(six)
        except ValueError as error:
            raise UrlRefused(_bad_host()) from error
        if "%" in six:
            # A zone names an interface of this machine (RFC 6874).
            raise UrlRefused(_bad_host())
        return str(address), address
    name = _name(other)
    if not _NUMBER.fullmatch(name.rpartition(".")[2]):
        return name, None
    try:
        # The one notation without leading zeros, which are octal to some.
        return name, IPv4Address(name)
    except ValueError as error:
        raise UrlRefused(
            "has an address in an unusual notation. Write four numbers from 0 to 255 with "
            "dots between them, or the host's name."
        ) from error


def _name(host: str) -> str:
    """A host in lower-case ASCII (IDNA 2008, RFC 5891), each label checked."""
    name = host.lower()
    if not host.isascii():
        # UTS 46 would turn full-width digits into digits; here, as in IDNA 2008 itself, no
        # letter, digit or dot stands for another one.
        if name.isascii() or set(name) & _OTHER_DOTS:
            raise UrlRefused(_bad_host())
        try:
            name = idna.encode(name).decode("ascii")
        except idna.IDNAError as error:
            raise UrlRefused(_bad_host()) from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise UrlRefused(_bad_host())
    return name


def _port(text: str | None, scheme: str) -> int:
    if text is None:
        return _PORTS[scheme]
    if not _PORT.fullmatch(text) or int(text) > PORT_MAX:
        raise UrlRefused(f"has a port that is not a number from 1 to {PORT_MAX}.")
    return int(text)


def _check_name(host: str) -> None:
    """Refuse a name that only somebody inside can look up."""
    head, _, last = host.rpartition(".")
    if not head or last in _INNER_NAMES:
        raise UrlRefused(_not_public(host))


def _check_port(
    port: int, scheme: str, host: str, address: Address | None, trusts: frozenset[Trust]
) -> None:
    """Refuse the ports of mail, shells and the like: who answers there was not meant to."""
    if port in _PORTS.values() or port >= _LOW_PORTS:
        return
    if any(
        t.covers_name(host, port) or (address is not None and t.covers_address(address, port))
        for t in trusts
    ):
        return
    raise UrlRefused(f"must have port 80, 443, or one from {_LOW_PORTS} to {PORT_MAX}.")


def _too_long(length: int) -> str:
    return f"must have at most {URL_MAX:,} characters, not {length:,}."


def _bad_host() -> str:
    return "has no host that could be looked up. Write it like https://example.com/picture.jpg."


def _not_public(host: str) -> str:
    return f"must be at a public host, which {host} is not."
