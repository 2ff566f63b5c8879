"""What operators and their machines ask."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app, runtime_of
from api.metrics import clear_dead_counts
from api.ops import BrokerWatch
from api.runtime import Runtime
from farm import canaries, nodes
from farm.broker import make_celery
from farm.canaries import CONTROL_QUEUES
from farm.catalog import Catalog
from farm.config import Settings
from farm.services import Services
from tests import factories
from tests.api.caller import Caller
from tests.farm.checks import run
from tests.farm.test_nodes import GPU

pytestmark = pytest.mark.usefixtures("own_app")


def _samples(app: Flask) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = app.test_client().get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_the_process_is_alive(app: Flask) -> None:
    assert app.test_client().get("/healthz").json == {"status": "ok"}


def test_a_farm_without_workers_is_not_ready(app: Flask, catalog: Catalog) -> None:
    response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert response.json["database"] == "ok"
    assert response.json["broker"] == "ok"
    assert response.json["control"].startswith("no canary was sent yet: start `farm control`")
    # Nobody has to serve upstreams where there are none.
    assert set(response.json["queues"]) == set(catalog.queues) - {"upstream"}
    assert not any(queue["ready"] for queue in response.json["queues"].values())
    assert response.json["queues"]["gpu.sdxl"] == {
        "ready": False,
        "answered_s": None,
        "answered_by": None,
        "why_not": (
            "no worker serves it (no canary has come back): start `farm worker --queues gpu.sdxl`."
        ),
    }


def test_upstreams_are_to_be_served_where_there_are_any(
    settings: Settings, catalog: Catalog
) -> None:
    row = {"base_url": "https://api.example.com/v1", "key_env": "EXAMPLE_KEY", "model": "m"}
    given = settings.model_copy(update={"upstreams": json.dumps({"veo": row})})
    app = create_app(given)
    queues = app.test_client().get("/readyz").json["queues"]
    runtime_of(app).close()
    assert set(queues) == set(catalog.queues)


@pytest.fixture
def ready(runtime: Runtime) -> Services:
    """A farm whose canaries all came back at one worker, which reports."""
    services = runtime.services
    queues = (*services.queues, *CONTROL_QUEUES)
    with canaries.due(services.db, queues, ()):
        pass
    for queue in queues:
        canaries.answer(services.db, queue, WORKER.name)
    nodes.report(services.db, WORKER)
    return services


WORKER = dataclasses.replace(GPU, name="worker-any-17@host", queues=("gpu.sdxl",))


def readiness(app: Flask) -> tuple[int, Any]:
    response = app.test_client().get("/readyz")
    return response.status_code, response.json


def back(services: Services, column: str, seconds: float, queues: str = "gpu.sdxl") -> None:
    """So long ago."""
    sql = f"UPDATE canaries SET {column} = {column} - :s * interval '1 s' WHERE queue LIKE :q"
    run(services, sql, s=seconds, q=queues)


def test_a_farm_whose_canaries_come_back_is_ready(app: Flask, ready: Services) -> None:
    code, body = readiness(app)
    assert (code, body["ready"], body["control"]) == (200, True, "ok")
    sdxl = body["queues"]["gpu.sdxl"]
    assert sdxl.pop("answered_s") < 30
    assert sdxl == {"ready": True, "answered_by": WORKER.name, "why_not": None}


def test_a_worker_that_takes_nothing_is_told_from_one_that_is_absent(
    app: Flask, ready: Services
) -> None:
    back(ready, "answered_at", 75)
    code, body = readiness(app)
    assert code == 503
    why_not = body["queues"]["gpu.sdxl"]["why_not"]
    assert why_not.startswith(
        "worker-any-17@host should serve it and took no canary: the last canary came back 75 s ago"
    )
    nodes.remove(ready.db, WORKER.name)
    assert readiness(app)[1]["queues"]["gpu.sdxl"]["why_not"] == (
        "no worker serves it (the last canary came back 75 s ago): "
        "start `farm worker --queues gpu.sdxl`."
    )


def test_a_canary_may_wait_behind_a_job(app: Flask, ready: Services) -> None:
    back(ready, "answered_at", 500)
    nodes.report(ready.db, dataclasses.replace(WORKER, job_id=uuid.uuid4()))
    assert readiness(app)[0] == 200
    run(ready, "UPDATE nodes SET seen_at = now() - interval '61 s'")
    assert readiness(app)[0] == 503


def test_a_farm_whose_control_is_away_says_so(app: Flask, ready: Services) -> None:
    back(ready, "sent_at", 80, "%")
    code, body = readiness(app)
    assert code == 503
    assert "no canary was sent for 80 s: beat or control is not running" in body["control"]


def test_a_control_worker_that_fetches_nothing_is_said(app: Flask, ready: Services) -> None:
    back(ready, "answered_at", 75, "intake")
    assert readiness(app)[1]["control"] == (
        "queue intake: no worker serves it (the last canary came back 75 s ago): "
        "start `farm control`."
    )


def test_a_broker_that_is_away_is_said_and_asked_for_once_in_a_while(
    settings: Settings, catalog: Catalog
) -> None:
    now = [1000.0]
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    watch = BrokerWatch(make_celery(nowhere, catalog), clock=lambda: now[0])
    assert watch.look() == "does not answer"
    asked_at = watch._asked_at
    now[0] += 4
    watch.look()
    assert watch._asked_at == asked_at
    now[0] += 2
    watch.look()
    assert watch._asked_at > asked_at


def test_metrics_count_requests_and_show_the_queues(
    app: Flask, runtime: Runtime, caller: Caller
) -> None:
    caller.generate({"prompt": "a", "model": "sdxl"})
    caller.generate({"prompt": "a", "model": "sdxl"})
    caller.generate({"prompt": ""})
    job_id = caller.get("/v1/account/usage").json["usage"][0]["id"]
    factories.claimed(runtime.services, uuid.UUID(job_id))
    samples = _samples(app)
    endpoint = ("endpoint", "pixelapi.generate_image")
    count = "farm_http_request_seconds_count"
    assert samples[count, (endpoint, ("status", "200"))] == 2
    assert samples[count, (endpoint, ("status", "422"))] == 1
    assert samples["farm_database_up", ()] == 1
    assert samples["farm_held_credits", ()] == 6
    queue = ("queue", "gpu.sdxl")
    assert samples["farm_jobs", (queue, ("state", "queued"))] == 1
    assert samples["farm_jobs", (queue, ("state", "running"))] == 1
    assert samples["farm_queue_oldest_wait_seconds", (queue,)] > 0
    assert samples["farm_queue_oldest_wait_seconds", (("queue", "gpu.flux-schnell"),)] == 0


def test_metrics_show_the_nodes(app: Flask, runtime: Runtime) -> None:
    db = runtime.services.db
    report = nodes.Report(
        name="worker-gpu0-17@rack1",
        host="rack1",
        pid=17,
        queues=("gpu.sdxl",),
        device="cuda:0",
        gpu="NVIDIA H200",
        memory_bytes=139 << 30,
        memory_used_bytes=10 << 30,
        up_s=7500,
        models={"sdxl": nodes.HeldModel(7 << 30, 4.5)},
        versions={"torch": "2.11.0"},
        job_id=uuid.uuid4(),
    )
    nodes.report(db, report)
    nodes.report(db, dataclasses.replace(report, name="worker-gpu0-18@rack1", job_id=None))
    run(
        runtime.services,
        "UPDATE nodes SET seen_at = now() - interval '61 s' WHERE name LIKE '%18%'",
    )
    samples = _samples(app)
    node, silent = ("node", report.name), ("node", "worker-gpu0-18@rack1")
    assert (samples["farm_node_up", (node,)], samples["farm_node_up", (silent,)]) == (1, 0)
    assert samples["farm_node_busy", (node,)] == 1
    assert ("farm_node_busy", (silent,)) not in samples
    assert samples["farm_node_memory_bytes", (node,)] == 139 << 30
    assert samples["farm_node_memory_used_bytes", (node,)] == 10 << 30
    assert samples["farm_node_model_resident_bytes", (("model", "sdxl"), node)] == 7 << 30
    (info,) = [dict(labels) for name, labels in samples if name == "farm_node_info"]
    assert (info["host"], info["gpu"], info["torch"]) == ("rack1", "NVIDIA H200", "2.11.0")


def test_metrics_tell_what_stands_still(app: Flask, ready: Services) -> None:
    back(ready, "answered_at", 75)
    run(ready, "INSERT INTO audits (seconds, broken) VALUES (1, '[{\"number\": 3}]')")
    samples = _samples(app)
    queues = [dict(labels)["queue"] for name, labels in samples if name == "farm_queue_ready"]
    assert set(queues) == {*ready.catalog.queues, *CONTROL_QUEUES}
    sdxl, flux = (("queue", "gpu.sdxl"),), (("queue", "gpu.flux-schnell"),)
    assert (samples["farm_queue_ready", sdxl], samples["farm_queue_ready", flux]) == (0, 1)
    assert samples["farm_canary_age_seconds", sdxl] > 70
    assert samples["farm_canary_sent_age_seconds", ()] < 60
    assert (samples["farm_audit_broken", ()], samples["farm_webhooks_overdue", ()]) == (1, 0)
    assert samples["farm_audit_age_seconds", ()] < 60


def test_unknown_paths_are_one_series(app: Flask) -> None:
    for number in range(5):
        app.test_client().get(f"/nowhere/{number}")
    samples = _samples(app)
    labels = (("endpoint", "unknown"), ("status", "404"))
    assert samples["farm_http_request_seconds_count", labels] == 5


_TWO_PROCESSES = """
import os, sys
from api.wsgi import create
app = create()
client = app.test_client()
client.get("/healthz")
if os.fork() == 0:
    client.get("/healthz")
    os._exit(0)
os.wait()
text = client.get("/metrics").text
line = next(l for l in text.splitlines() if l.startswith("farm_http_request_seconds_count{"))
print(line)
"""


def test_processes_of_one_machine_are_counted_together(settings: Settings) -> None:
    environment = os.environ | {
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "FARM_DATA": str(settings.data),
    }
    done = subprocess.run(
        [sys.executable, "-c", _TWO_PROCESSES],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(" 2.0"), done.stdout


def test_a_process_that_cannot_start_says_one_sentence(settings: Settings) -> None:
    environment = os.environ | {"FARM_DATA": str(settings.data), "FARM_PUBLIC_UR": "x"}
    done = subprocess.run(
        [sys.executable, "-c", "from api.wsgi import create; create()"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "FARM_PUBLIC_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_counts_of_ended_processes_are_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    own = folder / f"histogram_{os.getpid()}.db"
    own.touch()
    for number in range(300):
        (folder / f"histogram_{2_000_000_000 + number}.db").touch()
    clear_dead_counts(folder)
    assert list(folder.iterdir()) == [own]
