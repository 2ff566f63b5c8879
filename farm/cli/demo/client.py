"""The API as a customer calls it: a base URL, a key, JSON and files."""

from __future__ import annotations

import io
import time
from collections.abc import Container
from types import TracebackType
from typing import Any, Self

import click
import httpx2
from PIL import Image

from farm.errors import FarmFault

JOB_S = 240.0
_POLL_S = 0.3
_TIMEOUT_S = 150.0
"""More than any call of the API holds its answer back."""
_FILE_MAX = 64 * 1024 * 1024


class DemoFailed(FarmFault):
    """Something the demo promises did not hold; the message says what."""

    code = "demo_failed"


class Client:
    """One customer of one farm. Use it in a ``with`` block.

    Every method raises DemoFailed with what the API said.
    """

    def __init__(self, base: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        # The farm is on this machine: a proxy from the environment has no business here.
        self._http = httpx2.Client(
            base_url=base, headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        """The decoded answer to a GET."""
        return self._send("GET", path).json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The decoded answer to a POST of JSON."""
        return self._send("POST", path, json=body).json()

    def upload(self, path: str, picture: bytes, fields: dict[str, str]) -> Any:
        """The decoded answer to a form with a PNG in its field ``image``."""
        files = {"image": ("picture.png", picture, "image/png")}
        return self._send("POST", path, data=fields, files=files).json()

    def wait(self, name: str, job_id: str) -> Any:
        """Poll a job until it has ended well, showing what becomes of it."""
        job = self.until(name, f"/v1/image/{job_id}", ("completed", "failed", "blocked"))
        if job["status"] != "completed":
            raise DemoFailed(f"{name}: {job['status']}: {job.get('error')}")
        return job

    def until(self, name: str, path: str, ends: Container[str]) -> Any:
        """Poll until the ``status`` is one of ``ends``, showing what becomes of it."""
        deadline = time.monotonic() + JOB_S
        shown = ""
        while True:
            found = self.get(path)
            status = found["status"]
            if status in ends:
                return found
            if time.monotonic() > deadline:
                raise DemoFailed(f"{name}: still {status} after {JOB_S:g} s.")
            if status != shown:
                shown = status
                click.echo(f"{name}: {status}")
            time.sleep(_POLL_S)

    def file(self, job: Any) -> bytes:
        """The file of a job that ended well."""
        return self.fetch(job["output_url"])

    def fetch(self, url: str) -> bytes:
        """A result's file."""
        content = self._send("GET", url).content
        if len(content) > _FILE_MAX:
            raise DemoFailed(f"The result at {url} has {len(content):,} bytes.")
        return content

    def picture(self, job: Any) -> tuple[bytes, Image.Image]:
        """The result of a job that ended well: the file, and what it shows. It must be a PNG."""
        content = self.file(job)
        return content, png_of(content, job["id"])

    def _send(self, method: str, path: str, **what: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **what)
        except httpx2.HTTPError as error:
            raise DemoFailed(f"{method} {path} was not answered: {error}") from error
        if answer.status_code != httpx2.codes.OK:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}: {answer.text:.2000}")
        return answer


def png_of(content: bytes, job_id: str) -> Image.Image:
    """What a job's file shows. Raises DemoFailed where it is not a whole PNG."""
    try:
        picture = Image.open(io.BytesIO(content), formats=["PNG"])
        picture.load()
    except OSError as error:
        raise DemoFailed(f"The result of {job_id} is not a PNG: {error}.") from error
    return picture
