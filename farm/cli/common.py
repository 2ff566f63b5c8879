"""What the commands share: their options, opening the services, printing rows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from farm.config import load_settings
from farm.services import Services, build_services
from farm.types import CREDIT_TENTHS

F = TypeVar("F", bound=Callable[..., Any])
Rows = Sequence[Mapping[str, Any]]


def data_option(command: F) -> F:
    """``--data DIR``, which every command takes; FARM_DATA where it is left out."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=True),
        metavar="DIR",
        help="The farm's data folder. Default: FARM_DATA.",
    )(command)


def json_option(command: F) -> F:
    """``--json``, which every command that lists takes."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def storefront_option(command: F) -> F:
    """``--storefront``, needed only where an e-mail address has accounts on several."""
    return click.option("--storefront", help="The account's storefront.")(command)


def credits_as_tenths(value: str) -> int:
    """The ``type=`` of a number of credits with at most one decimal: whole tenths."""
    try:
        tenths = Decimal(value) * CREDIT_TENTHS
    except InvalidOperation as error:
        raise click.BadParameter(f"{value!r} is not a number.") from error
    if not tenths.is_finite() or tenths != tenths.to_integral_value():
        raise click.BadParameter(f"{value} credits: at most one decimal.")
    return int(tenths)


@contextlib.contextmanager
def opened(data: Path | None) -> Iterator[Services]:
    """The services that ``--data`` and the environment name, closed on exit."""
    services = build_services(load_settings(data))
    try:
        yield services
    finally:
        services.dispose()


def credits_of(tenths: int) -> float:
    """Tenths as credits, the way the wire shows them."""
    return tenths / CREDIT_TENTHS


def say_credits(tenths: int, *, sign: bool = False) -> str:
    """Tenths as credits in a sentence, exact however many: ``10000`` or ``-0.5``."""
    plus = "+" if sign else ""
    return f"{Decimal(tenths) / CREDIT_TENTHS:{plus}f}"


def show_rows(
    rows: Rows, columns: Sequence[str], *, as_json: bool, empty: str, whole: Sequence[str] = ()
) -> None:
    """Print rows as a table with these columns, or all of each row as JSON.

    Where a terminal is narrow, lines are broken in the columns that are not ``whole``.
    """
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows], indent=2, default=str))
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        # A licence called "[dev]" is no markup.
        table.add_row(*(escape(_cell(row[column])) for column in columns))
    # A pipe has no width: never cut a line that another program reads.
    console = Console()
    Console(width=None if console.is_terminal else 400).print(table)


def show_row(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing, a line for each of its fields, or as JSON."""
    if as_json:
        click.echo(json.dumps(_plain(row), indent=2, default=str))
        return
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value)
