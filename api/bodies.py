"""JSON request bodies: read within a bound, parsed once, refused with what is wrong."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from api.request import FarmRequest
from farm.errors import FieldError, InvalidRequest, Malformed, StorageUnavailable, TooLarge
from farm.parameters import type_name

PIECE_BYTES = 64 * 1024
_IN_MEMORY_BYTES = 512 * 1024


def read_object(request: FarmRequest, bytes_max: int) -> dict[str, Any]:
    """The body as a JSON object. NaN and infinities come out as such, for the field's own
    check to refuse by name.

    Raises:
        Malformed: no body, another content type, cut off, not UTF-8, not JSON, not an object.
        InvalidRequest: a field appears more than once.
        TooLarge: more than ``bytes_max``.
    """
    _check_type(request)
    return parse_object(_read(request, bytes_max))


@contextmanager
def put_aside(request: FarmRequest, bytes_max: int) -> Iterator[IO[bytes]]:
    """A large JSON body as a file that is gone when the block ends, for :func:`parse_object`.

    So many of them may come in at once, and few be in memory.

    Raises:
        Malformed: no body, another content type, cut off.
        TooLarge: more than ``bytes_max``.
        StorageUnavailable: there is no room for it.
    """
    _check_type(request)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        for piece in pieces(request, bytes_max, "Send a JSON object."):
            try:
                file.write(piece)
            except OSError as error:
                raise StorageUnavailable(
                    "The upload could not be kept. Nothing was charged. Try again in a moment."
                ) from error
        file.seek(0)
        yield file


def pieces(request: FarmRequest, bytes_max: int, advice: str) -> Iterator[bytes]:
    """The body piece by piece.

    Args:
        advice: what is said to whoever sends no body.

    Raises:
        Malformed: there is none, or not all of it came.
        TooLarge: more than ``bytes_max``.
    """
    # One more than allowed: Werkzeug would refuse a chunked body that just fits.
    request.max_content_length = bytes_max + 1
    seen = 0
    try:
        stream = request.stream
        while piece := stream.read(PIECE_BYTES):
            seen += len(piece)
            if seen > bytes_max:
                raise TooLarge(bytes_max)
            yield piece
    except RequestEntityTooLarge as error:
        raise TooLarge(bytes_max) from error
    except ClientDisconnected as error:
        raise Malformed("The body broke off before its end, or its chunks are damaged.") from error
    announced = request.content_length
    if announced is not None and announced != seen:
        raise Malformed(f"The body ended after {seen:,} of {announced:,} bytes.")
    if not seen:
        raise Malformed(f"The request has no body. {advice}")


def parse_object(data: bytes) -> dict[str, Any]:
    """A body's bytes as a JSON object; raises as :func:`read_object` does."""
    try:
        body = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not valid UTF-8 (byte {error.start:,}).") from error
    except json.JSONDecodeError as error:
        raise Malformed(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except ValueError as error:
        raise Malformed("The body is not valid JSON: a number has too many digits.") from error
    except RecursionError as error:
        raise Malformed("The body is not valid JSON here: it is nested too deeply.") from error
    if not isinstance(body, dict):
        raise Malformed(f"The body must be a JSON object, not {type_name(body)}.")
    if isinstance(body, _Doubled):
        raise InvalidRequest([FieldError(body.name, "appears more than once.")])
    return body


def is_json(request: FarmRequest) -> bool:
    """Whether the body is said to be JSON."""
    return request.mimetype == "application/json" or request.mimetype.endswith("+json")


def _check_type(request: FarmRequest) -> None:
    if not is_json(request):
        given = f"not {request.mimetype[:80]}" if request.mimetype else "which is missing"
        raise Malformed(f"Send the body as JSON with Content-Type: application/json, {given}.")


def _read(request: FarmRequest, bytes_max: int) -> bytes:
    # One byte more than allowed is asked for: a chunked body that is too long would otherwise
    # be cut at the limit without a word.
    request.max_content_length = bytes_max + 1
    data = request.get_data(cache=False)
    if len(data) > bytes_max:
        raise TooLarge(bytes_max)
    announced = request.content_length
    if announced is not None and announced != len(data):
        raise Malformed(f"The body ended after {len(data):,} of {announced:,} bytes.")
    if not data:
        raise Malformed("The request has no body. Send a JSON object.")
    return data


def finish_reading(request: FarmRequest, bytes_max: int, until: float) -> None:
    """Read what is left of a body that was refused before it was read, and drop it.

    Who sends an upload mostly looks for the answer only afterwards; a server that hangs up on
    the way is to them a broken connection, and no answer at all.

    Args:
        bytes_max: the most that is read; a body that is longer loses its connection.
        until: the monotonic second after which no more is read.
    """
    if "wsgi.input_terminated" not in request.environ:
        return
    stream, left = request.environ["wsgi.input"], bytes_max
    try:
        while left > 0 and time.monotonic() < until and (piece := stream.read(PIECE_BYTES)):
            left -= len(piece)
    except (OSError, ValueError):
        # The client is gone, or sends no body that can be read: it has no use for an answer.
        return


class _Doubled(dict[str, Any]):
    """An object in which one name appeared twice: which value counts would be a guess."""

    name: str = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            doubled.name = name[:64]
            break
        seen.add(name)
    return doubled


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
