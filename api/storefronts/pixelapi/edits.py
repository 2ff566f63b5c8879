"""Edits: a body's fields against the card of an operation. Pure, as all of translating is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.callback import FIELD as WEBHOOK
from api.callback import decode_webhook
from api.forms import Fields, Upload
from api.strangers import not_known
from api.uploads import URL_SUFFIX
from farm.cards import InputSpec, ModelCard, ParamSpec
from farm.errors import FieldError, InvalidRequest
from farm.intake.urls import FetchPolicy, check_url
from farm.parameters import resolve, type_name
from farm.types import JobRequest, Picture, RemotePicture


@dataclass(frozen=True, slots=True)
class Edit:
    """A request for an edit: everything but the pictures is decided. ``urls`` are checked."""

    card: ModelCard
    params: Mapping[str, Any]
    warnings: tuple[str, ...]
    files: Mapping[str, Upload]
    urls: Mapping[str, str]
    webhook_url: str | None

    def job(self, inputs: Mapping[str, Picture | RemotePicture]) -> JobRequest:
        """The job, with its pictures."""
        card = self.card
        return JobRequest(
            card.id, card.operation, self.params, self.warnings, inputs, self.webhook_url
        )


@dataclass(slots=True)
class _Findings:
    """What was found on the way through the fields."""

    errors: list[FieldError] = field(default_factory=list)
    files: dict[str, Upload] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    def wrong(self, name: str, message: str) -> None:
        """One more field that is wrong."""
        self.errors.append(FieldError(name, message))


def decode_edit(fields: Fields, card: ModelCard, policy: FetchPolicy) -> Edit:
    """The body of a request to work on pictures.

    Raises:
        InvalidRequest: naming every field that is missing, doubled, of the wrong type, out of
            range or contradictory.
    """
    found = _Findings()
    for name, spec in card.inputs.items():
        _take_input(fields, name, spec, policy, found)
    params, warnings = _take_params(fields, card, found)
    _check_one_of(fields, card, found)
    webhook_url = _take_webhook(fields, policy, found)
    if found.errors:
        raise InvalidRequest(found.errors)
    warnings += not_known((*fields.values, *fields.files), known_fields(card))
    return Edit(card, params, warnings, found.files, found.urls, webhook_url)


def known_fields(card: ModelCard) -> tuple[str, ...]:
    """Every field that a request for this card may have."""
    urls = (f"{name}{URL_SUFFIX}" for name in card.inputs)
    return (*card.inputs, *urls, *card.params, WEBHOOK)


def _take_input(
    fields: Fields, name: str, spec: InputSpec, policy: FetchPolicy, found: _Findings
) -> None:
    """One picture: a file or a URL, and never both."""
    url_name = f"{name}{URL_SUFFIX}"
    problems = [(n, fields.problems[n]) for n in (name, url_name) if n in fields.problems]
    if problems:
        for problem in problems:
            found.wrong(*problem)
        return
    upload, text, url = fields.files.get(name), _value(fields, name), _value(fields, url_name)
    if text is not None:
        found.wrong(name, f"must be a file, sent as multipart/form-data. A URL goes in {url_name}.")
    elif upload is not None and url is not None:
        found.wrong(name, f"was sent as a file and as {url_name}. Send one of the two.")
        found.wrong(url_name, f"was sent beside a file in {name}. Send one of the two.")
    elif upload is not None:
        found.files[name] = upload
    elif url is not None:
        _take_url(url_name, name, url, policy, found)
    elif spec.required:
        found.wrong(name, f"is required: send a file, or a URL in {url_name}.")


def _take_url(url_name: str, name: str, url: Any, policy: FetchPolicy, found: _Findings) -> None:
    if not isinstance(url, str):
        found.wrong(url_name, f"must be text, not {type_name(url)}.")
        return
    try:
        found.urls[name] = check_url(url, url_name, policy)
    except InvalidRequest as error:
        found.errors += error.errors


def _take_webhook(fields: Fields, policy: FetchPolicy, found: _Findings) -> str | None:
    if WEBHOOK in fields.problems:
        found.wrong(WEBHOOK, fields.problems[WEBHOOK])
        return None
    try:
        return decode_webhook(_value(fields, WEBHOOK), policy)
    except InvalidRequest as error:
        found.errors += error.errors
        return None


def _take_params(
    fields: Fields, card: ModelCard, found: _Findings
) -> tuple[dict[str, Any], tuple[str, ...]]:
    given: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, spec in card.params.items():
        value = _value(fields, name)
        problem = fields.problems.get(name)
        if problem is None and isinstance(value, str) and fields.is_form and spec.kind != "text":
            value, problem = _number(spec, value)
        if problem is not None:
            found.wrong(name, problem)
            wrong.add(name)
        else:
            given[name] = value
    try:
        return resolve(card, given)
    except InvalidRequest as error:
        # Of a field that cannot be read it would say that it is missing.
        found.errors += [e for e in error.errors if e.field not in wrong]
        return {}, ()


def _check_one_of(fields: Fields, card: ModelCard, found: _Findings) -> None:
    names = card.needs_one_of
    ways = [way for name in names for way in _ways(card, name)]
    tried = {way for way in ways if way in fields.files or way in fields.problems}
    if names and not tried and all(_value(fields, way) is None for way in ways):
        found.wrong(names[0], f"is missing. At least one is needed of {', '.join(ways)}.")


def _ways(card: ModelCard, name: str) -> tuple[str, ...]:
    """The fields that an input or a parameter may come in."""
    return (name, f"{name}{URL_SUFFIX}") if name in card.inputs else (name,)


def _value(fields: Fields, name: str) -> Any:
    """The field's value; None where it is absent, null, or a form's field that was left empty."""
    value = fields.values.get(name)
    return None if fields.is_form and value == "" else value


def _number(spec: ParamSpec, text: str) -> tuple[Any, str | None]:
    """A form's text as the number that it stands for, or a sentence about why it is none."""
    noun, kind = ("a whole number", int) if spec.kind == "integer" else ("a number", float)
    # Python would also take 1_000, other scripts' digits and spaces around.
    plain = text.isascii() and "_" not in text and text == text.strip() and len(text) <= 40
    try:
        return (kind(text), None) if plain else (None, f"must be {noun}, got {text[:40]!r}.")
    except ValueError:
        return None, f"must be {noun}, got {text[:40]!r}."
