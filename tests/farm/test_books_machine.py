"""Whatever happens to an account at the same time, its books have been in some order."""

from __future__ import annotations

from farm.services import Services
from tests.farm.books_machine import run_machine


def test_events_at_once_leave_what_some_order_of_them_would(services: Services) -> None:
    figures = run_machine(services, examples=8, steps=25)
    print(figures)
    assert figures.events.total() > 300
    assert figures.reordered > 0
