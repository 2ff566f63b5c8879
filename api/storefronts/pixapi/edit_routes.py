"""The paths that take pictures: edits, and films from a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from flask import Blueprint, Response
from spectree import SpecTree

from api.accept import accept_batch, accepted_reply
from api.auth import Access, needs
from api.bodies import is_json, parse_object, put_aside
from api.docs import Answers as Documented
from api.forms import FORM, Fields, read_form
from api.param_shapes import SubmitHeaders
from api.request import FarmRequest, current_request
from api.runtime import Runtime
from api.storefronts.pixapi import sources, translate, translate_edits, wire, wire_edits
from api.storefronts.pixapi.answers import Answers
from api.storefronts.pixapi.orders import EDITS, FILMS, STOREFRONT, Order
from api.waiting.calls import check_room
from farm.cards import InputSpec
from farm.errors import Malformed
from farm.intake.pictures import Read
from farm.submission import Batch

BODY_BYTES_MAX = 32 << 20
_AT_ONCE_BYTES = 512 * 1024
"""A longer JSON body is read in the turn in which its pictures are decoded."""

Decode = Callable[[Fields], tuple[Order, Mapping[str, sources.Sent]]]


def add_edits(routes: Blueprint, runtime: Runtime, spec: SpecTree, answers: Answers) -> None:
    """Add the edits' two paths, and the films'."""
    offers, policy = runtime.services.offers, runtime.fetch_policy

    def edit(fields: Fields) -> tuple[Order, Mapping[str, sources.Sent]]:
        return translate_edits.decode_edit(fields, offers, policy)

    def film(fields: Fields) -> tuple[Order, Mapping[str, sources.Sent]]:
        return translate_edits.decode_film(fields, offers, policy)

    documented = {
        "json": wire_edits.edit_request(offers),
        "form": wire_edits.edit_form(offers),
        "headers": SubmitHeaders,
        "tags": ["Images"],
        "skip_validation": True,
    }

    @routes.post(EDITS)
    @spec.validate(resp=Documented(HTTP_200=wire.Images, **wire.WAIT_ERRORS), **documented)
    @needs(Access.SUBMIT, STOREFRONT)
    def edit_images() -> Response:
        """Change images, and wait for the result.

        `image` is a file, a URL or a data URL, or several of them where the model takes more
        than one. The mask is transparent where the first image is to be edited, and as large as
        it. Without a `size` the result has the image's own.
        """
        request = current_request()
        check_room(runtime, request)
        asked, made = _take(runtime, request, edit)
        return answers.once_made(request, made, as_base64=asked.as_base64)

    @routes.post(f"/v1/async{EDITS.removeprefix('/v1')}")
    @spec.validate(resp=Documented(HTTP_200=wire.TaskSubmitted, **wire.SUBMIT_ERRORS), **documented)
    @needs(Access.SUBMIT, STOREFRONT)
    def edit_images_later() -> Response:
        """Change images. Answers at once with a task; see `GET /v1/tasks/{task_id}`."""
        _, made = _take(runtime, current_request(), edit)
        return accepted_reply(translate.encode_submission(made), made)

    @routes.post(FILMS)
    @spec.validate(
        json=wire_edits.film_request(offers),
        headers=SubmitHeaders,
        resp=Documented(HTTP_200=wire.TaskSubmitted, **wire.SUBMIT_ERRORS),
        tags=["Videos"],
        skip_validation=True,
    )
    @needs(Access.SUBMIT, STOREFRONT)
    def make_film() -> Response:
        """Generate a video, from words or from an image and words.

        Answers at once with a task; see `GET /v1/tasks/{task_id}`. The result is an MP4.
        """
        _, made = _take(runtime, current_request(), film)
        return accepted_reply(translate.encode_submission(made), made)


def _take(runtime: Runtime, request: FarmRequest, decode: Decode) -> tuple[Order, Batch]:
    """Read a body with pictures, decode them, and accept its jobs.

    Decoded pictures are large, so few requests may have some at a time: a turn is held from
    there on until the jobs are written.
    """
    with ExitStack() as keep:
        turns: list[Read] = []

        def in_turn() -> Read:
            if not turns:
                turns.append(keep.enter_context(runtime.pictures.turn()))
            return turns[0]

        fields = keep.enter_context(_read_body(request, in_turn))
        order, sent = decode(fields)
        read = in_turn() if sources.has_files(sent) else None
        inputs = sources.decode_pictures(sent, read)
        made = accept_batch(
            runtime, request, order.jobs(inputs), lambda: sources.fingerprint(fields, sent)
        )
        return order, made


@contextmanager
def _read_body(request: FarmRequest, in_turn: Callable[[], Read]) -> Iterator[Fields]:
    """The body: a form with files, or JSON with URLs and data URLs."""
    if is_json(request):
        with put_aside(request, BODY_BYTES_MAX) as file:
            data = file.read(_AT_ONCE_BYTES + 1)
            if len(data) > _AT_ONCE_BYTES:
                in_turn()
                data += file.read()
            yield Fields(parse_object(data))
        return
    if request.mimetype != FORM:
        given = f"not {request.mimetype[:80]}" if request.mimetype else "which is missing"
        raise Malformed(
            f"Send the image's file as {FORM}, or its URL as JSON with Content-Type: "
            f"application/json, {given}."
        )
    files = dict.fromkeys((*sources.LISTED, sources.MASK), InputSpec().bytes_max)
    with ExitStack() as keep:
        yield read_form(
            request,
            BODY_BYTES_MAX,
            files,
            keep,
            several=sources.LISTED,
            text_bytes_max=translate_edits.TEXT_BYTES_MAX,
        )
