"""One picture from the HTTP call to the file and the charge, on each broker."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import canaries
from farm.broker import make_celery, messages_waiting
from tests.farm.checks import assert_books_balance
from tests.flows.rabbitmq import server_command, start_rabbitmq
from tests.flows.whole_farm import FLUX, LONG_SDXL, SDXL, WholeFarm, whole_farm
from tests.processes import wait_until

PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("flow-brokers")]


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """Each broker in turn."""
    if request.param == "redis":
        yield redis_url
        return
    command = server_command()
    with start_rabbitmq(command, tmp_path / "rabbitmq") as rabbitmq:
        yield rabbitmq.url


@pytest.fixture
def farm(tmp_path: Path, postgres_url: str, broker_url: str, redis_url: str) -> Iterator[WholeFarm]:
    """A whole farm on that broker; rate limits are always counted by Redis."""
    folder = tmp_path / "farm"
    folder.mkdir()
    with whole_farm(folder, postgres_url, broker_url, redis_url) as found:
        yield found


def test_a_picture_is_made_downloaded_and_charged(farm: WholeFarm) -> None:
    """Gunicorn, a prefork worker, a control worker, beat and Flower, all real processes."""
    farm.start_flower()
    farm.start("beat")
    farm.start("control")
    worker = farm.start_worker("sdxl", "flux-schnell")
    farm.start_api()
    before = farm.balance()

    jobs = [farm.submit(FLUX), farm.submit(SDXL)]
    for job in jobs:
        status = farm.finished(job)
        assert status["status"] == "completed", f"{status}\n{farm.logs()}"
        with urllib.request.urlopen(status["output_url"], timeout=30) as reply:
            assert reply.read().startswith(PNG)
    assert before - farm.balance() == 6.0
    a_running_job_is_cancelled_and_the_next_one_starts(farm)
    assert before - farm.balance() == 9.0
    assert_books_balance(farm.services)
    for model in ("sdxl", "flux-schnell"):
        assert worker.output().count(f"loaded {model} on ") == 1

    the_control_worker_does_what_beat_says(farm)
    canaries_come_back_and_do_not_pile_up(farm)
    flower_shows(farm, jobs)


def a_running_job_is_cancelled_and_the_next_one_starts(farm: WholeFarm) -> None:
    long, following = farm.submit(LONG_SDXL), farm.submit(FLUX)
    wait_until(
        lambda: farm.call("GET", f"/v1/jobs/{long}?wait=0.5").get("progress", {}).get("step"),
        60,
        farm.logs,
    )
    assert farm.call("POST", f"/v1/jobs/{long}/cancel")["status"] == "cancelled"
    assert farm.finished(following)["status"] == "completed"
    cancelled = farm.call("GET", f"/v1/jobs/{long}")
    assert cancelled["worker_freed_at"] >= cancelled["cancel_requested_at"]
    assert cancelled["progress"]["step"] < LONG_SDXL["steps"]
    assert cancelled["receipt"]["charged"] == 0


def the_control_worker_does_what_beat_says(farm: WholeFarm) -> None:
    log = farm.folder / "control-0.log"
    for task in ("farm.sweep", "farm.reap"):
        wait_until(
            lambda name=task: f"Task {name}[" in log.read_text() and "succeeded" in log.read_text(),  # type: ignore[misc]
            60,
            farm.logs,
        )


def canaries_come_back_and_do_not_pile_up(farm: WholeFarm) -> None:
    served = ("gpu.sdxl", "gpu.flux-schnell")
    found = canaries.look(farm.services.db, farm.services.queues)
    assert found.control == "ok", farm.logs()
    assert {name for name, queue in found.queues.items() if queue.is_ready} == {
        *served,
        *canaries.CONTROL_QUEUES,
    }
    waiting = messages_waiting(make_celery(farm.services.settings, farm.services.catalog))
    # The queues of absent workers.
    assert {waiting[name] for name in farm.services.queues if name not in served} == {1}
    for log in farm.folder.glob("*.log"):
        assert "farm.canary[" not in log.read_text()


def flower_shows(farm: WholeFarm, jobs: list[str]) -> None:
    """Every queue and task, the task's id being the job's, and nothing without the password."""
    for job in jobs:
        task = wait_until(lambda job=job: farm.flower("/api/tasks").get(job), 20, farm.logs)  # type: ignore[misc]
        assert (task["name"], task["state"]) == ("farm.generate", "SUCCESS")
    workers = farm.flower("/api/workers?refresh=1")
    queues = {queue["name"] for info in workers.values() for queue in info["active_queues"]}
    assert queues == {"gpu.sdxl", "gpu.flux-schnell", "control", "intake", "webhooks"}
    for auth in (None, "operator:wrong"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            farm.flower("/api/tasks", auth=auth)
