"""A customer's picture, from whatever bytes came to the one form that the farm keeps.

What may not happen: a decoder that is handed a file whose size nobody has looked at, an
animation, or anything but pixels. So the structure of a file is read first, in plain Python
(:mod:`farm.intake.formats`), and the decoder gets what is left of it.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO

# Named so that Pillow need not load all its formats when it is asked for one of these.
from PIL import (
    Image,
    ImageChops,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from farm.cards import InputSpec
from farm.errors import FieldError, InvalidRequest, Overloaded, StorageUnavailable, TooLarge
from farm.intake import colours
from farm.intake.formats import jpeg, png, webp
from farm.intake.formats.base import Stripped, Upload
from farm.intake.formats.magic import kind_of
from farm.types import Picture

Read = Callable[[bytes | IO[bytes], str, InputSpec], Picture]
"""What :func:`read_picture` is: a file, its field's name and its limits, to a picture."""

_STRIP: Mapping[str, Callable[[Upload], Stripped]] = {
    "JPEG": jpeg.strip,
    "PNG": png.strip,
    "WEBP": webp.strip,
}
_OPAQUE = 255
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by its Exif orientation. Pillow's ``exif_transpose`` would do
the same, and read the whole of the Exif data for it: see :mod:`farm.intake.formats.exif`."""


def read_picture(source: bytes | IO[bytes], field: str, spec: InputSpec) -> Picture:
    """Check and decode an upload: upright, sRGB, 8 bits a channel, no metadata.

    ``source`` is the file, or a buffered stream that stands at its start; ``field`` is the
    request's name for it. The type is decided by content. The result's mode is RGB, or RGBA
    where something is transparent; of a mask it is L, brightness (ITU-R BT.601) with what is
    transparent black; of a cut mask it is L, white where that is transparent. Gamma without a
    profile (a PNG's gAMA) is not looked at.

    Raises:
        TooLarge: it has more than ``spec.bytes_max`` bytes.
        InvalidRequest: a side is not 1 to ``spec.side_max`` pixels, it is an animation, or a
            cut mask of which nothing is transparent.
        UnreadableImage: it is no JPEG, PNG or WebP, or a damaged one.
        Overloaded: there is not enough memory for it now.
        StorageUnavailable: the stream could not be read.
    """
    data = _content(source, field, spec.bytes_max)
    upload = Upload(data, field, kind_of(data, field), spec.side_max)
    try:
        # One name for every stage: what a stage replaces is freed before the next begins.
        image = _decoded(upload)
        image = _of_kind(image, field, spec)
        return Picture(_tiff(image), image.mode, *image.size)
    except MemoryError as error:
        raise Overloaded(f"{field}: too much memory is in use now. Send it again later.") from error


def same_size(inputs: Mapping[str, Picture]) -> None:
    """Raise InvalidRequest unless the mask, where there is one, is as large as the image."""
    mask, image = inputs.get("mask"), inputs.get("image")
    if mask is None or image is None or (mask.width, mask.height) == (image.width, image.height):
        return
    message = (
        f"must be {image.width}x{image.height} like the image, got {mask.width}x{mask.height}."
    )
    raise InvalidRequest([FieldError("mask", message)])


class PictureReader:
    """Lets a few pictures be decoded at a time in this process; the others wait their turn.

    A picture of 4096x4096 costs 64 MB while it is decoded and 48 MB after (a WebP 256 MB at its
    peak: Pillow decodes each as if it were an animation, with two canvases), so that the number
    of requests at once must not decide how many there are. The same few threads decode them
    all: the C library keeps freed memory for the thread that freed it, and the many threads
    of a web server together would keep twice what is in use.
    """

    def __init__(self, at_once: int = 2, wait_s: float = 10.0) -> None:
        self._turns = threading.BoundedSemaphore(at_once)
        self._wait_s = wait_s
        # Starts its threads when they are first needed, so that a process may fork before.
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="pictures")

    @contextmanager
    def turn(self) -> Iterator[Read]:
        """Hold one of the turns, for as long as the pictures that were read are in memory.

        It gives a function like :func:`read_picture`, to be called any number of times, one
        after the other.

        Raises:
            Overloaded: none became free in time.
        """
        if not self._turns.acquire(timeout=self._wait_s):
            raise Overloaded("Too many pictures are being read right now. Send it again shortly.")
        try:
            yield self._read
        finally:
            self._turns.release()

    def read(self, source: bytes | IO[bytes], field: str, spec: InputSpec) -> Picture:
        """:func:`read_picture` in a turn; raises what it raises, and Overloaded."""
        with self.turn() as read:
            return read(source, field, spec)

    def _read(self, source: bytes | IO[bytes], field: str, spec: InputSpec) -> Picture:
        # Whoever calls holds a turn, and there are as many threads as turns: one is free.
        return self._threads.submit(read_picture, source, field, spec).result()


def _content(source: bytes | IO[bytes], field: str, bytes_max: int) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = source.read(bytes_max + 1)
        except OSError as error:
            raise StorageUnavailable(f"{field}: the upload could not be read back.") from error
    if len(data) > bytes_max:
        raise TooLarge(bytes_max, field)
    return data


def _decoded(upload: Upload) -> Image.Image:
    """The pixels: upright, sRGB, of mode L, LA, RGB, RGBA or CMYK (which then had no profile).

    Raises:
        InvalidRequest, UnreadableImage: as :func:`read_picture`.
        MemoryError: there is too little.
    """
    stripped = _STRIP[upload.kind](upload)
    try:
        with Image.open(io.BytesIO(stripped.data), formats=[upload.kind]) as opened:
            if opened.size != (stripped.width, stripped.height):
                raise upload.damaged("its headers contradict each other")
            opened.load()
            image = colours.plain(opened)
    except (
        OSError,  # also UnidentifiedImageError: most of what decoders have to say
        SyntaxError,  # Pillow's word for a file that breaks its format
        ValueError,  # numbers that make no sense; also UnicodeDecodeError
        EOFError,  # a frame that is not there
        IndexError,  # the data ends in the middle of a structure; so do the next two
        struct.error,
        TypeError,
        KeyError,  # a mode or a marker that Pillow does not know
        OverflowError,  # a number that does not fit
        zlib.error,
        Image.DecompressionBombError,  # cannot be: sizes were checked. Should they ever not be
        Image.DecompressionBombWarning,  # where warnings are errors
    ) as error:
        raise upload.damaged("its data is damaged") from error
    if image.mode == "CMYK" and not stripped.inks_upside_down:
        # Pillow takes it that every CMYK JPEG is Adobe's, in which 255 means no ink.
        image = ImageChops.invert(image)
    if stripped.orientation in _TURNS:
        image = image.transpose(_TURNS[stripped.orientation])
    return image if stripped.profile is None else colours.to_srgb(image, stripped.profile)


def _picture(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "RGBA"):
        # Many programs write a channel in which nothing is transparent. It would cost every
        # engine a branch and a quarter of the memory.
        lowest, _ = image.getchannel("A").getextrema()
        mode = "RGB" if lowest == _OPAQUE else "RGBA"
    else:
        mode = "RGB"
    return image if image.mode == mode else image.convert(mode)


def _of_kind(image: Image.Image, field: str, spec: InputSpec) -> Image.Image:
    if spec.kind == "cut-mask":
        return _cut_mask(image, field)
    return _mask(image) if spec.kind == "mask" else _picture(image)


def _cut_mask(image: Image.Image, field: str) -> Image.Image:
    """White where the picture is transparent. Raises InvalidRequest where it is nowhere."""
    if image.mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        lowest, _ = alpha.getextrema()
        if lowest != _OPAQUE:
            return ImageChops.invert(alpha)
    message = "must be transparent where the image is to be edited, and is nowhere: send a PNG "
    raise InvalidRequest([FieldError(field, message + "or WebP with an alpha channel.")])


def _mask(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "RGBA"):
        return ImageChops.multiply(image.convert("L"), image.getchannel("A"))
    return image if image.mode == "L" else image.convert("L")


def _tiff(image: Image.Image) -> bytes:
    """The picture as an uncompressed TIFF: a copy of its pixels behind a small header."""
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return buffer.getvalue()
