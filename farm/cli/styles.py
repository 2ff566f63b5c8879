"""``farm styles``: what pixola's customers choose from, and one preview picture of each."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from farm import ledger, settle
from farm.accounts import Account, create_account, find_account, get_account
from farm.broker import make_celery
from farm.cli.common import data_option, json_option, opened, show_rows
from farm.dispatch import Dispatcher
from farm.errors import NotFound
from farm.keys import create_key, revoke_key
from farm.offers import Offer
from farm.previews import Rendered, gather, made_previews, preview_request
from farm.pricing import quote
from farm.services import Services
from farm.styles import OPERATION, Style, StyleBook, built_in_styles
from farm.submit import submit
from farm.types import Principal

STOREFRONT = "pixola"
EMAIL = "previews@farm.example"
"""The farm's own account, which previews are charged to where nobody names another."""
_LABEL = "farm styles render"
_LIST_COLUMNS = ("slug", "name", "category", "alias", "rendered_at")
_RENDER_COLUMNS = ("style", "state", "size_bytes", "job_id", "problem")
_HOURS_MAX = 24.0


@click.group()
def styles() -> None:
    """Pixola's styles, and one preview picture of each."""


@styles.command("list")
@json_option
@data_option
def list_(as_json: bool, data: Path | None) -> None:
    """List the styles, and when their previews were made."""
    with opened(data) as services:
        made = made_previews(services.storage)
    rows = [_row(style, made.get(style.id)) for style in built_in_styles().styles.values()]
    show_rows(rows, _LIST_COLUMNS, as_json=as_json, empty="There are no styles.")


@styles.command()
@click.option("--only", multiple=True, metavar="STYLE", help="This style; several times for more.")
@click.option("--missing", is_flag=True, help="Only styles without a preview.")
@click.option("--model", help="What makes them. Default: the storefront's.")
@click.option("--account", "email", help=f"Who pays. Default: the farm's own, {EMAIL}.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, _HOURS_MAX * 3600),
    default=3600.0,
    show_default=True,
    help="Seconds to wait; what has not been made by then is cancelled.",
)
@json_option
@data_option
@click.pass_context
def render(
    ctx: click.Context,
    only: Sequence[str],
    missing: bool,
    model: str | None,
    email: str | None,
    timeout_s: float,
    as_json: bool,
    data: Path | None,
) -> None:
    """Make a picture of each style on the running farm, and keep it as its preview.

    Each is a job, charged like every other. The farm's own account is given what it lacks,
    as an operator's grant; an account named by --account pays by itself.
    """
    with opened(data) as services:
        book = built_in_styles()
        wanted = _wanted(services, book, only, missing)
        offer = services.offers.find(STOREFRONT, OPERATION, model)
        account = _payer(services, offer, book, wanted, email)
        with _ordered(services, account, offer, book, wanted) as jobs:
            done = list(_told(gather(services, jobs, book.preview.side, timeout_s), as_json))
    rows = [_rendered_row(one) for one in done]
    if as_json or not rows:
        empty = "Every style has its preview."
        show_rows(rows, _RENDER_COLUMNS, as_json=as_json, empty=empty)
    ctx.exit(0 if all(one.size_bytes for one in done) else 1)


def _wanted(services: Services, book: StyleBook, only: Sequence[str], missing: bool) -> list[Style]:
    named = dict.fromkeys(book.style(name).id for name in only) if only else book.styles
    made = made_previews(services.storage) if missing else {}
    return [book.styles[name] for name in named if name not in made]


def _payer(
    services: Services, offer: Offer, book: StyleBook, styles: Sequence[Style], email: str | None
) -> Account:
    """The account that pays. The farm's own is made when it is first needed, and given what the
    pictures cost and it does not have."""
    with services.db.transaction() as connection:
        if email is not None:
            return find_account(connection, email, STOREFRONT)
        try:
            account = find_account(connection, EMAIL, STOREFRONT)
        except NotFound:
            account = create_account(connection, services.catalog, EMAIL, storefront=STOREFRONT)
        lacking = _price_tenths(services, offer, book, styles) - account.available_tenths
        if lacking > 0:
            reason = f"previews of {len(styles)} styles"
            ledger.grant(connection, account.id, lacking, reason=reason, kind="adjust")
        return get_account(connection, account.id)


def _price_tenths(
    services: Services, offer: Offer, book: StyleBook, styles: Sequence[Style]
) -> int:
    shop = services.catalog.storefronts[STOREFRONT]
    requests = [preview_request(offer, book, style) for style in styles]
    return sum(quote(shop, offer.sold.id, r.params, r.about).tenths for r in requests)


@contextlib.contextmanager
def _ordered(
    services: Services, account: Account, offer: Offer, book: StyleBook, styles: Sequence[Style]
) -> Iterator[dict[uuid.UUID, str]]:
    """The styles' jobs, rung for, by a key that is gone afterwards."""
    if not styles:
        yield {}
        return
    with services.db.transaction() as connection:
        key, _ = create_key(connection, services.catalog, account.id, _LABEL)
    dispatcher = Dispatcher(make_celery(services.settings, services.catalog))
    who = Principal(account.id, key.id, STOREFRONT, account.plan, account.status)
    jobs: dict[uuid.UUID, str] = {}
    try:
        for style in styles:
            made = submit(services, who, preview_request(offer, book, style))
            jobs[made.job_id] = style.id
            dispatcher.ring(made.ring)
        yield jobs
    finally:
        dispatcher.stop()
        # Whatever broke this off: nobody would keep what they still make.
        for job_id in jobs:
            settle.cancel(services.db, None, job_id)
        with services.db.transaction() as connection:
            revoke_key(connection, key.id)


def _told(rendered: Iterator[Rendered], as_json: bool) -> Iterator[Rendered]:
    """Each as it comes, with a line for whoever waits for it."""
    for one in rendered:
        if not as_json:
            size = f"{one.size_bytes:,} bytes"
            click.echo(f"{one.style}: {size if one.size_bytes else f'{one.state}: {one.problem}'}")
        yield one


def _row(style: Style, made_at: float | None) -> dict[str, Any]:
    return {
        "slug": style.id,
        "name": style.name,
        "category": style.category,
        "alias": style.alias,
        "prompt": style.prompt,
        "negative": style.negative,
        "rendered_at": None if made_at is None else datetime.fromtimestamp(made_at, UTC),
    }


def _rendered_row(one: Rendered) -> dict[str, Any]:
    return {
        "style": one.style,
        "state": one.state.value,
        "size_bytes": one.size_bytes,
        "job_id": str(one.job_id),
        "problem": one.problem or None,
    }
