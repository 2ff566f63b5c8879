"""What webhook endpoints and deliveries look like on the wire, both ways."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from farm.errors import FieldError, InvalidRequest
from farm.intake.urls import FetchPolicy
from farm.parameters import type_name
from farm.webhooks import JOB_EVENTS, check_target
from farm.webhooks.deliveries import PAGE_MAX, Delivery, LoggedTry
from farm.webhooks.endpoints import Change, Endpoint, check_events
from farm.webhooks.signing import message_id, read_message_id

PAGE = 20
DEFAULT = "default"
"""What stands for the id of the account's default endpoint."""

_EVENTS = Literal.__getitem__(JOB_EVENTS)
_URL = "https, at a public host."


class NewWebhook(BaseModel):
    """An endpoint to be told of the account's jobs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://example.com/hook", "events": ["job.succeeded"]}]
        },
    )

    url: str = Field(description=_URL, max_length=2048)
    events: list[_EVENTS] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, description="Left out or null: all."
    )


class ChangedWebhook(BaseModel):
    """What is to become of an endpoint. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    url: str = Field(default="", description=_URL, max_length=2048)
    events: list[_EVENTS] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, description="null: all."
    )
    enabled: bool = True


class ReplaySince(BaseModel):
    """From when on messages that were not taken are sent again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"since": "2026-11-21T00:00:00Z"}]}
    )

    since: datetime


class Webhook(BaseModel):
    """An endpoint. Its secret is not in it."""

    id: str
    url: str | None = Field(description="null: the default, which signs for submits' own URLs.")
    events: list[str] | None = Field(description="null: all.")
    enabled: bool
    disabled_reason: str | None = Field(description="`gone`: it answered 410; or `switched_off`.")
    failing_since: str | None = Field(description="Set while its last try failed.")
    previous_secret_until: str | None = Field(
        description="Until then a message has two signatures: the new secret's and the old one's."
    )
    created_at: str


class WebhookWithSecret(Webhook):
    """An endpoint with its signing secret."""

    secret: str = Field(description="`whsec_…`, as the libraries of Standard Webhooks take it.")


class WebhookList(BaseModel):
    """The account's endpoints, oldest first."""

    object: str
    data: list[Webhook]


class WebhookSecret(BaseModel):
    """The current signing secret."""

    id: str
    secret: str


class WebhookDeleted(BaseModel):
    """The endpoint is told nothing more."""

    id: str
    deleted: bool


class WebhookTry(BaseModel):
    """One try to deliver a message."""

    at: str
    status: int | None = Field(description="What was answered; only 2xx counts as taken.")
    error: str | None
    milliseconds: int


class WebhookDelivery(BaseModel):
    """One message to one endpoint, and its newest tries."""

    id: str = Field(description="The `webhook-id` header, the same in every try.")
    type: str
    job_id: str | None
    state: Literal["scheduled", "delivered", "given_up"]
    created_at: str
    next_try_at: str | None
    ended_at: str | None
    tries: list[WebhookTry]


class WebhookDeliveries(BaseModel):
    """A page of deliveries, newest first."""

    object: str
    data: list[WebhookDelivery]
    next: str | None = Field(description="Give it as `before` for the next page.")


class WebhookReplayed(BaseModel):
    """How many messages are sent again."""

    replayed: int


class DeliveriesQuery(BaseModel):
    """Which page of the log."""

    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    before: str | None = Field(default=None, pattern="^msg_[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was asked for."""

    limit: int
    before: uuid.UUID | None


def decode_new(body: Mapping[str, Any], policy: FetchPolicy) -> tuple[str, list[str]]:
    """URL and events (none means all) of a new endpoint. Raises InvalidRequest."""
    _refuse_others(body, ("url", "events"))
    if "url" not in body:
        raise _problem("url", "is required.")
    return _url(body["url"], policy), _events(body.get("events"))


def decode_change(body: Mapping[str, Any], policy: FetchPolicy) -> Change:
    """What is to become of an endpoint. Raises InvalidRequest."""
    _refuse_others(body, ("url", "events", "enabled"))
    if not isinstance(body.get("enabled", True), bool):
        raise _problem("enabled", f"must be true or false, not {type_name(body['enabled'])}.")
    return Change(
        url=_url(body["url"], policy) if "url" in body else None,
        events=_events(body["events"]) if "events" in body else None,
        enabled=body.get("enabled"),
    )


def decode_since(body: Mapping[str, Any]) -> datetime:
    """From when on to send again. Raises InvalidRequest."""
    _refuse_others(body, ("since",))
    given = body.get("since")
    try:
        since = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        since = None
    if since is None:
        raise _problem("since", "must be a time such as 2026-11-21T00:00:00Z.")
    return since if since.tzinfo else since.replace(tzinfo=UTC)


def decode_page(query: Mapping[str, str]) -> Page:
    """A page of the log. Raises InvalidRequest."""
    limit, before = query.get("limit", str(PAGE)), query.get("before")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= PAGE_MAX):
        raise _problem("limit", f"must be a whole number from 1 to {PAGE_MAX}.")
    found = read_message_id(before) if before is not None else None
    if before is not None and found is None:
        raise _problem("before", "must be the id of a delivery, such as `next` gave it.")
    return Page(int(limit), found)


def encode_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint without its secret."""
    return {
        "id": str(endpoint.id) if endpoint.url is not None else DEFAULT,
        "url": endpoint.url,
        "events": list(endpoint.events) if endpoint.events is not None else None,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": _time(endpoint.failing_since),
        "previous_secret_until": _time(endpoint.previous_secret_until),
        "created_at": _time(endpoint.created_at),
    }


def encode_delivery(delivery: Delivery) -> dict[str, Any]:
    """A delivery with its tries."""
    return {
        "id": message_id(delivery.id),
        "type": delivery.event,
        "job_id": str(delivery.job_id) if delivery.job_id is not None else None,
        "state": delivery.state,
        "created_at": _time(delivery.created_at),
        "next_try_at": _time(delivery.next_at),
        "ended_at": _time(delivery.ended_at),
        "tries": [_encode_try(logged) for logged in delivery.tries],
    }


def encode_page(found: Sequence[Delivery], page: Page) -> dict[str, Any]:
    """A page of the log, and how to ask for the next one."""
    full = len(found) == page.limit
    return {
        "object": "list",
        "data": [encode_delivery(delivery) for delivery in found],
        "next": message_id(found[-1].id) if full else None,
    }


def _encode_try(logged: LoggedTry) -> dict[str, Any]:
    return {
        "at": _time(logged.at),
        "status": logged.result.status,
        "error": logged.result.error,
        "milliseconds": logged.result.milliseconds,
    }


def _url(given: Any, policy: FetchPolicy) -> str:
    if not isinstance(given, str):
        raise _problem("url", f"must be text, not {type_name(given)}.")
    return check_target(given, "url", policy)


def _events(given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(event, str) for event in given):
        raise _problem("events", f"must be a list of some of {', '.join(JOB_EVENTS)}, or null.")
    if not given:
        raise _problem("events", "must name an event. Leave it out, or send null, for all.")
    return check_events(given)


def _refuse_others(body: Mapping[str, Any], known: Sequence[str]) -> None:
    others = [name for name in body if name not in known]
    if others:
        sentence = f"is not a field here. There are {', '.join(known)}."
        raise InvalidRequest([FieldError(name[:64], sentence) for name in others[:10]])


def _problem(field: str, message: str) -> InvalidRequest:
    return InvalidRequest([FieldError(field, message)])


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None
