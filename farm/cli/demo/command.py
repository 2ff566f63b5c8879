"""``farm demo``: a farm is started, used over HTTP with a key, checked, and stopped.

It believes nothing that it did not check: the files, what they cost, the books, and that every
process is gone at the end.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psutil

from farm.accounts import create_account
from farm.audit import audit, summary
from farm.cli import machine
from farm.cli.common import credits_of, data_option, opened
from farm.cli.demo import media, shops, steps
from farm.cli.demo.client import Client, DemoFailed
from farm.cli.watch import READY_S
from farm.errors import FarmFault
from farm.keys import create_key
from farm.servers import die_with_parent, is_alive, kill_family
from farm.types import CREDIT_TENTHS
from farm.views import balance

EMAIL = "demo@farm.example"
PLAN = "starter"
"""The free plan's five submits a minute are too few for a demo of nine."""
STOP_S = 90.0
_POLL_S = 0.3


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the results go.",
)
@data_option
def demo(out: Path, data: Path | None) -> None:
    """Start a farm, use every kind of its models, check everything, stop it again.

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
            account = create_account(connection, services.catalog, EMAIL, plan=PLAN)
            _, key = create_key(connection, services.catalog, account.id, "demo")
        with Client(address, key) as client:
            before = float(client.get("/v1/account/balance")["credits_remaining"])
            click.echo(f"Account {EMAIL}: {before:g} credits.")
            spent = steps.generate(client, out) + steps.work_on_a_photo(client, out)
            spent += media.music_and_film(client, out) + media.try_on(client, out)
            after = float(client.get("/v1/account/balance")["credits_remaining"])
        click.echo(f"balance: {after:g} credits (was {before:g}, spent {spent:g})")
        if round((before - after) * CREDIT_TENTHS) != round(spent * CREDIT_TENTHS):
            raise DemoFailed(f"The balance fell by {before - after:g}, not by {spent:g}.")
        booked = credits_of(balance(services.db, account.id).posted_tenths)
        if booked != after:
            raise DemoFailed(f"The books say {booked:g} credits, the API {after:g}.")
        shops.one_picture_each(services, address, out)
        findings = audit(services)
        click.echo(summary(findings))
        if not all(finding.holds for finding in findings):
            raise DemoFailed("The books do not balance.")


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
