"""What gunicorn loads: ``gunicorn 'api.wsgi:create()'``."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from farm.config import load_settings, make_folder
from farm.errors import SetupError

if TYPE_CHECKING:
    from flask import Flask

METRICS_FOLDER = "metrics"
# gunicorn's code for "the application cannot be loaded": the master stops instead of trying
# again and again.
_CANNOT_START = 4


def create() -> Flask:
    """The application for this process's environment. Exits with one sentence if it cannot run."""
    try:
        settings = load_settings()
        folder = make_folder(settings.data / METRICS_FOLDER)
        # prometheus_client reads this once, when it is first imported; hence the late import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        from api.app import create_app, runtime_of
        from api.metrics import clear_dead_counts

        clear_dead_counts(folder)
        app = create_app(settings, metrics_folder=folder)
    except SetupError as error:
        print(f"farm: {error}", file=sys.stderr)
        sys.exit(_CANNOT_START)
    atexit.register(runtime_of(app).close)
    return app
