"""Pictures on their way in: from a body's fields to inputs that a job can be submitted with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from api.bodies import is_json, read_object
from api.forms import FORM, Fields, Upload, read_form
from api.request import FarmRequest
from farm.cards import ModelCard
from farm.errors import Malformed
from farm.intake.pictures import PictureReader, same_size
from farm.types import Picture, RemotePicture

URL_SUFFIX = "_url"
"""A field of a picture's name with this at the end holds its URL instead."""


@contextmanager
def read_fields(request: FarmRequest, bytes_max: int, card: ModelCard) -> Iterator[Fields]:
    """The body of a request for work on pictures: a form with files, or JSON with URLs.

    The files are gone when the block ends.

    Raises:
        Malformed, TooLarge, InvalidRequest, StorageUnavailable: see :func:`api.forms.read_form`
            and :func:`api.bodies.read_object`.
    """
    if is_json(request):
        yield Fields(read_object(request, bytes_max))
        return
    if request.mimetype != FORM:
        given = f"not {request.mimetype[:80]}" if request.mimetype else "which is missing"
        raise Malformed(
            f"Send the picture's file as {FORM}, or its URL as JSON with Content-Type: "
            f"application/json, {given}."
        )
    limits = {name: spec.bytes_max for name, spec in card.inputs.items()}
    with ExitStack() as keep:
        yield read_form(request, bytes_max, limits, keep)


@contextmanager
def open_inputs(
    reader: PictureReader, card: ModelCard, files: Mapping[str, Upload], urls: Mapping[str, str]
) -> Iterator[Mapping[str, Picture | RemotePicture]]:
    """A job's inputs: what was uploaded is decoded now, what has a URL is fetched later.

    Decoded pictures are large, so few requests may have some at a time: submit within the block.

    Raises:
        UnreadableImage, TooLarge, InvalidRequest: a file is not a picture that the card takes.
        Overloaded: too many pictures are being taken in already.
        StorageUnavailable: a file could not be read back.
    """
    remote = {name: RemotePicture(url) for name, url in urls.items()}
    if not files:
        yield remote
        return
    with reader.turn() as read:
        pictures = {
            name: read(upload.file, name, card.inputs[name]) for name, upload in files.items()
        }
        same_size(pictures)
        yield {**pictures, **remote}
