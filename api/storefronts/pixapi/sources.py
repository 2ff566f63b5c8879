"""Pictures that come with a request: files of a form, URLs and data URLs (RFC 2397). Pure, but
that files are read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.callback import Problems
from api.forms import Fields, Upload
from farm.cards import InputSpec, ModelCard
from farm.errors import FieldError, InvalidRequest, TooLarge
from farm.intake.pictures import Read, same_size
from farm.intake.urls import FetchPolicy, check_url
from farm.offers import Offer
from farm.parameters import type_name
from farm.types import Picture, RemotePicture

IMAGE, MASK = "image", "mask"
LISTED = {IMAGE: IMAGE, f"{IMAGE}[]": IMAGE}
"""Names of a form's parts that may come several times, and the list that they go into."""

_DATA = re.compile(r"data:[^,]{0,200},", re.IGNORECASE)
_SPACE = re.compile(r"\s+", re.ASCII)

Source = Upload | bytes | RemotePicture
"""A file of a form, the bytes of a data URL, or a URL that was looked at."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One picture of a request: ``field`` is what errors call it, ``spec`` its limits."""

    field: str
    source: Source
    spec: InputSpec

    def fingerprint(self) -> str:
        """The same for the same picture sent in the same way."""
        if isinstance(self.source, RemotePicture):
            return self.source.url
        if isinstance(self.source, Upload):
            return self.source.sha256()
        return hashlib.sha256(self.source).hexdigest()


def decode_sources(fields: Fields, offer: Offer, policy: FetchPolicy) -> dict[str, Sent]:
    """The pictures of a request, by the names that the model has for them.

    Raises:
        InvalidRequest: there is none, there are more than the model takes, or one is neither a
            file nor a URL.
        TooLarge: a data URL is longer than the picture may be.
    """
    card, found = offer.card, Problems()
    specs = card.inputs_of(offer.operation)
    sent: dict[str, Sent] = {}
    with found.gathered():
        images = _list_of(fields)
        names = [name for name, spec in specs.items() if spec.kind == "picture"]
        _check_number(len(images), names, card)
        for place, (name, value) in enumerate(zip(names, images, strict=False)):
            field = IMAGE if len(images) == 1 else f"{IMAGE}[{place}]"
            with found.gathered():
                sent[name] = Sent(field, _source(value, field, specs[name], policy), specs[name])
    with found.gathered():
        mask = _mask_of(fields)
        if mask is not None:
            sent[MASK] = _mask(mask, specs.get(MASK), card, policy)
    found.check()
    return sent


def decode_pictures(
    sent: Mapping[str, Sent], read: Read | None
) -> dict[str, Picture | RemotePicture]:
    """The job's inputs: what came along is decoded now, what has a URL is fetched later.

    Args:
        read: decodes a picture; not needed where :func:`has_files` says so.

    Raises:
        UnreadableImage, TooLarge, InvalidRequest: one is not a picture that the model takes.
        Overloaded, StorageUnavailable: none can be decoded now.
    """
    inputs: dict[str, Picture | RemotePicture] = {}
    for name, one in sent.items():
        if isinstance(one.source, RemotePicture):
            inputs[name] = one.source
        else:
            assert read is not None, "files are decoded in a turn"
            file = one.source.file if isinstance(one.source, Upload) else one.source
            inputs[name] = read(file, one.field, one.spec)
    same_size({name: found for name, found in inputs.items() if isinstance(found, Picture)})
    return inputs


def has_files(sent: Mapping[str, Sent]) -> bool:
    """Whether a picture came along that is to be decoded now."""
    return not all(isinstance(one.source, RemotePicture) for one in sent.values())


def fingerprint(fields: Fields, sent: Mapping[str, Sent]) -> dict[str, Any]:
    """What makes two requests the same, as JSON values."""
    plain = {name: value for name, value in fields.values.items() if name not in (IMAGE, MASK)}
    return {"fields": plain, "pictures": {name: one.fingerprint() for name, one in sent.items()}}


def _list_of(fields: Fields) -> Sequence[Any]:
    """The request's images in their order. Raises InvalidRequest."""
    for name in LISTED:
        if name in fields.problems:
            raise InvalidRequest([FieldError(IMAGE, fields.problems[name])])
    if fields.is_form:
        images: Sequence[Any] = [part for part in fields.lists.get(IMAGE, []) if part != ""]
    else:
        given = fields.values.get(IMAGE)
        images = given if isinstance(given, list) else [] if given is None else [given]
    if not images:
        raise InvalidRequest([FieldError(IMAGE, "is required: a file, a URL or a data URL.")])
    return images


def _check_number(count: int, names: Sequence[str], card: ModelCard) -> None:
    if count > len(names):
        most = f"{len(names)} image{'s' if len(names) > 1 else ''}"
        message = f"{card.id} takes at most {most} at a time, got {count:,}."
        raise InvalidRequest([FieldError(IMAGE, message)])


def _mask_of(fields: Fields) -> Any:
    """The request's mask, None where there is none. Raises InvalidRequest."""
    if MASK in fields.problems:
        raise InvalidRequest([FieldError(MASK, fields.problems[MASK])])
    if MASK in fields.files:
        return fields.files[MASK]
    mask = fields.values.get(MASK)
    return None if fields.is_form and mask == "" else mask


def _mask(value: Any, spec: InputSpec | None, card: ModelCard, policy: FetchPolicy) -> Sent:
    if spec is None:
        raise InvalidRequest([FieldError(MASK, f"is not taken by {card.id}. Leave it out.")])
    cut = spec.cut_out()
    source = _source(value, MASK, cut, policy)
    if isinstance(source, RemotePicture):
        source = RemotePicture(source.url, cut_out=True)
    return Sent(MASK, source, cut)


def _source(value: Any, field: str, spec: InputSpec, policy: FetchPolicy) -> Source:
    if isinstance(value, Upload):
        return value
    if not isinstance(value, str):
        message = f"must be a URL or a data URL, not {type_name(value)}."
        raise InvalidRequest([FieldError(field, message)])
    head = _DATA.match(value)
    if head is None:
        if value[:5].lower() == "data:":
            message = "is not a data URL: it must begin like data:image/png;base64,"
            raise InvalidRequest([FieldError(field, message)])
        return RemotePicture(check_url(value, field, policy))
    if not head[0].lower().endswith(";base64,"):
        message = "is a data URL without base64: it must begin like data:image/png;base64,"
        raise InvalidRequest([FieldError(field, message)])
    return _decoded(value, head.end(), field, spec)


def _decoded(value: str, start: int, field: str, spec: InputSpec) -> bytes:
    """What a data URL holds. The file may have line ends in it, and lack its padding."""
    data = _SPACE.sub("", value[start:])
    # Three bytes in four characters.
    if len(data) // 4 * 3 > spec.bytes_max + 2:
        raise TooLarge(spec.bytes_max, field)
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        message = "is not valid base64 after the comma of its data URL."
        raise InvalidRequest([FieldError(field, message)]) from error
