"""The bare worker: ``celery -A tests.bench.peer_worker``."""

from __future__ import annotations

from tests.bench.peers import make_celery

app = make_celery()
