"""``farm webhooks``: who is told of jobs' ends, and what became of the messages."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from farm.accounts import Account, find_account
from farm.cli.common import (
    data_option,
    json_option,
    opened,
    show_row,
    show_rows,
    storefront_option,
)
from farm.intake.urls import policy_of
from farm.services import Services
from farm.webhooks import JOB_EVENTS, check_target, deliveries, endpoints
from farm.webhooks.deliveries import Delivery
from farm.webhooks.endpoints import Change, Endpoint
from farm.webhooks.signing import message_id, read_message_id

_COLUMNS = ("id", "account", "url", "events", "enabled", "failing_since")
_LOG = ("id", "event", "job", "state", "tries", "last", "created_at", "next_at")


class _MessageId(click.ParamType[uuid.UUID]):
    """A ``webhook-id`` as the log shows it."""

    name = "message"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> uuid.UUID:
        """The delivery behind it. Raises BadParameter."""
        found = value if isinstance(value, uuid.UUID) else read_message_id(value)
        if found is None:
            self.fail(f"{value!r} is not a webhook-id, such as `farm webhooks log` shows.")
        return found


@click.group()
def webhooks() -> None:
    """Tell customers' servers of their jobs' ends (standardwebhooks.com)."""


@webhooks.command("list")
@click.option("--account", "email", metavar="EMAIL", help="Only this account's.")
@storefront_option
@json_option
@data_option
def list_(email: str | None, storefront: str | None, as_json: bool, data: Path | None) -> None:
    """List endpoints, without their secrets."""
    with opened(data) as services:
        of = _account(services, email, storefront).id if email else None
        found = endpoints.list_endpoints(services.db, of)
    rows = [_row(endpoint) for endpoint in found]
    show_rows(rows, _COLUMNS, as_json=as_json, empty="There are no webhook endpoints.")


@webhooks.command()
@click.argument("email")
@click.argument("url")
@click.option("--event", "events", multiple=True, type=click.Choice(JOB_EVENTS), help="Not all.")
@storefront_option
@json_option
@data_option
def add(
    email: str,
    url: str,
    events: tuple[str, ...],
    storefront: str | None,
    as_json: bool,
    data: Path | None,
) -> None:
    """Tell URL of the account's jobs. Prints the endpoint with its signing secret."""
    with opened(data) as services:
        target = check_target(url, "url", policy_of(services.settings))
        account = _account(services, email, storefront)
        endpoint, secret = endpoints.add_endpoint(services.db, account.id, target, events)
        plan = services.catalog.storefronts[account.storefront].plans[account.plan]
    show_row(_row(endpoint) | {"secret": secret}, as_json=as_json)
    if not plan.webhooks:
        click.echo(f"Nothing is sent there yet: the plan {plan.id} has no webhooks.", err=True)


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@data_option
def remove(endpoint_id: uuid.UUID, data: Path | None) -> None:
    """Delete an endpoint; what is on the way to it is given up."""
    with opened(data) as services:
        endpoints.delete_endpoint(services.db, None, endpoint_id)
    click.echo(f"Endpoint {endpoint_id} is deleted.")


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@click.option("--off", is_flag=True, help="Switch it off instead.")
@data_option
def enable(endpoint_id: uuid.UUID, off: bool, data: Path | None) -> None:
    """Switch an endpoint on again, after it answered 410 or was switched off."""
    with opened(data) as services:
        endpoints.change_endpoint(services.db, None, endpoint_id, Change(enabled=not off))
    click.echo(f"Endpoint {endpoint_id} is {'off' if off else 'on'}.")


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@click.option("--overlap", "hours", type=click.FloatRange(0, 720), default=24.0, show_default=True)
@json_option
@data_option
def rotate(endpoint_id: uuid.UUID, hours: float, as_json: bool, data: Path | None) -> None:
    """Give an endpoint a new secret; for --overlap hours the old one signs as well."""
    with opened(data) as services:
        endpoint, secret = endpoints.rotate_secret(
            services.db, None, endpoint_id, overlap_s=hours * 3600
        )
    show_row(_row(endpoint) | {"secret": secret}, as_json=as_json)


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID)
@data_option
def test(endpoint_id: uuid.UUID, data: Path | None) -> None:
    """Send an endpoint the event test.ping; the log shows what it answered."""
    with opened(data) as services:
        endpoint = endpoints.get_endpoint(services.db, None, endpoint_id)
        sent = deliveries.ping(services.db, endpoint)
    click.echo(f"{message_id(sent)} is on its way. See `farm webhooks log {endpoint_id}`.")


@webhooks.command()
@click.argument("endpoint_id", type=click.UUID, required=False)
@click.option("--account", "email", metavar="EMAIL", help="What went to its submits' own URLs.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@storefront_option
@json_option
@data_option
def log(
    endpoint_id: uuid.UUID | None,
    email: str | None,
    limit: int,
    storefront: str | None,
    as_json: bool,
    data: Path | None,
) -> None:
    """Show what was sent to an endpoint, newest first, and every try with --json."""
    with opened(data) as services:
        if endpoint_id is not None and email is None:
            account_id = endpoints.get_endpoint(services.db, None, endpoint_id).account_id
        elif email is not None and endpoint_id is None:
            account_id = _account(services, email, storefront).id
        else:
            raise click.UsageError("Name an endpoint by its id, or give --account.")
        found = deliveries.list_deliveries(services.db, account_id, endpoint_id, limit=limit)
    rows = [_log_row(delivery, as_json=as_json) for delivery in found]
    show_rows(rows, _LOG, as_json=as_json, empty="Nothing was sent there yet.")


@webhooks.command()
@click.argument("messages", nargs=-1, type=_MessageId(), metavar="[WEBHOOK_ID]...")
@click.option("--endpoint", "endpoint_id", type=click.UUID, help="All that it has not taken.")
@click.option("--days", type=click.FloatRange(0, 30), default=1.0, show_default=True)
@data_option
def replay(
    messages: tuple[uuid.UUID, ...], endpoint_id: uuid.UUID | None, days: float, data: Path | None
) -> None:
    """Send messages again, now: those named, or what an endpoint has not taken for --days."""
    if bool(messages) == (endpoint_id is not None):
        raise click.UsageError("Name messages by their webhook-id, or give --endpoint.")
    with opened(data) as services:
        if endpoint_id is None:
            for message in messages:
                deliveries.replay(services.db, None, message)
            count = len(messages)
        else:
            endpoint = endpoints.get_endpoint(services.db, None, endpoint_id)
            since = datetime.now(UTC) - timedelta(days=days)
            count = deliveries.replay_failed(services.db, endpoint, since)
    click.echo(f"{count} sent again.")


def _account(services: Services, email: str, storefront: str | None) -> Account:
    with services.db.transaction() as connection:
        return find_account(connection, email, storefront)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "account": endpoint.account_id,
        "url": endpoint.url or "(submits' own URLs)",
        "events": list(endpoint.events) if endpoint.events is not None else "all",
        "enabled": "yes" if endpoint.enabled else f"no: {endpoint.disabled_reason}",
        "failing_since": endpoint.failing_since,
        "created_at": endpoint.created_at,
    }


def _log_row(delivery: Delivery, *, as_json: bool) -> dict[str, Any]:
    tries = [
        {
            "at": logged.at.isoformat(),
            "status": logged.result.status,
            "error": logged.result.error,
            "milliseconds": logged.result.milliseconds,
        }
        for logged in delivery.tries
    ]
    last = delivery.tries[-1].result if delivery.tries else None
    return {
        "id": message_id(delivery.id),
        "event": delivery.event,
        "job": delivery.job_id,
        "state": delivery.state,
        "tries": tries if as_json else len(tries),
        "last": (last.error or last.status) if last else None,
        "created_at": delivery.created_at,
        "next_at": delivery.next_at,
    }
