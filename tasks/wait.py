"""The wait stage, inline: one poller for all jobs of a flow. It has no way to submit."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prefect import task

import qjobs
from blocks import backend_named, ledger_named
from qjobs.errors import WaitTimeout
from qjobs.model import JobId
from tasks.logs import task_logger
from tasks.progress import ProgressArtifact
from tasks.retrying import READS


@task(
    name="wait-for-jobs",
    description="Poll until jobs are final; results are stored as soon as they exist.",
    task_run_name="wait",
    timeout_seconds=None,
    **READS,
)
def wait_for_jobs(
    job_ids: Sequence[JobId],
    *,
    backends: Sequence[str],
    ledger: str = "",
    until: str = "all",
    progress_key: str = "",
    shown: Sequence[JobId] = (),
    at_most_s: float | None = None,
) -> dict[JobId, str]:
    """Wait in this process until all jobs are final (or any, by `until`).

    No progress artifact is kept if `progress_key` is empty. It counts the circuits of `shown`, where that is more than
    `job_ids`. It comes back after `at_most_s` seconds, whatever has become of them.

    Returns:
        The status of each job.
    """
    store = ledger_named(ledger)
    opened = {name: backend_named(name) for name in backends}
    progress = ProgressArtifact(store, shown or job_ids, progress_key, task_logger(), time.monotonic)
    try:
        statuses = qjobs.wait(store, opened, job_ids, until=until, timeout_s=at_most_s, report=progress.update)
    except WaitTimeout:
        statuses = {job.job_id: job.status for job in store.jobs(job_ids=job_ids)}
    progress.finish()
    return {job_id: str(status) for job_id, status in statuses.items()}
