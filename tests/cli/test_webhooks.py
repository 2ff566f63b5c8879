"""``farm webhooks``: the whole of an endpoint's life from the command line."""

from __future__ import annotations

from farm.services import Services
from tests import factories
from tests.cli.conftest import Farm
from tests.farm.checks import run


def test_an_endpoint_from_its_making_to_its_end(farm: Farm, services: Services) -> None:
    who = factories.customer(services, plan="pro")
    url = "https://shop.example/hook"
    made = farm("webhooks", "add", who.email, url, "--event", "job.failed", "--json").json()
    assert made["secret"].startswith("whsec_")
    [listed] = farm("webhooks", "list", "--account", who.email, "--json").json()
    assert (listed["id"], listed["events"]) == (made["id"], ["job.failed"])
    assert "secret" not in listed
    assert farm("webhooks", "rotate", made["id"], "--json").json()["secret"] != made["secret"]
    assert "on its way" in farm("webhooks", "test", made["id"]).out
    [sent] = farm("webhooks", "log", made["id"], "--json").json()
    assert (sent["event"], sent["state"], sent["tries"]) == ("test.ping", "scheduled", [])
    assert sent["id"] in farm("webhooks", "log", made["id"]).out
    run(services, "UPDATE webhook_deliveries SET state = 'given_up', ended_at = now()")
    assert farm("webhooks", "replay", "--endpoint", made["id"]).out == "1 sent again.\n"
    assert farm("webhooks", "replay", sent["id"]).out == "1 sent again.\n"
    assert farm("webhooks", "enable", made["id"], "--off").code == 0
    assert "no: switched_off" in farm("webhooks", "list").out
    assert farm("webhooks", "enable", made["id"]).code == 0
    assert farm("webhooks", "remove", made["id"]).code == 0
    assert farm("webhooks", "list").out == "There are no webhook endpoints.\n"


def test_what_goes_wrong_is_said(farm: Farm, services: Services) -> None:
    who = factories.customer(services)
    inside = farm("webhooks", "add", who.email, "http://10.0.0.1/")
    assert inside.code == 1
    assert "url: must be at a public host" in inside.err
    poor = farm("webhooks", "add", who.email, "https://shop.example/")
    assert (poor.code, "the plan free has no webhooks" in poor.err) == (0, True)
    nothing = "4d28614e-8ded-4108-91af-4116728f4eb5"
    assert farm("webhooks", "remove", nothing).err == "farm: No such webhook endpoint.\n"
    assert farm("webhooks", "replay", "msg_1").code == 2
    assert farm("webhooks", "replay").code == 2
    assert farm("webhooks", "log").code == 2
    assert farm("webhooks", "log", "--account", who.email).out == "Nothing was sent there yet.\n"
