"""``farm demo``: the whole farm from start to stop, with one picture of each image model.

It uses the farm as a customer would, over HTTP with a key, and believes nothing it did not
check: the files, what they cost, the books, and that every process is gone at the end.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from farm.accounts import create_account
from farm.audit import audit, summary
from farm.cli import machine
from farm.cli.common import credits_of, data_option, opened
from farm.cli.watch import READY_S
from farm.errors import FarmFault
from farm.keys import create_key
from farm.servers import die_with_parent, is_alive, kill_family
from farm.types import CREDIT_TENTHS
from farm.views import balance

EMAIL = "demo@farm.example"
MODELS = ("sdxl", "flux-schnell")
PROMPT = "a lighthouse on a cliff at dusk, oil painting"
SIDE_PX = 1024
JOB_S = 240.0
STOP_S = 90.0
_POLL_S = 0.3
_FILE_MAX = 64 * 1024 * 1024


class DemoFailed(FarmFault):
    """Something the demo promises did not hold; the message says what."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True)
class Client:
    """The API as a customer calls it: a base URL and a key."""

    base: str
    key: str

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST where there is a body; the decoded JSON. Raises DemoFailed."""
        request = urllib.request.Request(
            self.base + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        return json.loads(_fetch(request))


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the pictures go.",
)
@data_option
def demo(out: Path, data: Path | None) -> None:
    """Start a farm, make one picture with each image model, check everything, stop it again.

    Without --data the farm lives in a temporary folder that is removed afterwards.
    """
    folder = data or Path(tempfile.mkdtemp(prefix="farm-demo-"))
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        with _farm(folder) as address:
            click.echo(f"The farm is ready at {address} ({time.monotonic() - started:.0f} s).")
            _use(folder, address, out)
    except FarmFault:
        click.echo(f"The logs are in {folder / 'logs'}.", err=True)
        raise
    if data is None:
        shutil.rmtree(folder)
    click.echo(f"Everything is stopped. Done in {time.monotonic() - started:.0f} s.")


def _use(folder: Path, address: str, out: Path) -> None:
    with opened(folder) as services:
        with services.db.transaction() as connection:
            account = create_account(connection, services.catalog, EMAIL)
            _, key = create_key(connection, services.catalog, account.id, "demo")
        client = Client(address, key)
        before = float(client.call("/v1/account/balance")["credits_remaining"])
        click.echo(f"Account {EMAIL}: {before:g} credits.")

        spent = _pictures(client, out)

        after = float(client.call("/v1/account/balance")["credits_remaining"])
        click.echo(f"balance: {after:g} credits (was {before:g}, spent {spent:g})")
        if round((before - after) * CREDIT_TENTHS) != round(spent * CREDIT_TENTHS):
            raise DemoFailed(f"The balance fell by {before - after:g}, not by {spent:g}.")
        booked = credits_of(balance(services.db, account.id).posted_tenths)
        if booked != after:
            raise DemoFailed(f"The books say {booked:g} credits, the API {after:g}.")
        findings = audit(services)
        click.echo(summary(findings))
        if not all(finding.holds for finding in findings):
            raise DemoFailed("The books do not balance.")


def _pictures(client: Client, out: Path) -> float:
    """Submit one job for each model, wait for both, save and check the files. Credits spent."""
    jobs = {}
    for model in MODELS:
        body = {"model": model, "prompt": PROMPT, "width": SIDE_PX, "height": SIDE_PX}
        job = client.call("/v1/image/generate", body)
        jobs[model] = (job["generation_id"], time.monotonic())
        click.echo(f"{model}: submitted as {job['generation_id']} for {job['credits_used']:g}")
    spent = 0.0
    for model, (job_id, submitted) in jobs.items():
        job = _wait(client, model, job_id)
        seconds = time.monotonic() - submitted
        path = out / f"{model}.png"
        content = _fetch(urllib.request.Request(job["output_url"]))
        width, height = png_size(content)
        if (width, height) != (SIDE_PX, SIDE_PX):
            raise DemoFailed(f"{model}: the picture is {width}x{height}, not {SIDE_PX}x{SIDE_PX}.")
        path.write_bytes(content)
        spent += job["credits_used"]
        click.echo(
            f"{path}  {width}x{height}  {len(content):,} bytes  seed {job['seed']}  "
            f"{seconds:.1f} s  {job['credits_used']:g} credits"
        )
    return spent


def _wait(client: Client, model: str, job_id: str) -> Any:
    """Poll a job until it has ended well. Raises DemoFailed."""
    deadline = time.monotonic() + JOB_S
    shown = ""
    while True:
        job = client.call(f"/v1/image/{job_id}")
        status = job["status"]
        if status == "completed":
            return job
        if status in ("failed", "blocked"):
            raise DemoFailed(f"{model}: {status}: {job.get('error')}")
        if time.monotonic() > deadline:
            raise DemoFailed(f"{model}: still {status} after {JOB_S:g} s.")
        if status != shown:
            shown = status
            click.echo(f"{model}: {status}")
        time.sleep(_POLL_S)


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels from a PNG's first chunk. Raises DemoFailed if it is none."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise DemoFailed("What was downloaded is not a PNG.")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _fetch(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=30.0) as response:
            content: bytes = response.read(_FILE_MAX)
            return content
    except urllib.error.HTTPError as error:
        with error:
            detail = error.read(2000).decode("utf-8", "replace")
        raise DemoFailed(f"{request.full_url} answered {error.code}: {detail}") from error
    except OSError as error:
        raise DemoFailed(f"{request.full_url} does not answer: {error}") from error


@contextlib.contextmanager
def _farm(folder: Path) -> Iterator[str]:
    """A ``farm up`` on a free port; yields its address, and leaves no process behind."""
    port = machine.port_near("127.0.0.1", 0)
    log = folder / "up.log"
    click.echo("Starting PostgreSQL, Redis, the API, a worker, control, beat and Flower.")
    with log.open("wb") as file:
        process = subprocess.Popen(
            machine.farm_command("up", "--port", str(port), "--data", str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    farm = psutil.Process(process.pid)
    try:
        _wait_for_start(process, log)
        yield machine.url_of("127.0.0.1", port)
    finally:
        click.echo("Stopping the farm.")
        family = [farm, *farm.children(recursive=True)] if is_alive(farm) else []
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            kill_family(farm)
            code = process.wait()
    left = [str(member.pid) for member in family if is_alive(member)]
    if code or left:
        raise DemoFailed(f"farm up ended with {code}; processes left: {', '.join(left) or 'none'}.")


def _wait_for_start(process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once ``farm up`` says that it is ready; show its progress until then."""
    deadline = time.monotonic() + READY_S + 60.0
    seen = 0
    while True:
        ended = process.poll() is not None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[seen:]:
            if line.startswith(("Starting", "No CUDA")):
                click.echo(line)
        seen = len(lines)
        if any(line.startswith("Ready.") for line in lines):
            return
        if ended or time.monotonic() > deadline:
            last = lines[-1] if lines else "(nothing)"
            raise DemoFailed(f"The farm did not start: {last.removeprefix('farm: ')}")
        time.sleep(_POLL_S)
