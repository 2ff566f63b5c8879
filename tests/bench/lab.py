"""The farm's worker, whole, on engines that do nothing: ``celery -A tests.bench.lab``."""

from __future__ import annotations

from farm.config import load_settings
from farm.services import open_catalog
from models import registry
from tasks.registration import build, follow_worker

_settings = load_settings()
for _id in open_catalog(_settings).models:
    registry._ENGINES[_id] = registry._TWINS[_id] = "tests.bench.engine:Nothing"
app, _slot = build(_settings)
follow_worker(_slot)
