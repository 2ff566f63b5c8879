"""From frames to the bytes of a film."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from models.parts.pictures import Pixels

CODEC = "libx264"
_SETTINGS = {"preset": "fast", "crf": "18", "x264-params": "cpu-independent=1"}
"""A constant quality at which losses are hard to see. Without the last, libx264 does not write the
same bytes every time: measured, on one machine and with one thread too."""
_THREADS = 4
"""Fixed, since the bytes hang on it."""
_BT_709 = 1
"""Recommendation ITU-R BT.709's number in ITU-T H.273, for primaries, transfer and matrix."""


def mp4(
    frames: Iterable[Pixels], width: int, height: int, fps: int, text: Mapping[str, object]
) -> bytes:
    """An MP4 file (H.264, yuv420p, BT.709) at a constant rate, its index first, so that it plays
    before it has arrived whole.

    ``frames`` are height x width x 3, RGB; one is held at a time, and libx264 looks some dozens
    ahead. ``width`` and ``height`` are even. ``text`` becomes the file's metadata: whoever gets
    the film can read it, so nothing secret, and no prompt. The same frames give the same bytes.

    Raises:
        ValueError: a frame is of another size, or there is none.
    """
    # The index is moved to the front by reading the file once more, which needs a file.
    with tempfile.TemporaryDirectory(prefix="media-farm-") as folder:
        path = Path(folder, "film.mp4")
        options = {
            "movflags": "+faststart+use_metadata_tags",
            # The file says how long it plays in this unit; a thousandth of a second would not do.
            "movie_timescale": str(1000 * fps),
        }
        with av.open(str(path), "w", format="mp4", options=options) as film:
            film.metadata.update({name: str(value) for name, value in text.items()})
            stream = film.add_stream(CODEC, rate=fps, options=dict(_SETTINGS))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            coder = stream.codec_context
            coder.thread_count = _THREADS
            coder.color_primaries = coder.color_trc = coder.colorspace = _BT_709
            coder.color_range = ColorRange.MPEG
            number = 0
            for number, pixels in enumerate(frames, start=1):
                if pixels.shape != (height, width, 3):
                    raise ValueError(f"a frame of {pixels.shape} is not part of the film")
                frame = _converted(pixels)
                frame.pts, frame.duration, frame.time_base = number - 1, 1, Fraction(1, fps)
                film.mux(stream.encode(frame))
            if not number:
                raise ValueError("a film needs frames")
            film.mux(stream.encode(None))
        return path.read_bytes()


def _converted(pixels: Pixels) -> VideoFrame:
    """One frame as luma and chroma in the range of television."""
    return VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
