"""Which addresses are public, what others carry, and what an operator's list may say."""

from __future__ import annotations

import random
import re
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from farm.intake.addresses import (
    NOT_PUBLIC,
    Address,
    carried,
    parse_trusts,
    why_not_public,
    why_refused,
)

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2600:1900::1",
    "2a00:1450:4001:81b::200e",
)

CARRIED = (
    ("::127.0.0.1", "127.0.0.1"),
    ("::ffff:10.1.2.3", "10.1.2.3"),
    ("::ffff:0:10.1.2.3", "10.1.2.3"),
    ("64:ff9b::192.0.2.33", "192.0.2.33"),
    ("2002:c0a8:101::1", "192.168.1.1"),
    ("2600:1900::5efe:192.168.0.1", "192.168.0.1"),
    ("2600:1900::200:5efe:192.168.0.1", "192.168.0.1"),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public_and_may_be_connected_to(text: str) -> None:
    assert why_not_public(ip_address(text)) is None
    assert why_refused(ip_address(text), 443, ()) is None


def edges() -> list[Address]:
    """The first and the last address of every range that is not public."""
    return [end for network, _ in NOT_PUBLIC for end in (network[0], network[-1])]


@pytest.mark.parametrize("address", edges(), ids=str)
def test_both_ends_of_every_range_are_refused(address: Address) -> None:
    assert why_not_public(address)
    refusal = why_refused(address, 443, ())
    assert refusal
    assert str(address) in refusal


def test_nothing_that_python_calls_private_is_public() -> None:
    draw = random.Random(3)
    for _ in range(20_000):
        four = IPv4Address(draw.getrandbits(32))
        six = IPv6Address(draw.getrandbits(128))
        for address in (four, six):
            if not address.is_global or address.is_multicast or address.is_reserved:
                assert why_not_public(address), address
    assert all("(" in meaning for _, meaning in NOT_PUBLIC), "every row says who says so"


@pytest.mark.parametrize(("outer", "inner"), CARRIED)
def test_an_address_inside_an_address_is_found(outer: str, inner: str) -> None:
    assert carried(ip_address(outer)) == (IPv4Address(inner),)
    assert why_not_public(ip_address(outer))


def test_teredo_carries_its_server_and_its_client() -> None:
    # The example of RFC 4380, 4: client 192.0.2.45 behind server 65.54.227.120.
    found = carried(ip_address("2001:0:4136:e378:8000:63bf:3fff:fdd2"))
    assert found == (IPv4Address("65.54.227.120"), IPv4Address("192.0.2.45"))


@pytest.mark.parametrize("text", ["8.8.8.8", "::1", "::", "2600:1900::1", "fe80::1"])
def test_other_addresses_carry_nothing(text: str) -> None:
    assert carried(ip_address(text)) == ()


@pytest.mark.parametrize(
    ("trusts", "address", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("127.0.0.1", "127.0.0.1", 9),
        ("127.0.0.0/8", "127.9.9.9", 80),
        ("[::1]:8080", "::1", 8080),
        ("::1", "::1", 80),
        ("other.internal, 10.0.0.0/8", "10.1.2.3", 443),
        ("fd00::/8", "fd12::1", 443),
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", 443),
        ("64:ff9b::/96,10.0.0.0/8", "64:ff9b::10.0.0.1", 443),
    ],
)
def test_a_trusted_address_may_be_private(trusts: str, address: str, port: int) -> None:
    assert why_refused(ip_address(address), port, parse_trusts(trusts)) is None


@pytest.mark.parametrize(
    ("trusts", "address", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8081),
        ("127.0.0.1:8080", "127.0.0.2", 8080),
        ("127.0.0.1:8080", "::ffff:127.0.0.1", 8080),
        ("10.0.0.0/8", "192.168.0.1", 443),
        ("pictures.internal", "10.0.0.1", 443),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1", 443),
        ("", "127.0.0.1", 80),
    ],
)
def test_trust_goes_no_further_than_it_says(trusts: str, address: str, port: int) -> None:
    assert why_refused(ip_address(address), port, parse_trusts(trusts))


def test_a_trusted_name_is_that_name_at_its_port() -> None:
    [trust] = parse_trusts("Pictures.Internal:8080")
    assert trust.covers_name("pictures.internal", 8080)
    assert not trust.covers_name("pictures.internal", 80)
    assert not trust.covers_name("more.pictures.internal", 8080)
    [anywhere] = parse_trusts("localhost")
    assert anywhere.covers_name("localhost", 1)
    assert not any(t.covers_name("", 80) for t in parse_trusts("10.0.0.0/8"))


def test_a_list_may_be_empty_and_has_room_between_its_entries() -> None:
    assert parse_trusts("") == parse_trusts(" , ,") == frozenset()
    assert len(parse_trusts(" a.internal , 10.0.0.0/8,[::1]:80 ,a.internal")) == 3


@pytest.mark.parametrize(
    "entry",
    [
        "http://pictures.internal",
        "pictures.internal/",
        "pictures.internal:",
        "pictures.internal:0",
        "pictures.internal:65536",
        "pictures.internal:http",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "256.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433:80",
        "[::1",
        "[pictures.internal]:80",
        "a b",
        "*.internal",
        "-a.internal",
        "user@host",
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(repr(entry))):
        parse_trusts(f"good.internal,{entry}")
