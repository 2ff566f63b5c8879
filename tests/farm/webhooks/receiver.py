"""A customer's webhook receiver, built on the published ``standardwebhooks`` package."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from farm.config import Settings
from farm.intake.urls import policy_of
from farm.services import Services
from farm.webhooks.pump import Pump
from farm.webhooks.send import Sender


@dataclass(frozen=True)
class Message:
    """One message that came: where to, its headers, its body where a secret verified it, and
    when, in Unix seconds."""

    path: str
    headers: dict[str, str]
    raw: bytes
    verified: dict[str, Any] | None
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Listens on 127.0.0.1 until the ``with`` block ends.

    ``secrets`` are by path; ``statuses`` what a path answers, 204 where it says nothing.
    ``messages`` are those that came, in order.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.statuses: dict[str, int] = defaultdict(lambda: 204)
        self.messages: list[Message] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def trust(self) -> str:
        """The receiver as ``FARM_FETCH_ALLOW`` names it."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def types(self) -> list[str]:
        """The types of what came and was verified, in order."""
        return [message.verified["type"] for message in self.messages if message.verified]

    def _take(self, call: BaseHTTPRequestHandler) -> None:
        at = time.time()
        raw = call.rfile.read(int(call.headers["content-length"]))
        headers = {name.lower(): value for name, value in call.headers.items()}
        verified = verify(self.secrets.get(call.path, ""), raw, headers)
        self.messages.append(Message(call.path, headers, raw, verified, at))
        status = self.statuses[call.path]
        call.send_response(status)
        if 300 <= status < 400:
            call.send_header("Location", self.url("/elsewhere"))
        call.send_header("Content-Length", "0")
        call.end_headers()


def verify(secret: str, raw: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
    """The message, where the secret verifies it."""
    try:
        found: dict[str, Any] = Webhook(secret).verify(raw, headers) if secret else None
    except WebhookVerificationError:
        return None
    return found


def trusting(settings: Settings, *trusts: str) -> Settings:
    """The settings of an operator who vouches for these receivers."""
    return settings.model_copy(update={"fetch_allow": ",".join(trusts)})


def pump(services: Services, *, timeout_s: float = 5.0) -> Pump:
    """A pump whose waits are the table's own."""
    sender = Sender(policy_of(services.settings), timeout_s=timeout_s)
    return Pump(services, sender, stopping=lambda: False, jitter=lambda: 0.5)
