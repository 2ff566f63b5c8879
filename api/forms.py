"""``multipart/form-data`` bodies (RFC 7578): read piece by piece within bounds, files on disk.

Werkzeug's decoder finds where parts begin and end. How many there may be, how long each, and
which are kept, is decided here, so that an upload is never in memory as a whole and no form
costs more than its bytes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from api.bodies import PIECE_BYTES, pieces
from api.request import FarmRequest
from farm.errors import Malformed, StorageUnavailable, TooLarge

FORM = "multipart/form-data"
PARTS_MAX = 20
TEXT_BYTES_MAX = 8192
"""Room for a prompt of 2,000 characters of four bytes each, the longest that most models take."""

_HEADERS_BYTES_MAX = 64 * 1024
_IN_MEMORY_BYTES = 512 * 1024
_BOUNDARY_MAX = 200
"""RFC 2046 allows 70; nobody is turned away over a few more."""

_NONE: Mapping[str, str] = {}
_FILE_TYPES = ("image/", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a form, at its beginning at first; gone when the request has been answered."""

    file: IO[bytes]
    size_bytes: int

    def sha256(self) -> str:
        """The hash of all of it, in hexadecimal."""
        self.file.seek(0)
        return hashlib.file_digest(self.file, "sha256").hexdigest()  # type: ignore[arg-type]


@dataclass(slots=True)
class Fields:
    """What a body holds, before anybody asked whether it makes sense.

    ``values`` are a JSON object's, or a form's texts; ``files`` a form's files that were asked
    for; ``lists`` the parts that may come several times, in their order; ``problems`` sentences
    about parts of a form by name, for whoever knows the name.
    """

    values: dict[str, Any]
    files: dict[str, Upload] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    is_form: bool = False
    lists: dict[str, list[Upload | str]] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, Any]:
        """What makes two bodies the same request, as JSON values."""
        if not self.files:
            return self.values
        hashes = {name: upload.sha256() for name, upload in self.files.items()}
        return {"fields": self.values, "files": hashes}


def read_form(
    request: FarmRequest,
    bytes_max: int,
    files: Mapping[str, int],
    keep: ExitStack,
    *,
    several: Mapping[str, str] = _NONE,
    text_bytes_max: int = TEXT_BYTES_MAX,
) -> Fields:
    """The body as a form.

    Args:
        bytes_max: of the whole body.
        files: the names of the files that are wanted, with how many bytes each may have.
        keep: closes the files.
        several: names that may come several times, as files or texts, and the list of
            ``Fields.lists`` that each goes into.
        text_bytes_max: of one text.

    Raises:
        Malformed: no form, cut off, or with more or longer parts than a form needs.
        TooLarge: the body, or one of the wanted files.
        StorageUnavailable: there is no room for the files.
    """
    decoder = MultipartDecoder(_boundary(request), PIECE_BYTES + _HEADERS_BYTES_MAX)
    parts = _Parts(files, keep, several, text_bytes_max)
    try:
        for piece in pieces(request, bytes_max, f"Send {FORM}."):
            _decode(decoder, piece, parts)
        _decode(decoder, None, parts)
    except ValueError as error:
        # Werkzeug's word for what it cannot read, invalid UTF-8 in a part's headers included.
        raise Malformed(
            f"The body is not valid {FORM}. Was it cut off, or its boundary changed on the way?"
        ) from error
    return parts.fields


def _boundary(request: FarmRequest) -> bytes:
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise Malformed(
            f"The Content-Type {FORM} has no boundary. Do not set this header by hand: "
            "your HTTP library writes it, with the boundary that it uses."
        )
    if len(boundary) > _BOUNDARY_MAX or not (boundary.isascii() and boundary.isprintable()):
        raise Malformed(f"The boundary of the {FORM} body cannot be one.")
    return boundary.encode("ascii")


def _decode(decoder: MultipartDecoder, piece: bytes | None, parts: _Parts) -> None:
    """Hand one piece of the body to the decoder, or None at its end, and take what it found."""
    try:
        decoder.receive_data(piece)
    except RequestEntityTooLarge as error:
        raise Malformed(
            f"The {FORM} body has no parts, goes on after its last one, or has a part whose "
            "headers are too long."
        ) from error
    event = decoder.next_event()
    while not isinstance(event, NeedData | Epilogue):
        parts.take(event)
        event = decoder.next_event()


class _Parts:
    """Collects a form's parts as the decoder comes by them."""

    def __init__(
        self,
        wanted: Mapping[str, int],
        keep: ExitStack,
        several: Mapping[str, str],
        text_bytes_max: int,
    ) -> None:
        self.fields = Fields({}, is_form=True)
        self._wanted = wanted
        self._keep = keep
        self._several = several
        self._text_bytes_max = text_bytes_max
        self._count = 0
        self._name = ""
        self._size = 0
        self._text: list[bytes] | None = None
        self._file: IO[bytes] | None = None
        self._named_file = False

    def take(self, event: Event) -> None:
        """One event: a part begins, or brings data."""
        if isinstance(event, Data):
            self._add(event.data)
            if not event.more_data:
                self._end()
        elif isinstance(event, Field | File):
            self._begin(event)

    def _begin(self, part: Field | File) -> None:
        self._count += 1
        if self._count > PARTS_MAX:
            raise Malformed(f"The form has more than {PARTS_MAX} parts.")
        if not part.name:
            raise Malformed("A part of the form has no name.")
        self._name, self._size = part.name, 0
        self._text = self._file = None
        fields = self.fields
        # A browser sends a file input that was left empty as a file without a name.
        self._named_file = not isinstance(part, File) or bool(part.filename)
        if part.name in self._several and not _is_file(part):
            self._text = []
        elif part.name in fields.values or part.name in fields.files:
            fields.problems[part.name] = "appears more than once."
        elif not _is_file(part):
            self._text = []
        elif part.name in self._wanted:
            self._file = self._keep.enter_context(
                tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
            )
        else:
            fields.values[part.name] = None
            fields.problems[part.name] = "must be text, not a file."

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._text is not None and self._size <= self._text_bytes_max:
            self._text.append(data)
        elif self._file is not None:
            if self._size > self._wanted[self._name]:
                raise TooLarge(self._wanted[self._name], self._name)
            try:
                self._file.write(data)
            except OSError as error:
                raise StorageUnavailable(
                    "The upload could not be kept. Nothing was charged. Try again in a moment."
                ) from error

    def _end(self) -> None:
        if self._text is not None:
            self._keep_part(self._decoded(b"".join(self._text)))
        elif self._file is not None and (self._size or self._named_file):
            self._file.seek(0)
            self._keep_part(Upload(self._file, self._size))

    def _keep_part(self, found: Upload | str) -> None:
        if self._name in self._several:
            self.fields.lists.setdefault(self._several[self._name], []).append(found)
        elif isinstance(found, str):
            self.fields.values[self._name] = found
        else:
            self.fields.files[self._name] = found

    def _decoded(self, data: bytes) -> str:
        if self._size > self._text_bytes_max:
            problem = f"must be at most {self._text_bytes_max:,} bytes, got {self._size:,}."
            self.fields.problems[self._name] = problem
            return ""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            self.fields.problems[self._name] = "is not valid UTF-8."
            return ""


def _is_file(part: Field | File) -> bool:
    """True for a part with a file name, or one that says that it is a picture."""
    kind = part.headers.get("Content-Type", "").lower()
    return isinstance(part, File) or kind.startswith(_FILE_TYPES)
