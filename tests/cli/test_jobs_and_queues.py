"""Jobs, queues, nodes and models, as the operator types them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from farm import nodes
from farm.services import Services
from farm.views import balance
from tests.cli.conftest import Farm
from tests.factories import claimed, customer, submitted
from tests.farm.checks import run


def test_jobs_are_listed_newest_first_for_one_account_or_all(
    farm: Farm, services: Services
) -> None:
    one, other = customer(services), customer(services)
    first, second = submitted(services, one), submitted(services, one)
    third = submitted(services, other)

    def ids(*words: str) -> list[str]:
        return [row["id"] for row in farm("jobs", "list", "--json", *words).json()]

    assert ids() == [str(third), str(second), str(first)]
    assert ids("--limit", "1") == [str(third)]
    assert ids("--account", one.email) == [str(second), str(first)]
    claimed(services, first)
    assert ids("--state", "running") == [str(first)]
    assert ids("--account", one.email, "--state", "queued") == [str(second)]
    assert str(first) in farm("jobs", "list").out


def test_a_job_is_shown_with_its_parameters(farm: Farm, services: Services) -> None:
    job_id = submitted(services, customer(services))
    job = farm("jobs", "show", str(job_id), "--json").json()
    assert (job["state"], job["credits"], job["model"]) == ("queued", 3.0, "sdxl")
    assert job["params"]["prompt"] == "a red circle"
    assert "a red circle" in farm("jobs", "show", str(job_id)).out


def test_a_cancelled_job_gives_its_credits_back(farm: Farm, services: Services) -> None:
    who = customer(services)
    job_id = submitted(services, who)
    assert balance(services.db, who.account_id).available_tenths == 70

    assert farm("jobs", "cancel", str(job_id)).out == f"Job {job_id} is cancelled.\n"
    assert balance(services.db, who.account_id).available_tenths == 100
    assert farm("jobs", "cancel", str(job_id)).code == 0
    assert farm("ledger", "audit").code == 0


def test_queues_show_what_waits_and_that_nobody_works(farm: Farm, services: Services) -> None:
    claimed(services, submitted(services, customer(services)))
    submitted(services, customer(services))

    rows = {row["queue"]: row for row in farm("queues", "--json").json()}
    assert set(rows) == {*services.catalog.queues, "intake", "webhooks", "control"}
    sdxl = rows["gpu.sdxl"]
    assert (sdxl["queued"], sdxl["running"], sdxl["workers"]) == (1, 1, 0)


def test_nodes_are_shown_as_they_report_without_the_broker(
    farm: Farm, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", "redis://127.0.0.1:1/0")
    assert farm("nodes", "--json").json() == []
    assert "No worker has reported." in farm("nodes").out
    job_id = uuid.uuid4()
    nodes.report(
        services.db,
        nodes.Report(
            name="worker-gpu0-17@rack1",
            host="rack1",
            pid=17,
            queues=("gpu.sdxl", "gpu.upscale"),
            device="cuda:0",
            gpu="NVIDIA H200",
            memory_bytes=139 << 30,
            memory_used_bytes=10 << 30,
            up_s=7500,
            models={"sdxl": nodes.HeldModel(7 << 30, 4.5), "upscale": nodes.HeldModel(80 << 20, 1)},
            versions={"torch": "2.11.0"},
            job_id=job_id,
            step=7,
            steps=20,
        ),
    )
    (row,) = farm("nodes", "--json").json()
    assert (row["node"], row["live"], row["job_id"]) == ("worker-gpu0-17@rack1", True, str(job_id))
    assert row["models"]["sdxl"] == {"bytes": 7 << 30, "load_s": 4.5}
    assert row["versions"] == {"torch": "2.11.0"}
    shown = farm("nodes").out.splitlines()[1]
    for cell in ("worker-gpu0-17 ", "H200", "10.0G/139G", "sdxl 7.0G, upscale 80M", " 2h "):
        assert cell in shown
    assert f"{str(job_id)[:8]} 7/20" in shown
    run(services, "UPDATE nodes SET seen_at = now() - interval '5 min'")
    assert "silent 5min" in farm("nodes").out
    assert farm("nodes", "--json").json()[0]["live"] is False


def test_models_are_listed_with_their_facts(farm: Farm, services: Services) -> None:
    rows = farm("models", "list", "--json").json()
    assert [row["id"] for row in rows] == list(services.catalog.models)
    assert "gpu.flux-schnell" in farm("models", "list").out


def test_missing_weights_are_named_with_what_to_do(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_WEIGHTS", str(tmp_path))
    ran = farm("models", "check", "sdxl")
    assert ran.code == 1
    assert f"there is no folder {tmp_path}/sdxl" in ran.out
    assert farm("models", "check", "sdxl", "--json").json()[0]["ok"] is False
