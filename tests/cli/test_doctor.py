"""What the doctor finds, each fault made for real, and what it tells the operator to type."""

from __future__ import annotations

import dataclasses
import uuid
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from farm import canaries, nodes, vitals
from farm.canaries import CONTROL_QUEUES
from farm.cli.doctor import books, servers, setup, work
from farm.cli.doctor.check import Check, Look, Patient
from farm.embedded import start_redis
from farm.errors import FarmError
from farm.services import Services
from tests import factories
from tests.cli.conftest import Farm
from tests.farm.checks import run
from tests.farm.test_nodes import GPU
from tests.services import redis_client

SDXL = "gpu.sdxl"
WORKER = dataclasses.replace(GPU, queues=(SDXL,))


@pytest.fixture
def patient(services: Services) -> Patient:
    return Patient(services.settings, services.catalog, services.queues, services.db)


def changed(patient: Patient, **settings: object) -> Patient:
    """The same farm with other settings."""
    return dataclasses.replace(patient, settings=patient.settings.model_copy(update=settings))


def one(look: Look, patient: Patient, name: str) -> Check:
    """What a look says of one thing."""
    (found,) = [check for check in look(patient) if check.name == name]
    return found


def fails(look: Look, patient: Patient, name: str, *words: str) -> None:
    """The look finds it wrong, and says these words."""
    found = one(look, patient, name)
    assert not found.ok
    for each in words:
        assert each in found.says


def is_well(look: Look, patient: Patient, name: str) -> None:
    found = one(look, patient, name)
    assert found.ok, found.says


def test_what_is_well_and_what_to_type_where_it_is_not(farm: Farm) -> None:
    ran = farm("doctor", "--json")
    assert ran.code == 1
    checks = {check["name"]: check for check in ran.json()}
    for name in ("database", "broker", "storage", "weights sdxl", "audit", "storefronts"):
        assert checks[name]["ok"], checks[name]
    assert "start `farm control` and `farm beat`" in checks["control"]["says"]
    assert checks[f"queue {SDXL}"]["says"] == (
        "no worker serves it (no canary has come back): start `farm worker --queues gpu.sdxl`."
    )


def test_it_goes_on_when_a_service_is_away(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", f"redis+socket://{tmp_path}/nobody.sock")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://postgres@/farm?host={tmp_path}")
    monkeypatch.setenv("FARM_WEIGHTS", str(tmp_path))
    ran = farm("doctor")
    assert ran.code == 1
    assert "FAIL  database: The database does not answer: start PostgreSQL" in ran.out
    assert "FAIL  broker: The message broker does not answer" in ran.out
    assert "FAIL  rate limits: their Redis does not answer" in ran.out
    assert "ok    storage:" in ran.out
    assert "FAIL  the rest: control, queues, jobs" in ran.out


def test_connections_that_are_nearly_exhausted(patient: Patient) -> None:
    is_well(servers.database, patient, "connections")
    url = make_url(patient.settings.database_url)
    name = url.database
    run_on(patient, f"ALTER DATABASE {name} CONNECTION LIMIT 4")
    try:
        with ExitStack() as stack:
            for _ in range(3):
                plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
                connection = psycopg2.connect(plain)
                stack.callback(connection.close)
            fails(servers.database, patient, "connections", "of 4 are in use", "max_connections")
    finally:
        run_on(patient, f"ALTER DATABASE {name} CONNECTION LIMIT -1")


def run_on(patient: Patient, sql: str) -> None:
    with patient.db.statement() as connection:
        connection.exec_driver_sql(sql)


def test_a_redis_that_evicts(patient: Patient, tmp_path: Path) -> None:
    with start_redis(tmp_path / "redis") as own, redis_client(own.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        evicting = changed(patient, broker_url=own.url)
        words = ("allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
        fails(servers.broker, evicting, "broker memory", *words)


def test_a_redis_that_is_nearly_full(patient: Patient) -> None:
    is_well(servers.broker, patient, "broker memory")
    facts = {"maxmemory": 100 << 20, "maxmemory_policy": "noeviction", "used_memory": 95 << 20}
    found = servers.memory(facts)
    assert (found.ok, found.says[:32]) == (False, "95 of 100 MiB are in use: see wi")


def test_nobody_to_count_calls(patient: Patient) -> None:
    is_well(servers.limits, patient, "rate limits")
    away = changed(patient, redis_url="redis://127.0.0.1:1/0")
    fails(servers.limits, away, "rate limits", "each process counts alone", "FARM_REDIS_URL")
    none = changed(patient, broker_url="amqp://127.0.0.1:1//")
    fails(servers.limits, none, "rate limits", "set FARM_REDIS_URL")


def test_a_storage_that_cannot_be_written_to(patient: Patient, tmp_path: Path) -> None:
    is_well(servers.storage, patient, "storage")
    (tmp_path / "file").touch()
    broken = changed(patient, storage_url=(tmp_path / "file" / "outputs").as_uri())
    with pytest.raises(FarmError, match="could not be stored in"):
        list(servers.storage(broken))


def test_a_disk_that_is_nearly_full() -> None:
    gib = 1 << 30
    assert servers.room(Path("/srv"), 100 * gib, 0, 6 * gib).ok
    assert servers.room(Path("/srv"), 9000 * gib, 0, 21 * gib).ok
    found = servers.room(Path("/srv"), 100 * gib, 0, 4 * gib)
    assert (found.ok, "only 4.0 GiB are free in /srv" in found.says) == (False, True)


def test_storefronts_that_there_are_not(patient: Patient) -> None:
    is_well(setup.storefronts, patient, "storefronts")
    for settings in ({"storefronts": "pixel"}, {"hosts": "img.example.com=pixel"}):
        with pytest.raises(FarmError, match="no storefront that is served here"):
            list(setup.storefronts(changed(patient, **settings)))


@pytest.fixture
def served(services: Services) -> Services:
    """Control sends canaries, one worker takes those of its queue, and control takes its own."""
    with canaries.due(services.db, (SDXL, *CONTROL_QUEUES), ()):
        pass
    for queue in (SDXL, *CONTROL_QUEUES):
        canaries.answer(services.db, queue, WORKER.name)
    nodes.report(services.db, WORKER)
    return services


def test_a_queue_without_a_worker_and_one_whose_worker_is_deaf(
    patient: Patient, served: Services
) -> None:
    is_well(work.control, patient, "control")
    is_well(work.queues, patient, f"queue {SDXL}")
    fails(work.queues, patient, "queue gpu.wan2.1", "start `farm worker --queues gpu.wan2.1`")
    run(served, "UPDATE canaries SET answered_at = now() - interval '75 s'")
    fails(work.queues, patient, f"queue {SDXL}", WORKER.name, "it is deaf", "FARM_DEAF_AFTER_S")
    nodes.report(served.db, dataclasses.replace(WORKER, job_id=uuid.uuid4()))
    is_well(work.queues, patient, f"queue {SDXL}")


def test_beat_or_control_that_does_not_run(patient: Patient, served: Services) -> None:
    back = "now() - interval '90 s'"
    run(served, f"UPDATE canaries SET sent_at = {back}, answered_at = {back}")
    fails(work.control, patient, "control", "no canary was sent for 90 s", "`farm beat`")
    is_well(work.queues, patient, f"queue {SDXL}")


def test_jobs_that_run_without_a_worker(patient: Patient, services: Services) -> None:
    is_well(work.jobs_stuck, patient, "jobs")
    job_id = factories.submitted(services, factories.customer(services))
    factories.claimed(services, job_id)
    run(services, "UPDATE jobs SET lease_until = now() - interval '5 min'")
    fails(work.jobs_stuck, patient, "jobs", str(job_id), "`farm control`")


def test_jobs_that_wait_too_long_and_those_whose_message_is_lost(
    patient: Patient, services: Services
) -> None:
    is_well(work.waits, patient, "waits")
    is_well(work.messages, patient, "messages")
    factories.submitted(services, factories.customer(services))
    run(services, "UPDATE jobs SET queued_at = now() - interval '40 min'")
    fails(work.waits, patient, f"wait {SDXL}", "has waited 40 min", "after 60 min")
    lost = "1 jobs wait and the broker holds 0 messages"
    fails(work.messages, patient, f"messages {SDXL}", lost, "again within 35 s")


@pytest.mark.parametrize("code", list(vitals.BREAKING))
def test_jobs_that_broke_their_workers(patient: Patient, services: Services, code: str) -> None:
    is_well(work.broken_workers, patient, "workers")
    job_id = factories.submitted(services, factories.customer(services))
    factories.fail(services, factories.claimed(services, job_id), code=code)
    fails(work.broken_workers, patient, code, "1 of sdxl", f"`farm jobs show {job_id}`")


def test_webhooks_that_nobody_sends(patient: Patient, services: Services) -> None:
    is_well(books.webhooks, patient, "webhooks")
    who = factories.customer(services, plan="pro")
    target = uuid.uuid4()
    run(
        services,
        "INSERT INTO webhook_deliveries (id, account_id, url, target, event, next_at) "
        "VALUES (:id, :account, 'https://a.example/', :target, 'job.succeeded', "
        "now() - interval '5 min')",
        id=uuid.uuid4(),
        account=who.account_id,
        target=target,
    )
    fails(books.webhooks, patient, "webhooks", "1 are overdue, the oldest for 5 min")
    run(services, "INSERT INTO webhook_troubles (target) VALUES (:t)", t=target)
    found = one(books.webhooks, patient, "webhooks")
    assert (found.ok, "1 receivers fail" in found.says) == (True, True)


def test_audits_that_failed_or_were_not_made(patient: Patient, services: Services) -> None:
    is_well(books.audit, patient, "audit")
    factories.submitted(services, factories.customer(services))
    run(services, "UPDATE jobs SET created_at = now() - interval '3 hours'")
    fails(books.audit, patient, "audit", "there was none. Start `farm control`")
    run(services, "INSERT INTO audits (seconds, broken) VALUES (1, '[]')")
    is_well(books.audit, patient, "audit")
    run(services, "UPDATE audits SET ran_at = now() - interval '3 hours'")
    fails(books.audit, patient, "audit", "the last one was 3 h ago", "`farm ledger audit`")
    run(services, "INSERT INTO audits (seconds, broken) VALUES (1, '[{\"number\": 3}]')")
    fails(books.audit, patient, "audit", "invariant 3 did not hold", "`farm ledger audit`")
