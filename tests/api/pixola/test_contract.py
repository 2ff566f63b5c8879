"""Pixola is a storefront like every other."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from farm.types import JobState
from tests.api.caller import Caller
from tests.contracts.storefront import StorefrontContract

BASE = "/pixola/api/v1"
BODY = {"prompt": "a red circle"}
NO_BATCH = "batch_4d28614e-8ded-4108-91af-4116728f4eb5"
NO_IMAGE = "img_4d28614e-8ded-4108-91af-4116728f4eb5"
WORDS = {
    JobState.QUEUED: "processing",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "complete",
    JobState.FAILED: "failed",
    JobState.BLOCKED: "rejected",
    JobState.CANCELLED: "failed",
    JobState.EXPIRED: "failed",
}
PROBLEMS = {
    "unauthenticated": (401, "unauthorized"),
    "insufficient_credits": (409, "insufficient_credits"),
    "not_found": (404, "not_found"),
    "rate_limited": (429, "rate_limited"),
    "malformed": (400, "bad_request"),
    "invalid_request": (400, "bad_request"),
    "idempotency_mismatch": (422, "idempotency_mismatch"),
}


def wrong(word: str, **fields: Any) -> tuple[dict[str, Any], str]:
    """A body that is good but for these fields, and a word about it."""
    return ({**BODY, **fields}, word)


class TestPixola(StorefrontContract):
    """Its ids are of batches; its errors have a word and a sentence, one within the other."""

    storefront = "pixola"
    plan = "studio"
    submit_path = f"{BASE}/generate"
    body = BODY
    price = 1.0
    poll_path = f"{BASE}/batches/{{id}}"
    private_paths = (
        ("GET", f"{BASE}/models/flux-2"),
        ("GET", f"{BASE}/styles/no-style"),
        ("GET", f"{BASE}/shapes/square"),
        ("GET", f"{BASE}/credits"),
        ("GET", f"{BASE}/batches"),
        ("GET", f"{BASE}/images"),
        ("GET", f"{BASE}/images/{NO_IMAGE}"),
        ("PATCH", f"{BASE}/images/{NO_IMAGE}"),
    )
    words = WORDS
    problems = PROBLEMS
    bad_bodies = (
        ({}, "prompt: is required"),
        wrong("prompt: is required", prompt=None),
        wrong("prompt: must not be empty", prompt=""),
        wrong("prompt", prompt=" \t\n"),
        wrong("at most 2000", prompt="a" * 2001),
        wrong("with the style oil-painting", prompt="a" * 2000, style="oil-painting"),
        wrong("prompt: must be text", prompt=["a"]),
        wrong("NUL", prompt="a\0b"),
        wrong("surrogates", prompt="\ud800"),
        wrong("flux-schnell", model="flux-schnel"),
        wrong("model: must be text", model=7),
        wrong("is not a model", model="wan2.1"),
        wrong("is not a model", model="flux-kontext"),
        wrong("is not a model", model=""),
        wrong("from 1 to 4, got 0", count=0),
        wrong("from 1 to 4, got 5", count=5),
        wrong("count", count=-1),
        wrong("count", count=1.5),
        wrong("count", count=10**400),
        wrong("count", count="2"),
        wrong("count", count=True),
        wrong("seed", seed=-1),
        wrong("seed", seed=2**32),
        wrong("seed", seed="7"),
        wrong("webhook_url", webhook_url="http://10.0.0.1/"),
        wrong("webhook_url", webhookUrl=7),
        wrong("webhook_url", webhook_url="https://a.example/", webhookUrl="https://b.example/"),
    )

    def id_of(self, answer: Any) -> str:
        return str(answer["batchId"])

    def status_of(self, answer: Any) -> str:
        [image] = answer["images"]
        assert image["status"] == answer["status"]
        return str(answer["status"])

    def output_of(self, answer: Any) -> str | None:
        [image] = answer["images"]
        charged = self.price if answer["status"] == "complete" else 0
        assert image["creditsCharged"] == image["receipt"]["charged"] == charged
        link: str | None = image["url"]
        return link

    def problem_of(self, answer: Any) -> tuple[str | None, str]:
        assert set(answer) == {"error"}
        assert set(answer["error"]) - {"fields"} == {"code", "message"}
        return answer["error"]["code"], answer["error"]["message"]

    def check_refused(self, caller: Caller, response: TestResponse) -> None:
        assert response.status_code == 409
        assert response.json is not None
        assert self.problem_of(response.json)[0] == "content_flagged"
        assert caller.get(f"{BASE}/batches").json["batches"] == []

    def check_standing(self, caller: Caller, credits: float) -> None:
        answer = caller.get(f"{BASE}/credits").json
        assert answer["credits"] == credits
        assert set(answer) == {"credits", "plan"}
