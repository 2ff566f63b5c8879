"""What gunicorn loads: ``gunicorn 'api.wsgi:create()'``."""

from __future__ import annotations

import atexit
import os
import resource
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException

from farm.config import load_settings, make_folder
from farm.errors import SetupError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

METRICS_FOLDER = "metrics"
# gunicorn's code for "the application cannot be loaded": the master stops instead of trying
# again and again.
_CANNOT_START = 4
_FILES_MAX = 65_536


def plain_errors(app: WSGIApplication) -> WSGIApplication:
    """Gunicorn's input, for an application that knows no gunicorn.

    Chunks that cannot be read are exceptions of gunicorn's own; to others a body that breaks
    off is an OSError.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Body(environ["wsgi.input"])
        return app(environ, start)

    return answer


def allow_many_connections() -> None:
    """As many open files as the system lets this process have, up to a bound: each client that
    waits is one, and the usual limit of 1024 is meant for programs that ``select``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Body:
    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """As much as there is, at most ``size`` bytes where that is not negative."""
        try:
            data: bytes = self._body.read(size)
        except ParseException as error:
            raise OSError(f"The body cannot be read: {error}.") from error
        return data


def create() -> Flask:
    """The application for this process's environment. Exits with one sentence if it cannot run."""
    allow_many_connections()
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
    app.wsgi_app = plain_errors(app.wsgi_app)  # type: ignore[assignment]
    return app
