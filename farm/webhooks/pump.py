"""The one that sends: takes what is due, posts it from many threads, writes down what came of it.

One process of the farm does this at a time, for a few minutes, and asks for what is due
several times a second; whoever ends a job rings for nobody. So the time from a job's end to
the first try does not depend on the broker, and a message that was written is never forgotten.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from farm.crash_points import Effect, around
from farm.errors import DatabaseUnavailable
from farm.services import Services
from farm.storage import UrlSigner
from farm.views import find_job
from farm.webhooks import deliveries, payload, queue
from farm.webhooks.endpoints import default_endpoint, secrets_in_force
from farm.webhooks.queue import Addressee, Claimed
from farm.webhooks.send import Sender
from farm.webhooks.signing import message_id, sign

POLL_S = 0.2
"""How often it asks for what is due; a try that ends makes it ask at once."""
TURN_S = 5.0
"""A sender that was killed is replaced after this; it says that it is alive four times as often."""
GONE = 410

_BATCH = 500
_BATCHES_MAX = 20
_BROKEN = "The farm could not send this message."

_log = logging.getLogger(__name__)


class Pump:
    """Sends until its time is over, somebody else's turn has come, or ``stopping`` says so.

    Args:
        jitter: a number from 0 to 1, as ``random.random`` gives them.
        clock: Unix seconds, for ``webhook-timestamp``.
    """

    def __init__(
        self,
        services: Services,
        sender: Sender,
        *,
        stopping: Callable[[], bool],
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._services = services
        self._db = services.db
        self._sender = sender
        self._signer = UrlSigner(services.settings.signing_key())
        self._stopping = stopping
        self._jitter = jitter
        self._clock = clock
        self._holder = uuid.uuid4()
        self._in_hand: dict[Future[None], Claimed] = {}

    def run(self, for_s: float) -> int | None:
        """Send for so many seconds; returns how many tries there were, None where another sends.

        Raises:
            DatabaseUnavailable: what is on the way is written down where it can be, and sent
                again by the next one where it cannot.
        """
        if not queue.take_turn(self._db, self._holder, TURN_S):
            return None
        tries = 0
        until = time.monotonic() + for_s
        renew_at = time.monotonic() + TURN_S / 4
        with ThreadPoolExecutor(
            queue.HEALTHY_ROOM + queue.TROUBLED_ROOM, thread_name_prefix="webhook"
        ) as threads:
            try:
                while time.monotonic() < until and not self._stopping():
                    if time.monotonic() >= renew_at:
                        if not queue.take_turn(self._db, self._holder, TURN_S):
                            break
                        renew_at = time.monotonic() + TURN_S / 4
                    tries += self._take(threads)
                    self._rest()
            finally:
                # Before what is on the way has ended: the next one need not wait for that.
                queue.end_turn(self._db, self._holder)
        return tries

    def drain(self) -> int:
        """Send what is due now, and what becomes due meanwhile; returns the number of tries."""
        tries = 0
        with ThreadPoolExecutor(queue.HEALTHY_ROOM + queue.TROUBLED_ROOM) as threads:
            while (taken := self._take(threads)) or self._in_hand:
                tries += taken
                self._rest()
        return tries

    def _take(self, threads: ThreadPoolExecutor) -> int:
        """Claim what is due and hand it to the threads; how many."""
        troubled = sum(claimed.troubled for claimed in self._in_hand.values())
        claimed = queue.claim(
            self._db,
            Counter(claimed.target for claimed in self._in_hand.values()),
            queue.HEALTHY_ROOM - (len(self._in_hand) - troubled),
            queue.TROUBLED_ROOM - troubled,
        )
        for one in claimed:
            self._in_hand[threads.submit(self._deliver, one)] = one
        return len(claimed)

    def _rest(self) -> None:
        """Wait until a try ends, or for a moment."""
        if not self._in_hand:
            time.sleep(POLL_S)
            return
        for done in wait(self._in_hand, POLL_S, FIRST_COMPLETED).done:
            del self._in_hand[done]
            done.result()

    def _deliver(self, claimed: Claimed) -> None:
        try:
            try:
                self._try(claimed)
            except DatabaseUnavailable:
                raise
            except Exception:  # noqa: BLE001
                # It would break every sender, one after the other.
                _log.exception("webhook %s is given up", message_id(claimed.id))
                queue.drop(self._db, claimed, _BROKEN)
        except DatabaseUnavailable as error:
            # Its lease runs out, and it is sent again.
            _log.warning("webhook %s not written down: %s", message_id(claimed.id), error)

    def _try(self, claimed: Claimed) -> None:
        whom = queue.addressee(self._db, claimed)
        if why_not := whom.why_not or self._plan_says(claimed, whom):
            queue.drop(self._db, claimed, why_not)
            return
        body = self._body(claimed)
        signed_by = claimed.endpoint_id or default_endpoint(self._db, claimed.account_id).id
        keys = secrets_in_force(self._db, signed_by)
        if not keys:
            # A moment ago: nothing goes out unsigned.
            queue.drop(self._db, claimed, queue.DELETED)
            return
        with around(Effect.WEBHOOK_POST):
            result = self._sender.post(whom.url, self._headers(claimed, keys, body), body)
        gone = result.status == GONE
        again_in_s = None if gone else queue.wait_s(claimed.tries, self._jitter())
        queue.record(self._db, claimed, result, again_in_s=again_in_s, gone=gone)

    def _plan_says(self, claimed: Claimed, whom: Addressee) -> str:
        """Why the plan forbids it. What came with a submit was accepted with it, and is sent."""
        plan = self._services.catalog.storefronts[whom.storefront].plans[whom.plan]
        if plan.webhooks or claimed.endpoint_id is None:
            return ""
        return f"The plan {whom.plan} has no webhooks."

    def _headers(self, claimed: Claimed, keys: Sequence[str], body: bytes) -> list[tuple[str, str]]:
        """The three headers of Standard Webhooks, as of this try."""
        number, moment = message_id(claimed.id), int(self._clock())
        return [
            ("webhook-id", number),
            ("webhook-timestamp", str(moment)),
            ("webhook-signature", sign(keys, number, moment, body)),
        ]

    def _body(self, claimed: Claimed) -> bytes:
        if claimed.job_id is None:
            assert claimed.endpoint_id is not None, "a test goes to an endpoint"
            return payload.ping_message(claimed.event, claimed.created_at, claimed.endpoint_id)
        job = find_job(self._db, claimed.job_id)
        public_url = self._services.settings.public_url
        return payload.job_message(claimed.event, job, self._signer, public_url)


def clean(services: Services) -> None:
    """Forget what is old, give up what nobody takes. Bounded; the next run does the rest."""
    for _ in range(_BATCHES_MAX):
        given_up = queue.give_up_overdue(services.db)
        if deliveries.delete_old(services.db) < _BATCH and not given_up:
            break
