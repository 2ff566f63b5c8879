"""Which queue a worker of several models takes from next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.scheduling import round_robin_cycle

from tasks.affinity import ResidentFirst

BOUND_S = 60.0


@dataclass
class Simulation:
    """A worker with real queues in memory, and the cycle under test, on a clock of its own."""

    names: tuple[str, ...]
    switch_after_s: float = BOUND_S
    now: float = 1000.0
    served: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queues: dict[str, deque[float]] = {name: deque() for name in self.names}
        self.cycle = ResidentFirst(self.switch_after_s, lambda: self.now)
        self.cycle.update(self.names)

    def arrive(self, name: str, count: int = 1) -> None:
        self.queues[name].extend([self.now] * count)

    def take(self, seconds: float = 1.0) -> tuple[str, float] | None:
        """One wait of the transport: the queue taken from and how long that message waited."""
        order = self.cycle.consume(len(self.names))
        assert sorted(order) == sorted(self.names)
        for name in order:
            if self.queues[name]:
                waited = self.now - self.queues[name].popleft()
                self.cycle.rotate(name)
                self.served.append(name)
                self.now += seconds
                return name, waited
        self.now += 1.0
        return None

    @property
    def switches(self) -> int:
        return sum(a != b for a, b in zip(self.served, self.served[1:], strict=False))


def test_the_queue_served_last_comes_first_until_it_is_empty() -> None:
    work = Simulation(("a", "b", "c"))
    for name in "abc":
        work.arrive(name, 3)
    while work.take(seconds=0.1):
        pass
    assert work.switches == 2
    assert sorted(work.served) == list("aaabbbccc")


def test_a_queue_that_waited_past_the_bound_is_served_although_the_loaded_one_has_work() -> None:
    work = Simulation(("a", "b"))
    work.arrive("a", 1000)
    work.take()
    work.arrive("b")
    while work.served[-1] == "a":
        _, waited = work.take() or ("", 0.0)
    assert BOUND_S - 1 <= waited <= BOUND_S + 1


def test_queues_that_were_empty_together_start_waiting_together() -> None:
    work = Simulation(("a", "b"))
    work.arrive("a")
    work.take()
    for _ in range(200):  # a long idle time: nobody is waiting in it
        work.take()
    work.arrive("a", 5)
    work.arrive("b", 5)
    assert [work.take()[0] for _ in range(5)] == ["a"] * 5  # type: ignore[index]


def test_300_mixed_jobs_over_three_queues_are_served_with_two_switches() -> None:
    work = Simulation(("a", "b", "c"))
    robin = round_robin_cycle()
    robin.update(work.names)
    for index in range(300):
        work.arrive("abc"[index % 3])
    while work.take(seconds=0.05):
        pass
    assert len(work.served) == 300
    assert work.switches == 2


def test_it_forgets_queues_it_no_longer_serves() -> None:
    cycle = ResidentFirst(BOUND_S)
    cycle.update(["a", "b"])
    cycle.consume(2)
    cycle.rotate("a")
    cycle.update(["b"])
    assert cycle.consume(1) == ["b"]


@given(
    names=st.integers(2, 5).map(lambda n: tuple("abcde"[:n])),
    events=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 30), st.floats(0.01, 20.0)), max_size=80
    ),
)
def test_no_queue_starves(names: tuple[str, ...], events: list[tuple[int, int, float]]) -> None:
    """However messages arrive, a queue that is not empty is served within the bound and one job
    of each other queue (the first message of a queue that is not empty never waits longer)."""
    work = Simulation(names)
    not_empty_since = dict.fromkeys(names, work.now)
    longest_s = max((seconds for *_, seconds in events), default=0.0)
    bound_s = BOUND_S + len(names) * longest_s + 1.0
    backlog = [(index, count, seconds) for index, count, seconds in events]
    while backlog or any(work.queues.values()):
        index, count, seconds = backlog.pop(0) if backlog else (0, 0, longest_s)
        name = names[index % len(names)]
        if not work.queues[name]:
            not_empty_since[name] = work.now
        work.arrive(name, count)
        before = work.now
        taken = work.take(seconds)
        if taken is None:
            continue
        assert before - not_empty_since[taken[0]] <= bound_s
        not_empty_since[taken[0]] = work.now


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_within_the_bound_it_leaves_the_loaded_queue_only_when_that_is_empty(
    arrivals: list[int],
) -> None:
    work = Simulation(("a", "b", "c"))
    for index in arrivals:
        work.arrive("abc"[index])
    last = ""
    while taken := work.take(seconds=0.5):
        assert taken[0] == last or not (last and work.queues[last])
        last = taken[0]
