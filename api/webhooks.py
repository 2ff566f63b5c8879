"""``/v1/account/webhooks``: who is told of the account's jobs, and what became of the messages.

Shared by every storefront. An endpoint is told by https://www.standardwebhooks.com; a secret
is shown where it is made, and to whoever asks for it by its own path.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response
from flask.sansio.blueprints import BlueprintSetupState
from pydantic import BaseModel
from spectree import SpecTree
from werkzeug.routing import BaseConverter

from api import webhook_shapes as shapes
from api.auth import Access, needs
from api.bodies import read_object
from api.dialect import Dialect
from api.docs import Answers
from api.errors import problems_of
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from farm.errors import NotFound
from farm.types import Principal
from farm.webhooks import deliveries, endpoints
from farm.webhooks.endpoints import Endpoint
from farm.webhooks.plans import require_webhooks
from farm.webhooks.signing import read_message_id

BODY_MAX = 16 * 1024
_ROOT = "/v1/account/webhooks"
_UUID = "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"
_WORDS = {
    "endpoint_id": "An endpoint's id, or `default` for the one that signs for submits' own URLs.",
    "message_id": "A delivery's id: the `webhook-id` that it was sent with.",
}
Specs = Sequence[tuple[SpecTree, Dialect]]
_ANY_CALL = ("unauthenticated", "forbidden", "rate_limited", "database_unavailable")


class _EndpointConverter(BaseConverter):
    """``<webhook:…>`` in a path: an endpoint's id, or the word for the default one."""

    regex = f"(?:{shapes.DEFAULT}|{_UUID})"

    def to_python(self, value: str) -> uuid.UUID | None:
        """The id; None is the default."""
        return None if value == shapes.DEFAULT else uuid.UUID(value)


@dataclass(frozen=True, slots=True)
class _Route:
    """One path with one method: what answers there, and what the documentation says."""

    path: str
    method: str
    access: Access
    view: Callable[..., Response]
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None


def blueprint(runtime: Runtime, specs: Specs) -> Blueprint:
    """The paths, documented in every storefront's specification.

    Args:
        specs: each specification with its storefront's words.
    """
    routes = Blueprint("webhooks", __name__)
    routes.record(_know_endpoints)
    desk = _Desk(runtime)
    for route in _routes(desk):
        _add(routes, route, specs)
    return routes


def _routes(desk: _Desk) -> tuple[_Route, ...]:
    one, message = f"{_ROOT}/<webhook:endpoint_id>", f"{_ROOT}/deliveries/<message_id>"
    read, write = Access.READ, Access.SUBMIT
    return (
        _Route(_ROOT, "GET", read, desk.list_webhooks, shapes.WebhookList),
        _Route(
            *(_ROOT, "POST", write, desk.add_webhook, shapes.WebhookWithSecret),
            body=shapes.NewWebhook,
        ),
        _Route(one, "GET", read, desk.get_webhook, shapes.Webhook),
        _Route(
            *(one, "PATCH", write, desk.change_webhook, shapes.Webhook), body=shapes.ChangedWebhook
        ),
        _Route(one, "DELETE", write, desk.delete_webhook, shapes.WebhookDeleted),
        _Route(f"{one}/secret", "GET", read, desk.webhook_secret, shapes.WebhookSecret),
        _Route(f"{one}/rotate", "POST", write, desk.rotate_secret, shapes.WebhookWithSecret),
        _Route(f"{one}/test", "POST", write, desk.test_webhook, shapes.WebhookDelivery),
        _Route(
            *(f"{one}/replay", "POST", write, desk.replay_failed, shapes.WebhookReplayed),
            body=shapes.ReplaySince,
        ),
        _Route(
            *(f"{one}/deliveries", "GET", read, desk.list_deliveries, shapes.WebhookDeliveries),
            query=shapes.DeliveriesQuery,
        ),
        _Route(message, "GET", read, desk.get_delivery, shapes.WebhookDelivery),
        _Route(f"{message}/replay", "POST", write, desk.replay_delivery, shapes.WebhookDelivery),
    )


def _know_endpoints(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["webhook"] = _EndpointConverter


def _add(routes: Blueprint, route: _Route, specs: Specs) -> None:
    view = _declared(route)
    codes = [*_ANY_CALL, *(["not_found"] if "<" in route.path else [])]
    codes += ["malformed", "too_large", "invalid_request"] if route.body else []
    codes += ["invalid_request"] if route.query else []
    for spec, dialect in specs:
        answers = problems_of(dialect, codes)
        view = spec.validate(
            resp=Answers(HTTP_200=route.answer, **answers),
            json=route.body,
            query=route.query,
            tags=["Webhooks"],
            path_parameter_descriptions=_WORDS,
            skip_validation=True,
        )(view)
    routes.add_url_rule(route.path, view_func=view, methods=[route.method])


def _declared(route: _Route) -> Callable[..., Response]:
    """A function of its own for what is a method of the desk: declarations are written on it."""

    def view(**path: Any) -> Response:
        caller = current_request().caller()
        return route.view(caller, **path)

    view.__name__, view.__doc__ = route.view.__name__, route.view.__doc__
    return needs(route.access)(view)


class _Desk:
    """What each path does. Every one asks first whether the caller's plan has webhooks."""

    def __init__(self, runtime: Runtime) -> None:
        self._db = runtime.services.db
        self._shops = runtime.services.catalog.storefronts
        self._policy = runtime.fetch_policy

    def list_webhooks(self, caller: Principal) -> Response:
        """The account's endpoints."""
        found = endpoints.list_endpoints(self._db, self._account(caller))
        data = [shapes.encode_endpoint(endpoint) for endpoint in found]
        return json_reply({"object": "list", "data": data})

    def add_webhook(self, caller: Principal) -> Response:
        """Be told of the account's jobs at a URL.

        The answer has the signing secret. Each message is a POST of `{"type", "timestamp",
        "data"}`, or of the bare job where `webhook_url` is described so, with the headers
        `webhook-id`, `webhook-timestamp` and `webhook-signature`; the libraries of
        standardwebhooks.com verify it. Answer 2xx within ten seconds: what fails is tried ten
        times in three days, under the same `webhook-id`. 410 switches the
        endpoint off; redirects are not followed.
        """
        account = self._account(caller)
        url, events = shapes.decode_new(self._body(), self._policy)
        endpoint, secret = endpoints.add_endpoint(self._db, account, url, events)
        return json_reply(shapes.encode_endpoint(endpoint) | {"secret": secret})

    def get_webhook(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """One endpoint."""
        return json_reply(shapes.encode_endpoint(self._endpoint(caller, endpoint_id)))

    def change_webhook(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """Change an endpoint's URL or events, switch it off, or on again after a 410."""
        account, endpoint_id = self._account(caller), _own(endpoint_id)
        change = shapes.decode_change(self._body(), self._policy)
        changed = endpoints.change_endpoint(self._db, account, endpoint_id, change)
        return json_reply(shapes.encode_endpoint(changed))

    def delete_webhook(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """Tell an endpoint nothing more. What was on the way is given up."""
        account, endpoint_id = self._account(caller), _own(endpoint_id)
        endpoints.delete_endpoint(self._db, account, endpoint_id)
        return json_reply({"id": str(endpoint_id), "deleted": True})

    def webhook_secret(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """The current signing secret."""
        endpoint = self._endpoint(caller, endpoint_id)
        secret = endpoints.secret_of(self._db, caller.account_id, endpoint.id)
        return json_reply({"id": shapes.encode_endpoint(endpoint)["id"], "secret": secret})

    def rotate_secret(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """Make a new signing secret. For a day messages are signed with the old one as well."""
        endpoint = self._endpoint(caller, endpoint_id)
        changed, secret = endpoints.rotate_secret(self._db, caller.account_id, endpoint.id)
        return json_reply(shapes.encode_endpoint(changed) | {"secret": secret})

    def test_webhook(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """Send an endpoint the event `test.ping`, even while it is switched off."""
        endpoint = self._endpoint(caller, _own(endpoint_id))
        sent = deliveries.ping(self._db, endpoint)
        found = deliveries.get_delivery(self._db, caller.account_id, sent)
        return json_reply(shapes.encode_delivery(found))

    def replay_failed(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """Send again, now, what an endpoint has not taken since a time; 10,000 at most."""
        endpoint = self._endpoint(caller, _own(endpoint_id))
        since = shapes.decode_since(self._body())
        return json_reply({"replayed": deliveries.replay_failed(self._db, endpoint, since)})

    def list_deliveries(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Response:
        """What was sent to an endpoint in the last 30 days, with every try."""
        endpoint = self._endpoint(caller, endpoint_id)
        page = shapes.decode_page(current_request().args)
        of = endpoint.id if endpoint.url is not None else None
        found = deliveries.list_deliveries(
            self._db, caller.account_id, of, limit=page.limit, before=page.before
        )
        return json_reply(shapes.encode_page(found, page))

    def get_delivery(self, caller: Principal, message_id: str) -> Response:
        """One message, with every try."""
        account, found = self._account(caller), _message(message_id)
        return json_reply(shapes.encode_delivery(deliveries.get_delivery(self._db, account, found)))

    def replay_delivery(self, caller: Principal, message_id: str) -> Response:
        """Send a message again, now, whatever became of it. Its id stays the same."""
        account, found = self._account(caller), _message(message_id)
        return json_reply(shapes.encode_delivery(deliveries.replay(self._db, account, found)))

    def _account(self, caller: Principal) -> uuid.UUID:
        """The caller's account. Raises Forbidden where its plan has no webhooks."""
        require_webhooks(self._shops[caller.storefront], caller.plan)
        return caller.account_id

    def _endpoint(self, caller: Principal, endpoint_id: uuid.UUID | None) -> Endpoint:
        account = self._account(caller)
        if endpoint_id is None:
            return endpoints.default_endpoint(self._db, account)
        return endpoints.get_endpoint(self._db, account, endpoint_id)

    def _body(self) -> Mapping[str, Any]:
        return read_object(current_request(), BODY_MAX)


def _own(endpoint_id: uuid.UUID | None) -> uuid.UUID:
    """An endpoint with a URL. Raises NotFound for the default, which has none."""
    if endpoint_id is None:
        raise NotFound("The default endpoint has no URL of its own; only its secret is used.")
    return endpoint_id


def _message(text: str) -> uuid.UUID:
    found = read_message_id(text)
    if found is None:
        raise NotFound("No such webhook delivery.")
    return found
