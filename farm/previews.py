"""One picture for each style, made by the farm itself and kept for good.

They are jobs like any other, held for and charged to an account: the books need no exception.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from PIL import Image

from farm import settle, views
from farm.offers import Offer
from farm.services import Services
from farm.storage import Storage
from farm.styles import OPERATION, STANDARD, Look, Style, StyleBook
from farm.types import JobRequest, JobState
from farm.views import JobView

MEDIA_TYPE = "image/webp"
_FOLDER, _SUFFIX = "styles", ".webp"
_WEBP_QUALITY = 80
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of one style's picture; ``size_bytes`` is 0 where none was kept."""

    style: str
    job_id: uuid.UUID
    state: JobState
    size_bytes: int
    problem: str = ""


def preview_key(style: str) -> str:
    """Where a style's preview lies in the storage."""
    return f"{_FOLDER}/{style}{_SUFFIX}"


def made_previews(storage: Storage) -> dict[str, float]:
    """The styles that have a preview, and when it was made, in unix seconds."""
    kept = storage.kept(_FOLDER)
    return {name.removesuffix(_SUFFIX): at for name, at in kept.items() if name.endswith(_SUFFIX)}


def preview_request(offer: Offer, book: StyleBook, style: Style) -> JobRequest:
    """A style's picture as a job: the same words and seed for all, so that only the style
    differs."""
    preview = book.preview
    look = Look(style, book.shape(preview.shape), book.quality(STANDARD))
    return JobRequest(
        offer.card.id,
        OPERATION,
        look.params(offer.card, preview.prompt, preview.seed),
        sold_as=offer.sold_as,
        about={
            "prompt": preview.prompt,
            "style": style.id,
            "shape": preview.shape,
            "quality": STANDARD,
        },
    )


def gather(
    services: Services,
    jobs: Mapping[uuid.UUID, str],
    side: int,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Rendered]:
    """Keep each job's picture as it is made; cancel what has not ended when the time is up.

    Args:
        jobs: the styles' jobs.
        side: the longest side of what is kept, in pixels.
    """
    waiting = dict(jobs)
    deadline = time.monotonic() + timeout_s
    while waiting:
        found = views.get_jobs(services.db, list(waiting)).values()
        for job in [job for job in found if job.state.is_terminal]:
            yield _keep(services, waiting.pop(job.id), job, side)
        if not waiting:
            return
        if time.monotonic() >= deadline:
            break
        sleep(_POLL_S)
    for job_id, style in waiting.items():
        state = settle.cancel(services.db, None, job_id)
        yield Rendered(style, job_id, state, 0, f"It was not made within {timeout_s:g} s.")


def _keep(services: Services, style: str, job: JobView, side: int) -> Rendered:
    if job.state is not JobState.SUCCEEDED or job.output_path is None:
        return Rendered(style, job.id, job.state, 0, job.error_message or "There is no picture.")
    output = views.find_output(services.db, job.output_path)
    with services.storage.open(output.key) as file:
        data = as_webp(file.read(), side)
    services.storage.keep(preview_key(style), data)
    return Rendered(style, job.id, job.state, len(data))


def as_webp(picture: bytes, side: int) -> bytes:
    """The picture as a WebP whose longest side is ``side`` pixels, or less where it had less."""
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_WEBP_QUALITY, method=6)
    return buffer.getvalue()
