"""The collect stage: results of a final job into the ledger. It has no way to submit."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks import backend_named, ledger_named
from qjobs.model import JobId
from qjobs.operations import plan as operations
from tasks.logs import task_logger
from tasks.retrying import READ_DELAYS_S, is_transient

__all__ = ["collect_results"]


@task(
    name="collect-results",
    description="Fetch what a final job returned and keep it; raise once for what is missing.",
    tags=["qjobs"],
    task_run_name="collect {job_id}",
    retries=len(READ_DELAYS_S),
    retry_delay_seconds=READ_DELAYS_S,
    retry_jitter_factor=0.2,
    retry_condition_fn=is_transient,
    timeout_seconds=None,  # runs in a worker thread, where Prefect cannot interrupt; adapters bound every call
    persist_result=False,
    cache_policy=NO_CACHE,
    cache_result_in_memory=True,
    log_prints=False,
)
def collect_results(job_id: JobId, *, backend: str, ledger: str = "") -> int:
    """Make sure that every result of a final job is in the ledger.

    Args:
        job_id: The job.
        backend: Name of its backend.
        ledger: Name of the ledger block.

    Returns:
        How many items have a result.

    Raises:
        JobFailed: Some items ended without one; all others are kept.
        BackendUnavailable: Prefect runs the task again.
    """
    count = operations.complete(ledger_named(ledger), backend_named(backend), job_id)
    task_logger().info("%s: %d results", job_id, count)
    return count
