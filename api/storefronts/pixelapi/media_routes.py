"""The paths of audio and video: submit, and ask how it stands."""

from __future__ import annotations

from typing import NamedTuple

from flask import Blueprint, Response
from pydantic import BaseModel
from spectree import SpecTree

from api.accept import accept, accepted_reply
from api.auth import Access, needs
from api.bodies import read_object
from api.docs import Answers
from api.param_shapes import SubmitHeaders
from api.replies import json_reply
from api.request import current_request
from api.runtime import Runtime
from api.storefronts.pixelapi import translate, translate_media, wire, wire_media
from api.storefronts.pixelapi.ids import GenerationId
from farm import views
from farm.views import JobView

_ID = {"generation_id": "The id that the submit answered with."}


class _Medium(NamedTuple):
    """One of the two. ``text`` describes its submit."""

    operation: str
    answer: type[BaseModel]
    text: str


_AUDIO = _Medium(
    "audio",
    wire_media.AudioSubmitted,
    "Generate music or a sound from words.\n\nAnswers at once with an id. The price depends on "
    "the duration; it is held, and charged only when the audio is made. The result is a WAV.",
)
_VIDEO = _Medium(
    "video",
    wire_media.VideoSubmitted,
    "Generate a video from words.\n\nAnswers at once with an id. The price depends on the model "
    "and the resolution; it is held, and charged only when the video is made. The result is an "
    "MP4 (H.264).",
)


def add_media(routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str) -> None:
    """Add the paths under ``/v1/audio/`` and ``/v1/video/``; those that make something, only
    where something is sold that can."""
    for medium in (_AUDIO, _VIDEO):
        if runtime.services.offers.does(storefront, medium.operation):
            _add_submit(routes, runtime, spec, storefront, medium)
    _add_status(routes, runtime, spec, storefront)


def _add_submit(
    routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str, medium: _Medium
) -> None:
    services, bytes_max = runtime.services, runtime.settings.body_bytes_max
    operation = medium.operation

    def generate() -> Response:
        request = current_request()
        body = read_object(request, bytes_max)
        job = translate.decode_generate(
            body, services.offers, storefront, runtime.fetch_policy, operation
        )
        made = accept(runtime, request, job, lambda: body)
        words = translate.statuses_for(request.agent)
        estimated_s = runtime.typical.estimate(services.catalog.models[job.model])
        return accepted_reply(
            translate_media.encode_submission(made, words, job, estimated_s), made
        )

    generate.__doc__ = medium.text
    documented = spec.validate(
        json=wire.generate_request(services.offers, storefront, operation),
        headers=SubmitHeaders,
        resp=Answers(HTTP_200=medium.answer, **wire.SUBMIT_ERRORS),
        tags=[operation.title()],
        skip_validation=True,
    )(needs(Access.SUBMIT, storefront)(generate))
    name = f"generate_{operation}"
    routes.add_url_rule(f"/v1/{operation}/generate", name, documented, methods=["POST"])


def _add_status(routes: Blueprint, runtime: Runtime, spec: SpecTree, storefront: str) -> None:
    signer, public_url = runtime.signer, runtime.settings.public_url.rstrip("/")

    @routes.get("/v1/audio/<generation:generation_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire.Generation, **wire.ONE_ERRORS),
        path_parameter_descriptions=_ID,
        tags=["Audio"],
        skip_validation=True,
    )
    @needs(Access.READ, storefront)
    def audio_status(generation_id: GenerationId) -> Response:
        """The status of audio; poll it until it has ended."""
        words = translate.statuses_for(current_request().agent)
        job = runtime.outlooks.placed(find_job(runtime, generation_id, "audio"))
        return json_reply(translate.encode_job(job, words, signer, public_url))

    @routes.get("/v1/video/<generation:generation_id>")
    @spec.validate(
        resp=Answers(HTTP_200=wire_media.Video, **wire.ONE_ERRORS),
        path_parameter_descriptions=_ID,
        tags=["Video"],
        skip_validation=True,
    )
    @needs(Access.READ, storefront)
    def video_status(generation_id: GenerationId) -> Response:
        """The status of a video; poll it until it has ended."""
        words = translate.statuses_for(current_request().agent)
        job = find_job(runtime, generation_id, "video")
        return json_reply(translate_media.encode_video(job, words, signer, public_url))


def find_job(runtime: Runtime, asked: GenerationId, operation: str) -> JobView:
    """The caller's job under a path that is for one operation only. Raises NotFound."""
    caller = current_request().caller()
    job = views.get_job(runtime.services.db, caller.account_id, asked.job_id)
    asked.check(job.operation)
    translate_media.check_kind(job, operation)
    return job
