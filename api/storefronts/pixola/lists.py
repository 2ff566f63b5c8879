"""One page of an account's images."""

from __future__ import annotations

import uuid

from api.storefronts.pixola.decode import Page
from farm import views
from farm.db import Database
from farm.views import JobView


def images_page(
    db: Database, account_id: uuid.UUID, page: Page, batch_id: uuid.UUID | None
) -> list[JobView]:
    """The page's images, newest first, and one more where there are more.

    Args:
        batch_id: the first job of the batch whose images are wanted; None for those of all.

    Raises:
        NotFound: the account has no such batch.
    """
    if batch_id is None:
        return views.newest_jobs(db, account_id, limit=page.limit + 1, before=page.before)
    images = reversed(views.get_batch(db, account_id, batch_id))
    before = page.before
    return [i for i in images if before is None or i.seq < before][: page.limit + 1]
