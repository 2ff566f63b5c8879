"""What workers report, who counts as alive, and who is forgotten."""

from __future__ import annotations

import dataclasses
import uuid

from farm import nodes
from farm.nodes import HeldModel, Report
from farm.services import Services
from tests.farm.checks import run

GPU = Report(
    name="worker-gpu0-17@host",
    host="host",
    pid=17,
    queues=("gpu.sdxl", "gpu.upscale"),
    device="cuda:0",
    gpu="NVIDIA H200",
    memory_bytes=150 << 30,
    memory_used_bytes=12 << 30,
    up_s=90.0,
    models={"sdxl": HeldModel(7 << 30, 4.5)},
    versions={"farm": "0.1.0", "driver": "580.1"},
)


def silence(services: Services, name: str, seconds: float) -> None:
    run(
        services,
        "UPDATE nodes SET seen_at = now() - :seconds * interval '1 second' WHERE name = :name",
        name=name,
        seconds=seconds,
    )


def test_a_report_replaces_the_one_before(services: Services) -> None:
    job_id = uuid.uuid4()
    nodes.report(services.db, GPU)
    (node,) = nodes.live_nodes(services.db)
    for name in ("name", "host", "pid", "queues", "device", "gpu", "memory_bytes", "models"):
        assert getattr(node, name) == getattr(GPU, name)
    assert node.versions == GPU.versions
    assert (node.job_id, node.job_started_at) == (None, None)
    assert 90 <= node.up_s < 120

    busy = dataclasses.replace(GPU, job_id=job_id, job_s=3.0, step=7, steps=20, models={})
    nodes.report(services.db, busy)
    (node,) = nodes.live_nodes(services.db)
    assert (node.job_id, node.step, node.steps, node.models) == (job_id, 7, 20, {})
    assert node.job_started_at is not None
    assert 2.9 < (node.seen_at - node.job_started_at).total_seconds() < 3.1


def test_a_silent_node_is_not_live_and_is_forgotten_after_an_hour(services: Services) -> None:
    cpu = dataclasses.replace(GPU, name="control-18@host", gpu=None, device="cpu")
    nodes.report(services.db, GPU)
    nodes.report(services.db, cpu)
    silence(services, GPU.name, 61)
    assert [node.name for node in nodes.live_nodes(services.db)] == [cpu.name]
    assert [node.is_live for node in nodes.known_nodes(services.db)] == [True, False]
    assert nodes.forget_silent(services.db) == 0
    silence(services, GPU.name, 3601)
    assert nodes.forget_silent(services.db) == 1
    nodes.remove(services.db, cpu.name)
    assert nodes.known_nodes(services.db) == []
