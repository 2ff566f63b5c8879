"""What ``celery -A tasks.app`` loads.

Loading it reads the settings, which is Celery's contract, and opens no connection. Nothing
of torch is imported in the parent process: the child that runs a job does that.
"""

from __future__ import annotations

from farm.config import load_settings
from tasks.registration import build, follow_worker

app, _slot = build(load_settings())
follow_worker(_slot)
