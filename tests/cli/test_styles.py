"""``farm styles``: previews made by the farm itself, paid for like everything else."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from api.app import create_app, runtime_of
from farm.accounts import find_account
from farm.cli.styles import EMAIL
from farm.config import Settings
from farm.previews import made_previews, preview_key
from farm.services import Services
from farm.styles import built_in_styles
from tests import factories
from tests.cli.conftest import Farm
from tests.farm.checks import assert_books_balance, scalar
from tests.flows.whole_farm import whole_farm


def test_nothing_is_left_of_what_was_not_made_in_time(farm: Farm, services: Services) -> None:
    words = ("--only", "oil", "--only", "comic-book", "--only", "oil-painting", "--timeout", "1")
    ran = farm("styles", "render", *words)
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "oil-painting: cancelled: It was not made within 1 s.",
        "comic-book: cancelled: It was not made within 1 s.",
    ]
    with services.db.transaction() as connection:
        account = find_account(connection, EMAIL, "pixola")
    assert (account.available_tenths, account.held_tenths) == (1000, 0)
    assert scalar(services, "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 0
    assert made_previews(services.storage) == {}
    assert_books_balance(services)


def test_a_poor_account_makes_nothing(farm: Farm, services: Services) -> None:
    who = factories.customer(services, storefront="pixola")
    model = ("--model", "gpt-image-1.5")
    ran = farm("styles", "render", "--account", who.email, *model)
    assert ran.code == 1
    assert "Insufficient credits. Required: 4, available: 0" in ran.err
    assert scalar(services, "SELECT count(*) FROM jobs WHERE state <> 'cancelled'") == 0
    assert scalar(services, "SELECT count(*) FROM jobs") == 25
    assert_books_balance(services)


def test_what_is_not_there_is_said(farm: Farm, services: Services) -> None:
    assert "Did you mean watercolor" in farm("styles", "render", "--only", "watercolr").err
    assert "is not a model here" in farm("styles", "render", "--model", "wan2.1").err
    assert "No account for nobody@" in farm("styles", "render", "--account", "nobody@a.b").err
    assert scalar(services, "SELECT count(*) FROM jobs") == 0
    for style in built_in_styles().styles:
        services.storage.keep(preview_key(style), b"picture")
    ran = farm("styles", "render", "--missing")
    assert (ran.code, ran.out) == (0, "Every style has its preview.\n")
    listed = farm("styles", "list", "--json").json()
    assert len(listed) == len(built_in_styles().styles)
    assert all(row["rendered_at"] for row in listed)
    assert "ink-wash" in farm("styles", "list").out


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("styles")
def test_the_farm_makes_its_own_previews(
    farm: Farm, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "farm"
    folder.mkdir()
    with whole_farm(folder, postgres_url, redis_url, redis_url) as whole:
        whole.start_worker("flux-schnell")
        settings = whole.services.settings
        words = ("--only", "oil", "--only", "pixel-art", "--timeout", "200", "--json")
        ran = farm("styles", "render", *words, "--data", str(settings.data))
        assert ran.code == 0, f"{ran.out}{ran.err}{whole.logs()}"
        made = {(row["style"], row["state"]) for row in ran.json()}
        assert made == {("oil-painting", "succeeded"), ("pixel-art", "succeeded")}
        assert_books_balance(whole.services)
        with whole.services.db.transaction() as connection:
            account = find_account(connection, EMAIL, "pixola")
        assert (account.available_tenths, account.held_tenths) == (980, 0)
        app = create_app(settings)
        try:
            customers_see_them(app.test_client(), settings)
        finally:
            runtime_of(app).close()


def customers_see_them(client: FlaskClient, settings: Settings) -> None:
    """The list has the two pictures' URLs, and whoever asks gets them without a key."""
    styles = {
        style["slug"]: style["image"]
        for category in client.get("/pixola/api/v1/styles").json["categories"]
        for style in category["styles"]
    }
    made = {slug: url for slug, url in styles.items() if url is not None}
    assert set(made) == {"oil-painting", "pixel-art"}
    for url in made.values():
        assert url.startswith(f"{settings.public_url}/pixola/api/v1/styles/")
        answer = client.get(url.removeprefix(settings.public_url))
        assert (answer.status_code, answer.content_type) == (200, "image/webp")
        assert "public" in answer.headers["Cache-Control"]
        with Image.open(io.BytesIO(answer.data)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (512, 512))
        again = client.get(
            url.removeprefix(settings.public_url),
            headers={"If-None-Match": answer.headers["ETag"]},
        )
        assert (again.status_code, again.data) == (304, b"")
