"""Upstreams: services that run models for the farm, as the setting FARM_UPSTREAMS names them.

The setting is a TOML file, or the same as JSON, with one table for each model that only its
maker runs::

    ["gpt-image-2"]
    base_url = "https://api.example.com/v1"
    key_env = "EXAMPLE_KEY"
    model = "gpt-image-2"

The key itself is in the environment of the workers that serve the queue ``upstream`` and in no
setting: whatever else reads the table, of the key it knows the variable's name.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from farm.cards import Frozen
from farm.catalog import Catalog
from farm.config import Settings, secret
from farm.errors import SetupError
from farm.intake.addresses import Trust, parse_trusts, why_not_public
from farm.intake.urls import UrlRefused, read_url

TIMEOUT_S = 150.0
"""Longer than this farm, as somebody's upstream, lets a client wait."""
_PUBLIC_NAME = re.compile(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]+")
_PRIVATE_ENDS = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".intranet", ".corp")
"""Names that only a network's own resolver knows: RFC 6762 and 8375, and usage."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,126}")
_KEY = re.compile(r"[!-~]{1,4096}")


class Upstream(Frozen):
    """Who runs one model. ``name`` is what ``served_by`` and the log call it; empty: the host,
    which customers are told only where it is a public name.

    ``timeout_s`` is the longest wait for one answer; ``model`` is the upstream's own name for
    the model. Models with the same ``base_url`` are one upstream's.
    """

    base_url: Annotated[str, Field(max_length=500)]
    key_env: str
    model: Annotated[str, Field(pattern=r"^[\w./:@+-]{1,200}$")]
    name: Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w .+-]{0,39})?$")] = ""
    timeout_s: Annotated[float, Field(ge=1, le=1800)] = TIMEOUT_S

    @field_validator("key_env")
    @classmethod
    def _is_a_variable(cls, name: str) -> str:
        if not _VARIABLE.fullmatch(name):
            # Not shown: somebody may have written the key itself, which is seldom in capitals.
            raise ValueError(
                "must be the name of an environment variable, in capitals, such as EXAMPLE_KEY"
            )
        if name.startswith("FARM_"):
            raise ValueError("must not start with FARM_, as the farm's own settings do")
        return name

    @field_validator("base_url")
    @classmethod
    def _is_a_base(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL, such as https://api.example.com/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not contain a user name or password")
        if parts.query or parts.fragment:
            raise ValueError("must have neither a query nor a fragment")
        return url.rstrip("/")

    @property
    def shown(self) -> str:
        """What operators and the log call the upstream."""
        return self.name or str(urlsplit(self.base_url).hostname)

    @property
    def told(self) -> str:
        """What customers are told: its name, or its host where that is one of the internet's."""
        host = str(urlsplit(self.base_url).hostname)
        is_public = _PUBLIC_NAME.fullmatch(host) and not host.endswith(_PRIVATE_ENDS)
        return self.name or (host if is_public else "another service")

    @property
    def host(self) -> Trust:
        """The upstream's own host and port: results may be fetched from there."""
        parts = urlsplit(self.base_url)
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        [trust] = parse_trusts(f"{host}:{port}")
        return trust

    def key(self) -> str:
        """The key, from the environment. Never to be logged, stored or shown.

        Raises:
            SetupError: the variable is not set, or holds what no header can carry.
        """
        found = secret(self.key_env)
        if not found:
            raise SetupError(
                f"No key for the upstream {self.shown}: set {self.key_env} in the environment of "
                "the workers that serve the queue upstream."
            )
        if not _KEY.fullmatch(found):
            raise SetupError(
                f"The key for the upstream {self.shown}, in {self.key_env}, has a space, a line "
                "end or a letter that no key has. Set it again."
            )
        return found


def served_by(model_id: str, name: str) -> str:
    """What truly makes the output of a model that an upstream of this name runs."""
    return f"{model_id} by {name}"


def load_upstreams(settings: Settings, catalog: Catalog) -> dict[str, Upstream]:
    """The upstream of each model that has one, by the model's id. Reads no key.

    Raises:
        SetupError: the file or the JSON cannot be read, or is wrong; the message names the
            place, the model, the field, and what to write there.
    """
    text = settings.upstreams.strip()
    if not text:
        return {}
    where, table = _table(text)
    problems, found = [], {}
    trusts = parse_trusts(settings.fetch_allow)
    for model_id, row in table.items():
        problem = _wrong_model(model_id, row, catalog)
        if problem is None:
            try:
                found[model_id] = upstream = Upstream.model_validate(row)
            except ValidationError as error:
                problem = _fields(error)
            else:
                problem = _wrong_address(upstream, trusts)
        if problem is not None:
            problems.append(f"{model_id}: {problem}")
    if problems:
        raise SetupError(f"{where} is wrong. {' '.join(f'{p}.' for p in problems)}")
    return found


def _table(text: str) -> tuple[str, Mapping[str, Any]]:
    """Where the table stands, for messages, and the table."""
    if text.startswith("{"):
        where = "FARM_UPSTREAMS"
        try:
            table = json.loads(text)
        except json.JSONDecodeError as error:
            # Its own text would quote the setting.
            raise SetupError(
                f"{where} is not valid JSON (line {error.lineno}, column {error.colno}). "
                "Write it so, or give the path of a TOML file."
            ) from None
    else:
        path = Path(text).expanduser()
        where = f"The file {path} of FARM_UPSTREAMS"
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SetupError(f"{where} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SetupError(f"{where} is not valid TOML: {error}.") from error
    if not table:
        raise SetupError(f"{where} names no model. Leave the setting empty for no upstream.")
    return where, table


def _wrong_model(model_id: str, row: Any, catalog: Catalog) -> str | None:
    if not isinstance(row, dict):
        return "must be a table with base_url, key_env and model"
    card = catalog.card(model_id)
    hosted = [other.id for other in catalog.models.values() if other.is_hosted]
    if card is None:
        if any(other.startswith(f"{model_id}.") for other in hosted):
            return 'is no model. Write ids with a dot in quotes, as in ["gpt-image-1.5"]'
        near = difflib.get_close_matches(model_id, hosted, n=3, cutoff=0.5) or hosted
        return f"is no model of the catalogue. Those for upstreams are {', '.join(near)}"
    if card.id != model_id:
        return f"is another name of {card.id}: write {card.id}"
    if not card.is_hosted:
        return f"is run by the farm itself. Those for upstreams are {', '.join(hosted)}"
    return None


def _wrong_address(upstream: Upstream, trusts: frozenset[Trust]) -> str | None:
    """What is wrong with where an upstream is: a key goes in the clear only within a network
    that the operator names."""
    try:
        target = read_url(upstream.base_url, trusts | {upstream.host})
    except (UrlRefused, ValueError) as error:
        return f"base_url {str(error).rstrip('.')}"
    if target.scheme == "https":
        return None
    if target.address is not None:
        inside = why_not_public(target.address) is not None
    else:
        inside = target.host == "localhost"
    named = any(
        trust.covers_name(target.host, target.port)
        or (target.address is not None and trust.covers_address(target.address, target.port))
        for trust in trusts
    )
    if inside or named:
        return None
    return (
        f"base_url must start with https://, or the key could be read on its way to {target.host}"
        ". For a host of your own network name it in FARM_FETCH_ALLOW as well"
    )


def _fields(error: ValidationError) -> str:
    # Values are left out: a key may have got among them.
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: "
        + item["msg"].removeprefix("Value error, ").rstrip(".")
        for item in error.errors(include_input=False, include_url=False)
    )
