"""``/outputs/…``: what a signed, unexpired URL may fetch. Everything else is a 404."""

from __future__ import annotations

from flask import Blueprint, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import wrap_file

from api.auth import Access, needs
from api.request import current_request
from api.runtime import Runtime
from farm import views
from farm.errors import NotFound
from farm.services import Services
from farm.types import JobState
from farm.views import JobView

_POLICY = "default-src 'none'; sandbox"


def blueprint(runtime: Runtime) -> Blueprint:
    """The one path that hands out files; HEAD and byte ranges included."""
    routes = Blueprint("outputs", __name__)
    services = runtime.services

    @routes.get("/outputs/<path:public_path>")
    @needs(Access.FILE)
    def fetch_output(public_path: str) -> Response:
        request = current_request()
        exp, sig = request.args.get("exp", ""), request.args.get("sig", "")
        if not runtime.signer.verify(public_path, exp, sig):
            raise NotFound("No such file, or its link has expired.")
        # The signature says that we made the link; the database whether the file still is.
        output = views.find_output(services.db, public_path)
        file = services.storage.open(output.key)
        response = Response(
            wrap_file(request.environ, file),
            content_type=output.media_type,
            direct_passthrough=True,
        )
        response.call_on_close(file.close)
        response.content_length = output.size_bytes
        response.set_etag(output.sha256.hex())
        response.headers["Cache-Control"] = "private, max-age=3600"
        response.headers["Content-Security-Policy"] = _POLICY
        try:
            response.make_conditional(
                request.environ, accept_ranges=True, complete_length=output.size_bytes
            )
        except RequestedRangeNotSatisfiable:
            response.close()
            raise
        return response

    return routes


def read_output(services: Services, job: JobView) -> bytes | None:
    """The file that came of a job; None where there is none, or none any more."""
    if job.state is not JobState.SUCCEEDED or job.output_path is None:
        return None
    try:
        output = views.find_output(services.db, job.output_path)
        with services.storage.open(output.key) as file:
            return file.read()
    except NotFound:
        # It expired between the two looks.
        return None
