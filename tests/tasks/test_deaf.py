"""When a worker counts as deaf, with a clock of the test's and a real broker and database; then
workers that are made deaf, as real processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from farm import canaries
from farm.broker import make_celery
from farm.config import Settings
from farm.db import Database
from farm.dispatch import Dispatcher
from farm.messages import CANARIES, CONTROL_QUEUE, Ring
from farm.submit import submit
from tasks.canary import send_canaries
from tasks.child import Child
from tasks.deaf import Ears, Watchdog
from tests import factories
from tests.farm.checks import run, scalar
from tests.faults.trial.farm import TrialFarm, trial_farm
from tests.processes import Process, wait_until
from tests.services import Databases, flush, redis_client

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("deaf")]

SDXL = "gpu.sdxl"
QUEUES = (SDXL, "gpu.flux-schnell")
AFTER_S = 60.0


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Trial:
    """A watchdog, its worker's ears, and time."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.clock = Clock()
        self.ears = Ears(QUEUES, self.clock)
        services = child.services
        self.dog = Watchdog(services, child.celery, child.drain, self.ears, self.clock)

    def wait(self, queued_s: float = 600.0) -> None:
        """Something waits in a queue of this worker."""
        services = self.child.services
        job_id = factories.submitted(services, factories.customer(services))
        self.child.dispatcher.ring_now([Ring(job_id, SDXL, 3)])
        run(
            services,
            "UPDATE jobs SET queued_at = now() - :s * interval '1 second'",
            s=queued_s,
        )

    def looks(self, seconds: float) -> list[str]:
        """What looking every ten seconds says."""
        found = [self.looks_at(QUEUES) for _ in range(int(seconds / 10))]
        return [each for each in found if each]

    def looks_at(self, queues: Sequence[str]) -> str | None:
        """What a look says after ten seconds."""
        self.clock.now += 10
        return self.dog.look(queues)


@pytest.fixture
def trial(child: Child) -> Trial:
    return Trial(child)


def test_an_idle_worker_that_takes_nothing_for_a_minute_is_deaf(trial: Trial) -> None:
    assert trial.looks(200) == [], "nothing waits"
    trial.wait()
    assert trial.looks(60) == []
    (wrong,) = trial.looks(10)
    assert wrong.startswith(
        "this worker is deaf: for 60 s it was idle and took none of the 1 messages that the "
        "broker holds in gpu.sdxl, where something has waited for 600 s"
    )


def test_a_canary_that_nobody_takes_is_enough(trial: Trial) -> None:
    send_canaries(trial.child)
    assert trial.looks(70) == [], "it was sent a moment ago"
    run(trial.child.services, "UPDATE canaries SET sent_at = now() - interval '70 seconds'")
    assert len(trial.looks(10)) == 1
    for queue in QUEUES:
        canaries.answer(trial.child.services.db, queue, "another@host")
    assert trial.looks(70) == []


def test_a_control_worker_that_sends_no_canaries_any_more_is_deaf(trial: Trial) -> None:
    send_canaries(trial.child)
    flush(trial.child.services.settings.broker_url)
    run(
        trial.child.services,
        "UPDATE canaries SET sent_at = now() - interval '70 s', answered_at = now()",
    )
    ears = Ears(canaries.CONTROL_QUEUES, trial.clock)
    trial.dog._ears = ears
    trial.child.celery.send_task(CANARIES, queue=CONTROL_QUEUE)
    found = [trial.looks_at(canaries.CONTROL_QUEUES) for _ in range(7)]
    assert found[:6] == [None] * 6
    assert found[6] is not None
    assert "broker holds in control" in found[6]


@pytest.mark.parametrize(
    "what", ["took", "busy", "broker away", "taken by another", "draining", "stopped"]
)
def test_whatever_else_may_be_the_reason_starts_the_minute_anew(trial: Trial, what: str) -> None:
    trial.wait()
    assert trial.looks(60) == []
    if what == "took":
        trial.ears.took(SDXL)
        trial.ears.is_busy = False
    elif what == "busy":
        trial.ears.is_busy = True
        assert trial.looks(100) == []
        trial.ears.is_busy = False
    elif what == "broker away":
        services = trial.child.services
        nowhere = services.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
        trial.dog._celery = make_celery(nowhere, services.catalog)
        assert trial.looks(10) == []
        trial.dog._celery = trial.child.celery
    elif what == "taken by another":
        flush(trial.child.services.settings.broker_url)
        assert trial.looks(10) == []
        trial.wait()
    elif what == "stopped":
        trial.clock.now += 100
        assert trial.looks(10) == []
    else:
        trial.child.drain.begin(100)
        assert trial.looks(200) == []
        return
    assert trial.looks(50) == []
    assert len(trial.looks(30)) >= 1


def test_messages_of_jobs_that_have_just_come_give_no_alarm(trial: Trial) -> None:
    trial.wait(queued_s=30.0)
    assert trial.looks(100) == [], "another worker may be quick enough"


def test_a_database_that_is_away_gives_no_alarm(
    trial: Trial, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial.wait()
    url = f"postgresql://postgres@/farm?host={tmp_path}"
    trial.dog._db = Database(Settings(DATABASE_URL=url, data=tmp_path).database_url)
    assert trial.looks(70) == []
    assert "whether this worker is deaf cannot be told: The database does not" in caplog.text


@pytest.fixture(scope="module")
def farm(servers_folder: Path, databases: Databases) -> Iterator[TrialFarm]:
    """A farm whose workers notice within seconds that they are deaf; nobody sends canaries."""
    with (
        databases.fresh() as url,
        trial_farm(servers_folder / "deaf", database_url=url, FARM_DEAF_AFTER_S="3") as found,
    ):
        found.keep("worker.sdxl")
        yield found


def replaced(farm: TrialFarm, deaf: Process) -> None:
    """That worker has ended, another one has run the job, and says what it saw."""
    services = farm.services
    request = factories.request(prompt="run=0.1", width=512, height=512)
    ring = submit(services, farm.who.principal, request).ring
    dispatcher = Dispatcher(make_celery(services.settings, services.catalog))
    dispatcher.ring_now([ring])
    dispatcher.stop()
    wait_until(lambda: deaf.exit_code() is not None, 60, deaf.output)
    assert "this worker is deaf: for " in deaf.output()
    state = "SELECT state FROM jobs WHERE id = :id"
    wait_until(lambda: scalar(services, state, id=ring.job_id) == "succeeded", 60, farm.logs)


def test_a_worker_that_consumes_nothing_is_replaced(farm: TrialFarm) -> None:
    """It lives on and answers pings, as after a reconnect that went wrong."""
    worker = farm.keeper.process("worker.sdxl")
    app = make_celery(farm.services.settings, farm.services.catalog)
    app.control.cancel_consumer(SDXL)
    wait_until(lambda: "Canceling queue gpu.sdxl" in worker.output(), 10, worker.output)
    replaced(farm, worker)
    assert worker.exit_code() == 0, "SIGTERM was enough"


def test_a_worker_whose_parent_is_stopped_is_replaced(farm: TrialFarm) -> None:
    worker = farm.keeper.process("worker.sdxl")
    farm.ready("worker.sdxl", worker)
    child = worker.family()[1]
    worker.signal(signal.SIGSTOP)
    with redis_client(farm.services.settings.broker_url) as client:
        # What it waited for last would be lost in its hands, until it was sent again.
        wait_until(lambda: client.info("clients")["blocked_clients"] == 0, 10, worker.output)
    replaced(farm, worker)
    assert worker.exit_code() == -signal.SIGKILL
    assert not child.is_running()
