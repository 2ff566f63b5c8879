"""One farm with two workers for the tests in which processes die, and a disk that can fill up.

Each test has a customer and an oracle of its own, and leaves every process running.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from celery import Celery

from farm import retention
from farm.broker import make_celery
from farm.catalog import PRIORITY_LAST
from farm.dispatch import open_line
from farm.messages import Ring
from tests.farm.checks import scalar
from tests.faults.trial.farm import TrialFarm, customer, trial_farm
from tests.faults.trial.oracle import Oracle
from tests.processes import Process, wait_until
from tests.services import Databases

WORKERS = ("worker", "worker-2")
KEPT = ("api", "control", "beat", *WORKERS)
SOFT_S, HARD_S = 4, 5
_DISK_BYTES = 16 << 20
_SMALL_FILE_BYTES = 1 << 20
"""A worker's log is smaller, and what a test stores on a full disk is larger."""
LARGE = f"bytes={2 * _SMALL_FILE_BYTES}"
"""The engine's orders for a result that does not fit on a full disk."""


class Disk:
    """Where the farm's outputs lie: a file system of its own where this user may mount one."""

    def __init__(self, folder: Path) -> None:
        self._mount = folder / "disk"
        self._mount.mkdir()
        self.root = self._mount / "outputs"
        self.is_mounted = _is_done("mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs",
                                   self._mount)  # fmt: skip

    def close(self) -> None:
        """Take the file system away."""
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", self._mount], check=True, timeout=10)

    @contextlib.contextmanager
    def full(self, workers: list[Process]) -> Iterator[None]:
        """Without a byte left; where nothing could be mounted, those workers can write no large
        file, which fails at the same place."""
        if self.is_mounted:
            filler = self._mount / "filler"
            try:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while file.write(bytes(4096)) == 4096:
                        pass
                yield
            finally:
                filler.unlink()
            return
        with contextlib.ExitStack() as stack:
            for member in [each for worker in workers for each in worker.family()]:
                before = member.rlimit(resource.RLIMIT_FSIZE)
                member.rlimit(resource.RLIMIT_FSIZE, (_SMALL_FILE_BYTES, before[1]))
                stack.callback(member.rlimit, resource.RLIMIT_FSIZE, before)
            yield

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Something else lies where the folder was."""
        elsewhere = self.root.with_name("elsewhere")
        self.root.rename(elsewhere)
        self.root.touch()
        try:
            yield
        finally:
            self.root.unlink()
            elsewhere.rename(self.root)


@dataclass
class Crew:
    """The farm, and what one test knows of it."""

    farm: TrialFarm
    oracle: Oracle
    disk: Disk

    def renewed(self) -> Crew:
        """The same farm with a new customer, of whom a new oracle knows."""
        self.farm.who = customer(self.farm.services)
        return Crew(self.farm, Oracle(self.farm), self.disk)

    @property
    def workers(self) -> list[Process]:
        """The workers' parent processes."""
        return [self.farm.keeper.process(name) for name in WORKERS]

    def starts(self, job: str) -> list[int]:
        """The process of every run of the job, in order."""
        return [run[3] for run in self.farm.runs() if run[:2] == ("start", job)]

    def running(self, job: str) -> psutil.Process:
        """Wait until the job runs; the process that runs it."""
        wait_until(lambda: self.starts(job), 30, self.farm.logs)
        return psutil.Process(self.starts(job)[-1])

    def busy(self, worker: Process) -> None:
        """Wait until the worker runs a job."""
        runs = "SELECT 1 FROM jobs WHERE state = 'running' AND worker LIKE :name"
        name = f"%-{worker.pid}@%"
        wait_until(lambda: scalar(self.farm.services, runs, name=name), 30, self.farm.logs)

    def replaced(self, name: str, ended: Process) -> None:
        """Wait until the keeper has started another process of the name, and it is ready."""
        wait_until(lambda: self.farm.keeper.process(name) is not ended, 10, f"no other {name}")
        self.farm.ready(name)

    def ring(self, *jobs: str, times: int) -> None:
        """Send the message of each job that often."""
        services = self.farm.services
        queue = services.catalog.models["sdxl"].queue
        rings = [Ring(uuid.UUID(job), queue, PRIORITY_LAST) for job in jobs]
        with contextlib.closing(open_line(self._celery)) as line:
            line.send(rings * times)

    @contextlib.contextmanager
    def left_to_others(self, model: str) -> Iterator[None]:
        """The workers take no messages of the model, as an operator tells them to."""
        queue = self.farm.services.catalog.models[model].queue
        control = self._celery.control
        heard = control.cancel_consumer(queue, reply=True, limit=len(WORKERS))
        assert len(heard) == len(WORKERS), heard
        try:
            yield
        finally:
            heard = control.add_consumer(queue, reply=True, limit=len(WORKERS))
            assert len(heard) == len(WORKERS), heard

    @property
    def _celery(self) -> Celery:
        return make_celery(self.farm.services.settings, self.farm.services.catalog)

    def row(self, job: str, columns: str) -> tuple[object, ...]:
        """Some columns of the job's row."""
        names = [name.strip() for name in columns.split(",")]
        return tuple(self.farm.column(name, job) for name in names)

    def stored(self, job: str) -> set[int]:
        """The attempts of the job that have files."""
        found = self.farm.services.storage.attempts(older_than_s=-1.0)
        return {attempt for owner, attempt in found if owner == uuid.UUID(job)}

    def sweep(self) -> None:
        """Delete what no settled attempt owns, however new it is."""
        services = self.farm.services
        retention.sweep_orphans(services.db, services.storage, older_than_s=-1.0)

    def whole_again(self) -> None:
        """Wait until every process does its work."""
        for name in KEPT:
            self.farm.ready(name)
        wait_until(lambda: all(len(w.family()) == 2 for w in self.workers), 30, self.farm.logs)


@pytest.fixture(scope="package")
def crew_of_all(servers_folder: Path, databases: Databases) -> Iterator[Crew]:
    """The farm of all these tests."""
    folder = servers_folder / "crew"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        disk = Disk(folder)
        stack.callback(disk.close)
        farm = stack.enter_context(
            trial_farm(
                folder,
                database_url=stack.enter_context(databases.fresh()),
                soft_s=SOFT_S,
                hard_s=HARD_S,
                FARM_STORAGE_URL=f"file://{disk.root}",
                FARM_DRAIN_S="0.3",
            )
        )
        farm.keep(*KEPT)
        yield Crew(farm, Oracle(farm), disk)


@pytest.fixture
def crew(crew_of_all: Crew) -> Iterator[Crew]:
    """That farm with a customer of this test's own."""
    crew_of_all.whole_again()
    yield crew_of_all.renewed()
    crew_of_all.farm.armoury.disarm()


def _is_done(*command: str | Path) -> bool:
    done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    return done.returncode == 0 and os.path.ismount(command[-1])
