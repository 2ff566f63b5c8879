"""A film that somebody else made: looked at before it is kept."""

from __future__ import annotations

import io
from typing import Any

import av
from av.error import FFmpegError

from farm.errors import UpstreamFault

BYTES_MAX = 256 << 20
SIDE_MAX = 4096
DURATION_MAX_S = 60.0
FRAMES_MAX = 60 * 60
_CODECS = frozenset({"h264", "hevc", "av1", "vp9"})
_SOUND = frozenset({"aac", "mp3", "opus", "flac"})
_BRAND = b"ftyp"


def checked(data: bytes, name: str) -> dict[str, Any]:
    """The facts of an MP4 file that a browser can play: ``width``, ``height``, ``frames``,
    ``fps``, ``duration_s``. Every frame has been decoded.

    Raises:
        UpstreamFault: it is no such film, or a larger or longer one than is kept.
    """
    if len(data) > BYTES_MAX or data[4:8] != _BRAND:
        raise UpstreamFault(f"The result of {name} is no MP4, or larger than {BYTES_MAX:,} bytes.")
    problem = ""
    try:
        with av.open(io.BytesIO(data), "r", format="mp4") as film:
            problem = _wrong(film)
            if not problem:
                return _played(film)
    except _TooLong:
        problem = "plays too long"
    except (FFmpegError, ValueError) as error:
        problem = f"cannot be decoded ({type(error).__name__})"
    raise UpstreamFault(f"The film of {name} {problem}.")


class _TooLong(Exception):
    """There are more frames than are kept."""


def _wrong(film: av.container.InputContainer) -> str:
    """What is wrong with a film as its header tells; empty where nothing is."""
    if len(film.streams.video) != 1 or len(film.streams) > 2:
        return "has not one picture and at most one sound"
    picture = film.streams.video[0].codec_context
    names = {picture.name, *(sound.codec_context.name for sound in film.streams.audio)}
    known = _CODECS | _SOUND | {"libdav1d", "libvpx-vp9", "mp3float"}
    if len(film.streams) != 1 + len(film.streams.audio) or not names <= known:
        return f"is of a kind that is not kept ({', '.join(sorted(names))[:100]})"
    if not (0 < picture.width <= SIDE_MAX and 0 < picture.height <= SIDE_MAX):
        return f"has {picture.width}x{picture.height} pixels"
    if film.duration is None or not 0 < film.duration / av.time_base <= DURATION_MAX_S:
        return "plays too long, or does not say how long"
    return ""


def _played(film: av.container.InputContainer) -> dict[str, Any]:
    stream = film.streams.video[0]
    frames = 0
    for frame in film.decode(stream):
        frames += 1
        if frames > FRAMES_MAX or max(frame.width, frame.height) > SIDE_MAX:
            raise _TooLong
    assert film.duration is not None, "it was looked at"
    duration_s = film.duration / av.time_base
    if not frames:
        raise ValueError("no frame")
    return {
        "width": stream.codec_context.width,
        "height": stream.codec_context.height,
        "frames": frames,
        "fps": round(frames / duration_s, 3),
        "duration_s": round(duration_s, 3),
    }
