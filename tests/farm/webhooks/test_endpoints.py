"""Who is told: endpoints and their secrets, and where a webhook may go."""

from __future__ import annotations

import ssl
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farm.errors import Forbidden, InvalidRequest, NotFound
from farm.intake.addresses import parse_trusts
from farm.intake.urls import FetchPolicy
from farm.services import Services
from farm.submit import submit
from farm.webhooks import check_target, deliveries, endpoints
from farm.webhooks.endpoints import Change, Endpoint
from farm.webhooks.send import Sender
from tests import factories
from tests.factories import Customer
from tests.farm.checks import assert_books_balance, run, scalar
from tests.farm.intake.hostile_server import HostileServer, Network, Trap
from tests.farm.webhooks.arranging import added, ended, listed
from tests.farm.webhooks.receiver import Receiver, pump, verify
from tests.programs import self_signed

A_DAY = timedelta(days=1)


def test_an_endpoint_hears_of_its_events_only_and_nothing_once_switched_off(
    services: Services, who: Customer, receiver: Receiver
) -> None:
    found = added(services, who, receiver, events=["job.failed"])
    other = factories.customer(services, plan="pro")
    added(services, other, receiver, "/other")
    ended(services, who)
    assert listed(services, who, found) == []
    factories.fail(services, factories.claimed(services, factories.submitted(services, who)))
    assert [d.event for d in listed(services, who, found)] == ["job.failed"]
    change = endpoints.change_endpoint(
        services.db, who.account_id, found.id, Change(events=(), enabled=False)
    )
    assert (change.events, change.disabled_reason) == (None, endpoints.SWITCHED_OFF)
    ended(services, who)
    pump(services).drain()
    # What was on the way when it was switched off is not sent either.
    assert [d.state for d in listed(services, who, found)] == ["given_up"]
    assert receiver.messages == []
    deliveries.ping(services.db, change)
    pump(services).drain()
    assert receiver.types() == ["test.ping"]
    assert_books_balance(services)


def test_what_receivers_may_answer(
    services: Services, who: Customer, receiver: Receiver, hostile: HostileServer
) -> None:
    """Redirects are not followed, 410 disables, and no answer is waited for or read for long."""
    receiver.statuses |= {"/moved": 307, "/gone": 410}
    found = {path: added(services, who, receiver, path) for path in ("/moved", "/gone")}
    for path in ("/hang", "/endless", "/drip-body", "/close"):
        found[path], _ = endpoints.add_endpoint(services.db, who.account_id, hostile.url(path))
    ended(services, who)
    with Trap() as trap:
        inside = f"http://127.0.0.1:{trap.port}/"
        found[inside], _ = endpoints.add_endpoint(services.db, who.account_id, inside)
        deliveries.ping(services.db, found[inside])
        assert pump(services, timeout_s=0.5).drain() == 7
        assert trap.connections() == 0
    said = {path: listed(services, who, endpoint)[0] for path, endpoint in found.items()}
    assert {path: delivery.state for path, delivery in said.items()} == {
        "/moved": "scheduled",
        "/gone": "given_up",
        "/hang": "scheduled",
        "/endless": "delivered",
        "/drip-body": "delivered",
        "/close": "scheduled",
        inside: "scheduled",
    }
    assert [m.path for m in receiver.messages if m.path == "/elsewhere"] == []
    assert "redirect" in (said["/moved"].tries[0].result.error or "")
    assert said["/hang"].tries[0].result.error == "No answer in time."
    assert max(d.tries[0].result.milliseconds for d in said.values()) < 3000
    gone = endpoints.get_endpoint(services.db, who.account_id, found["/gone"].id)
    assert (gone.enabled, gone.disabled_reason) == (False, endpoints.GONE)


def test_names_that_lead_inside_are_never_connected_to() -> None:
    network = Network(
        {
            "evil.example": [["93.184.215.14", "169.254.169.254"]],
            "good.example": [["93.184.215.14"]],
        }
    )
    sender = Sender(FetchPolicy(), resolve=network.resolve, connect=network.connect)
    inside = sender.post("https://evil.example/", [], b"{}")
    assert (inside.status, network.dialled) == (None, [])
    nobody = sender.post("https://good.example/", [], b"{}")
    assert (nobody.status, network.dialled) == (None, ["93.184.215.14"])
    assert sender.post("http://good.example/", [], b"{}").error.startswith(
        "The URL must start with"
    )


def test_both_secrets_sign_for_a_day_after_a_rotation(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    old = receiver.secrets["/hook"]
    changed, new = endpoints.rotate_secret(services.db, who.account_id, endpoint.id)
    assert changed.previous_secret_until is not None
    assert changed.previous_secret_until - datetime.now(UTC) == pytest.approx(A_DAY, abs=A_DAY / 99)
    ended(services, who)
    pump(services).drain()
    message = receiver.messages[-1]
    assert verify(old, message.raw, message.headers)
    assert verify(new, message.raw, message.headers)
    run(services, "UPDATE webhook_endpoints SET previous_until = now()")
    ended(services, who)
    pump(services).drain()
    message = receiver.messages[-1]
    assert not verify(old, message.raw, message.headers)
    assert verify(new, message.raw, message.headers)


def test_a_deleted_endpoint_gets_nothing_more_and_its_secret_goes(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    ended(services, who)
    unused = added(services, who, receiver, "/unused")
    for gone in (endpoint, unused):
        with pytest.raises(NotFound):
            endpoints.delete_endpoint(services.db, uuid.uuid4(), gone.id)
        endpoints.delete_endpoint(services.db, who.account_id, gone.id)
        with pytest.raises(NotFound):
            endpoints.secret_of(services.db, who.account_id, gone.id)
    pump(services).drain()
    assert receiver.messages == []
    assert [d.state for d in listed(services, who, endpoint)] == ["given_up"]
    rows = scalar(services, "SELECT count(*) FROM webhook_endpoints WHERE secret IS NULL")
    assert rows == 1
    # One whose row went while a job ended beside it.
    raced = added(services, who, receiver)
    ended(services, who)
    run(services, "DELETE FROM webhook_endpoints WHERE id = :id", id=raced.id)
    pump(services).drain()
    assert [d.state for d in listed(services, who, raced)] == ["given_up"]
    assert receiver.messages == []
    assert_books_balance(services)


def test_a_plan_without_webhooks_sends_only_what_came_with_a_submit(
    services: Services, who: Customer, receiver: Receiver, endpoint: Endpoint
) -> None:
    ended(services, who, receiver.url("/mine"))
    run(services, "UPDATE accounts SET plan = 'free' WHERE id = :id", id=who.account_id)
    pump(services).drain()
    assert [m.path for m in receiver.messages] == ["/mine"]
    [delivery] = listed(services, who, endpoint)
    assert delivery.state == "given_up"
    assert delivery.tries[0].result.error == "The plan free has no webhooks."
    poor = factories.customer(services)
    request = replace(factories.request(), webhook_url=receiver.url())
    with pytest.raises(Forbidden, match="pro or scale"):
        submit(services, poor.principal, request)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://shop.example/hook", "https://"),
        ("ftp://shop.example/", "https://"),
        ("https://10.0.0.7/hook", "public host"),
        ("https://user:word@shop.example/", "user name"),
        ("https://localhost/", "public host"),
        ("http://203.0.113.9/", "public host"),
    ],
)
def test_a_target_is_https_and_public(url: str, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        check_target(url, "webhook_url", FetchPolicy())
    assert caught.value.errors[0].field == "webhook_url"


def test_an_operator_may_vouch_for_a_target() -> None:
    policy = FetchPolicy(parse_trusts("hooks.internal:8080,10.1.0.0/16"))
    for url in ("http://hooks.internal:8080/x", "http://10.1.2.3/", "https://shop.example/?a=1"):
        assert check_target(url, "url", policy) == url
    with pytest.raises(InvalidRequest):
        check_target("http://shop.example/", "url", policy)


def test_an_account_has_twenty_endpoints_at_most_and_known_events_only(
    services: Services, who: Customer
) -> None:
    def add(*events: str) -> Endpoint:
        return endpoints.add_endpoint(services.db, who.account_id, "https://a.example/", events)[0]

    with pytest.raises(InvalidRequest, match=r"'job\.done' is none of job\.succeeded"):
        add("job.done")
    for _ in range(endpoints.ENDPOINTS_MAX):
        add()
    with pytest.raises(InvalidRequest, match="at most 20"):
        add()


def test_a_certificate_must_be_the_hosts_and_known(tmp_path: Path) -> None:
    certificate, public = self_signed(tmp_path / "shop.pem", "DNS:shop.example"), "93.184.215.14"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusted = ssl.create_default_context(cafile=certificate)
    with HostileServer(tls=context) as server:
        names = {"shop.example": [(public,)], "wrong.example": [(public,)]}
        network = Network(names, {public: server.port})

        def status(host: str, known: ssl.SSLContext | None) -> int | None:
            sender = Sender(
                FetchPolicy(), resolve=network.resolve, connect=network.connect, tls=known
            )
            return sender.post(f"https://{host}/picture", [], b"{}").status

        assert status("shop.example", trusted) == 200
        assert status("wrong.example", trusted) is None
        assert status("shop.example", None) is None
