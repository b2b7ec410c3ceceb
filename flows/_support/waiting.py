"""How a flow waits for its jobs: in its process, or suspended, when no process of it exists.

A suspended run is recorded in the ledger with the jobs it waits for, and the sensor resumes it when they are done.
It then starts again from the top and finds its jobs by their keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn

from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import FlowRunContext, SyncClientContext
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from prefect.states import Suspended
from pydantic import Field

from blocks import backend_named, ledger_named
from flows._support.asking import Form, complete, keyset_of
from flows._support.run_ledger import stamp
from qjobs.errors import QJobsError
from qjobs.experiments.forms import FormInput
from qjobs.ledger import Ledger
from qjobs.ledger.dispatches import Terms
from qjobs.ledger.suspended_runs import AtDeadline
from qjobs.model import Capability, JobId
from qjobs.operations.execute import WaitedFor, to_send
from qjobs.operations.poll import poll, utc_now
from qjobs.operations.usual_wait import UsualWaits
from qjobs.operations.wait import pause
from qjobs.reports.progress import wait_of
from tasks import wait_for_jobs
from tasks.progress import show_progress

SUSPENDED_S = 400 * 86400
"""Prefect's time-out of a suspension; queues take weeks."""


class Waiting(FormInput):
    """How a run waits for its jobs."""

    mode: Literal["auto", "inline", "suspend"] = Field(
        default="auto",
        description="auto suspends a deployed run whose jobs go on without it; inline stays in its process.",
    )
    deadline_hours: float | None = Field(
        default=None, gt=0, description="Hours after which something is done about the wait; none by default."
    )
    at_deadline: AtDeadline = Field(
        default=AtDeadline.NOTIFY, description="notify, cancel the open jobs, or go on with what there is."
    )

    def deadline(self, since: datetime) -> datetime | None:
        """When the wait has taken too long."""
        return None if self.deadline_hours is None else since + timedelta(hours=self.deadline_hours)


AUTO = Waiting()


def wait_until(waited_for: WaitedFor, *, ledger: str, waiting: Waiting, progress_key: str, unsent_key: str) -> None:
    """Wait for jobs; comes back in this process, or ends it by suspending the run.

    A run that is suspended leaves the unsent jobs to the dispatcher, and waits for them too, until all are done; the
    progress of these has `unsent_key`. Where some of them run in this process, it is resumed to send what is left.
    """
    jobs = waited_for.jobs
    until = waited_for.until
    unsent = waited_for.unsent
    here, reason = _waited_for_here(jobs, waiting)
    is_sent_later = bool(unsent) and all(_is_durable(name) for name in {job.backend for job in unsent.values()})
    if not jobs and (reason or waiting.mode == "inline" or not is_sent_later):  # others have the places
        pause(waited_for.at_most_s or 0.0)
        return
    if here:
        if reason:
            get_run_logger().info("waiting in this process, because %s", reason)
        names = sorted({jobs[job_id] for job_id in here})
        wait_for_jobs(
            here,
            backends=names,
            ledger=ledger,
            until=until,
            progress_key=progress_key,
            shown=waited_for.shown,
            at_most_s=waited_for.at_most_s,
        )
        return
    store = ledger_named(ledger)
    _ask_once(store, jobs)
    if is_sent_later:
        own = [] if until == "room" else list(jobs)
        counted = list(unsent) if until == "room" else waited_for.shown
        _suspend(store, [*own, *unsent], "all", waiting, unsent_key, counted, to_send(unsent))
    else:
        _suspend(store, list(jobs), until, waiting, progress_key, waited_for.shown)


def _waited_for_here(jobs: Mapping[JobId, str], waiting: Waiting) -> tuple[list[JobId], str]:
    """The jobs that this process waits for (none: the sensor waits for all), and why, unless it was asked for."""
    everything = list(jobs)
    if waiting.mode == "inline":
        return everything, ""
    own = []
    for job_id, name in jobs.items():
        if not _is_durable(name):
            own.append(job_id)
    if own:
        return own, "" if waiting.mode == "auto" else "these jobs run in it"
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None:
        return everything, "the run does not come from a deployment, so nothing could start it again"
    if run.parent_task_run_id is not None:
        return everything, "it is a subflow; only the run that was deployed can be suspended"
    return [], ""


def _is_durable(name: str) -> bool:
    return Capability.DURABLE in backend_named(name).capabilities


def _ask_once(store: Ledger, jobs: Mapping[JobId, str]) -> None:
    """Ask how far jobs are before the run is suspended, so that it can say their places in the queue.

    What is in the way is left to the sensor, which asks again.
    """
    for name in sorted(set(jobs.values())):
        try:
            poll(store, backend_named(name), [job_id for job_id, at in jobs.items() if at == name])
        except QJobsError as error:
            get_run_logger().debug("%s was not asked before the run is suspended: %s", name, error)


def _suspend(
    store: Ledger,
    job_ids: list[JobId],
    until: str,
    waiting: Waiting,
    progress_key: str,
    shown: Sequence[JobId],
    sends: Sequence[tuple[Terms, Sequence[JobId]]] = (),
) -> None:
    context = FlowRunContext.get()
    assert context is not None  # noqa: S101  # for the type checker: `_waited_for_here` has checked
    assert context.flow_run is not None  # noqa: S101
    run = str(context.flow_run.id)
    present = utc_now()
    store.waits.register(
        run,
        job_ids,
        until=until,
        now=present,
        server=PREFECT_API_URL.value() or "",
        deadline_at=waiting.deadline(context.flow_run.created or present),
        at_deadline=waiting.at_deadline if waiting.deadline_hours is not None else None,
        to_send=sends,
    )
    if store.waits.runs(flow_run_id=run)[0].is_over:
        return
    usual = UsualWaits(store)
    show_progress(store, shown or job_ids, progress_key, usual)
    stamp(store)
    n_unsent = sum(len(chosen) for _, chosen in sends)
    sent_later = f", and sends {n_unsent} of them as places become free" if n_unsent else ""
    message = "suspended until %s of %d jobs is done; the sensor goes on from here%s"
    get_run_logger().info(message, until, len(job_ids), sent_later)
    wait = wait_of(store, job_ids, usual, utc_now(), for_room=until == "room")
    end_process(context.flow_run, f"{wait.for_later}; the artifacts say how it goes on")


def end_process(run: FlowRun, words: str, *, form: Form | None = None) -> NoReturn:
    """Suspend the present run with these words in its state, as Prefect's `suspend_flow_run` does without any.

    `form` is filled in when the run is resumed. The words stay as they are until it goes on: Prefect gives a suspended
    run another state only by force, which would also undo that a person has just cancelled or resumed it. The sensor
    keeps the artifacts current instead.

    Raises:
        Pause: It is suspended, and this process has nothing more to do for it.
        RuntimeError: The server does not suspend it: it is being cancelled, or was ended elsewhere.
    """
    state: State[Any] = Suspended(timeout_seconds=SUSPENDED_S, pause_key=f"wait-{uuid.uuid4().hex}", message=words)
    with SyncClientContext.get_or_create() as context:
        if form is not None:
            state.state_details.run_input_keyset = keyset_of(form.key)
            form.keep(context.client, run.id)
        answer = context.client.set_flow_run_state(run.id, state)
        if form is not None and answer.status is SetStateStatus.ACCEPT:
            complete(context.client, run.id, form.key)
    if answer.status is not SetStateStatus.ACCEPT:
        why = getattr(answer.details, "reason", None) or answer.status
        raise RuntimeError(f"the flow run cannot be suspended: {why}")
    raise Pause(state=answer.state)
