"""``farm api|worker|control|beat|flower``: one process each, as the Procfile runs them.

Each command becomes the program it names (``exec``), so that its pid, its signals and its
exit code are the program's own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from farm.cards import UPSTREAM_QUEUE
from farm.catalog import Catalog
from farm.cli.common import data_option
from farm.config import Settings, child_environment, load_settings, make_folder
from farm.errors import SetupError
from farm.messages import CONTROL_QUEUE, INTAKE_QUEUE, WEBHOOKS_QUEUE
from farm.servers import die_with_parent
from farm.services import open_catalog
from farm.upstreams import Upstream, load_upstreams

F = TypeVar("F", bound=Callable[..., Any])

UPSTREAM_PROCESSES = 4
"""Each waits for an upstream with one job, and takes some 150 MB."""
CONTROL_PROCESSES = 5
"""One sends webhooks, most may wait for somebody's slow web server, one is enough for the rest."""
# A decoded picture is tens of megabytes. Above this many bytes malloc asks the system for pages
# of their own and gives them back when the picture goes; left to itself it raises the bound and
# keeps them.
_DECODES_PICTURES = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
STOP_S = 25
"""How long a program may take over its last request or job before it is killed."""


def supervised_option(command: F) -> F:
    """``--supervised``: end with the supervisor that started this, even if that is killed."""
    return click.option("--supervised", is_flag=True, hidden=True)(command)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@supervised_option
@data_option
def api(host: str, port: int, supervised: bool, data: Path | None) -> None:
    """Serve the HTTP API (gunicorn)."""
    settings = load_settings(data)
    settings.need_database()
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _become(
        settings,
        supervised,
        "gunicorn",
        [
            f"--bind={address}",
            "--worker-class=gthread",
            f"--workers={settings.web_workers}",
            f"--threads={settings.web_threads}",
            f"--graceful-timeout={STOP_S - 5}",
            # Longer than any long poll; a thread that hangs costs its worker, not the farm.
            "--timeout=120",
            "--keep-alive=15",
            "--no-control-socket",
            f"--log-level={settings.log_level.lower()}",
            "api.wsgi:create()",
        ],
        _DECODES_PICTURES,
    )


@click.command()
@click.option(
    "--queues",
    metavar="IDS",
    help="Model ids or queues, comma separated. Default: all but upstream.",
)
@click.option("--gpu", type=click.IntRange(0, 255), help="The CUDA device to use, from 0.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help=f"Jobs at once; above 1 only with --queues upstream. Default there: {UPSTREAM_PROCESSES}.",
)
@supervised_option
@data_option
def worker(
    queues: str | None,
    gpu: int | None,
    concurrency: int | None,
    supervised: bool,
    data: Path | None,
) -> None:
    """Run jobs: one worker for each GPU, and one for upstreams."""
    settings = load_settings(data)
    settings.need_database()
    catalog = open_catalog(settings)
    names = _queue_names(queues, catalog)
    if UPSTREAM_QUEUE in names:
        _check_keys(load_upstreams(settings, catalog))
    only_waits = names == [UPSTREAM_QUEUE]
    if not only_waits and concurrency not in (None, 1):
        raise click.BadParameter(
            "Two jobs at once on a device are slower than one after the other. Only a worker "
            "with --queues upstream, which waits for others, has more.",
            param_hint="--concurrency",
        )
    device = "any" if gpu is None else f"gpu{gpu}"
    device = "upstream" if only_waits else device
    _celery(
        settings,
        supervised,
        # One child: the parent answers while the child computes, and can kill it.
        _worker_command(
            f"worker-{device}",
            names,
            concurrency or (UPSTREAM_PROCESSES if only_waits else 1),
            settings,
        ),
        # CUDA numbers GPUs by speed, NVML and nvidia-smi by bus, unless told otherwise.
        {}
        if gpu is None
        else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(gpu)},
    )


@click.command()
@supervised_option
@data_option
def control(supervised: bool, data: Path | None) -> None:
    """Fetch inputs, send webhooks, sweep, reap, clean, renew, audit: what needs no GPU."""
    settings = load_settings(data)
    settings.need_database()
    _celery(
        settings,
        supervised,
        _worker_command(
            "control", [CONTROL_QUEUE, WEBHOOKS_QUEUE, INTAKE_QUEUE], CONTROL_PROCESSES, settings
        ),
        _DECODES_PICTURES,
    )


@click.command()
@supervised_option
@data_option
def beat(supervised: bool, data: Path | None) -> None:
    """Send the periodic tasks."""
    settings = load_settings(data)
    _celery(
        settings,
        supervised,
        ["beat", "--pidfile=", f"--loglevel={settings.log_level}"],
    )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@supervised_option
@data_option
def flower(host: str, port: int, supervised: bool, data: Path | None) -> None:
    """Show queues, workers and tasks in the browser (Flower), behind a password."""
    settings = load_settings(data)
    if ":" not in settings.flower_auth:
        raise SetupError("Flower needs a password: set FARM_FLOWER_AUTH to user:password.")
    _celery(
        settings,
        supervised,
        ["flower", f"--address={host}", f"--port={port}", "--max_tasks=10000"],
        # In the environment: a command line is there for every user to read.
        {"FLOWER_BASIC_AUTH": settings.flower_auth},
    )


def _queue_names(queues: str | None, catalog: Catalog) -> list[str]:
    """Queues from model ids, aliases or queue names. Raises BadParameter for an unknown one."""
    if queues is None:
        # A worker with a GPU does not wait for others.
        return [queue for queue in catalog.queues if queue != UPSTREAM_QUEUE]
    names = []
    for word in filter(None, (part.strip() for part in queues.split(","))):
        card = catalog.card(word)
        if card is None and word not in catalog.queues:
            known = ", ".join(catalog.models)
            raise click.BadParameter(f"{word!r} is none of {known}.", param_hint="--queues")
        names.append(card.queue if card else word)
    if not names:
        raise click.BadParameter("names no model.", param_hint="--queues")
    return list(dict.fromkeys(names))


def _check_keys(upstreams: Mapping[str, Upstream]) -> None:
    """Raise SetupError where a worker of upstreams has none, or a key is not there."""
    if not upstreams:
        raise SetupError(
            "The queue upstream needs FARM_UPSTREAMS, a file that says who runs which model; "
            "deploy/upstreams.example.toml is one to copy."
        )
    for upstream in upstreams.values():
        upstream.key()


def _worker_command(
    name: str, queues: Sequence[str], children: int, settings: Settings
) -> list[str]:
    return [
        "worker",
        "--pool=prefork",
        f"--concurrency={children}",
        f"--queues={','.join(queues)}",
        # The pid is the one it keeps after exec: unique on this host, as node names must be.
        f"--hostname={name}-{os.getpid()}@%h",
        f"--loglevel={settings.log_level}",
        # Workers do not need to know each other; waiting to meet costs a second at start.
        "--without-gossip",
        "--without-mingle",
    ]


def _celery(
    settings: Settings,
    supervised: bool,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> NoReturn:
    settings.need_broker()
    _become(settings, supervised, "celery", ["-A", "tasks.app", *arguments], environment)


def _become(
    settings: Settings,
    supervised: bool,
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> NoReturn:
    """Replace this process by ``python -m module``, which finds the same data folder."""
    make_folder(settings.data)
    if supervised and (ask := die_with_parent(signal.SIGTERM, os.getppid())):
        ask()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(
        sys.executable,
        [sys.executable, "-m", module, *arguments],
        child_environment({"FARM_DATA": str(settings.data), **(environment or {})}),
    )
