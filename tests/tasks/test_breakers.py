"""The circuit breaker of an upstream: closed, open, half open; one for all children."""

from __future__ import annotations

import os

import pytest

from tasks.breakers import FAILURES_MAX, OPEN_S, PROBE_S, Breaker, Breakers

URL, OTHER = "https://a.example/v1", "https://b.example/v1"


class Clock:
    """Seconds that pass when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers([URL, OTHER, URL], clock)


def opened(breakers: Breakers) -> Breaker:
    breaker = breakers.of(URL)
    for _ in range(FAILURES_MAX):
        assert breaker.wait_s() == 0
        breaker.went_wrong()
    return breaker


def test_failures_in_a_row_open_it_for_a_while(breakers: Breakers, clock: Clock) -> None:
    breaker = opened(breakers)
    assert breaker.wait_s() == OPEN_S
    clock.now += OPEN_S / 2
    assert breaker.wait_s() == OPEN_S / 2
    assert breakers.of(OTHER).wait_s() == 0


def test_a_success_in_between_keeps_it_closed(breakers: Breakers) -> None:
    breaker = breakers.of(URL)
    for _ in range(3 * FAILURES_MAX):
        breaker.went_wrong()
        breaker.went_well()
    assert breaker.wait_s() == 0


def test_then_one_finds_out_for_all(breakers: Breakers, clock: Clock) -> None:
    breaker = opened(breakers)
    clock.now += OPEN_S
    assert breaker.wait_s() == 0
    assert 0 < breaker.wait_s() <= 1, "the others wait for what it finds"
    breaker.went_well()
    assert breaker.wait_s() == 0
    assert breaker.wait_s() == 0


def test_if_it_is_still_down_it_is_left_alone_again(breakers: Breakers, clock: Clock) -> None:
    breaker = opened(breakers)
    clock.now += OPEN_S
    assert breaker.wait_s() == 0
    breaker.went_wrong()
    assert breaker.wait_s() == OPEN_S


def test_one_that_went_to_find_out_and_died_is_not_waited_for(
    breakers: Breakers, clock: Clock
) -> None:
    breaker = opened(breakers)
    clock.now += OPEN_S
    assert breaker.wait_s() == 0
    clock.now += PROBE_S
    assert breaker.wait_s() == 0


def test_what_one_child_learns_the_others_know(breakers: Breakers) -> None:
    child = os.fork()
    if child == 0:
        opened(breakers)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert breakers.of(URL).wait_s() == OPEN_S
