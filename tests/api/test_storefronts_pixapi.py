"""PixAPI is a storefront like every other."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from farm.types import JobState
from tests.api.caller import Caller
from tests.contracts.storefront import StorefrontContract

BODY = {"prompt": "a red circle", "model": "sdxl"}
WORDS = {
    JobState.QUEUED: "submitted",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}
PROBLEMS = {
    "unauthenticated": (401, "authentication_error"),
    "insufficient_credits": (402, "insufficient_credits"),
    "not_found": (404, "not_found_error"),
    "rate_limited": (429, "rate_limit_error"),
    "malformed": (400, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "idempotency_mismatch": (400, "invalid_request_error"),
}


class TestPixapi(StorefrontContract):
    """Its errors have a word, a sentence and the status."""

    storefront = "pixapi"
    plan = "business"
    submit_path = "/v1/async/images/generations"
    body = BODY
    price = 2.0
    poll_path = "/v1/tasks/{id}"
    private_paths = (
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/images/edits"),
        ("POST", "/v1/async/images/edits"),
        ("POST", "/v1/async/videos/generations"),
    )
    words = WORDS
    problems = PROBLEMS
    bad_bodies = (
        ({}, "model: is required"),
        ({"model": "sdxl"}, "prompt: is required"),
        ({**BODY, "model": "nothing"}, "Choose one of"),
    )

    def id_of(self, answer: Any) -> str:
        return str(answer["id"])

    def status_of(self, answer: Any) -> str:
        return str(answer["status"])

    def output_of(self, answer: Any) -> str | None:
        links: list[str] = [one["url"] for one in answer["data"]]
        return links[0] if links else None

    def problem_of(self, answer: Any) -> tuple[str | None, str]:
        error = answer["error"]
        assert set(answer) == {"error"}
        assert set(error) == {"code", "message", "type", "param"}
        return error["type"], error["message"]

    def check_refused(self, caller: Caller, response: TestResponse) -> None:
        assert response.status_code == 400
        assert response.json["error"]["type"] == "content_policy_violation"

    def check_standing(self, caller: Caller, credits: float) -> None:
        """It has no path for the balance."""
