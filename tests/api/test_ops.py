"""What operators and their machines ask."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import pytest
from celery import Celery
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app, runtime_of
from api.metrics import clear_dead_counts
from api.ops import WorkerWatch
from api.runtime import Runtime
from farm import nodes
from farm.broker import make_celery
from farm.catalog import Catalog
from farm.config import Settings
from tests import factories
from tests.api.caller import Caller
from tests.farm.checks import run
from tests.processes import wait_until


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
    # Nobody has to serve upstreams where there are none.
    assert set(response.json["queues"]) == set(catalog.queues) - {"upstream"}
    assert not any(queue["ready"] for queue in response.json["queues"].values())


def test_upstreams_are_to_be_served_where_there_are_any(
    settings: Settings, catalog: Catalog
) -> None:
    row = {"base_url": "https://api.example.com/v1", "key_env": "EXAMPLE_KEY", "model": "m"}
    given = settings.model_copy(update={"upstreams": json.dumps({"veo": row})})
    app = create_app(given)
    queues = app.test_client().get("/readyz").json["queues"]
    runtime_of(app).close()
    assert set(queues) == set(catalog.queues)


def test_a_broker_that_is_away_is_said(settings: Settings, catalog: Catalog) -> None:
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    broker, seen = WorkerWatch(make_celery(nowhere, catalog)).look()
    assert (broker, dict(seen)) == ("does not answer", {})


@pytest.fixture
def worker(settings: Settings, catalog: Catalog) -> Iterator[Celery]:
    """A Celery worker on the model queues, in a thread: it answers, which is all it is for."""
    app = make_celery(settings, catalog)
    stop = threading.Event()
    thread = threading.Thread(target=_answer_inspections, args=(app, catalog, stop), daemon=True)
    thread.start()
    yield app
    stop.set()
    thread.join(10)


def _answer_inspections(app: Celery, catalog: Catalog, stop: threading.Event) -> None:
    """A node that knows one command of Celery's remote control."""
    from kombu.pidbox import Mailbox

    queues = [{"name": name} for name in catalog.queues]
    with app.connection_for_read() as connection:
        mailbox: Mailbox = app.control.mailbox
        node = mailbox.Node("test@here", state=None, channel=connection.channel())
        node.handlers["active_queues"] = lambda state, **_: queues
        with node.listen(callback=node.handle_message):
            while not stop.is_set():
                try:
                    connection.drain_events(timeout=0.1)
                except TimeoutError:
                    continue


def test_a_farm_with_a_worker_on_every_queue_is_ready(app: Flask, worker: Celery) -> None:
    def ready() -> bool:
        return app.test_client().get("/readyz").status_code == 200

    wait_until(ready, 30, "/readyz did not see the worker")
    body = app.test_client().get("/readyz").json
    assert body["ready"] is True
    assert all(queue["worker_seen_s"] <= 60 for queue in body["queues"].values())


def test_one_look_serves_everybody_for_a_while(settings: Settings, catalog: Catalog) -> None:
    now = [1000.0]
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    watch = WorkerWatch(make_celery(nowhere, catalog), clock=lambda: now[0])
    watch.look()
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
    factories.claimed(runtime.services, caller.get("/v1/account/usage").json["usage"][0]["id"])
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


def test_counts_of_ended_processes_are_bounded(settings: Settings) -> None:
    folder = settings.data / "metrics"
    folder.mkdir(parents=True)
    own = folder / f"histogram_{os.getpid()}.db"
    own.touch()
    for number in range(300):
        (folder / f"histogram_{2_000_000_000 + number}.db").touch()
    clear_dead_counts(folder)
    assert list(folder.iterdir()) == [own]
