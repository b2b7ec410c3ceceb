"""What Ctrl-C leaves behind: what is true of each backend, and the command that goes on."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.model import Job
from qjobs.operations.poll import utc_now

__all__ = ["left_behind"]

_BEING_SENT = frozenset({JobStatus.SUBMITTING, JobStatus.UNKNOWN})


def left_behind(
    ledger: Ledger, experiment: str, *, began: datetime, goes_on: Callable[[str], bool], again: str, first: str = ""
) -> list[str]:
    """Lines that say what became of the jobs of a run that Ctrl-C has ended, and how to come back.

    The run is recorded as interrupted, so that the command goes on with it even where all its jobs have ended.

    Args:
        ledger: Where the jobs are.
        experiment: The name of the experiment.
        began: When the run was entered.
        goes_on: Whether the jobs of a backend, by its name, go on without this process.
        again: The command that goes on.
        first: The command that runs it, where nothing was sent; `again` if empty.
    """
    jobs = _jobs_of_the_run(ledger, experiment, began)
    if not jobs:
        return ["interrupted; nothing was sent", f"to run it: {first or again}"]
    with contextlib.suppress(QJobsError):
        for run in sorted({job.run for job in jobs}):
            own = [job.job_id for job in jobs if job.run == run]
            ledger.waits.register(run, own, until="all", now=utc_now(), held_by=lease_owner())
    lines = ["interrupted"]
    by_name: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_name[job.opened_as].append(job)
    for name, own_jobs in by_name.items():
        lines.append(f"{name}: {'; '.join(_said(own_jobs, is_durable=goes_on(name)))}")
    lines.append(f"to go on with it: {again}")
    if any(not job.status.is_final and goes_on(job.opened_as) for job in jobs):
        lines.append(f"to look at it: qjobs watch --run {jobs[0].logical_run}")
    return lines


def _jobs_of_the_run(ledger: Ledger, experiment: str, began: datetime) -> list[Job]:
    """The jobs of the newest logical run of an experiment, if this process was at it."""
    jobs = ledger.jobs(experiment=experiment)
    own = [job for job in jobs if job.logical_run == jobs[0].logical_run]
    is_ours = any(job.created_at >= began or not job.status.is_final for job in own)
    return own if is_ours else []


def _said(jobs: Sequence[Job], *, is_durable: bool) -> list[str]:
    counts = Counter(job.status for job in jobs)
    done = sum(count for status, count in counts.items() if status.is_final)
    unsent = counts[JobStatus.CREATED]
    unsure = sum(counts[status] for status in _BEING_SENT)
    alive = sum(counts.values()) - done - unsent - unsure
    words = []
    if alive and is_durable:
        shown = sorted({job.status for job in jobs if not job.status.is_final} - _BEING_SENT - {JobStatus.CREATED})
        words.append(f"{_jobs(alive)} will go on there ({', '.join(shown)})")
    elif alive:
        words.append(f"{_jobs(alive)} ended with this process, which simulated here")
    if unsure:
        words.append(f"{_jobs(unsure)} may have been sent; the command below finds out")
    if unsent:
        words.append(f"{_jobs(unsent)} not sent")
    if done:
        words.append(f"{_jobs(done)} done")
    return words


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
