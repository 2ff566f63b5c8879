"""The books and what customers are told: audit, plans, webhooks."""

from __future__ import annotations

from collections.abc import Iterator

from farm import vitals
from farm.accounts import stranded_accounts
from farm.cli.doctor.check import Check, Patient, span

AUDIT_WITHIN_S = 7200.0
"""Beat has it run every hour."""


def audit(patient: Patient) -> Iterator[Check]:
    """The books were checked lately, and balanced."""
    last = vitals.last_audit(patient.db)
    if last is None:
        old = vitals.oldest_job_s(patient.db) > AUDIT_WITHIN_S
        says = "there was none yet." if not old else f"there was none. {_RUN}"
        yield Check("audit", not old, says)
    elif last.broken:
        numbers = ", ".join(map(str, last.broken))
        says = f"{span(last.seconds_ago)} ago invariant {numbers} did not hold. {_NAME}"
        yield Check("audit", False, says)
    elif last.seconds_ago > AUDIT_WITHIN_S:
        yield Check("audit", False, f"the last one was {span(last.seconds_ago)} ago. {_RUN}")
    else:
        yield Check("audit", True, f"the books balanced {span(last.seconds_ago)} ago.")


def plans(patient: Patient) -> Iterator[Check]:
    """Every account is on a plan that there is."""
    lost = patient.db.attempt(
        lambda connection: stranded_accounts(connection, patient.catalog),
    )
    if not lost:
        yield Check("plans", True, "every account is on a plan of the catalogue.")
    for account in lost:
        says = (
            f"{account.email} is on {account.storefront}'s plan {account.plan}, which the "
            f"catalogue does not have: run `farm accounts plan {account.email} PLAN`."
        )
        yield Check("plans", False, says)


def webhooks(patient: Patient) -> Iterator[Check]:
    """They are sent as they become due; a receiver that is down is its owner's matter."""
    found = vitals.webhooks(patient.db)
    if found.overdue:
        says = (
            f"{found.overdue} are overdue, the oldest for {span(found.overdue_s)}, although their "
            "receivers are well: start `farm control` and `farm beat`."
        )
        yield Check("webhooks", False, says)
        return
    says = f"{found.scheduled} are to be sent, none is overdue."
    if found.troubled:
        says += (
            f" {found.troubled} receivers fail and are tried again on schedule: "
            "see `farm webhooks list`."
        )
    yield Check("webhooks", True, says)


_RUN = "Start `farm control` and `farm beat`, or run `farm ledger audit`."
_NAME = "Run `farm ledger audit`, which names an offender for each."
