"""Which plans have webhooks."""

from __future__ import annotations

from farm.catalog import Storefront
from farm.errors import Forbidden


def require_webhooks(shop: Storefront, plan: str) -> None:
    """Raise Forbidden, saying which plans have webhooks, where this one has none."""
    if shop.plans[plan].webhooks:
        return
    having = [found.id for found in shop.plans.values() if found.webhooks]
    if not having:
        raise Forbidden("There are no webhooks here.")
    raise Forbidden(
        f"The plan {plan} has no webhooks. Change to {' or '.join(having)}, or poll the job."
    )
