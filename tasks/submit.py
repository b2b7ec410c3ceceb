"""The submit stage: the only one that can create a remote job."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task

from blocks import backend_named, ledger_named
from qjobs.model import JobId, ProgramHash, RemoteRetryStrategy
from qjobs.operations.ladder import submit_by_ladder
from qjobs.operations.retry import RetryPolicy
from tasks.logs import task_logger
from tasks.retrying import DEFAULT_POLICY, SUBMITS, run_count


@task(
    name="submit-job",
    description="Submit one job; the n-th retry uses the n-th rung of the retry ladder.",
    task_run_name="submit {job_id}",
    timeout_seconds=None,  # runs in a worker thread, where Prefect cannot interrupt; adapters bound every call
    **SUBMITS,
)
def submit_job(
    job_id: JobId,
    *,
    backend: str,
    ledger: str = "",
    policy: RetryPolicy = DEFAULT_POLICY,
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
    programs: Mapping[ProgramHash, ProgramHash] | None = None,
    before: int = 0,
) -> str:
    """Submit a job, or settle what an earlier run of this task left.

    The first run of the task enters the job with `strategy`, its retries climb the ladder of `policy`. `programs` is
    as in `qjobs.submit`. The stage was run `before` so many times by others, as the dispatcher does in each pass.

    Returns:
        The job's status afterwards.

    Raises:
        BackendUnavailable, Busy: Prefect runs the task again, by the next rung.
        SubmissionRejected, SubmissionUnknown, PolicyLimit, Recalibrated, CredentialsRejected: Final for this run.
    """
    log = task_logger()
    done = submit_by_ladder(
        ledger_named(ledger),
        backend_named(backend),
        job_id,
        run=before + run_count(),
        policy=policy,
        strategy=strategy,
        programs=programs,
        log=log,
    )
    log.info("%s: %s, because %s; it is %s as %s", job_id, done.action, done.reason, done.status, done.remote_id)
    return str(done.status)
