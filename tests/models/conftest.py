"""The engines under test are made by the contract."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest

from tests.contracts.engine import engine, tiny_cache

__all__ = ["engine", "no_network", "tiny_cache"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any attempt to reach anything through a socket, or to resolve a name."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        pytest.fail(f"the network was touched: {args[1:]}")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
