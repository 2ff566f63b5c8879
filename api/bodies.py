"""JSON request bodies: read within a bound, parsed once, refused with what is wrong."""

from __future__ import annotations

import json
import time
from typing import Any

from api.request import FarmRequest
from farm.errors import FieldError, InvalidRequest, Malformed, TooLarge
from farm.parameters import type_name

_PIECE_BYTES = 64 * 1024


def read_object(request: FarmRequest, bytes_max: int) -> dict[str, Any]:
    """The body as a JSON object. NaN and infinities come out as such, for the field's own
    check to refuse by name.

    Raises:
        Malformed: no body, another content type, cut off, not UTF-8, not JSON, not an object.
        InvalidRequest: a field appears more than once.
        TooLarge: more than ``bytes_max``.
    """
    if not is_json(request):
        given = f"not {request.mimetype[:80]}" if request.mimetype else "which is missing"
        raise Malformed(f"Send the body as JSON with Content-Type: application/json, {given}.")
    data = _read(request, bytes_max)
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
        while left > 0 and time.monotonic() < until and (piece := stream.read(_PIECE_BYTES)):
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
