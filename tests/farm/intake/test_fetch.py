"""Fetching over real sockets: what comes back, what never does, and what is never reached."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from farm.config import Settings
from farm.errors import InputUnavailable, TooLarge
from farm.intake.addresses import parse_trusts
from farm.intake.fetch import Fetcher, FetchPolicy, policy_of
from farm.intake.urls import read_url
from tests.farm.intake.hostile_server import (
    ALWAYS_TOO_LARGE,
    NEVER_A_PICTURE,
    PICTURE,
    HostileServer,
    Network,
    Trap,
)
from tests.farm.intake.hostile_urls import (
    REDIRECTED_INSIDE,
    REFUSED_AT_SUBMIT,
    RESOLVED_INSIDE,
    at_port,
)
from tests.programs import self_signed

PUBLIC = "93.184.215.14"
OTHER = "93.184.215.15"
SENTENCE = (
    "The URL in image_url could not be fetched. "
    "Check that anybody can open it, and send the request again."
)
TIMEOUT_S = 0.6


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as found:
        yield found


@pytest.fixture
def trap() -> Iterator[Trap]:
    with Trap() as found:
        yield found


def trusting(server: HostileServer, timeout_s: float = 5.0, bytes_max: int = 100_000) -> Fetcher:
    """A fetcher with the system's own network, whose operator trusts the server."""
    return Fetcher(FetchPolicy(parse_trusts(server.trust), timeout_s, bytes_max))


def on(network: Network, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None) -> Fetcher:
    """A fetcher that trusts nobody, in a made-up internet."""
    return Fetcher(FetchPolicy(timeout_s=timeout_s), network.resolve, network.connect, tls)


def refusal(fetcher: Fetcher, url: str) -> str:
    """The sentence that a fetch ends with."""
    with pytest.raises(InputUnavailable) as caught:
        fetcher.fetch(url, "image_url")
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/picture", PICTURE),
        ("/chunked", b"firstsecond"),
        ("/until-close", b"until it closes"),
        ("/interim", b"ok"),
        ("/hops/3", PICTURE),
        ("/flaky/1", PICTURE),
    ],
)
def test_a_picture_is_fetched_as_it_is(server: HostileServer, path: str, body: bytes) -> None:
    assert trusting(server).fetch(server.url(path), "image_url") == body


def test_the_request_says_who_asks_and_nothing_else(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert trusting(server).fetch(server.url("/cookie#part"), "image_url") == PICTURE
    first, second = (request.decode("ascii").split("\r\n") for request in server.seen)
    assert first == [
        "GET /cookie HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: media-farm (fetches pictures for its customers)",
        "Accept: image/jpeg,image/png,image/webp,*/*;q=0.1",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    ]
    assert second == ["GET /picture HTTP/1.1", *first[1:]]


@pytest.mark.parametrize("path", NEVER_A_PICTURE)
def test_every_failure_is_the_same_sentence_in_time(server: HostileServer, path: str) -> None:
    began = time.monotonic()
    assert refusal(trusting(server, TIMEOUT_S), server.url(path)) == SENTENCE
    assert time.monotonic() - began < TIMEOUT_S + 1


@pytest.mark.parametrize("path", ALWAYS_TOO_LARGE)
def test_too_many_bytes_are_told_and_not_awaited(server: HostileServer, path: str) -> None:
    began = time.monotonic()
    with pytest.raises(TooLarge) as caught:
        trusting(server).fetch(server.url(path), "mask_url")
    assert (caught.value.field, caught.value.limit_bytes) == ("mask_url", 100_000)
    assert time.monotonic() - began < 4


def test_the_limit_is_to_the_byte() -> None:
    with HostileServer({"/fits": bytes(1000), "/over": bytes(1001)}) as server:
        fetcher = trusting(server, bytes_max=1000)
        assert fetcher.fetch(server.url("/fits"), "image_url") == bytes(1000)
        with pytest.raises(TooLarge):
            fetcher.fetch(server.url("/over"), "image_url")


def test_a_passing_failure_is_tried_once_more_and_others_are_not(server: HostileServer) -> None:
    fetcher = trusting(server)
    for path in ("/flaky/2", "/status/404", "/status/500", "/short"):
        assert refusal(fetcher, server.url(path)) == SENTENCE
    assert server.paths() == ["/flaky/2"] * 2 + ["/status/404", "/status/500", "/short"]


def test_redirects_are_followed_three_times(server: HostileServer) -> None:
    assert refusal(trusting(server), server.url("/loop")) == SENTENCE
    assert server.paths() == ["/loop"] * 4


def test_a_closed_port_a_silent_one_and_no_name_are_told_alike(trap: Trap) -> None:
    allowed = FetchPolicy(parse_trusts("127.0.0.1,quiet.internal"), TIMEOUT_S)
    told = {refusal(Fetcher(allowed), "http://127.0.0.1:1/")}
    began = time.monotonic()
    told.add(refusal(Fetcher(allowed), f"http://127.0.0.1:{trap.port}/"))
    assert time.monotonic() - began < TIMEOUT_S + 1
    # Who answers no TLS.
    told.add(refusal(Fetcher(allowed), f"https://127.0.0.1:{trap.port}/"))
    told.add(refusal(Fetcher(allowed, Network().resolve), "http://quiet.internal/"))
    assert told == {SENTENCE}
    # The trap works: it saw the two that were allowed to come.
    assert trap.connections() == 2


def test_no_hostile_form_reaches_the_inside_even_if_nobody_checked_it(trap: Trap) -> None:
    network = Network()
    for url in REFUSED_AT_SUBMIT:
        assert refusal(on(network), at_port(url, trap.port)) == SENTENCE
        fetcher = Fetcher(FetchPolicy(timeout_s=1))
        assert refusal(fetcher, at_port(url, trap.port)) == SENTENCE
    assert network.asked == network.dialled == []
    assert trap.connections() == 0


@pytest.mark.parametrize(("url", "answers"), RESOLVED_INSIDE)
def test_a_name_that_leads_inside_is_connected_to_nowhere(
    trap: Trap, url: str, answers: tuple[str, ...]
) -> None:
    host = read_url(url.replace(":{port}", ""), frozenset()).host
    network = Network({host: [answers]}, {PUBLIC: trap.port})
    assert refusal(on(network), at_port(url, trap.port)) == SENTENCE
    # With the system's own connections too, which would find the trap.
    real = Fetcher(FetchPolicy(timeout_s=1), network.resolve)
    assert refusal(real, at_port(url, trap.port)) == SENTENCE
    assert network.asked == [host, host]
    assert network.dialled == []
    assert trap.connections() == 0


@pytest.mark.parametrize("location", REDIRECTED_INSIDE, ids=ascii)
def test_a_redirect_to_the_inside_is_not_followed(
    server: HostileServer, trap: Trap, location: str
) -> None:
    path = "/redirect/" + quote(at_port(location, trap.port), safe="")
    network = Network(
        {"shop.example": [(PUBLIC,)], "inside.example": [("127.0.0.1",)]},
        {PUBLIC: server.port, "127.0.0.1": trap.port, "::1": trap.port},
    )
    told = refusal(on(network), f"http://shop.example{path}")
    # A few are, to every reader of URLs in Python, a path of the same host, who has none such.
    assert told in (SENTENCE, SENTENCE.replace("could not be fetched", "answered with status 404"))
    assert set(network.dialled) == {PUBLIC}
    # Nor with the system's own connections, from a host that the operator trusts.
    real = Fetcher(FetchPolicy(parse_trusts(server.trust), 5), network.resolve)
    assert refusal(real, server.url(path)) == SENTENCE
    assert trap.connections() == 0


@pytest.mark.parametrize("location", ["/pic\tture", "/\tpicture", "\\picture", "/picture x"])
def test_a_redirect_that_python_would_mend_first_is_refused(
    server: HostileServer, location: str
) -> None:
    url = server.url("/redirect/" + quote(location, safe=""))
    assert refusal(trusting(server), url) == SENTENCE
    assert len(server.paths()) == 1
    mended = server.url("/redirect/" + quote("/picture", safe=""))
    assert trusting(server).fetch(mended, "image_url") == PICTURE


def test_a_name_whose_answer_changes_is_asked_once(server: HostileServer, trap: Trap) -> None:
    network = Network(
        {"shop.example": [(PUBLIC,), ("127.0.0.1",)]},
        {PUBLIC: server.port, "127.0.0.1": trap.port},
    )
    assert on(network).fetch("http://shop.example/picture", "image_url") == PICTURE
    assert (network.asked, network.dialled) == (["shop.example"], [PUBLIC])
    assert b"Host: shop.example\r\n" in server.seen[0]
    assert trap.connections() == 0


def test_a_retry_goes_to_the_address_that_was_checked(server: HostileServer) -> None:
    network = Network({"shop.example": [(PUBLIC,), ("127.0.0.1",)]}, {PUBLIC: server.port})
    assert on(network).fetch("http://shop.example/flaky/1", "image_url") == PICTURE
    assert (network.asked, network.dialled) == (["shop.example"], [PUBLIC, PUBLIC])


def test_a_name_whose_answer_changes_between_redirects_is_refused(
    server: HostileServer, trap: Trap
) -> None:
    network = Network(
        {"shop.example": [(PUBLIC,), ("127.0.0.1",)]},
        {PUBLIC: server.port, "127.0.0.1": trap.port},
    )
    assert refusal(on(network), "http://shop.example/hops/1") == SENTENCE
    assert (network.asked, network.dialled) == (["shop.example"] * 2, [PUBLIC])
    assert trap.connections() == 0


def test_the_next_address_is_tried_and_no_more_than_a_few(server: HostileServer) -> None:
    network = Network({"shop.example": [(OTHER, OTHER, PUBLIC)]}, {PUBLIC: server.port})
    assert on(network).fetch("http://shop.example/picture", "image_url") == PICTURE
    assert network.dialled == [OTHER, PUBLIC]
    many = Network({"shop.example": [[f"93.184.216.{n}" for n in range(100)]]})
    assert refusal(on(many), "http://shop.example/picture") == SENTENCE
    assert len(many.dialled) == 8


@pytest.mark.parametrize("status", [204, 304, 401, 404, 407, 418, 500, 503])
def test_the_status_of_a_public_host_is_told(server: HostileServer, status: int) -> None:
    network = Network({"shop.example": [(PUBLIC,)]}, {PUBLIC: server.port})
    told = refusal(on(network), f"http://shop.example/status/{status}")
    assert told == SENTENCE.replace("could not be fetched", f"answered with status {status}")


def test_a_trusted_name_may_lie_inside(server: HostileServer) -> None:
    network = Network({"store.internal": [("127.0.0.1",)]})
    policy = FetchPolicy(parse_trusts(f"store.internal:{server.port}"), 5)
    fetcher = Fetcher(policy, network.resolve)
    assert fetcher.fetch(server.url("/picture", "store.internal"), "image_url") == PICTURE
    assert refusal(Fetcher(policy, network.resolve), "http://store.internal/picture") == SENTENCE


def test_a_hung_lookup_ends_in_time_and_hung_ones_are_bounded() -> None:
    release = threading.Event()
    started: list[str] = []

    def hang(host: str, port: int) -> list[str]:
        started.append(host)
        release.wait(20)
        return [PUBLIC]

    fetcher = Fetcher(FetchPolicy(timeout_s=TIMEOUT_S), hang)

    def timed(number: int) -> float:
        began = time.monotonic()
        assert refusal(fetcher, f"http://name{number}.example/") == SENTENCE
        return time.monotonic() - began

    try:
        with ThreadPoolExecutor(12) as pool:
            assert max(pool.map(timed, range(12))) < TIMEOUT_S + 1
        assert len(started) == 8
    finally:
        release.set()
    network = Network()
    assert refusal(on(network, 5), "http://gone.example/") == SENTENCE


def test_the_log_says_what_the_customer_is_not_told(
    server: HostileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "farm.intake.fetch")
    network = Network({"inside.example": [("10.0.0.7",)]})
    refusal(on(network), "http://inside.example/?token=secret")
    refusal(trusting(server), server.url("/none?token=secret"))
    refusal(trusting(server), server.url("/close"))
    assert "inside.example: 10.0.0.7 is private (RFC 1918)" in caplog.text
    assert f"127.0.0.1:{server.port}: answered 404" in caplog.text
    assert f"127.0.0.1:{server.port}: RemoteProtocolError" in caplog.text
    assert "secret" not in caplog.text


def test_the_policy_is_what_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, fetch_allow="store.internal", fetch_timeout_s=3)
    policy = policy_of(settings)
    assert (policy.allow, policy.timeout_s) == (parse_trusts("store.internal"), 3)
    assert (policy.bytes_max, policy.redirects_max) == (10 * 1024 * 1024, 3)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for shop.example and 93.184.215.14, with its key."""
    path = tmp_path_factory.mktemp("tls") / "shop.pem"
    return self_signed(path, "DNS:shop.example", f"IP:{PUBLIC}")


def test_tls_is_verified_against_the_name_and_not_the_address(certificate: Path) -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusted = ssl.create_default_context(cafile=certificate)
    with HostileServer(tls=context) as server:
        network = Network(
            {"shop.example": [(PUBLIC,)], "wrong.example": [(PUBLIC,)]}, {PUBLIC: server.port}
        )
        fetcher = on(network, tls=trusted)
        assert fetcher.fetch("https://shop.example/picture", "image_url") == PICTURE
        assert fetcher.fetch(f"https://{PUBLIC}/picture", "image_url") == PICTURE
        assert refusal(fetcher, "https://wrong.example/picture") == SENTENCE
        # Signed by nobody that this machine knows.
        assert refusal(on(network), "https://shop.example/picture") == SENTENCE
        assert server.paths() == ["/picture", "/picture"]
    # An address is not sent as a name (RFC 6066, 3); a failed handshake is tried twice.
    assert asked == ["shop.example", None, *["wrong.example"] * 2, *["shop.example"] * 2]


def test_a_secure_url_is_not_redirected_to_an_insecure_one(
    certificate: Path, server: HostileServer
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusted = ssl.create_default_context(cafile=certificate)
    with HostileServer(tls=context) as secure:
        network = Network(
            {"shop.example": [(PUBLIC,)], "plain.example": [(OTHER,)]},
            {PUBLIC: secure.port, OTHER: server.port},
        )
        fetcher = on(network, tls=trusted)
        down = "https://shop.example/redirect/" + quote("http://plain.example/picture", safe="")
        assert refusal(fetcher, down) == SENTENCE
        assert network.dialled == [PUBLIC]
        up = "http://plain.example/redirect/" + quote("https://shop.example/hops/1", safe="")
        assert fetcher.fetch(up, "image_url") == PICTURE
    assert len(server.paths()) == 1


def test_a_handshake_that_drips_ends_in_time(certificate: Path, server: HostileServer) -> None:
    trusted = ssl.create_default_context(cafile=certificate)
    network = Network({"shop.example": [(PUBLIC,)]}, {PUBLIC: server.port})
    began = time.monotonic()
    assert refusal(on(network, TIMEOUT_S, trusted), "https://shop.example/") == SENTENCE
    assert time.monotonic() - began < TIMEOUT_S + 1
