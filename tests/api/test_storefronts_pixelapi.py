"""PixelAPI is a storefront like every other."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from farm.types import JobState
from tests.api.caller import GENERATE, Caller
from tests.contracts.storefront import StorefrontContract

BODY = {"prompt": "a red circle", "model": "sdxl"}
WORDS = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "blocked",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
PROBLEMS = {
    "unauthenticated": (401, None),
    "insufficient_credits": (402, None),
    "not_found": (404, None),
    "rate_limited": (429, None),
    "malformed": (400, None),
    "invalid_request": (422, None),
    "idempotency_mismatch": (422, None),
}


class TestPixelapi(StorefrontContract):
    """Its errors are sentences without a word."""

    storefront = "pixelapi"
    plan = "scale"
    submit_path = GENERATE
    body = BODY
    price = 3.0
    poll_path = "/v1/image/{id}"
    private_paths = (
        ("GET", "/v1/account/balance"),
        ("GET", "/v1/account/usage"),
        ("POST", "/v1/video/generate"),
        ("POST", "/v1/image/upscale"),
    )
    words = WORDS
    problems = PROBLEMS
    bad_bodies = (
        ({}, "prompt"),
        ({"prompt": "a", "model": "nothing"}, "model"),
        ({"prompt": "a", "width": 64}, "width"),
    )

    def id_of(self, answer: Any) -> str:
        return str(answer["generation_id"])

    def status_of(self, answer: Any) -> str:
        return str(answer["status"])

    def output_of(self, answer: Any) -> str | None:
        link: str | None = answer["output_url"]
        return link

    def problem_of(self, answer: Any) -> tuple[str | None, str]:
        assert set(answer) <= {"detail", "errors"}
        return None, answer["detail"]

    def check_refused(self, caller: Caller, response: TestResponse) -> None:
        assert response.status_code == 200
        assert (response.json["status"], response.json["credits_used"]) == ("blocked", 0.0)

    def check_standing(self, caller: Caller, credits: float) -> None:
        answer = caller.get("/v1/account/balance").json
        assert answer["credits_remaining"] == credits
        assert answer["plan"] == caller.customer.principal.plan
