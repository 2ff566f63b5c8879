"""Places and times of waiting jobs, played forward on farms that are drawn up here."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import text

from farm.batches import submit_batch
from farm.outlook import Place, Queued, Running, Stream, Worker, load_outlook, outlook
from farm.services import Services
from tests import factories

SWITCH_S = 60.0


def queued(
    queue: str = "a",
    *,
    seconds: float | None = 10.0,
    waited_s: float = 0.0,
    priority: int = 3,
    turn: int = 0,
    account: uuid.UUID | None = None,
) -> Queued:
    """A job of the queue's one model."""
    return Queued(uuid.uuid4(), queue, priority, waited_s, queue, seconds, turn, account)


def worker(*queues: str, held: Sequence[str] = (), **load_s: float) -> Worker:
    """A worker that is called after its queues."""
    return Worker("-".join(queues), queues, set(held or queues), load_s)


def played(
    jobs: Sequence[Queued], *workers: Worker, running: Sequence[Running] = ()
) -> list[Place]:
    """The place of each job, in the order given."""
    places = outlook(jobs, running, workers, SWITCH_S)
    return [places[job.id] for job in jobs]


def test_a_line_before_one_worker_is_served_by_priority_then_turn_then_age() -> None:
    jobs = [
        queued(waited_s=5, turn=7),
        queued(waited_s=9, turn=7),
        queued(waited_s=1, turn=6),
        queued(waited_s=1, turn=99, priority=2),
    ]
    places = played(jobs, worker("a"))
    assert [place.position for place in places] == [4, 3, 2, 1]
    assert [place.eta_s for place in places] == [40.0, 30.0, 20.0, 10.0]


def test_two_workers_share_a_line() -> None:
    jobs = [queued(waited_s=9 - n) for n in range(3)]
    places = played(jobs, worker("a"), worker("a"))
    assert [place.eta_s for place in places] == [10.0, 10.0, 20.0]


def test_what_runs_is_ahead_for_as_long_as_its_like_takes() -> None:
    run = Running(uuid.uuid4(), "a", "a", for_s=4.0, seconds=10.0)
    assert played([queued()], worker("a"), running=[run]) == [Place(1, 16.0)]
    assert outlook([], [run], [worker("a")], SWITCH_S)[run.id] == Place(None, 6.0)


def test_what_takes_longer_than_its_like_has_no_time_of_its_own() -> None:
    run = Running(uuid.uuid4(), "a", "a", for_s=14.0, seconds=10.0)
    assert outlook([], [run], [worker("a")], SWITCH_S)[run.id] == Place(None, None)
    assert played([queued()], worker("a"), running=[run]) == [Place(1, 10.0)]


def test_what_is_not_known_is_left_out_and_so_is_what_waits_for_it() -> None:
    new = [queued(waited_s=3), queued(seconds=None, waited_s=2), queued(waited_s=1)]
    assert played(new, worker("a")) == [Place(1, 10.0), Place(2, None), Place(3, None)]
    unknown = Running(uuid.uuid4(), "a", "a", for_s=1.0, seconds=None)
    assert played([queued()], worker("a"), running=[unknown]) == [Place(1, None)]


def test_without_a_worker_there_is_a_place_and_no_time() -> None:
    assert played([queued()]) == [Place(1, None)]
    assert played([queued()], worker("b")) == [Place(1, None)]


def test_a_worker_of_two_models_stays_with_the_loaded_one() -> None:
    both = worker("a", "b")
    run = Running(uuid.uuid4(), "b", "a-b", for_s=0.0, seconds=1.0)
    jobs = [queued("a", waited_s=9), queued("b", waited_s=2), queued("b", waited_s=1)]
    places = played(jobs, both, running=[run])
    assert [place.eta_s for place in places] == [31.0, 11.0, 21.0]


def test_a_queue_that_waited_too_long_goes_first() -> None:
    both = worker("a", "b")
    run = Running(uuid.uuid4(), "b", "a-b", for_s=0.0, seconds=1.0)
    jobs = [queued("a", waited_s=61), queued("b", waited_s=2)]
    assert [p.eta_s for p in played(jobs, both, running=[run])] == [11.0, 21.0]


def test_loading_a_model_takes_the_time_that_it_took() -> None:
    cold = worker("a", "b", held=["b"], a=5.0)
    assert played([queued("a")], cold) == [Place(1, 15.0)]


def test_what_comes_meanwhile_goes_before_where_the_worker_stays_with_its_model() -> None:
    both = worker("a", "b")
    run = Running(uuid.uuid4(), "b", "a-b", for_s=0.0, seconds=1.0)
    job = queued("a", seconds=10.0)
    often = Stream(queued("b", seconds=1.0), every_s=2.0)
    alone, busy = (
        outlook([job], [run], [worker("a", "b") if again else both], SWITCH_S, streams)[job.id]
        for again, streams in ((False, ()), (True, (often,)))
    )
    assert (alone.eta_s, busy.eta_s) == (11.0, 12.0)


def test_what_comes_meanwhile_waits_its_turn_in_the_same_line() -> None:
    jobs = [queued(waited_s=2), queued(waited_s=1)]
    often = Stream(queued(), every_s=1.0)
    places = outlook(jobs, [], [worker("a")], SWITCH_S, [often])
    assert [places[job.id].eta_s for job in jobs] == [10.0, 20.0]


def test_who_comes_meanwhile_begins_where_the_line_is_and_a_backlog_goes_on_behind_itself() -> None:
    heavy, light = uuid.uuid4(), uuid.uuid4()
    jobs = [queued(waited_s=9 - n, turn=5 + n, account=heavy) for n in range(3)]
    often = queued(account=light)

    def etas(of: uuid.UUID) -> list[float | None]:
        streams = [Stream(often, every_s=4.0, accounts=[of])]
        places = outlook(jobs, [], [worker("a")], SWITCH_S, streams, {("a", 3): 4})
        return [places[job.id].eta_s for job in jobs]

    assert etas(heavy) == [10.0, 20.0, 30.0]
    # Each of the newcomer's jobs takes one turn: it is there before the second and the third.
    assert etas(light) == [10.0, 30.0, 50.0]


def test_the_farm_as_it_is_in_the_database(services: Services) -> None:
    who = factories.customer(services, extra_credits=100)
    done = factories.claimed(services, factories.submitted(services, who))
    assert factories.succeed(services, done)
    waiting = [factories.submitted(services, who) for _ in range(2)]
    with services.db.statement() as connection:
        connection.execute(
            text("UPDATE jobs SET started_at = finished_at - interval '8 seconds' WHERE id = :id"),
            {"id": done.job_id},
        )
    places = load_outlook(services.db, ["gpu.sdxl"], SWITCH_S).places
    assert [places[job_id] for job_id in waiting] == [Place(1, None), Place(2, None)]
    with services.db.statement() as connection:
        connection.execute(
            text(
                "INSERT INTO nodes (name, host, pid, queues, device, memory_bytes, "
                "memory_used_bytes, models, started_at) VALUES "
                "('w', 'here', 1, '{gpu.sdxl}', 'cpu', 1, 1, '{\"sdxl\": {\"load_s\": 2}}', now())"
            )
        )
    places = load_outlook(services.db, ["gpu.sdxl"], SWITCH_S).places
    assert [places[job_id].eta_s for job_id in waiting] == [8.0, 16.0]


def test_the_jobs_of_a_batch_are_in_their_order_and_another_customers_between_them(
    services: Services,
) -> None:
    who, other = (factories.customer(services, extra_credits=100) for _ in range(2))
    batch = submit_batch(services, who.principal, [factories.request()] * 4)
    newcomer = factories.submitted(services, other)
    places = load_outlook(services.db, ["gpu.sdxl"], SWITCH_S).places
    assert [places[job.job_id].position for job in batch.jobs] == [1, 3, 4, 5]
    assert places[newcomer].position == 2
