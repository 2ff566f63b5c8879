"""A service that is slow, away, broken, or does not want to."""

from __future__ import annotations

import email.utils
import itertools
import logging
import signal
import time
import traceback
from dataclasses import replace
from typing import NoReturn

import httpx2
import openai
import pytest

from farm.errors import (
    Cancelled,
    ContentRefused,
    EngineFault,
    SetupError,
    UpstreamFault,
    UpstreamUnavailable,
)
from models import registry
from models.base import UpstreamSetup
from models.engines.upstream import UpstreamEngine
from models.parts.upstream.problems import understood
from tasks.breakers import FAILURES_MAX
from tests.models.upstream.jobs import CARD, KEY, engine_of, ignore, job
from tests.models.upstream.service import (
    OpenaiServer,
    Reply,
    openai_server,
    picture,
    png,
    problem,
)


class TimeIsUp(Exception):
    """Stands for the caller's time limit, whose signal may arrive anywhere."""


BUSY = Reply(503, problem("service_unavailable"))


class TestTryingAgain:
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
    def test_what_passes_is_asked_again_with_the_same_key(
        self, engine: UpstreamEngine, server: OpenaiServer, status: int
    ) -> None:
        server.then(Reply(status, problem("passing")), Reply(status, b"<html>Busy</html>"))
        request = job()
        assert engine.run(request, ignore)
        keys = [asked.headers["idempotency-key"] for asked in server.asked]
        assert keys == [str(request.job_id)] * 3

    @pytest.mark.parametrize("cut_after", [0, 30])
    def test_a_connection_that_breaks_is_made_again(
        self, engine: UpstreamEngine, server: OpenaiServer, cut_after: int
    ) -> None:
        server.then(Reply(body=picture(), cut_after=cut_after))
        assert engine.run(job(), ignore)
        assert len(server.asked) == 2

    def test_who_asks_for_a_wait_gets_it(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.then(Reply(429, problem("rate_limit_error"), {"Retry-After": "1"}))
        started = time.monotonic()
        assert engine.run(job(), ignore)
        assert time.monotonic() - started >= 1.0

    def test_who_asks_for_a_long_wait_is_left_alone(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.then(Reply(429, problem("rate_limit_error"), {"Retry-After": "3600"}))
        with pytest.raises(UpstreamUnavailable, match="Elsewhere answered with status 429"):
            engine.run(job(), ignore)
        assert len(server.asked) == 1

    def test_who_asks_for_no_other_try_is_left_alone(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        no_more = {"x-should-retry": "false"}
        server.then(Reply(504, problem("timeout"), no_more), Reply(500, problem("e"), no_more))
        with pytest.raises(UpstreamFault, match="status 500") as caught:
            engine.run(job(), ignore)
        assert not isinstance(caught.value, UpstreamUnavailable)
        assert len(server.asked) == 2, "what is still running is asked about again"

    def test_five_times_are_enough(self, engine: UpstreamEngine, server: OpenaiServer) -> None:
        server.otherwise = BUSY
        with pytest.raises(UpstreamUnavailable, match="status 503"):
            engine.run(job(), ignore)
        assert len(server.asked) == 5

    def test_one_that_hangs_is_given_up_and_asked_again(
        self, setup: UpstreamSetup, server: OpenaiServer
    ) -> None:
        server.then(Reply(hangs=True))
        assert engine_of(replace(setup, timeout_s=0.2)).run(job(), ignore)
        assert len(server.asked) == 2

    def test_nobody_waits_longer_than_the_run_may_take(
        self, setup: UpstreamSetup, server: OpenaiServer
    ) -> None:
        server.otherwise = Reply(hangs=True)
        with pytest.raises(UpstreamFault, match="longer than the job may take"):
            engine_of(replace(setup, run_s=0.3)).run(job(), ignore)

    def test_a_service_that_is_away_is_said_to_be(self, setup: UpstreamSetup) -> None:
        with openai_server() as gone:
            url = gone.base_url
        with pytest.raises(UpstreamUnavailable, match="connection to Elsewhere failed"):
            engine_of(replace(setup, base_url=url)).run(job(), ignore)

    def test_one_that_breaks_again_and_again_is_left_alone_for_a_while(
        self, engine: UpstreamEngine, setup: UpstreamSetup, server: OpenaiServer
    ) -> None:
        assert FAILURES_MAX == 5
        server.otherwise = BUSY
        with pytest.raises(UpstreamUnavailable):
            engine.run(job(), ignore)
        assert 0 < setup.gate.wait_s() <= 10
        # The next job waits a moment and finds that it is well again.
        server.reset()
        assert engine.run(job(), ignore)
        assert setup.gate.wait_s() == 0

    def test_a_cancel_is_heard_while_the_service_hangs(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.then(Reply(hangs=True))
        calls = itertools.count()
        cancelled = Cancelled("The customer changed their mind.")

        def cancel(step: int, steps: int) -> None:
            if next(calls) == 1:
                raise cancelled

        started = time.monotonic()
        with pytest.raises(Cancelled) as caught:
            engine.run(job(), cancel)
        assert caught.value is cancelled
        assert time.monotonic() - started < 3
        assert engine.run(job(), ignore)

    def test_the_callers_interrupt_passes_unchanged(
        self, setup: UpstreamSetup, server: OpenaiServer
    ) -> None:
        def interrupt(signum: int, frame: object) -> NoReturn:
            raise TimeIsUp

        made = engine_of(setup, interrupts=(TimeIsUp,))
        server.then(Reply(hangs=True))
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeIsUp):
                made.run(job(), ignore)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert made.run(job(), ignore)


class TestRefusals:
    @pytest.mark.parametrize(
        "reply",
        [
            Reply(400, problem("content_policy_violation")),
            Reply(400, problem("image_generation_user_error", code="moderation_blocked")),
            Reply(403, problem("invalid_request_error", code="content_filter")),
        ],
    )
    def test_of_content(self, engine: UpstreamEngine, server: OpenaiServer, reply: Reply) -> None:
        server.then(reply)
        with pytest.raises(ContentRefused):
            engine.run(job(), ignore)
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(401, problem("authentication_error", f"Wrong key: {KEY}")),
            Reply(402, problem("insufficient_credits")),
            Reply(403, problem("permission_error")),
            Reply(429, problem("insufficient_quota", code="insufficient_quota")),
        ],
    )
    def test_of_the_farm_itself(
        self, engine: UpstreamEngine, server: OpenaiServer, reply: Reply
    ) -> None:
        server.then(reply)
        with pytest.raises(UpstreamFault, match="does not take the farm's key"):
            engine.run(job(), ignore)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("status", [400, 404, 413, 422])
    def test_of_the_request(
        self, engine: UpstreamEngine, server: OpenaiServer, status: int
    ) -> None:
        said = problem("invalid_request_error", "Too blue." + "x" * 1000, param="prompt")
        server.then(Reply(status, said))
        with pytest.raises(UpstreamFault, match=rf"status {status} and said 'Too blue") as caught:
            engine.run(job(), ignore)
        assert not isinstance(caught.value, UpstreamUnavailable)
        assert len(str(caught.value)) < 500
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>It works!</html>", headers={"Content-Type": "text/html"}),
        Reply(body=b"{"),
        Reply(body=[]),
        Reply(body={"data": []}),
        Reply(body={"data": [{}]}),
        Reply(body={"data": [{"b64_json": 7}]}),
        Reply(body={"data": [{"b64_json": "?"}]}),
        Reply(body=picture(b"GIF89a")),
        Reply(body=picture(png()[:60])),
        Reply(body=picture(png(4097, 2))),
        Reply(body=b"x" * (64 << 20) + b"x"),
        Reply(body=picture(), headers={"Content-Encoding": "gzip"}),
        Reply(204, b""),
    ],
    ids=lambda reply: f"{reply.status}-{reply.data[:24]!r}",
)
def test_what_is_no_usable_answer_is_the_services_fault(
    engine: UpstreamEngine, server: OpenaiServer, reply: Reply
) -> None:
    server.then(reply)
    with pytest.raises(UpstreamFault, match="Elsewhere") as caught:
        engine.run(job(), ignore)
    assert not isinstance(caught.value, UpstreamUnavailable)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        (3600, 3000, 3600),
        (-60, 0, 0),
        ("-5", 0, 0),
        ("nan", 0, 0),
        ("soon", 0, 0),
        ("", 0, 0),
    ],
)
def test_a_wait_is_asked_for_in_seconds_or_by_a_date(
    setup: UpstreamSetup, header: str | int, least_s: float, most_s: float
) -> None:
    if isinstance(header, int):  # so many seconds from now, as a date
        header = email.utils.formatdate(time.time() + header, usegmt=True)
    request = httpx2.Request("POST", "http://127.0.0.1/")
    response = httpx2.Response(429, headers={"Retry-After": header}, request=request)
    found = understood(openai.RateLimitError("", response=response, body=None), setup)
    assert found is not None
    assert least_s <= found.after_s <= most_s


def test_the_key_is_in_no_text(
    setup: UpstreamSetup, server: OpenaiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine = engine_of(setup)
    echoes = [
        problem("invalid_request_error", f"Bad key {KEY}", code=KEY, param=KEY),
        {"error": {"message": [KEY], "type": {KEY: KEY}, "code": [KEY], "param": {KEY: KEY}}},
        [KEY],
    ]
    for status, echo in itertools.product((200, 400, 401, 404, 500), echoes):
        server.then(*[Reply(status, echo, {"X-Echo": KEY, "Content-Type": KEY})] * 5)
        with pytest.raises(UpstreamFault) as caught:
            engine.run(job(), ignore)
        server.reset()
        assert KEY not in "".join(traceback.format_exception(caught.value))
        setup.gate.went_well()
    assert KEY not in caplog.text
    assert caplog.records, "something was logged"
    assert KEY not in repr(setup)
    assert KEY not in repr(vars(engine))


def test_an_engine_says_what_it_lacks(setup: UpstreamSetup) -> None:
    unset = registry.create(CARD, "tiny")
    assert unset.served_by == "gpt-image-2"
    with pytest.raises(SetupError, match="FARM_UPSTREAMS"):
        unset.load("cpu")
    unloaded = registry.create(CARD, "tiny", upstream=setup)
    with pytest.raises(EngineFault, match="before it was loaded"):
        unloaded.run(job(), ignore)
