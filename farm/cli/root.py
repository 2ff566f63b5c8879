"""The command tree and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from farm.errors import FarmError

OK, TROUBLE, USAGE = 0, 1, 2

# Imported on use: `farm worker` need not wait for SQLAlchemy, nor `farm jobs` for supervisor.
_COMMANDS = {
    "up": "farm.cli.up:up",
    "demo": "farm.cli.demo.command:demo",
    "api": "farm.cli.processes:api",
    "worker": "farm.cli.processes:worker",
    "control": "farm.cli.processes:control",
    "beat": "farm.cli.processes:beat",
    "flower": "farm.cli.processes:flower",
    "db": "farm.cli.database:db",
    "accounts": "farm.cli.accounts:accounts",
    "keys": "farm.cli.keys:keys",
    "credits": "farm.cli.ledger:credits_",
    "ledger": "farm.cli.ledger:ledger_",
    "jobs": "farm.cli.jobs:jobs",
    "queues": "farm.cli.cluster:queues",
    "nodes": "farm.cli.cluster:nodes",
    "models": "farm.cli.models:models",
    "styles": "farm.cli.styles:styles",
    "webhooks": "farm.cli.webhooks:webhooks",
    "doctor": "farm.cli.doctor:doctor",
}


class _Root(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """Run an AI media business on your own GPUs.

    `farm up` starts everything on this machine. Every command takes --data DIR (or FARM_DATA)
    and finds a running `farm up` through it; DATABASE_URL and BROKER_URL name services of
    your own instead.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` by default) and return its exit code."""
    try:
        code = root.main(args=arguments, prog_name="farm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("farm: stopped", err=True)
        return TROUBLE
    except BrokenPipeError:
        # Whoever read the output has had enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TROUBLE
    except FarmError as error:
        click.echo(f"farm: {error}", err=True)
        return TROUBLE
    return code if isinstance(code, int) else OK
