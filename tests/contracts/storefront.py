"""What every storefront does, whatever its words: money, errors, ids, keys and limits.

A subclass names its bodies and how its answers are read, and takes the fixture ``shop``: the
API in this process on a real PostgreSQL and Redis, with a content policy of two words, in which
no first answer waits for a job. What workers do is done by :mod:`tests.factories`.
"""

from __future__ import annotations

import abc
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.app import create_app, runtime_of
from api.storefronts import DIALECTS
from farm import ledger, settle, views
from farm.config import Settings
from farm.keys import generate_key
from farm.services import Services
from farm.types import JobState
from farm.webhooks.payload import job_message
from tests import factories
from tests.api.caller import Caller
from tests.farm.checks import assert_books_balance, run

NO_ID = uuid.UUID("4d28614e-8ded-4108-91af-4116728f4eb5")
"""A job that nobody made."""
REFUSED_WORDS = "a Forbidden  Fruit"


@dataclass(frozen=True)
class Shop:
    """One API process and what it stands on."""

    app: Flask
    services: Services

    def caller(self, storefront: str, plan: str, *, empty: bool = False) -> Caller:
        """A new customer; an ``empty`` one has no credits left."""
        who = factories.customer(self.services, storefront=storefront, plan=plan)
        if empty:
            with self.services.db.transaction() as connection:
                ledger.expire_grant(connection, who.account_id)
        return Caller(self.app, self.services, who)


@contextmanager
def open_shop(postgres_url: str, redis_url: str, folder: Path, **changed: Any) -> Iterator[Shop]:
    """The API on these services, for the block; with some settings of its own."""
    rules = folder / "moderation.txt"
    rules.write_text("forbidden fruit\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "DATABASE_URL": postgres_url,
        "BROKER_URL": redis_url,
        "data": folder / "data",
        "weights": "tiny",
        "moderation_file": rules,
        "pixza_wait_s": 0,
    }
    app = create_app(Settings(**settings | changed))
    runtime = runtime_of(app)
    try:
        yield Shop(app, runtime.services)
    finally:
        runtime.close()


def _fail(services: Services, job_id: uuid.UUID) -> None:
    factories.fail(services, factories.claimed(services, job_id))


def _refuse_result(services: Services, job_id: uuid.UUID) -> None:
    claim = factories.claimed(services, job_id)
    assert settle.block(services.db, claim, "blocked", "The result was refused.")


def _expire(services: Services, job_id: uuid.UUID) -> None:
    run(
        services,
        "UPDATE jobs SET queued_at = now() - interval '2 hours' WHERE id = :id",
        id=job_id,
    )
    assert settle.expire_queued(services.db, 3600.0) == [job_id]


def _cancel(services: Services, job_id: uuid.UUID) -> None:
    assert settle.cancel(services.db, None, job_id) is JobState.CANCELLED


ENDINGS: Mapping[str, tuple[JobState, Callable[[Services, uuid.UUID], object]]] = {
    "failed": (JobState.FAILED, _fail),
    "expired": (JobState.EXPIRED, _expire),
    "cancelled": (JobState.CANCELLED, _cancel),
    "blocked": (JobState.BLOCKED, _refuse_result),
}


class StorefrontContract(abc.ABC):
    """Subclass with the class variables and the ways to read an answer."""

    storefront: ClassVar[str]
    plan: ClassVar[str]
    """One that affords everything here."""
    submit_path: ClassVar[str]
    """Makes one job at once, from ``body``, which costs ``price`` credits."""
    body: ClassVar[Mapping[str, Any]]
    price: ClassVar[float]
    poll_path: ClassVar[str]
    """With ``{id}`` in it."""
    private_paths: ClassVar[Sequence[tuple[str, str]]]
    """Method and path of everything beside these two that needs a key."""
    words: ClassVar[Mapping[JobState, str]]
    """What a status answer calls each state."""
    problems: ClassVar[Mapping[str, tuple[int, str | None]]]
    """Status and word (None where the dialect has no words for errors) of ``unauthenticated``,
    ``insufficient_credits``, ``not_found``, ``rate_limited``, ``malformed``, ``invalid_request``
    and ``idempotency_mismatch``."""
    bad_bodies: ClassVar[Sequence[tuple[Any, str]]]
    """Bodies that are refused, with a word that the sentence about each has in it."""

    @abc.abstractmethod
    def id_of(self, answer: Any) -> str:
        """The id in a submit's answer."""

    @abc.abstractmethod
    def status_of(self, answer: Any) -> str:
        """The status in a poll's answer."""

    @abc.abstractmethod
    def output_of(self, answer: Any) -> str | None:
        """The link to the output in a poll's answer."""

    @abc.abstractmethod
    def problem_of(self, answer: Any) -> tuple[str | None, str]:
        """Word and sentence of an error's body. Fails where its shape is another."""

    @abc.abstractmethod
    def check_refused(self, caller: Caller, response: TestResponse) -> None:
        """The answer to a submit whose words the content policy refuses."""

    @abc.abstractmethod
    def check_standing(self, caller: Caller, credits: float) -> None:
        """The storefront's own path for the balance, where it has one."""

    def submit(self, caller: Caller, body: Any = None, **headers: str) -> TestResponse:
        """A submit; ``body`` is the usual one where it is left out."""
        return caller.post(self.submit_path, self.body if body is None else body, **headers)

    def submitted(self, caller: Caller) -> tuple[str, uuid.UUID]:
        """A new job: its id on the wire, and its own."""
        response = self.submit(caller)
        assert response.status_code == 200, response.text
        [job] = views.newest_jobs(caller.services.db, caller.customer.account_id, limit=1)
        return self.id_of(response.json), job.id

    def poll(self, caller: Caller, wire_id: str) -> TestResponse:
        """How a job stands."""
        return caller.get(self.poll_path.format(id=wire_id))

    def check_problem(self, response: TestResponse, code: str) -> str:
        """An error of this kind, as the dialect says it; its sentence."""
        status, word = self.problems[code]
        assert response.status_code == status, response.text
        assert response.headers["Content-Type"] == "application/json"
        got, sentence = self.problem_of(response.json)
        assert got == word
        assert len(sentence) > 8
        return sentence

    @pytest.fixture
    def caller(self, shop: Shop) -> Caller:
        """A customer who affords everything."""
        return shop.caller(self.storefront, self.plan)

    def test_a_job_is_polled_to_its_success_and_charged_exactly(self, caller: Caller) -> None:
        services, before = caller.services, _standing(caller)
        wire_id, job_id = self.submitted(caller)
        assert _standing(caller) == (before[0], round(self.price * 10))
        queued = self.poll(caller, wire_id)
        assert queued.status_code == 200
        assert self.status_of(queued.json) == self.words[JobState.QUEUED]
        claim = factories.claimed(services, job_id)
        assert self.status_of(self.poll(caller, wire_id).json) == self.words[JobState.RUNNING]
        assert factories.succeed(services, claim)
        done = self.poll(caller, wire_id).json
        assert self.status_of(done) == self.words[JobState.SUCCEEDED]
        link = self.output_of(done)
        assert link is not None
        with caller.app.test_client().get(link) as file:
            assert file.data == b"picture"
        assert _standing(caller) == (before[0] - round(self.price * 10), 0)
        self.check_standing(caller, (before[0] - round(self.price * 10)) / 10)
        assert_books_balance(services)

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_what_does_not_succeed_costs_nothing(self, caller: Caller, ending: str) -> None:
        services, before = caller.services, _standing(caller)
        wire_id, job_id = self.submitted(caller)
        state, end = ENDINGS[ending]
        end(services, job_id)
        answer = self.poll(caller, wire_id).json
        assert self.status_of(answer) == self.words[state]
        assert self.output_of(answer) is None
        assert _standing(caller) == before
        assert_books_balance(services)

    def test_the_shared_paths_know_the_storefronts_ids_and_words(self, caller: Caller) -> None:
        wire_id, job_id = self.submitted(caller)
        assert factories.succeed(caller.services, factories.claimed(caller.services, job_id))
        assert caller.get(f"/v1/jobs/{wire_id}").json == self.poll(caller, wire_id).json
        too_late = caller.post(f"/v1/jobs/{wire_id}/cancel", {})
        assert too_late.status_code == 409
        self.problem_of(too_late.json)
        other_id, _ = self.submitted(caller)
        cancelled = caller.post(f"/v1/jobs/{other_id}/cancel", {})
        assert cancelled.status_code == 200, cancelled.text
        assert self.status_of(cancelled.json) == self.words[JobState.CANCELLED]
        self.check_problem(caller.get("/v1/jobs/nothing"), "not_found")

    def test_the_shared_paths_speak_the_callers_words(self, caller: Caller) -> None:
        wire_id, _ = self.submitted(caller)
        self.check_problem(caller.get("/v1/models/nothing"), "not_found")
        self.check_problem(caller.get(f"/v1/jobs/{wire_id}?wait=x"), "invalid_request")
        hooks = "/v1/account/webhooks"
        assert caller.get(hooks).status_code == 200
        self.check_problem(caller.post(hooks, {}), "invalid_request")
        self.check_problem(caller.get(f"{hooks}/{NO_ID}"), "not_found")
        self.check_problem(caller.get(f"{hooks}/deliveries/msg_{NO_ID.hex}"), "not_found")

    def test_a_webhook_calls_the_job_what_a_poll_takes(self, caller: Caller) -> None:
        wire_id, job_id = self.submitted(caller)
        assert factories.succeed(caller.services, factories.claimed(caller.services, job_id))
        signer = runtime_of(caller.app).signer
        job = views.find_job(caller.services.db, job_id)
        message = json.loads(job_message("job.succeeded", job, signer, "https://farm.example"))
        told = message.get("data", message)
        assert self.poll(caller, told["id"]).json == self.poll(caller, wire_id).json
        assert told["output_url"].startswith("https://farm.example/outputs/")
        assert told["receipt"]["charged"] == self.price

    def test_without_credits_nothing_is_made(self, shop: Shop) -> None:
        caller = shop.caller(self.storefront, self.plan, empty=True)
        before = caller.footprint()
        sentence = self.check_problem(self.submit(caller), "insufficient_credits")
        assert f"{self.price:g}" in sentence
        assert caller.footprint() == before
        self.check_standing(caller, 0.0)

    def test_refused_words_cost_nothing(self, caller: Caller) -> None:
        before = _standing(caller)
        self.check_refused(caller, self.submit(caller, {**self.body, "prompt": REFUSED_WORDS}))
        assert _standing(caller) == before
        assert_books_balance(caller.services)

    def test_an_id_that_is_not_ones_own_is_not_there(self, shop: Shop, caller: Caller) -> None:
        wire_id, job_id = self.submitted(caller)
        stranger = shop.caller(self.storefront, self.plan)
        theirs = self.poll(stranger, wire_id)
        self.check_problem(theirs, "not_found")
        nobodys = self.poll(stranger, wire_id.replace(*_exchanged(wire_id, job_id)))
        self.check_problem(nobodys, "not_found")
        assert theirs.json == nobodys.json
        for nonsense in ("nothing", "0", "%00", "a" * 300):
            self.check_problem(self.poll(stranger, nonsense), "not_found")
        assert self.poll(caller, wire_id).status_code == 200

    def test_the_plan_says_how_many_submits_a_minute(self, shop: Shop) -> None:
        table = shop.services.catalog.storefronts[self.storefront]
        plan = table.plans[table.default_plan]
        caller = shop.caller(self.storefront, plan.id)
        wire_id, _ = self.submitted(caller)
        limit = plan.submits_per_minute
        answers = [self.submit(caller, {}) for _ in range(limit + 2)]
        for refused in answers[: limit - 1]:
            assert refused.headers["X-RateLimit-Limit"] == str(limit)
            self.check_problem(refused, "invalid_request")
        # A call more may pass where a minute ends meanwhile.
        over = answers[-1]
        self.check_problem(over, "rate_limited")
        # The last calls weigh on the next minute too.
        assert 1 <= int(over.headers["Retry-After"]) <= 120
        assert self.poll(caller, wire_id).status_code == 200

    def test_jobs_that_do_not_fit_beside_those_that_wait_are_refused(
        self, shop: Shop, caller: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models, table = (c := shop.services.catalog).models, c.storefronts[self.storefront]
        _, job_id = self.submitted(caller)
        model = views.find_job(caller.services.db, job_id).model
        before = caller.footprint()
        with monkeypatch.context() as patch:
            small = table.plans[self.plan].model_copy(update={"jobs_max": 1})
            patch.setitem(table.plans, self.plan, small)
            over = self.submit(caller)
            assert "1 jobs queued or running" in self.check_problem(over, "rate_limited")
        with monkeypatch.context() as patch:
            patch.setitem(models, model, models[model].model_copy(update={"queue_max": 1}))
            full = self.submit(caller)
            assert full.status_code == 503
            assert f"{model} is in great demand" in self.problem_of(full.json)[1]
        for refused in (over, full):
            assert 1 <= int(refused.headers["Retry-After"]) <= 3600
        assert caller.footprint() == before
        self.submitted(caller)

    def test_a_body_that_cannot_be_read_is_said_so(self, caller: Caller) -> None:
        before = caller.footprint()
        for data in (b"", b"{", b"[]", b"null", b'"a"', b'{"prompt": "a"', b"\xff\xfe"):
            response = caller.app.test_client().post(
                self.submit_path, data=data, headers=caller.headers, content_type="application/json"
            )
            self.check_problem(response, "malformed")
        for kind in ("text/plain", "application/xml"):
            response = caller.app.test_client().post(
                self.submit_path, data=b"{}", headers=caller.headers, content_type=kind
            )
            self.check_problem(response, "malformed")
        assert caller.footprint() == before

    def test_fields_that_are_wrong_are_named(self, caller: Caller) -> None:
        before = caller.footprint()
        for body, word in self.bad_bodies:
            sentence = self.check_problem(self.submit(caller, body), "invalid_request")
            assert word in sentence, (body, sentence)
        assert caller.footprint() == before

    def test_a_field_that_is_not_known_refuses_nothing(self, caller: Caller) -> None:
        response = self.submit(caller, {**self.body, "promt": "b", "x": {"y": [1, None]}})
        assert response.status_code == 200, response.text

    def test_no_key_and_other_keys_are_a_401_in_the_paths_shape(
        self, shop: Shop, caller: Caller
    ) -> None:
        wire_id, _ = self.submitted(caller)
        prefix = shop.services.catalog.storefronts[self.storefront].key_prefix
        keys = [None, "", "Bearer x", f"Bearer {generate_key(prefix)}"]
        for dialect in DIALECTS:
            if dialect.id != self.storefront:
                who = factories.customer(shop.services, storefront=dialect.id)
                keys.append(f"Bearer {who.key}")
        paths = [("POST", self.submit_path), ("GET", self.poll_path.format(id=wire_id))]
        for method, path in (*paths, *self.private_paths):
            for key in keys:
                response = shop.app.test_client().open(
                    path,
                    method=method,
                    headers={} if key is None else {"Authorization": key},
                    json=self.body if method == "POST" else None,
                )
                self.check_problem(response, "unauthenticated")
                assert response.headers["WWW-Authenticate"] == "Bearer"

    def test_the_same_idempotency_key_gives_the_same_answer(self, caller: Caller) -> None:
        first = self.submit(caller, Idempotency_Key="one")
        standing = _standing(caller)
        again = self.submit(caller, Idempotency_Key="one")
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.json == first.json
        assert again.headers["Idempotency-Replayed"] == "true"
        assert _standing(caller) == standing
        other = self.submit(caller, {**self.body, "prompt": "another"}, Idempotency_Key="one")
        self.check_problem(other, "idempotency_mismatch")

    def test_the_prices_and_the_grant_are_the_storefronts_own(self, shop: Shop) -> None:
        table = shop.services.catalog.storefronts[self.storefront]
        caller = shop.caller(self.storefront, table.default_plan)
        listed = {model["id"]: model for model in caller.get("/v1/models").json["data"]}
        assert set(listed) == {card.id for card in shop.services.offers.sold(self.storefront)}
        for model, price in table.prices.items():
            if price.credits is not None and model in listed:
                assert listed[model]["credits"] == price.credits
        self.check_standing(caller, table.plans[table.default_plan].credits_month)


def _standing(caller: Caller) -> tuple[int, int]:
    """What the account has and what of it is held, in tenths."""
    account = views.balance(caller.services.db, caller.customer.account_id)
    return account.posted_tenths, account.held_tenths


def _exchanged(wire_id: str, job_id: uuid.UUID) -> tuple[str, str]:
    """The job's id as it stands in the one on the wire, and nobody's in its place."""
    for mine, nobodys in ((str(job_id), str(NO_ID)), (job_id.hex, NO_ID.hex)):
        if mine in wire_id:
            return mine, nobodys
    raise AssertionError(f"{wire_id!r} does not have the id {job_id} in it")
