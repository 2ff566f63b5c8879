"""The farm's things in the dialect's words. Pure: no clock, no I/O, no Flask."""

from __future__ import annotations

import uuid
from collections.abc import Container, Mapping, Sequence
from typing import Any

from api.storefronts.pixola.ids import batch_id, image_id
from farm.accounts import Account
from farm.cards import ModelCard
from farm.catalog import Storefront
from farm.gallery import Gallery
from farm.pricing import quote
from farm.storage import UrlSigner
from farm.styles import Quality, Shape, Style, StyleBook
from farm.submission import Batch
from farm.types import CREDIT_TENTHS, JobState
from farm.views import JobView
from farm.words import iso_time, output_url, plain_credits, receipt

PROCESSING, COMPLETE, FAILED, REJECTED = "processing", "complete", "failed", "rejected"
STATUS = {
    JobState.QUEUED: PROCESSING,
    JobState.RUNNING: PROCESSING,
    JobState.SUCCEEDED: COMPLETE,
    JobState.FAILED: FAILED,
    JobState.BLOCKED: REJECTED,
    JobState.CANCELLED: FAILED,
    JobState.EXPIRED: FAILED,
}
_REASONS = {
    JobState.FAILED: "The image could not be made. Nothing was charged.",
    JobState.BLOCKED: "The content filter refused the image. Nothing was charged.",
    JobState.CANCELLED: "The image was cancelled. Nothing was charged.",
    JobState.EXPIRED: "The image was not started in time. Nothing was charged. Send it again.",
}
_TITLE_MAX = 60


def batch_status(states: Sequence[JobState]) -> str:
    """The word for a batch whose images are in these states."""
    words = {STATUS[state] for state in states}
    if PROCESSING in words:
        return PROCESSING
    if COMPLETE in words:
        return COMPLETE
    return REJECTED if words == {REJECTED} else FAILED


def title_of(prompt: str) -> str:
    """A heading out of a prompt: its beginning, cut between words."""
    words = " ".join(prompt.split())
    if len(words) > _TITLE_MAX:
        kept, space, _ = words[: _TITLE_MAX + 1].rpartition(" ")
        words = f"{kept if space else words[:_TITLE_MAX]}…"
    return words[:1].upper() + words[1:]


def encode_submission(batch: Batch) -> dict[str, Any]:
    """The answer to ``POST /generate``."""
    answer: dict[str, Any] = {"batchId": batch_id(batch.id)}
    warnings = batch.jobs[0].warnings
    return answer | {"warnings": list(warnings)} if warnings else answer


def encode_batch(
    jobs: Sequence[JobView], agent: str, signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """One batch with its images, for clients of every kind."""
    del agent
    first = jobs[0]
    answer = {
        "batchId": batch_id(first.batch_id),
        "status": batch_status([job.state for job in jobs]),
        "images": [
            {
                "imageId": image_id(job.id),
                "url": output_url(job, signer, public_url),
                "model": job.sold_model,
                "status": STATUS[job.state],
                "creditsCharged": _charged(job),
                **_more(job),
            }
            for job in jobs
        ],
        "createdAt": iso_time(first.created_at),
        **{word: first.about.get(word) for word in ("style", "shape", "quality")},
    }
    return answer | {"warnings": list(first.warnings)} if first.warnings else answer


def encode_batches(batches: Sequence[Sequence[JobView]], limit: int) -> dict[str, Any]:
    """A page of batches. ``batches`` has one more than ``limit`` where there are more."""
    rows = [
        {
            "batchId": batch_id(jobs[0].batch_id),
            "status": batch_status([job.state for job in jobs]),
            "prompt": _prompt(jobs[0]),
            "quality": jobs[0].about.get("quality"),
            "imageCount": len(jobs),
            "createdAt": iso_time(jobs[0].created_at),
        }
        for jobs in batches[:limit]
    ]
    return {"batches": rows} | _onwards([jobs[0].seq for jobs in batches], limit)


def encode_images(
    jobs: Sequence[JobView],
    limit: int,
    favorites: Container[uuid.UUID],
    signer: UrlSigner,
    public_url: str,
) -> dict[str, Any]:
    """A page of images. ``jobs`` has one more than ``limit`` where there are more."""
    rows = [_listed(job, favorites, signer, public_url) for job in jobs[:limit]]
    return {"images": rows} | _onwards([job.seq for job in jobs], limit)


def encode_image(
    job: JobView, favorites: Container[uuid.UUID], signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    """One image, with its prompt and how it was wanted."""
    wanted = {word: job.about.get(word) for word in ("style", "shape", "quality")}
    listed = _listed(job, favorites, signer, public_url)
    return listed | {"prompt": _prompt(job)} | wanted | _more(job)


def encode_credits(account: Account) -> dict[str, Any]:
    """What can be spent now."""
    return {"credits": plain_credits(account.available_tenths), "plan": account.plan}


def encode_model(
    card: ModelCard,
    shop: Storefront,
    gallery: Gallery,
    qualities: Mapping[str, Quality],
    served_by: str,
) -> dict[str, Any]:
    """One model as the list has it."""
    text = gallery.about(card.id)
    pricing = {name: _price(shop, card, name) for name in qualities}
    return {
        "slug": card.id,
        "name": card.title,
        "bestFor": text.best_for if text else card.title,
        "description": text.description if text else card.title,
        "tags": list(text.tags) if text else [],
        "released": card.created.isoformat(),
        "pricing": pricing,
        "servedBy": served_by,
        "license": card.license,
        "nonCommercial": card.non_commercial,
    }


def encode_model_page(card: ModelCard, listed: Mapping[str, Any], gallery: Gallery) -> Any:
    """One model by itself: what the list says of it, and where to read on."""
    text = gallery.about(card.id)
    return {
        **listed,
        "researcher": text.researcher if text else card.owned_by,
        "researcherUrl": text.researcher_url if text else None,
        "urls": list(text.urls) if text else [],
        "samplePrompts": list(text.sample_prompts) if text else [],
    }


def encode_styles(book: StyleBook, images: Mapping[str, str]) -> dict[str, Any]:
    """Every style by category; ``images`` are the previews' URLs, by the style's id."""
    return {
        "categories": [
            {"category": name, "styles": [_style(style, images) for style in styles]}
            for name, styles in book.categories.items()
        ]
    }


def encode_style(style: Style, images: Mapping[str, str]) -> dict[str, Any]:
    """One style with the template that is really applied."""
    return _style(style, images) | {"prompt": style.prompt, "negativePrompt": style.negative}


def encode_shape(shape: Shape) -> dict[str, Any]:
    """One shape; its sides are those at standard quality."""
    return {
        "slug": shape.id,
        "name": shape.name,
        "aspectRatio": shape.ratio,
        "width": shape.width,
        "height": shape.height,
    }


def _style(style: Style, images: Mapping[str, str]) -> dict[str, Any]:
    return {
        "slug": style.id,
        "name": style.name,
        "category": style.category,
        "alias": style.alias,
        "image": images.get(style.id),
    }


def _listed(
    job: JobView, favorites: Container[uuid.UUID], signer: UrlSigner, public_url: str
) -> dict[str, Any]:
    return {
        "imageId": image_id(job.id),
        "batchId": batch_id(job.batch_id),
        "url": output_url(job, signer, public_url),
        "title": title_of(_prompt(job)),
        "model": job.sold_model,
        "status": STATUS[job.state],
        "createdAt": iso_time(job.created_at),
        "creditsCharged": _charged(job),
        "isFavorite": job.id in favorites,
    }


def _more(job: JobView) -> dict[str, Any]:
    """What the farm tells beside the dialect's own words, as far as it is known."""
    held = receipt(job)
    answer: dict[str, Any] = {"attempts": job.attempt}
    answer["receipt"] = {
        **{name: plain_credits(round(held[name] * CREDIT_TENTHS)) for name in _RECEIPT},
        "priceRule": held["price_rule"],
    }
    seed = job.facts.get("seed", job.params.get("seed"))
    if seed is not None:
        answer["seed"] = seed
    if job.served_by is not None:
        answer["servedBy"] = job.served_by
    if job.place is not None:
        answer |= {_PLACE[name]: value for name, value in job.place.told().items()}
    if job.steps:
        answer["progress"] = {"step": job.step, "steps": job.steps}
    if job.state in _REASONS:
        answer["error"] = job.error_message or _REASONS[job.state]
    return answer


_RECEIPT = ("held", "charged", "returned")
_PLACE = {"queue_position": "queuePosition", "eta_seconds": "etaSeconds"}


def _charged(job: JobView) -> int | float:
    return plain_credits(job.price_tenths if job.state is JobState.SUCCEEDED else 0)


def _prompt(job: JobView) -> str:
    return str(job.about.get("prompt") or job.params.get("prompt", ""))


def _price(shop: Storefront, card: ModelCard, quality: str) -> int | float:
    return plain_credits(quote(shop, card.id, {}, {"quality": quality}).tenths)


def _onwards(numbers: Sequence[int], limit: int) -> dict[str, Any]:
    more = len(numbers) > limit
    return {"nextCursor": numbers[limit - 1] if more else None, "hasMore": more}
