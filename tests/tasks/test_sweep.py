"""What runs on schedule, on a real database and a real Redis."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from farm import submit
from farm.broker import make_celery, messages_waiting
from farm.messages import CONTROL_QUEUE, SWEEP
from tasks import sweep
from tasks.beat import BACKLOG_MAX, Scheduler
from tasks.child import Child
from tests import factories
from tests.farm.checks import assert_books_balance, run, scalar
from tests.services import flush, redis_client


def forgotten(child: Child, count: int) -> None:
    """Queued jobs whose last ring was long ago."""
    who = factories.customer(child.services, extra_credits=3 * count)
    for _ in range(count):
        factories.submitted(child.services, who)
    run(child.services, "UPDATE jobs SET rung_at = now() - interval '1 hour'")


def waiting(child: Child) -> int:
    return messages_waiting(child.celery)["gpu.sdxl"]


def test_jobs_whose_ring_was_lost_are_rung_again(child: Child) -> None:
    forgotten(child, 3)
    assert sweep.sweep(child) == 3
    assert waiting(child) == 3
    assert sweep.sweep(child) == 0


def test_a_long_backlog_is_not_rung_over_and_over(child: Child) -> None:
    forgotten(child, 3)
    for _ in range(5):
        sweep.sweep(child)
        run(child.services, "UPDATE jobs SET rung_at = now() - interval '1 hour'")
    assert waiting(child) == 3


def test_after_redis_was_emptied_everything_is_rung_again(child: Child) -> None:
    forgotten(child, 3)
    sweep.sweep(child)
    flush(child.services.settings.broker_url)
    run(child.services, "UPDATE jobs SET rung_at = now() - interval '1 hour'")
    assert sweep.sweep(child) == 3
    assert waiting(child) == 3


def rung_ago(child: Child, seconds: float) -> None:
    sql = "UPDATE jobs SET rung_at = now() - :seconds * interval '1 second' WHERE state = 'queued'"
    run(child.services, sql, seconds=seconds)


def test_an_emptied_redis_is_noticed_although_everything_was_rung_a_moment_ago(
    child: Child,
) -> None:
    forgotten(child, 9)
    assert sweep.sweep(child) == 9
    flush(child.services.settings.broker_url)
    rung_ago(child, 5)
    assert sweep.sweep(child) == 9 == waiting(child)
    assert sweep.sweep(child) == 0


def test_a_ring_on_its_way_is_not_made_up_for(child: Child) -> None:
    forgotten(child, 4)
    rung_ago(child, 0)
    assert sweep.sweep(child) == 0
    rung_ago(child, 5)
    factories.submitted(child.services, factories.customer(child.services))
    assert sweep.sweep(child) == 4
    assert waiting(child) == 4, "the newest one's ring comes by itself"


def test_what_workers_have_in_hand_is_made_up_for_once_however_long_the_backlog(
    child: Child,
) -> None:
    forgotten(child, 20)
    assert sweep.sweep(child) == 20
    with contextlib.closing(redis_client(child.services.settings.broker_url)) as client:
        (key,) = client.keys("gpu.sdxl*")
        assert len(client.rpop(key, 2)) == 2
    for _ in range(5):
        rung_ago(child, 3600)
        sweep.sweep(child)
        assert waiting(child) == 20


def test_one_queue_that_is_short_does_not_ring_for_another(child: Child) -> None:
    forgotten(child, 3)
    who = factories.customer(child.services)
    other = submit.submit(child.services, who.principal, factories.request("flux-schnell"))
    child.dispatcher.ring_now([other.ring])
    rung_ago(child, 3600)
    assert sweep.sweep(child) == 3
    assert messages_waiting(child.celery)["gpu.flux-schnell"] == 1


def test_two_sweepers_ring_each_job_once(child: Child) -> None:
    forgotten(child, 20)
    counts: list[int] = []
    both = [threading.Thread(target=lambda: counts.append(sweep.sweep(child))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sum(counts) == 20 == waiting(child)


def test_jobs_of_a_silent_worker_are_taken_back_and_rung(child: Child) -> None:
    who = factories.customer(child.services)
    factories.abandoned(child.services, factories.submitted(child.services, who))
    assert sweep.reap(child) == 1
    assert waiting(child) == 1
    assert scalar(child.services, "SELECT state FROM jobs") == "queued"


def test_jobs_that_waited_too_long_expire_and_cost_nothing(child: Child) -> None:
    forgotten(child, 2)
    run(child.services, "UPDATE jobs SET queued_at = now() - interval '2 hours'")
    assert sweep.reap(child) == 2
    assert scalar(child.services, "SELECT count(*) FROM jobs WHERE state = 'expired'") == 2
    assert_books_balance(child.services)


def test_outputs_past_their_day_are_deleted(child: Child) -> None:
    who = factories.customer(child.services)
    claim = factories.claimed(child.services, factories.submitted(child.services, who))
    assert factories.succeed(child.services, claim, ttl_s=0.001)
    assert sweep.clean(child) == 1
    files = [p for p in (child.services.settings.data / "storage").rglob("*") if p.is_file()]
    assert files == []
    assert sweep.clean(child) == 0
    assert_books_balance(child.services)


def test_a_month_that_ended_brings_a_fresh_grant(child: Child) -> None:
    who = factories.customer(child.services)
    assert sweep.renew(child) == 0
    run(
        child.services,
        "UPDATE accounts SET period_end = now() - interval '1 day' WHERE id = :id",
        id=who.account_id,
    )
    assert sweep.renew(child) == 1
    assert_books_balance(child.services)


def test_the_audit_is_kept(child: Child) -> None:
    assert sweep.audit_books(child) == 0
    assert scalar(child.services, "SELECT count(*) FROM audits") == 1


def test_orphans_are_swept(child: Child) -> None:
    assert sweep.orphans(child) == 0


def test_beat_does_not_fill_the_queue_of_a_control_worker_that_is_away(
    child: Child, tmp_path: Path
) -> None:
    app = child.celery
    scheduler = Scheduler(app, schedule_filename=str(tmp_path / "new" / "beat"))
    for _ in range(BACKLOG_MAX + 20):
        scheduler.apply_entry(scheduler.schedule[SWEEP])
    assert messages_waiting(app)[CONTROL_QUEUE] == BACKLOG_MAX
    scheduler.close()


def test_beat_goes_on_while_the_broker_is_away(child: Child, tmp_path: Path) -> None:
    url = f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"
    settings = child.services.settings.model_copy(update={"broker_url": url})
    app = make_celery(settings, child.services.catalog)
    app.conf.beat_schedule = child.celery.conf.beat_schedule
    scheduler = Scheduler(app, schedule_filename=str(tmp_path / "beat"))
    entry = scheduler.schedule[SWEEP]
    scheduler.apply_entry(entry)
    assert scheduler.schedule[SWEEP] is entry, "the next turn comes as if nothing had happened"
    scheduler.close()
