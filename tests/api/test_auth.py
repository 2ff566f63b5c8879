"""Who is let in, and what everybody else is told."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from flask import Flask

from api.app import create_app, runtime_of
from api.auth import address_group
from api.runtime import Runtime
from farm import accounts, keys
from farm.config import Settings
from farm.types import AccountStatus
from tests import factories
from tests.api.caller import GENERATE, Caller

BALANCE = "/v1/account/balance"
SOME_ID = "4d28614e-8ded-4108-91af-4116728f4eb5"
PRIVATE = [
    ("POST", GENERATE),
    ("POST", "/v1/image/remove-background"),
    ("POST", "/v1/image/replace-background"),
    ("POST", "/v1/image/restore-face"),
    ("POST", "/v1/image/remove-object"),
    ("POST", "/v1/image/upscale"),
    ("GET", f"/v1/image/{SOME_ID}"),
    ("GET", f"/v1/image/bg-rm-{SOME_ID}"),
    ("GET", f"/v1/image/upscale/{SOME_ID}"),
    ("GET", BALANCE),
    ("GET", "/v1/account/usage"),
]
WRONG_KEYS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic cGs6",
    "Bearer pk_live_short",
    "Bearer sk_" + "a" * 40,
    "Bearer pk_live_" + "a" * 38,
    "Bearer \u00e9\u00e9",
    "Bearer " + "x" * 5000,
]


@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_no_valid_key_is_a_401(app: Flask, method: str, path: str) -> None:
    for sent in WRONG_KEYS:
        headers = {} if sent is None else {"Authorization": sent}
        response = app.test_client().open(
            path, method=method, headers=headers, json={"prompt": "a"}
        )
        assert response.status_code == 401, sent
        assert response.json["detail"]
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_an_unknown_key_with_a_good_checksum_is_a_401(app: Flask) -> None:
    key = keys.generate_key("pk_live_")
    response = app.test_client().get(BALANCE, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 401
    assert key not in response.text


def test_x_api_key_is_told_about_the_bearer_header(app: Flask, caller: Caller) -> None:
    response = app.test_client().get(BALANCE, headers={"X-API-Key": caller.customer.key})
    assert response.status_code == 401
    assert "Authorization: Bearer" in response.json["detail"]


def test_the_scheme_may_be_written_in_any_case(app: Flask, caller: Caller) -> None:
    headers = {"Authorization": f"bearer {caller.customer.key}"}
    assert app.test_client().get(BALANCE, headers=headers).status_code == 200


def test_a_blocked_account_is_a_403(runtime: Runtime, caller: Caller) -> None:
    with runtime.services.db.transaction() as connection:
        accounts.set_status(connection, caller.customer.account_id, AccountStatus.BLOCKED)
    before = caller.footprint()
    response = caller.generate({"prompt": "a"})
    assert response.status_code == 403
    assert "blocked" in response.json["detail"]
    assert caller.footprint() == before


def test_a_key_revoked_a_moment_ago_submits_no_more(runtime: Runtime, caller: Caller) -> None:
    assert caller.generate({"prompt": "a"}).status_code == 200  # the key is remembered now
    with runtime.services.db.transaction() as connection:
        keys.revoke_key(connection, caller.customer.principal.key_id)
    before = caller.footprint()
    assert caller.generate({"prompt": "a"}).status_code == 401
    assert caller.footprint() == before


def test_a_job_of_another_account_is_a_404(app: Flask, runtime: Runtime, caller: Caller) -> None:
    other = Caller(app, runtime.services, factories.customer(runtime.services))
    job_id = other.generate({"prompt": "a"}).json["generation_id"]
    response = caller.get(f"/v1/image/{job_id}")
    assert response.status_code == 404
    assert response.json == caller.get(f"/v1/image/{uuid.uuid4()}").json
    assert other.get(f"/v1/image/{job_id}").status_code == 200


@pytest.mark.parametrize(
    "agent", ["", "Python-urllib/3.11", "python-requests/2.32", "Go-http-client/1.1"]
)
def test_default_user_agents_can_be_refused(settings: Settings, agent: str) -> None:
    app = create_app(settings.model_copy(update={"refuse_default_user_agents": True}))
    runtime = runtime_of(app)
    caller = Caller(app, runtime.services, factories.customer(runtime.services))
    try:
        refused = caller.get(BALANCE, User_Agent=agent)
        assert refused.status_code == 403
        assert "User-Agent" in refused.json["detail"]
        assert caller.get(BALANCE, User_Agent="my-shop/1.0").status_code == 200
        assert app.test_client().get("/healthz", headers={"User-Agent": agent}).status_code == 200
    finally:
        runtime.close()


@pytest.mark.parametrize("agent", ["", "Python-urllib/3.11", "curl/8.5.0"])
def test_user_agents_do_not_matter_otherwise(caller: Caller, agent: str) -> None:
    assert caller.get(BALANCE, User_Agent=agent).status_code == 200


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", "local"),
        ("nonsense:", "unreadable"),
    ],
)
def test_one_customer_is_one_address(address: str, group: str) -> None:
    assert address_group(address) == group


def test_importing_the_api_leaves_torch_out() -> None:
    code = (
        "import sys, api.app, api.wsgi; sys.exit('torch' in sys.modules or 'tasks' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
