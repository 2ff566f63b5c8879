"""The work: whether control and workers take what is there for them, and what stands still."""

from __future__ import annotations

from collections.abc import Iterator

from farm import canaries, jobs, vitals
from farm.broker import make_celery, messages_waiting
from farm.canaries import BACK_WITHIN_S, QueueState, serving_command
from farm.cli.doctor.check import Check, Patient, span
from farm.errors import BrokerUnavailable

LATELY_S = 3600.0
_SLACK_S = 10.0


def control(patient: Patient) -> Iterator[Check]:
    """Beat and the control worker do their part."""
    found = canaries.look(patient.db, ()).control
    yield Check("control", found == "ok", "it sends canaries." if found == "ok" else found)


def queues(patient: Patient) -> Iterator[Check]:
    """Somebody serves each queue, and is not deaf."""
    found = canaries.look(patient.db, patient.queues)
    is_told = found.sent_s is not None and found.sent_s <= BACK_WITHIN_S
    for queue in patient.queues:
        state = found.queues[queue]
        name = f"queue {queue}"
        if state.is_ready:
            yield Check(name, True, _who(state))
        elif state.serving and not is_told:
            says = f"{', '.join(state.serving)} should serve it; no canaries are sent to see it."
            yield Check(name, True, says)
        else:
            yield Check(name, False, state.why_not or "")


def _who(state: QueueState) -> str:
    if state.busy:
        return f"{', '.join(state.busy)} runs a job."
    return f"a canary came back {span(state.answered_s or 0.0)} ago at {state.answered_by}."


def jobs_stuck(patient: Patient) -> Iterator[Check]:
    """No job runs without a worker."""
    settings = patient.settings
    stuck = vitals.lapsed_leases(patient.db, 4 * settings.sweep_every_s + _SLACK_S)
    if not stuck:
        yield Check("jobs", True, "none runs without a worker.")
        return
    says = (
        f"{len(stuck)} run without a worker, {stuck[0]} for the longest: control takes them back "
        f"every {settings.sweep_every_s:g} s. Start `farm control` and `farm beat`."
    )
    yield Check("jobs", False, says)


def waits(patient: Patient) -> Iterator[Check]:
    """No job waits for so long that it will not start in time."""
    limit_s = patient.settings.start_within_s
    found = jobs.oldest_wait(patient.db, patient.catalog.queues)
    late = {queue: seconds for queue, seconds in found.items() if seconds > limit_s / 2}
    for queue, seconds in late.items():
        says = (
            f"the oldest job has waited {span(seconds)} and expires, uncharged, after "
            f"{span(limit_s)}: start another `{serving_command(queue)}`."
        )
        yield Check(f"wait {queue}", False, says)
    if not late:
        longest = span(max(found.values(), default=0.0))
        yield Check("waits", True, f"the oldest queued job has waited {longest}.")


def messages(patient: Patient) -> Iterator[Check]:
    """The broker holds a message for each job that waits."""
    settings = patient.settings
    again_s = settings.rering_after_s + 2 * settings.sweep_every_s + _SLACK_S
    queued = vitals.lost_rings(patient.db, again_s)
    if not queued:
        yield Check("messages", True, "no job has waited long enough to have lost its own.")
        return
    try:
        held = messages_waiting(make_celery(settings, patient.catalog))
    except BrokerUnavailable:
        return  # said already
    lost = {queue: n for queue, n in queued.items() if held.get(queue, 0) < n}
    for queue, n in lost.items():
        says = (
            f"{n} jobs wait and the broker holds {held.get(queue, 0)} messages: it was emptied, or "
            "a worker lost them. Control sends them again within "
            f"{span(settings.rering_after_s + settings.sweep_every_s)}; start `farm control`."
        )
        yield Check(f"messages {queue}", False, says)
    if not lost:
        yield Check("messages", True, "the broker holds one for each job that waits.")


def broken_workers(patient: Patient) -> Iterator[Check]:
    """Which jobs broke or hung their workers in the last hour."""
    found = vitals.broke_workers(patient.db, LATELY_S)
    for broken in found:
        says = (
            f"{broken.jobs} of {broken.model} {_WHAT[broken.code]} in the last hour, uncharged. "
            f"See `farm jobs show {broken.job_id}` and its worker's log. {_DO[broken.code]}"
        )
        yield Check(broken.code, False, says)
    if not found:
        yield Check("workers", True, "no job broke one in the last hour.")


_WHAT = {
    "worker_crash": "killed their workers twice",
    "gpu_out_of_memory": "found too little memory",
    "gpu_failed": "were on a device that refused",
    "timeout": "ran into their time limit",
}
_DO = {
    "worker_crash": "Where it was killed by the system, give it more memory.",
    "gpu_failed": "Ask `nvidia-smi` about the device.",
    "gpu_out_of_memory": "Serve fewer models on that device, or set FARM_VRAM_GB.",
    "timeout": "Where the device is well, raise soft_limit_s and hard_limit_s in the catalogue.",
}
