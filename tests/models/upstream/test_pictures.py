"""Pictures that another service makes: what it is asked, and what becomes of its answer."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from farm.errors import (
    InvalidRequest,
    UpstreamFault,
    UpstreamUnavailable,
)
from farm.types import RunRequest
from models.engines.upstream import UpstreamEngine
from tests.models.upstream.jobs import CARD, KEY, edit, ignore, job, opened
from tests.models.upstream.service import (
    OpenaiServer,
    Reply,
    openai_server,
    picture,
    png,
    problem,
)


class TestAPicture:
    def test_the_request_says_what_is_needed_and_no_more(
        self, engine: UpstreamEngine, server: OpenaiServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_ORG_ID", "org-ambient")
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Ambient: yes\nAuthorization: Bearer other")
        request = job()
        engine.run(request, ignore)
        [asked] = server.asked
        assert (asked.method, asked.path) == ("POST", "/v1/images/generations")
        assert asked.json == {
            "model": "their-model",
            "prompt": "a red fox",
            "n": 1,
            "size": "64x48",
            "response_format": "b64_json",
            "seed": 7,
        }
        assert asked.headers == {
            "host": f"127.0.0.1:{server.port}",
            "accept": "application/json",
            "accept-encoding": "identity",
            "authorization": f"Bearer {KEY}",
            "connection": "keep-alive",
            "content-length": str(len(asked.body)),
            "content-type": "application/json",
            "idempotency-key": str(request.job_id),
            "user-agent": "media-farm",
        }

    def test_it_becomes_a_file_of_the_farms_own(self, engine: UpstreamEngine) -> None:
        request = job()
        [artifact] = engine.run(request, ignore)
        image = opened(artifact)
        assert (image.format, image.size, image.getpixel((0, 0))) == (
            "PNG",
            (64, 48),
            (0, 128, 128),
        )
        assert image.info["job_id"] == str(request.job_id)
        assert image.info["model"] == CARD.id
        assert artifact.facts == {
            "seed": 7,
            "upstream_model": "their-model",
            "width": 64,
            "height": 48,
        }
        assert engine.served_by == "gpt-image-2 by Elsewhere"
        assert engine.resident_bytes == 0

    @pytest.mark.parametrize(("form", "kind"), [("jpeg", "image/jpeg"), ("webp", "image/webp")])
    def test_the_format_is_the_farms_affair(
        self, engine: UpstreamEngine, server: OpenaiServer, form: str, kind: str
    ) -> None:
        [artifact] = engine.run(job(output_format=form), ignore)
        assert artifact.media_type == kind
        assert "output_format" not in server.asked[0].json

    def test_another_size_than_asked_for_is_made_to_fit(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.then(Reply(body=picture(png(100, 100))))
        [artifact] = engine.run(job(), ignore)
        assert opened(artifact).size == (64, 48)

    def test_without_a_size_the_service_chooses(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.then(Reply(body=picture(png(100, 90))))
        [artifact] = engine.run(job(width=None, height=None), ignore)
        assert opened(artifact).size == (100, 90)
        assert "size" not in server.asked[0].json

    def test_what_the_service_does_not_know_is_left_out_from_then_on(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        no_field = {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}
        server.then(
            Reply(400, problem("invalid_request_error", param="response_format")),
            Reply(400, [{"error": no_field}]),
        )
        [artifact] = engine.run(job(), ignore)
        assert "seed" not in artifact.facts
        engine.run(job(), ignore)
        sent = [sorted(set(asked.json) & {"response_format", "seed"}) for asked in server.asked]
        assert sent == [["response_format", "seed"], ["seed"], [], []]

    def test_progress_never_falls_and_ends_at_the_total(self, engine: UpstreamEngine) -> None:
        seen: list[tuple[int, int]] = []
        engine.run(job(), lambda step, steps: seen.append((step, steps)))
        assert seen == sorted(seen)
        assert seen[-1] == (3, 3)
        assert {steps for _, steps in seen} == {3}


class TestAnEdit:
    def test_one_picture_is_sent_as_it_is(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        engine.run(edit(Image.new("RGB", (40, 30), "red")), ignore)
        [asked] = server.asked
        assert asked.path == "/v1/images/edits"
        fields = dict(asked.fields)
        assert sorted(fields) == ["image", "model", "n", "prompt", "response_format", "seed"]
        with Image.open(io.BytesIO(fields["image"])) as sent:
            assert (sent.format, sent.size, sent.getpixel((0, 0))) == ("PNG", (40, 30), (255, 0, 0))

    def test_several_are_sent_in_their_order(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        engine.run(edit(*(Image.new("RGB", (8, 8), (n, 0, 0)) for n in (1, 2, 3))), ignore)
        sent = [data for name, data in server.asked[0].fields if name == "image[]"]
        reds = [Image.open(io.BytesIO(data)).getpixel((0, 0)) for data in sent]
        assert reds == [(1, 0, 0), (2, 0, 0), (3, 0, 0)]

    def test_what_is_white_in_the_mask_is_clear_in_theirs(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        mask = Image.new("L", (40, 30), 0)
        mask.paste(255, (0, 0, 20, 30))
        engine.run(edit(Image.new("RGB", (40, 30), "red"), mask=mask), ignore)
        with Image.open(io.BytesIO(dict(server.asked[0].fields)["mask"])) as sent:
            assert (sent.format, sent.mode, sent.size) == ("PNG", "RGBA", (40, 30))
            alpha = np.asarray(sent.getchannel("A"))
        assert (alpha[:, :20] == 0).all()
        assert (alpha[:, 20:] == 255).all()

    def test_a_picture_that_is_large_as_png_is_sent_smaller(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (850, 850, 3), np.uint8)
        small = [Image.new("RGB", (8, 8))] * 3
        engine.run(edit(Image.fromarray(noise), *small), ignore)
        sent = [data for name, data in server.asked[0].fields if name == "image[]"]
        assert sum(map(len, sent)) <= 8 << 20
        with Image.open(io.BytesIO(sent[0])) as first:
            assert (first.format, first.size) == ("WEBP", (850, 850))

    @pytest.mark.parametrize(
        "request_",
        [
            edit(),
            edit(Image.new("RGB", (8, 8)), mask=Image.new("L", (8, 9), 255)),
            replace(job(), params={"prompt": "x", "steps": 3}),
            replace(job(), operation="upscale"),
        ],
    )
    def test_what_is_unusable_is_said_and_not_sent(
        self, engine: UpstreamEngine, server: OpenaiServer, request_: RunRequest
    ) -> None:
        with pytest.raises(InvalidRequest):
            engine.run(request_, ignore)
        assert server.asked == []


class TestAResultAtAUrl:
    def test_it_is_fetched_from_the_services_own_host(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        server.at["/made/1.png"] = Reply(body=png(64, 48, "red"), headers={})
        url = f"http://127.0.0.1:{server.port}/made/1.png"
        server.then(Reply(body={"data": [{"url": url}]}))
        [artifact] = engine.run(job(), ignore)
        assert opened(artifact).getpixel((0, 0)) == (255, 0, 0)
        assert "authorization" not in server.asked[1].headers

    def test_it_is_not_fetched_from_elsewhere_inside(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        with openai_server() as inside:
            away = f"http://127.0.0.1:{inside.port}/secret"
            server.at["/moved"] = Reply(302, b"", {"Location": away})
            moved = f"http://127.0.0.1:{server.port}/moved"
            for url in (away, moved, "file:///etc/passwd", "http://169.254.169.254/latest"):
                server.then(Reply(body={"data": [{"url": url}]}))
                with pytest.raises(UpstreamUnavailable, match="could not be fetched"):
                    engine.run(job(), ignore)
            assert inside.asked == []

    def test_an_answer_that_redirects_is_not_followed(
        self, engine: UpstreamEngine, server: OpenaiServer
    ) -> None:
        with openai_server() as other:
            server.then(Reply(307, b"", {"Location": other.base_url + "/images/generations"}))
            with pytest.raises(UpstreamFault, match="status 307"):
                engine.run(job(), ignore)
            assert other.asked == []
