"""The pictures that clients send, as files on disk and behind URLs of a server of the test's."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image, ImageDraw
from skimage import data as photographs

from farm.cli.demo.drawing import product_photo

PRODUCT, FACE, SMALL, MASK = "product.png", "face.jpg", "small.webp", "mask.png"
SIDE_PX, SMALL_PX = 192, (40, 32)
MASKED = (140, 130, 180, 170)
"""What the mask covers: left, top, right and bottom in pixels, the ball among it."""


@dataclass(frozen=True)
class Pictures:
    """A folder of pictures that is also served: ``host`` is its address and port."""

    folder: Path
    host: str

    def path(self, name: str) -> Path:
        """The file of this name."""
        return self.folder / name

    def url(self, name: str) -> str:
        """Where the file of this name is served."""
        return f"http://{self.host}/{name}"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Pictures]:
    """Draw the pictures into a folder, and serve it until the end."""
    product_photo(SIDE_PX).save(folder / PRODUCT)
    face = Image.fromarray(photographs.astronaut()).crop((60, 0, 380, 320))
    face.resize((256, 256)).save(folder / FACE, quality=95)
    product_photo(160).resize(SMALL_PX).save(folder / SMALL, quality=90)
    mask = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    ImageDraw.Draw(mask).rectangle(MASKED, fill=255)
    mask.save(folder / MASK)
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Pictures(folder, f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
