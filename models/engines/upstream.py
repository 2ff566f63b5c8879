"""Models that another, OpenAI-compatible service runs: called over HTTP by a worker without a GPU.

The protocol is that of https://platform.openai.com/docs/api-reference/images; films go by the
asynchronous twin that services like this farm have: a task that is made, then asked about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx2
import openai

from farm.errors import (
    ContentRefused,
    EngineFault,
    FieldError,
    InvalidRequest,
    Rejected,
    SetupError,
    UpstreamFault,
    UpstreamUnavailable,
)
from farm.types import Artifact, OnStep, RunRequest
from models.base import EngineSetup, UpstreamSetup, faults
from models.parts import encoding
from models.parts.image_params import check
from models.parts.upstream import answers, films, pictures
from models.parts.upstream.caller import Caller, Client, UnknownParameter, in_thread
from models.parts.upstream.problems import quoted, refused
from models.parts.upstream.wire import connected

T = TypeVar("T")

PICTURE_BYTES_MAX = 40 << 20
FETCH_S = 120.0
_POLL_S, _POLL_MAX_S = 1.0, 5.0
_ANSWERED, _CHECKED, _WRITTEN = 1, 2, 3
_PERCENT = 100
_FILM_STEPS = _PERCENT + 2
_OPTIONAL = ("response_format", "seed", "size")
"""What a service may not know, and a request can do without."""


@dataclass(slots=True)
class _Run:
    """One job being run: whom to ask, and how far it is."""

    request: RunRequest
    upstream: UpstreamSetup
    caller: Caller
    report: OnStep
    steps: int
    step: int = 0
    sent: dict[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """One key for the job, whatever the attempt: what was made for it is not made twice."""
        return {"Idempotency-Key": str(self.request.job_id)}

    def reached(self, step: int) -> None:
        """So far it is now. Raises what the job's end raises."""
        self.step = max(step, self.step)
        self.report(self.step, self.steps)


class UpstreamEngine:
    """A :class:`models.base.Engine` without weights: sends the job on, and checks what comes.

    The steps of a picture are its answer, its check and its file; those of a film the
    upstream's own progress in percent, and two more.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._upstream: UpstreamSetup | None = None
        self._not_known: set[str] = set()
        """Parameters that the upstream has refused: they are not sent again."""

    @property
    def served_by(self) -> str:
        """The model, and who runs it."""
        return self._setup.served_by

    @property
    def resident_bytes(self) -> int:
        """Nothing is kept on a device."""
        return 0

    def load(self, device: str) -> None:
        """See :meth:`models.base.Engine.load`. Calls nobody.

        Raises:
            SetupError: no upstream is configured for the model in this process.
        """
        if self._setup.upstream is None:
            raise SetupError(
                f"No upstream is configured for {self._setup.model_id} in this worker: it needs "
                "the same FARM_UPSTREAMS as the API."
            )
        self._upstream = self._setup.upstream

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """See :meth:`models.base.Engine.run`. One picture or film.

        Raises:
            ContentRefused: the upstream's content policy refuses it.
            UpstreamUnavailable: it does not answer; another run may find it there.
            UpstreamFault: it does not make this, or what it made is not usable.
        """
        if request.operation in ("generate", "edit"):
            check(request.params, ("prompt",), ("seed", "width", "height", "output_format"))
            make, steps = self._picture, _WRITTEN
        elif request.operation in ("video", "image-to-video"):
            check(request.params, ("prompt", "duration", "resolution"), ("seed",))
            make, steps = self._film, _FILM_STEPS
        else:
            raise InvalidRequest([FieldError("operation", "is none that an upstream does.")])
        if self._upstream is None:
            raise EngineFault(f"The {self.served_by} engine was asked to run before it was loaded.")
        with faults(self.served_by, "calling it", self._setup.interrupts):
            return [asyncio.run(_called(self._upstream, request, on_step, steps, make))]

    def unload(self) -> None:
        """See :meth:`models.base.Engine.unload`."""
        self._upstream = None

    async def _picture(self, run: _Run) -> Artifact:
        params = run.request.params
        files = pictures.uploads(run.request) if run.request.operation == "edit" else []
        mask = pictures.mask(run.request, pictures.size_of(run.request)) if files else None
        size = _size(params)

        async def send(client: Client) -> httpx2.Response:
            fields = run.sent | {"model": run.upstream.model, "prompt": params["prompt"], "n": 1}
            fields["extra_headers"] = run.headers
            seed = fields.pop("seed", None)
            fields["extra_body"] = None if seed is None else {"seed": seed}
            images = client.images.with_raw_response
            answer: Any
            if not files:
                answer = await images.generate(**fields)
                return cast(httpx2.Response, answer.http_response)
            fields["image"] = files if files[1:] else files[0]
            if mask is not None:
                fields["mask"] = mask
            answer = await images.edit(**fields)
            return cast(httpx2.Response, answer.http_response)

        wishes = {"response_format": "b64_json", "seed": params.get("seed")}
        if size is not None:
            wishes["size"] = f"{size[0]}x{size[1]}"
        response = await self._asked(run, wishes, send)
        run.reached(_ANSWERED)
        answer = answers.read(response, answers.Pictures, run.upstream.name)
        data = await _content(run, answer.data[0], PICTURE_BYTES_MAX)
        rows = pictures.rows(_usable(lambda: run.upstream.read_picture(data), run), size)
        run.reached(_CHECKED)
        facts = _facts(run)
        said = {"model": run.request.model, **facts, "job_id": run.request.job_id}
        made = encoding.picture(rows, encoding.read_format(params), said, facts)
        run.reached(_WRITTEN)
        return made

    async def _film(self, run: _Run) -> Artifact:
        params = run.request.params
        fields = {"model": run.upstream.model, "prompt": params["prompt"]}
        fields |= {"seconds": params["duration"], "resolution": params["resolution"]}
        if run.request.operation == "image-to-video":
            fields["image"] = pictures.data_url(pictures.uploads(run.request)[0])

        async def send(client: Client) -> httpx2.Response:
            return await client.post(
                "/async/videos/generations",
                cast_to=httpx2.Response,
                body=fields | run.sent,
                options={"headers": run.headers},
            )

        response = await self._asked(run, {"seed": params.get("seed")}, send)
        task = await _finished(run, answers.read(response, answers.Task, run.upstream.name))
        run.reached(_PERCENT)
        data = await _content(run, (task.data or [answers.Result()])[0], films.BYTES_MAX)
        run.reached(_PERCENT + 1)
        facts = await run.caller.watched(in_thread(lambda: films.checked(data, run.upstream.name)))
        run.reached(_FILM_STEPS)
        return Artifact(data, "video/mp4", "video", "mp4", _facts(run) | facts)

    async def _asked(
        self,
        run: _Run,
        wishes: Mapping[str, Any],
        send: Callable[[Client], Awaitable[httpx2.Response]],
    ) -> httpx2.Response:
        """The answer to the job's request, without the wishes that the upstream does not know."""
        for _ in range(len(_OPTIONAL) + 1):
            run.sent = {
                name: value
                for name, value in wishes.items()
                if value is not None and name not in self._not_known
            }
            unknown = None
            try:
                return await run.caller.ask(send)
            except UnknownParameter as error:
                unknown = error
            if unknown.name not in _OPTIONAL or unknown.name not in run.sent:
                raise unknown.error
            self._not_known.add(unknown.name)
        raise UpstreamFault(f"{run.upstream.name} refuses one parameter after the other.")


async def _called(
    upstream: UpstreamSetup,
    request: RunRequest,
    on_step: OnStep,
    steps: int,
    make: Callable[[_Run], Awaitable[Artifact]],
) -> Artifact:
    async with connected(upstream) as client:
        caller = Caller(upstream, client, lambda: run.reached(run.step))
        run = _Run(request, upstream, caller, on_step, steps)
        run.reached(0)
        return await make(run)


async def _finished(run: _Run, task: answers.Task) -> answers.Task:
    """The task when it is completed. Raises ContentRefused or UpstreamFault when it failed."""
    name, every_s = run.upstream.name, _POLL_S
    task_id = task.id

    async def look(client: openai.AsyncOpenAI) -> httpx2.Response:
        return await client.get(f"/tasks/{task_id}", cast_to=httpx2.Response)

    # Bounded: the caller gives up when the run's time is over.
    while task.status not in ("completed", "failed", "cancelled"):
        # Not the last percent: it is done when it is there.
        run.reached(min(int(task.progress or 0), _PERCENT - 1))
        await run.caller.pause(every_s)
        every_s = min(every_s * 1.5, _POLL_MAX_S)
        task = answers.read(await _asked_about(run, look), answers.Task, name)
    if task.status == "completed":
        return task
    why = task.error or answers.Complaint()
    if refused(why.code, why.type):
        raise ContentRefused(f"{name} refuses it by its content policy.")
    said = quoted(why.message, run.upstream.key)
    raise UpstreamFault(f"The task at {name} ended as {task.status}. It said {said}.")


async def _asked_about(
    run: _Run, look: Callable[[Client], Awaitable[httpx2.Response]]
) -> httpx2.Response:
    unknown = None
    try:
        return await run.caller.ask(look)
    except UnknownParameter as error:
        unknown = error
    raise unknown.error


async def _content(run: _Run, result: answers.Result, bytes_max: int) -> bytes:
    """The bytes of a result, from the answer itself or from where it says they are."""
    name = run.upstream.name
    if result.b64_json is not None:
        return answers.decoded(result.b64_json, bytes_max, name)
    url = result.url
    if url is None:
        raise UpstreamFault(f"The answer of {name} has no result in it.")
    within_s = min(FETCH_S, run.caller.left_s)
    fetched = in_thread(lambda: run.upstream.fetch(url, bytes_max, within_s))
    why = ""
    try:
        return await run.caller.watched(fetched)
    except Rejected as error:
        why = error.code
    raise UpstreamUnavailable(f"The result of {name} could not be fetched from its URL ({why}).")


def _usable(read: Callable[[], T], run: _Run) -> T:
    why = ""
    try:
        return read()
    except Rejected as error:
        why = str(error)
    raise UpstreamFault(f"The result of {run.upstream.name} is not usable. {why}")


def _size(params: Mapping[str, Any]) -> tuple[int, int] | None:
    if "width" in params and "height" in params:
        return params["width"], params["height"]
    return None


def _facts(run: _Run) -> dict[str, Any]:
    """What was sent and is worth knowing: the seed only where the upstream took it."""
    seed = {"seed": run.sent["seed"]} if "seed" in run.sent else {}
    return {**seed, "upstream_model": run.upstream.model}
