"""FARM_UPSTREAMS: who runs which model, read and checked, and never with a key in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farm.catalog import Catalog
from farm.config import Settings
from farm.errors import SetupError
from farm.services import offers_of, served_queues
from farm.upstreams import Upstream, load_upstreams

EXAMPLE = Path(__file__).parents[2] / "deploy" / "upstreams.example.toml"
GOOD = {"base_url": "https://api.example.com/v1/", "key_env": "EXAMPLE_KEY", "model": "their-own"}


def settings(upstreams: Any, **more: Any) -> Settings:
    words = upstreams if isinstance(upstreams, str) else json.dumps(upstreams)
    return Settings(upstreams=words, **more)


def load(catalog: Catalog, row: dict[str, Any], **more: Any) -> Upstream:
    return load_upstreams(settings({"gpt-image-2": row}, **more), catalog)["gpt-image-2"]


def test_nothing_set_is_no_upstream(catalog: Catalog) -> None:
    assert load_upstreams(settings(""), catalog) == {}


def test_the_example_file_is_right(catalog: Catalog) -> None:
    found = load_upstreams(settings(str(EXAMPLE)), catalog)
    assert {"gpt-image-2", "veo", "gemini-2.5-flash-image"} <= set(found)


def test_json_does_as_well(catalog: Catalog) -> None:
    found = load(catalog, GOOD)
    assert (found.base_url, found.shown, found.timeout_s) == (
        "https://api.example.com/v1",
        "api.example.com",
        150.0,
    )
    assert load(catalog, {**GOOD, "name": "Example"}).shown == "Example"


@pytest.mark.parametrize(
    ("base_url", "told"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("https://gpu7.rack.internal/v1", "another service"),
        ("https://farm/v1", "another service"),
        ("https://10.1.2.3/v1", "another service"),
        ("http://[::1]:8001/v1", "another service"),
    ],
)
def test_customers_are_told_no_host_of_the_farms_own_network(
    catalog: Catalog, base_url: str, told: str
) -> None:
    assert load(catalog, {**GOOD, "base_url": base_url}).told == told
    assert load(catalog, {**GOOD, "base_url": base_url, "name": "Next door"}).told == "Next door"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8001/v1",
        "http://localhost:8001/v1",
        "http://10.1.2.3/v1",
        "http://[::1]/v1",
    ],
)
def test_inside_the_farms_own_network_http_will_do(catalog: Catalog, base_url: str) -> None:
    assert load(catalog, {**GOOD, "base_url": base_url}).base_url == base_url


def test_so_it_will_where_the_operator_names_the_host(catalog: Catalog) -> None:
    row = {**GOOD, "base_url": "http://gpu.lan:8001/v1"}
    assert load(catalog, row, fetch_allow="gpu.lan")
    with pytest.raises(SetupError, match="must start with https://"):
        load(catalog, row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, r"base_url: Field required; key_env: Field required; model: Field required"),
        ({**GOOD, "key": "x"}, "key: Extra inputs"),
        (
            {**GOOD, "base_url": "http://api.example.com/v1"},
            "must start with https://.*api.example",
        ),
        ({**GOOD, "base_url": "ftp://api.example.com"}, "base_url: must be a URL"),
        ({**GOOD, "base_url": "https://me:secret@api.example.com"}, "not contain a user name"),
        ({**GOOD, "base_url": "https://api.example.com/?key=secret"}, "neither a query"),
        ({**GOOD, "base_url": "https://api.example.com:99999/v1"}, "base_url"),
        ({**GOOD, "base_url": "https://api .example.com/v1"}, "base_url"),
        ({**GOOD, "key_env": "sk-secret"}, "key_env: must be the name of an environment variable"),
        ({**GOOD, "key_env": "sk_secret"}, "key_env: must be the name of an environment variable"),
        ({**GOOD, "key_env": "FARM_KEY"}, "must not start with FARM_"),
        ({**GOOD, "model": "two words"}, "model: "),
        ({**GOOD, "timeout_s": 0}, "timeout_s: "),
        (7, "must be a table"),
    ],
)
def test_a_wrong_row_names_model_and_field_and_shows_no_secret(
    catalog: Catalog, row: Any, said: str
) -> None:
    with pytest.raises(
        SetupError, match=rf"FARM_UPSTREAMS is wrong. gpt-image-2: .*{said}"
    ) as caught:
        load(catalog, row)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gpt-image-9", "no model of the catalogue.*gpt-image-2"),
        ("gpt-image-1", r'in quotes, as in \["gpt-image-1.5"\]'),
        ("nano-banana", "another name of gemini-2.5-flash-image"),
        ("sdxl", "run by the farm itself"),
    ],
)
def test_a_model_that_is_none_of_theirs(catalog: Catalog, model: str, said: str) -> None:
    with pytest.raises(SetupError, match=rf"{model}: .*{said}"):
        load_upstreams(settings({model: GOOD}), catalog)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "FARM_UPSTREAMS is not valid JSON"),
        ("{}", "names no model"),
        ("/none.toml", "/none.toml"),
    ],
)
def test_a_table_that_cannot_be_read(catalog: Catalog, text: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        load_upstreams(settings(text), catalog)


def test_a_file_that_is_no_toml_is_named(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "upstreams.toml"
    path.write_text("[gpt-image-2\n")
    with pytest.raises(SetupError, match=rf"{path}.*not valid TOML"):
        load_upstreams(settings(str(path)), catalog)


def test_the_key_is_read_when_it_is_wanted(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = load(catalog, GOOD)
    monkeypatch.delenv("EXAMPLE_KEY", raising=False)
    with pytest.raises(SetupError, match="set EXAMPLE_KEY in the environment"):
        upstream.key()
    for bad in ("two words", "line\nend", "ключ"):
        monkeypatch.setenv("EXAMPLE_KEY", bad)
        with pytest.raises(SetupError, match="EXAMPLE_KEY") as caught:
            upstream.key()
        assert bad not in str(caught.value)
    monkeypatch.setenv("EXAMPLE_KEY", "sk-123")
    assert upstream.key() == "sk-123"
    assert "sk-123" not in repr(upstream) + upstream.model_dump_json()


def test_what_is_sold_runs_there_and_says_so(catalog: Catalog) -> None:
    given = settings({"gpt-image-2": {**GOOD, "name": "Example"}})
    upstreams = load_upstreams(given, catalog)
    offers = offers_of(given, catalog, upstreams)
    offer = offers.find("pixapi", "generate", "gpt-image-2")
    assert (offer.card.id, offer.card.queue, offer.sold_as) == ("gpt-image-2", "upstream", "")
    for weights in ("hub", "tiny"):
        assert offers.served_by("pixapi", offer.card, weights) == "gpt-image-2 by Example"
    veo = offers.find("pixapi", "video", "veo")
    assert (veo.card.id, veo.sold_as) == ("wan2.1", "veo")
    assert "veo" not in offers.served_by("pixapi", veo.sold, "hub")


def test_nobody_has_to_serve_the_queue_of_no_upstream(catalog: Catalog) -> None:
    upstreams = load_upstreams(settings({"gpt-image-2": GOOD}), catalog)
    assert served_queues(catalog, upstreams) == catalog.queues
    assert set(catalog.queues) - set(served_queues(catalog, {})) == {"upstream"}
