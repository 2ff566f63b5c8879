"""One picture from each of the other storefronts, asked for as that one's clients do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from farm.accounts import create_account
from farm.cli.common import credits_of
from farm.cli.demo.client import Client, DemoFailed, png_of
from farm.keys import create_key
from farm.services import Services
from farm.types import CREDIT_TENTHS
from farm.views import balance

PROMPT = "a lighthouse on a cliff at dusk"


@dataclass(frozen=True, slots=True)
class Made:
    """A picture that an answer tells of: where it is, and what was charged."""

    id: str
    url: str
    credits: float


def pixapi(client: Client) -> Made:
    """One call, which is answered once the picture is there."""
    body = {"model": "flux-schnell", "prompt": PROMPT, "size": "768x512"}
    answer = client.post("/v1/images/generations", body)
    [picture] = answer["data"]
    return Made("pixapi", picture["url"], answer["usage"]["credits"])


def pixola(client: Client) -> Made:
    """A batch of one, in a style and a shape."""
    body = {"prompt": PROMPT, "style": "watercolor", "shape": "square-small"}
    path = f"/pixola/api/v1/batches/{client.post('/pixola/api/v1/generate', body)['batchId']}"
    batch = client.until("pixola", path, ("complete", "failed", "rejected"))
    [image] = batch["images"]
    if batch["status"] != "complete":
        raise DemoFailed(f"pixola: {batch['status']}: {image.get('error')}")
    return Made(image["imageId"], image["url"], image["creditsCharged"])


def pixza(client: Client) -> Made:
    """One endpoint for everything: it waits a while, and is then polled."""
    body = {"type": "image", "prompt": PROMPT, "width": 512, "height": 512}
    first = client.post("/pixza/api/v1/generate", body)
    path = f"/pixza/api/v1/generate/{first['id']}"
    done = client.until("pixza", path, ("completed", "failed"))
    if done["status"] != "completed":
        raise DemoFailed(f"pixza: {done}")
    return Made(done["id"], done["output_url"], done["credits_used"])


SHOPS: dict[str, tuple[Callable[[Client], Made], tuple[int, int]]] = {
    "pixapi": (pixapi, (768, 512)),
    "pixola": (pixola, (512, 512)),
    "pixza": (pixza, (512, 512)),
}
"""How each is asked, and how large its picture must be."""


def one_picture_each(services: Services, address: str, out: Path) -> None:
    """An account, a key and a picture of each; saved, and checked against the account's books."""
    for storefront, (ask, size) in SHOPS.items():
        with services.db.transaction() as connection:
            account = create_account(
                connection, services.catalog, f"{storefront}@farm.example", storefront=storefront
            )
            _, key = create_key(connection, services.catalog, account.id, "demo")
        granted = account.posted_tenths
        started = time.monotonic()
        with Client(address, key) as client:
            made = ask(client)
            content = client.fetch(made.url)
        seconds = time.monotonic() - started
        picture = png_of(content, made.id)
        if picture.size != size:
            raise DemoFailed(f"{storefront}: the picture has {picture.size} pixels, not {size}.")
        spent = granted - balance(services.db, account.id).posted_tenths
        if spent != round(made.credits * CREDIT_TENTHS):
            raise DemoFailed(
                f"{storefront}: it says {made.credits:g} credits, the books {credits_of(spent):g}."
            )
        path = out / f"{storefront}.png"
        path.write_bytes(content)
        unit = "credit" if made.credits == 1 else "credits"
        click.echo(
            f"{path}  {picture.width}x{picture.height}  {len(content):,} bytes  "
            f"{seconds:.1f} s  {made.credits:g} {unit} of {account.email}"
        )
