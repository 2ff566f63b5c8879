"""``farm up``: everything on one machine, and all of it gone again after Ctrl-C."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import click

from farm.accounts import create_account
from farm.cards import UPSTREAM_QUEUE
from farm.cli import machine
from farm.cli.common import data_option, opened
from farm.cli.supervision import Program, Supervisor
from farm.cli.watch import Watch, stoppable, wait_until_ready
from farm.config import Settings, load_settings, make_folder
from farm.db import upgrade
from farm.embedded import start_postgres, start_redis
from farm.fronts import hosts_served, storefronts_served
from farm.keys import create_key
from farm.servers import Server, socket_folder
from farm.services import open_catalog
from farm.upstreams import load_upstreams

FIRST_EMAIL = "you@farm.example"
FIRST_STOREFRONT = "pixelapi"
FLOWER_PORT = 5555


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--flower/--no-flower", default=True, help="Run Flower too.", show_default=True)
@data_option
def up(host: str, port: int, flower: bool, data: Path | None) -> None:
    """Run everything on this machine until Ctrl-C.

    PostgreSQL and Redis are the embedded ones unless DATABASE_URL and BROKER_URL are set.
    """
    folder = make_folder(load_settings(data).data)
    with contextlib.ExitStack() as stack:
        stack.enter_context(machine.only_one(folder))
        machine.clear_crashed(folder)
        # Read again: what a farm that crashed wrote down no longer counts.
        settings = load_settings(data)
        # Before anything is started: workers and the API would only say it in their logs.
        catalog = open_catalog(settings)
        load_upstreams(settings, catalog)
        served = storefronts_served(settings.storefronts, list(catalog.storefronts))
        hosts_served(settings.hosts, served)
        machine.check_port(host, port)
        stack.enter_context(stoppable())
        _run(settings, host, port, flower, stack)


def _run(
    settings: Settings, host: str, port: int, flower: bool, stack: contextlib.ExitStack
) -> None:
    logs = make_folder(settings.data / "logs")
    watch = Watch(logs / "farm.log")
    database_url, broker_url, servers = _services(settings, logs, stack)
    upgrade(database_url)

    address = machine.url_of(host, port)
    services: dict[str, object] = {
        "database_url": database_url,
        "broker_url": broker_url,
        "public_url": settings.public_url if "public_url" in settings.model_fields_set else address,
        "weights": settings.weights,
    }
    gpus = machine.gpus()
    if gpus == 0 and "weights" not in settings.model_fields_set:
        services["weights"] = "tiny"
        click.echo(
            "No CUDA device: serving the built-in tiny models, which show how everything works "
            "and draw nothing of worth. FARM_WEIGHTS=hub serves the real ones, slowly."
        )
    flower_port = machine.port_near(host, FLOWER_PORT) if flower else 0
    if flower:
        services["flower_url"] = machine.url_of(host, flower_port)
        services["flower_auth"] = settings.flower_auth or machine.flower_auth(settings.data)

    sockets = stack.enter_context(socket_folder(make_folder(settings.data / "supervisor"), None))
    programs = _programs(settings, host, port, flower_port, gpus)
    supervisor = Supervisor(programs, sockets, logs)
    stack.callback(supervisor.stop)
    stack.enter_context(machine.services_file(settings.data, services, supervisor.server))
    supervisor.start()
    machine.write_services(settings.data, services, supervisor.server)
    stack.callback(click.echo, "Stopping.")
    watch.keep([*servers, supervisor.server], supervisor)
    wait_until_ready(address, watch)
    _greet(settings.data, address, services)
    watch.until_stopped()


def _services(
    settings: Settings, logs: Path, stack: contextlib.ExitStack
) -> tuple[str, str, list[Server]]:
    """The database's and the broker's URL, and those servers that are this farm's own."""
    servers = []
    database_url, broker_url = settings.database_url, settings.broker_url
    if not database_url:
        folder = settings.data / "postgres"
        postgres = stack.enter_context(start_postgres(folder, log=logs / "postgres.log"))
        servers.append(postgres)
        database_url = postgres.url
    if not broker_url:
        redis = stack.enter_context(start_redis(settings.data / "redis", log=logs / "redis.log"))
        servers.append(redis)
        broker_url = redis.url
    return database_url, broker_url, servers


def _programs(
    settings: Settings, host: str, port: int, flower_port: int, gpus: int
) -> list[Program]:
    # As long as a worker may take to finish its job or hand it back, and a little more.
    stop_s = math.ceil(settings.drain_s) + 10

    def program(name: str, *words: str) -> Program:
        common = ("--supervised", "--data", str(settings.data))
        return Program(name, machine.farm_command(*words, *common), stop_s)

    workers = [
        program(f"worker-{number}", "worker", "--gpu", str(number)) for number in range(gpus)
    ]
    # With one device or none there is nothing to choose, so what the operator set stays.
    programs = workers if gpus > 1 else [program("worker", "worker")]
    if settings.upstreams:
        programs.append(program("worker-upstream", "worker", "--queues", UPSTREAM_QUEUE))
    programs.append(program("api", "api", "--host", host, "--port", str(port)))
    programs.append(program("control", "control"))
    programs.append(program("beat", "beat"))
    if flower_port:
        programs.append(program("flower", "flower", "--host", host, "--port", str(flower_port)))
    return programs


def _greet(data: Path, address: str, services: dict[str, object]) -> None:
    click.echo(f"API     {address}  (documentation: {address}/docs)")
    if "flower_url" in services:
        user, _, password = str(services["flower_auth"]).partition(":")
        click.echo(f"Flower  {services['flower_url']}  (user {user}, password {password})")
    click.echo(f"Data    {data}  (logs in {data / 'logs'})")
    key = _first_key(data)
    if key:
        click.echo(f"Key     {key}  (account {FIRST_EMAIL}; shown only now)")
        click.echo("\nA picture:\n")
        click.echo(
            f"curl -s {address}/v1/image/generate -H 'Authorization: Bearer {key}' "
            "-H 'Content-Type: application/json' "
            """-d '{"model": "sdxl", "prompt": "a red circle on a yellow background"}'\n"""
        )
    click.echo("Ready. Ctrl-C stops everything.")


def _first_key(data: Path) -> str | None:
    """A key of a first account where there is no account yet; None otherwise, and where the
    storefront that the greeting shows is off."""
    with opened(data) as services, services.db.transaction() as connection:
        served = storefronts_served(
            services.settings.storefronts, list(services.catalog.storefronts)
        )
        if FIRST_STOREFRONT not in served or machine.has_accounts(connection):
            return None
        account = create_account(
            connection, services.catalog, FIRST_EMAIL, storefront=FIRST_STOREFRONT
        )
        return create_key(connection, services.catalog, account.id, "farm up")[1]
