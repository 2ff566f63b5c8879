"""A job from submit to its end, as its owner sees it."""

from __future__ import annotations

import re
import uuid

import pytest
from sqlalchemy import text

from api.runtime import Runtime
from farm import jobs, settle
from tests import factories
from tests.api.caller import Caller
from tests.factories import claimed

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
OLD_CLIENT = "pixelapi-python/0.2.0"


def _submit(caller: Caller, **body: object) -> str:
    response = caller.generate({"prompt": "a red circle", "model": "sdxl"} | body)
    assert response.status_code == 200, response.json
    return str(response.json["generation_id"])


def test_a_submit_answers_with_what_the_client_needs(caller: Caller) -> None:
    answer = caller.generate({"prompt": "a", "model": "sdxl"}).json
    assert uuid.UUID(answer.pop("generation_id"))
    assert answer == {"status": "queued", "model": "sdxl", "credits_used": 3.0}


def test_the_default_model_and_aliases(caller: Caller) -> None:
    assert caller.generate({"prompt": "a"}).json["model"] == "flux-schnell"
    assert caller.generate({"prompt": "a", "model": "flux"}).json["model"] == "flux-schnell"


@pytest.mark.usefixtures("own_app")
def test_a_submit_rings_the_models_queue(runtime: Runtime, caller: Caller) -> None:
    _submit(caller)
    runtime.dispatcher.stop()
    assert runtime.dispatcher.counts.sent == 1


@pytest.mark.usefixtures("own_app")
def test_a_job_under_way(runtime: Runtime, caller: Caller) -> None:
    job_id = _submit(caller, seed=5)
    queued = caller.get(f"/v1/image/{job_id}").json
    assert RFC3339.fullmatch(queued.pop("created_at"))
    assert queued.pop("receipt") | {"price_rule": ""} == {
        "held": 3.0, "charged": 0.0, "returned": 0.0, "price_rule": ""
    }  # fmt: skip
    assert queued == {
        "id": job_id,
        "generation_id": job_id,
        "status": "queued",
        "output_url": None,
        "model": "sdxl",
        "credits_used": 3.0,
        "attempts": 0,
        "seed": 5,
        "queue_position": 1,
    }
    claim = claimed(runtime.services, uuid.UUID(job_id))
    assert jobs.heartbeat(runtime.services.db, claim.job_id, claim.attempt, 30.0, 12, 30)
    running = caller.get(f"/v1/image/{job_id}").json
    assert running["status"] == "processing"
    assert running["progress"] == {"step": 12, "steps": 30}
    assert running["attempts"] == 1


def test_a_job_that_succeeded(runtime: Runtime, caller: Caller) -> None:
    job_id = _submit(caller)
    factories.succeed(runtime.services, claimed(runtime.services, uuid.UUID(job_id)))
    done = caller.get(f"/v1/image/{job_id}").json
    assert done["status"] == "completed"
    assert done["credits_used"] == done["receipt"]["charged"] == 3.0
    assert done["receipt"]["returned"] == 0.0
    assert done["processing_ms"] == 12
    assert done["seed"] == 7
    assert done["served_by"] == "test"
    assert RFC3339.fullmatch(done["completed_at"])
    assert "error" not in done
    base = runtime.settings.public_url
    url = rf"{base}/outputs/images/\d{{4}}/\d\d/\d\d/[\w-]{{32,}}\.png\?exp=\d+&sig=[\w-]+"
    assert re.fullmatch(url, done["output_url"])
    assert caller.get(f"/v1/image/upscale/{job_id}").json == done


def test_a_job_whose_output_has_expired_shows_no_url(runtime: Runtime, caller: Caller) -> None:
    job_id = _submit(caller)
    factories.succeed(runtime.services, claimed(runtime.services, uuid.UUID(job_id)))
    with runtime.services.db.statement() as connection:
        connection.execute(
            text("UPDATE jobs SET output_expires_at = now() WHERE id = :id"), {"id": job_id}
        )
    done = caller.get(f"/v1/image/{job_id}").json
    assert (done["status"], done["output_url"]) == ("completed", None)


def test_a_job_that_failed_costs_nothing(runtime: Runtime, caller: Caller) -> None:
    job_id = _submit(caller)
    factories.fail(runtime.services, claimed(runtime.services, uuid.UUID(job_id)))
    failed = caller.get(f"/v1/image/{job_id}").json
    assert failed["status"] == "failed"
    assert failed["error"] == failed["error_message"] == "It broke."
    assert failed["credits_used"] == 0.0
    assert failed["receipt"]["returned"] == 3.0
    assert failed["output_url"] is None


@pytest.mark.parametrize(
    ("ending", "word", "old_word"),
    [("cancelled", "cancelled", "failed"), ("expired", "failed", "failed")],
)
def test_jobs_that_ended_otherwise(
    runtime: Runtime, caller: Caller, ending: str, word: str, old_word: str
) -> None:
    job_id = _submit(caller)
    db = runtime.services.db
    if ending == "cancelled":
        settle.cancel(db, caller.customer.account_id, uuid.UUID(job_id))
    else:
        assert len(settle.expire_queued(db, 0.0)) == 1
    ended = caller.get(f"/v1/image/{job_id}").json
    assert ended["status"] == word
    assert ended["error"]
    assert ended["credits_used"] == 0.0
    old = caller.get(f"/v1/image/{job_id}", User_Agent=OLD_CLIENT).json
    assert old["status"] == old_word


@pytest.mark.usefixtures("own_app")
def test_a_blocked_prompt_costs_nothing_and_is_not_rung(runtime: Runtime, caller: Caller) -> None:
    before = caller.footprint()
    response = caller.generate({"prompt": "a forbidden fruit", "model": "sdxl"})
    assert response.status_code == 200
    assert response.json["status"] == "blocked"
    assert response.json["credits_used"] == 0.0
    assert caller.footprint()["posted"] == before["posted"]
    assert caller.footprint()["held"] == 0
    job = caller.get(f"/v1/image/{response.json['generation_id']}").json
    assert job["status"] == "blocked"
    assert "content policy" in job["error"]
    runtime.dispatcher.stop()
    assert runtime.dispatcher.counts.sent == 0


def test_clients_of_0_2_hear_only_the_words_they_know(caller: Caller) -> None:
    queued = caller.generate({"prompt": "a"}, User_Agent=OLD_CLIENT).json
    assert queued["status"] == "pending"
    blocked = caller.generate({"prompt": "a forbidden fruit"}, User_Agent=OLD_CLIENT).json
    assert blocked["status"] == "failed"
    path = f"/v1/image/{blocked['generation_id']}"
    seen = caller.get(path, User_Agent=OLD_CLIENT).json
    assert seen["status"] == "failed"
    assert "content policy" in seen["error"]
    assert caller.get(path, User_Agent="pixelapi-python/0.1.0").json["status"] == "blocked"


def test_no_credit_is_a_402_that_says_how_much(runtime: Runtime, free_caller: Caller) -> None:
    for _ in range(3):
        assert free_caller.generate({"prompt": "a"}).status_code == 200
    before = free_caller.footprint()
    response = free_caller.generate({"prompt": "a"})
    assert response.status_code == 402
    url = runtime.settings.pricing_url
    assert response.json == {
        "detail": f"Insufficient credits. Required: 3, available: 1. Upgrade at {url}/#pricing"
    }
    assert free_caller.footprint() == before


@pytest.mark.parametrize(
    "name", ["nothing", "00000000-0000-0000-0000-00000000000", "..%2F..", "%00"]
)
def test_what_is_not_an_id_is_a_404(caller: Caller, name: str) -> None:
    response = caller.get(f"/v1/image/{name}")
    assert response.status_code == 404
    assert response.json["detail"]


def test_balance_leaves_holds_out(free_caller: Caller) -> None:
    assert free_caller.get("/v1/account/balance").json == {
        "credits_remaining": 10.0,
        "plan": "free",
        "email": free_caller.customer.email,
    }
    free_caller.generate({"prompt": "a"})
    assert free_caller.get("/v1/account/balance").json["credits_remaining"] == 7.0


def test_usage_is_newest_first_with_prompts(caller: Caller) -> None:
    ids = [_submit(caller, prompt=f"picture {number}") for number in range(3)]
    usage = caller.get("/v1/account/usage?limit=2&days=30").json
    assert usage["total"] == 3
    assert [job["id"] for job in usage["usage"]] == [ids[2], ids[1]]
    assert usage["usage"][0]["prompt"] == "picture 2"
    status = caller.get(f"/v1/image/{ids[2]}").json
    assert usage["usage"][0] == status | {"prompt": "picture 2"}


def test_usage_of_an_account_without_jobs(caller: Caller) -> None:
    assert caller.get("/v1/account/usage").json == {"usage": [], "total": 0}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1e1", "limit"),
        ("limit=", "limit"),
        ("limit=%00", "limit"),
        ("days=0", "days"),
        ("days=" + "9" * 400, "days"),
        ("days=\u0661", "days"),
    ],
)
def test_a_wrong_query_is_named(caller: Caller, query: str, field: str) -> None:
    response = caller.get(f"/v1/account/usage?{query}")
    assert response.status_code == 422
    assert [error["field"] for error in response.json["errors"]] == [field]


def test_unknown_query_fields_do_not_matter(caller: Caller) -> None:
    assert caller.get("/v1/account/usage?page=2&limit=100").status_code == 200
