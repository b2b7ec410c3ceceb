"""How a flow waits for its jobs: in its process, or suspended, when no process of it exists.

A suspended run is recorded in the ledger with the jobs it waits for, and the sensor resumes it when they are done.
It then starts again from the top and finds its jobs by their keys.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from blocks import backend_named, ledger_named
from flows._support.run_ledger import stamp
from qjobs.experiments.forms import FormInput
from qjobs.ledger import Ledger
from qjobs.ledger.dispatches import Terms
from qjobs.ledger.suspended_runs import AtDeadline
from qjobs.model import Capability, JobId
from qjobs.operations.execute import ToSubmit, Until, to_send
from qjobs.operations.poll import utc_now
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


def wait_until(
    until: Until,
    jobs: Mapping[JobId, str],
    *,
    ledger: str,
    waiting: Waiting,
    progress_key: str,
    shown: Sequence[JobId],
    unsent: Mapping[JobId, ToSubmit],
    unsent_key: str,
) -> None:
    """Wait for jobs; comes back in this process, or ends it by suspending the run.

    `jobs` maps job ids to the names of their backends; the progress counts the circuits of the jobs in `shown`. A run
    that is suspended leaves the jobs in `unsent` to the dispatcher, and waits for them too, until all are done; the
    progress of these has `unsent_key`. Where some of them run in this process, it is resumed to send what is left.
    """
    here, reason = _waited_for_here(jobs, waiting)
    if here:
        if reason:
            get_run_logger().info("waiting in this process, because %s", reason)
        names = sorted({jobs[job_id] for job_id in here})
        wait_for_jobs(here, backends=names, ledger=ledger, until=until, progress_key=progress_key, shown=shown)
        return
    store = ledger_named(ledger)
    if unsent and all(_is_durable(name) for name in {job.backend for job in unsent.values()}):
        own = [] if until == "room" else list(jobs)
        counted = list(unsent) if until == "room" else shown
        _suspend(store, [*own, *unsent], "all", waiting, unsent_key, counted, to_send(unsent))
    else:
        _suspend(store, list(jobs), until, waiting, progress_key, shown)


def _waited_for_here(jobs: Mapping[JobId, str], waiting: Waiting) -> tuple[list[JobId], str]:
    """The jobs that this process waits for (none: the sensor waits for all), and why, unless it was asked for."""
    everything = list(jobs)
    if waiting.mode == "inline" or not jobs:
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
    show_progress(store, shown or job_ids, progress_key)
    stamp(store)
    n_unsent = sum(len(chosen) for _, chosen in sends)
    sent_later = f", and sends {n_unsent} of them as places become free" if n_unsent else ""
    message = "suspended until %s of %d jobs is done; the sensor goes on from here%s"
    get_run_logger().info(message, until, len(job_ids), sent_later)
    suspend_flow_run(timeout=SUSPENDED_S, key=f"wait-{uuid.uuid4().hex}")
