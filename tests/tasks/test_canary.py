"""Canaries on a real database and a real broker: when one is sent, and who says it came back."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import uuid
from pathlib import Path

import pytest

from farm import canaries, nodes
from farm.broker import messages_waiting
from farm.canaries import CONTROL_QUEUES
from farm.config import Settings
from farm.errors import BrokerUnavailable
from farm.messages import CANARIES, CANARY
from farm.services import build_services
from tasks.beat import Scheduler
from tasks.canary import Quiet, answer_canary, send_canaries
from tasks.child import Child
from tasks.registration import build
from tests.farm.checks import run, scalar
from tests.farm.test_nodes import GPU
from tests.services import flush

SDXL = "gpu.sdxl"


def waiting(child: Child) -> dict[str, int]:
    return {queue: n for queue, n in messages_waiting(child.celery).items() if n}


def later(child: Child, seconds: float) -> None:
    """So much time has passed."""
    back = f"- interval '{seconds} s'"
    run(
        child.services,
        f"UPDATE canaries SET sent_at = sent_at {back}, answered_at = answered_at {back}",
    )


def test_one_waits_in_every_queue_and_no_second_one_follows(child: Child) -> None:
    queues = (*child.services.queues, *CONTROL_QUEUES)
    assert send_canaries(child) == len(queues)
    for _ in range(3):
        later(child, 30)
        assert send_canaries(child) == 0
    assert waiting(child) == dict.fromkeys(queues, 1)
    flush(child.services.settings.broker_url)
    later(child, 30)
    assert send_canaries(child) == len(queues), "a Redis that was emptied is healed"
    assert waiting(child) == dict.fromkeys(queues, 1)


def test_the_next_one_is_sent_once_the_last_came_back(child: Child) -> None:
    send_canaries(child)
    answer_canary(child, SDXL, "worker-1@host")
    assert send_canaries(child) == 0, "another sender was here a moment ago"
    later(child, 30)
    assert send_canaries(child) == 1
    assert waiting(child)[SDXL] == 2, "nobody took the first one here"


def test_one_that_a_job_overtook_is_lost_and_sent_again(child: Child) -> None:
    send_canaries(child)
    later(child, 30)
    busy = dataclasses.replace(GPU, queues=(SDXL,), job_id=uuid.uuid4(), job_s=5.0)
    nodes.report(child.services.db, busy)
    assert send_canaries(child) == 1
    assert waiting(child)[SDXL] == 2


def test_nothing_counts_as_sent_where_the_broker_is_away(child: Child, tmp_path: Path) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    away, _ = build(child.services.settings.model_copy(update={"broker_url": url}))
    with pytest.raises(BrokerUnavailable):
        send_canaries(dataclasses.replace(child, celery=away))
    with (
        contextlib.suppress(BrokerUnavailable),
        canaries.due(child.services.db, [SDXL], []) as due,
    ):
        assert due == [SDXL]
        raise BrokerUnavailable("It went away.")
    assert scalar(child.services, "SELECT count(*) FROM canaries") == 0


def test_a_database_that_is_away_loses_the_canary_with_a_warning(
    child: Child, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://postgres@/farm?host={tmp_path}"
    services = build_services(Settings(DATABASE_URL=url, data=tmp_path))
    answer_canary(dataclasses.replace(child, services=services), SDXL, "worker-1@host")
    assert "the canary of gpu.sdxl is lost: The database does not answer" in caplog.text


def test_beat_sends_for_them_as_soon_as_it_starts(child: Child, tmp_path: Path) -> None:
    scheduler = Scheduler(child.celery, schedule_filename=str(tmp_path / "beat"))
    assert scheduler.schedule[CANARIES].is_due().is_due
    scheduler.close()


def test_celery_logs_no_canary_that_is_well() -> None:
    def record(name: str, level: int = logging.INFO) -> logging.LogRecord:
        said = ("Task %(name)s received", ({"name": name},))
        return logging.LogRecord("celery.worker.strategy", level, "", 0, *said, None)

    assert not Quiet().filter(record(CANARY))
    assert Quiet().filter(record(CANARY, logging.ERROR))
    assert Quiet().filter(record("farm.generate"))
