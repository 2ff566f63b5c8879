"""The form of a URL: what is refused before anybody is asked, and how the rest is written."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.intake.addresses import parse_trusts, why_not_public
from farm.intake.urls import URL_MAX, FetchPolicy, check_url, read_url
from tests.farm.intake.hostile_urls import (
    REDIRECTED_INSIDE,
    REFUSED_AT_SUBMIT,
    RESOLVED_INSIDE,
    at_port,
)

POLICY = FetchPolicy()


def test_there_are_enough_hostile_urls_and_none_is_there_twice() -> None:
    urls = (*REFUSED_AT_SUBMIT, *(url for url, _ in RESOLVED_INSIDE))
    assert len(urls) == len(set(urls))
    assert len(urls) >= 130
    assert len(set(REDIRECTED_INSIDE)) == len(REDIRECTED_INSIDE) >= 25


@pytest.mark.parametrize("url", REFUSED_AT_SUBMIT, ids=lambda url: ascii(url)[:60])
def test_a_hostile_form_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_url(at_port(url, 8080), "image_url", POLICY)
    [error] = caught.value.errors
    assert error.field == "image_url"
    assert error.message.startswith(("must ", "has "))
    assert error.message.endswith(".")
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize("url", [url for url, _ in RESOLVED_INSIDE])
def test_a_form_that_tells_nothing_is_left_to_the_resolver(url: str) -> None:
    assert check_url(at_port(url, 8080), "image_url", POLICY) == at_port(url, 8080)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.com/", "must be a whole URL that starts with http:// or https://"),
        ("http://example.com/a b", "must not contain spaces"),
        ("http://me@example.com/", "must not contain a user name or password"),
        ("http://127.1/", "has an address in an unusual notation"),
        ("http://127.0.0.1/", "must be at a public host, which 127.0.0.1 is not"),
        ("http://[::FFFF:7f00:1]/", "must be at a public host, which ::ffff:7f00:1 is not"),
        ("http://localhost/", "must be at a public host, which localhost is not"),
        ("http://a..b/", "has no host that could be looked up"),
        ("http://example.com:0/", "has a port that is not a number from 1 to 65535"),
        ("http://example.com:22/", "must have port 80, 443, or one from 1024 to 65535"),
        ("http://example.com:80:80/", "has a host or port that cannot be read"),
        ("http://example.com/" + "a" * 3000, "must have at most 2,048 characters, not 3,019"),
    ],
)
def test_the_sentence_says_what_to_change(url: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_url(url, "mask_url", POLICY)
    assert str(caught.value).startswith(f"mask_url: {says}")


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://example.com/a.jpg", "https://example.com/a.jpg"),
        ("HTTPS://Example.COM/A.jpg", "https://example.com/A.jpg"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com?a=1", "http://example.com/?a=1"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/", "https://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:8443/a", "http://example.com:8443/a"),
        ("http://example.com/#part", "http://example.com/"),
        ("http://example.com/?q=#part?no", "http://example.com/?q="),
        ("http://example.com/a%20b/%2e", "http://example.com/a%20b/%2e"),
        ("http://example.com/a@b:c?x=[1]|{2}&y=http://z", None),
        ("http://example.com/Stühle.png?größe=1", "http://example.com/St%C3%BChle.png?gr%C3%B6%C3%9Fe=1"),
        ("http://Bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://straße.example/", "http://xn--strae-oqa.example/"),
        ("http://例え.jp/", "http://xn--r8jz45g.jp/"),
        ("http://my_bucket.store.example/a", None),
        ("http://3com.com/", None),
        ("http://1.2.3.example/", None),
        ("http://8.8.8.8/a", None),
        ("http://[2600:1900:0::1]:8080/", "http://[2600:1900::1]:8080/"),
        ("http://" + "a." * 120 + "com/", None),
        ("http://example.com/" + "a" * (URL_MAX - 19), None),
    ],
)  # fmt: skip
def test_a_good_url_is_written_in_one_way(url: str, written: str | None) -> None:
    assert check_url(url, "image_url", POLICY) == (written or url)
    assert check_url(written or url, "image_url", POLICY) == (written or url)


@pytest.mark.parametrize(
    ("trusts", "url"),
    [
        ("localhost:8080", "http://localhost:8080/"),
        ("localhost", "http://localhost:22/"),
        ("127.0.0.1:81", "http://127.0.0.1:81/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("pictures", "http://pictures/"),
        ("minio.internal:9000", "http://MINIO.internal:9000/"),
    ],
)
def test_whom_an_operator_trusts_may_be_private(trusts: str, url: str) -> None:
    allowed = FetchPolicy(allow=parse_trusts(trusts))
    assert check_url(url, "image_url", allowed) == url.lower()
    with pytest.raises(InvalidRequest):
        check_url(url, "image_url", POLICY)
    elsewhere = FetchPolicy(allow=parse_trusts("other.internal,192.168.0.0/16"))
    with pytest.raises(InvalidRequest):
        check_url(url, "image_url", elsewhere)


def test_trust_in_an_address_is_none_in_an_interface() -> None:
    allowed = FetchPolicy(allow=parse_trusts("::1"))
    assert check_url("http://[::1]/", "image_url", allowed) == "http://[::1]/"
    for zone in ("%lo", "%25lo", "%1"):
        with pytest.raises(InvalidRequest, match="no host that could be looked up"):
            check_url(f"http://[::1{zone}]/", "image_url", allowed)


def resolved_without_network(host: str) -> list[str]:
    """The addresses that the system's own resolver takes a host for, without asking anybody."""
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, 80, flags=socket.AI_NUMERICHOST)
        return [str(item[4][0]) for item in found]
    return []


_pieces = st.one_of(
    st.integers(0, 300).map(str),
    st.integers(0, 300).map(hex),
    st.integers(0, 300).map(lambda n: f"0{n:o}"),
    st.integers(0, 2**32).map(str),
    st.sampled_from(["", "0", "00", "0x", "localhost", "１", "%31", "a", "-", "x"]),
)


@settings(deadline=None)
@given(st.lists(_pieces, min_size=1, max_size=5), st.sampled_from([".", "。", "．", "..", "%2e"]))
def test_no_notation_that_the_resolver_takes_gets_through(pieces: list[str], dot: str) -> None:
    """Whatever passes is read by getaddrinfo as this parser reads it, or as a name."""
    host = dot.join(pieces)
    try:
        target = read_url(f"http://{host}/", frozenset())
    except ValueError:
        return
    for address in resolved_without_network(target.host):
        assert target.address == ip_address(address)
        assert why_not_public(ip_address(address)) is None


@settings(deadline=None)
@given(st.text(max_size=60).map(lambda text: "http://" + text) | st.text(max_size=60))
def test_any_text_is_read_or_refused_and_reads_the_same_again(text: str) -> None:
    try:
        url = check_url(text, "image_url", POLICY)
    except InvalidRequest:
        return
    assert url.isascii()
    assert check_url(url, "image_url", POLICY) == url
