"""The collect stage: results of a final job into the ledger. It has no way to submit."""

from __future__ import annotations

from prefect import task

import qjobs
from blocks import backend_named, ledger_named
from qjobs.model import JobId
from tasks.logs import task_logger
from tasks.retrying import READS


@task(
    name="collect-results",
    description="Store the results of a final job; raise once for what is missing.",
    task_run_name="collect {job_id}",
    timeout_seconds=None,  # runs in a worker thread, where Prefect cannot interrupt; adapters bound every call
    **READS,
)
def collect_results(job_id: JobId, *, backend: str, ledger: str = "") -> int:
    """Make sure that every result of a final job is in the ledger.

    Returns:
        How many items have a result.

    Raises:
        JobFailed: Some items ended without one; all others are kept.
        BackendUnavailable: Prefect runs the task again.
    """
    collected = qjobs.collect(ledger_named(ledger), backend_named(backend), job_id)
    task_logger().info("%s: %d results", job_id, collected.job.n_items)
    return collected.job.n_items
