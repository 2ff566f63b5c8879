"""A farm that may run no weights whose licence forbids commercial use."""

from __future__ import annotations

import pytest
from flask import Flask

from api.app import runtime_of
from farm import views
from farm.config import Settings
from tests import factories
from tests.api.caller import Caller


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The same farm, run for money."""
    return settings.model_copy(update={"commercial_only": True})


def test_no_list_has_anything_that_may_not_run(app: Flask) -> None:
    services = runtime_of(app).services
    forbidden = {card.id for card in services.catalog.models.values() if card.non_commercial}
    for storefront in services.catalog.storefronts:
        caller = Caller(app, services, factories.customer(services, storefront=storefront))
        listed = {model["id"]: model for model in caller.get("/v1/models").json["data"]}
        assert listed
        assert not listed.keys() & {"musicgen-small", "virtual-tryon"}
        for model in listed.values():
            makers = model["served_by"].replace("-tiny", "").split(", ")
            assert not forbidden & set(makers)


@pytest.mark.parametrize("path", ["/v1/audio/generate", "/v1/virtual-tryon"])
def test_what_nothing_may_make_is_not_there(caller: Caller, path: str) -> None:
    assert caller.post(path, {"prompt": "a calm piano"}).status_code in (404, 405)


def test_another_model_stands_in_and_is_said(app: Flask) -> None:
    services = runtime_of(app).services
    who = factories.customer(services, storefront="pixza")
    caller = Caller(app, services, who)
    body = {"type": "image", "model": "flux-dev", "prompt": "a fox"}
    answer = caller.post("/pixza/api/v1/generate", body, Prefer="respond-async")
    assert answer.status_code == 200, answer.text
    assert (answer.json["model"], answer.json["credits_used"]) == ("flux-dev", 2)
    [job] = views.newest_jobs(services.db, who.account_id, limit=5)
    assert (job.model, job.sold_as) == ("flux-schnell", "flux-dev")
