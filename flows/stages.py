"""What the flows share: submit within the device's limit, wait, collect; and the cancellation hook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.futures import PrefectFuture
from prefect.logging import get_logger

from blocks import backend_named, ledger_named
from qjobs import operations
from qjobs.errors import QJobsError
from qjobs.lifecycle import LIVE
from qjobs.model import JobId
from qjobs.retry import RetryPolicy
from tasks import collect_results, submit_job, wait_for_jobs

__all__ = ["cancel_jobs", "run_jobs"]


def run_jobs(jobs: Mapping[JobId, str], *, ledger: str, progress_key: str) -> dict[JobId, Exception]:
    """Take jobs from CREATED to their results.

    Submissions run side by side, never more live jobs than the device takes; one job's failure leaves
    the others alone.

    Args:
        jobs: Job id to the name of its backend, in the order of submission.
        ledger: Name of the ledger block.
        progress_key: Key of the progress artifact.

    Returns:
        What went wrong, by job; empty when every job has all its results.
    """
    problems: dict[JobId, Exception] = {}
    unsent = list(jobs)
    under_way: list[JobId] = []
    while unsent or under_way:
        chosen = _room_for(unsent, jobs, ledger)
        unsent = [job_id for job_id in unsent if job_id not in chosen]
        problems.update(_submit(chosen, jobs, ledger))
        under_way += [job_id for job_id in chosen if job_id not in problems]
        until = "any" if unsent else "all"
        names = sorted(set(jobs.values()))
        wait_for_jobs(under_way, backends=names, ledger=ledger, until=until, progress_key=progress_key)
        done = {job.job_id for job in ledger_named(ledger).jobs(job_ids=under_way) if job.status not in LIVE}
        problems.update(_collect([job_id for job_id in under_way if job_id in done], jobs, ledger))
        under_way = [job_id for job_id in under_way if job_id not in done]
    return problems


def _room_for(unsent: list[JobId], jobs: Mapping[JobId, str], ledger: str) -> set[JobId]:
    """The first jobs that their devices have room for; one at least, so that a full device is waited for."""
    taken: Counter[str] = Counter()
    chosen: list[JobId] = []
    for name in sorted(set(jobs.values())):
        backend = backend_named(name)
        most = backend.limits.max_live_jobs
        live = 0
        if most is not None:
            live = len(ledger_named(ledger).jobs(backend=backend.name, device=backend.device, statuses=LIVE))
        taken[name] = live
        for job_id in (job_id for job_id in unsent if jobs[job_id] == name):
            if most is None or taken[name] < most or not chosen:
                chosen.append(job_id)
                taken[name] += 1
    return set(chosen)


def _submit(chosen: set[JobId], jobs: Mapping[JobId, str], ledger: str) -> dict[JobId, Exception]:
    futures = {}
    for job_id in (job_id for job_id in jobs if job_id in chosen):
        policy = RetryPolicy.for_backend(backend_named(jobs[job_id]).lost_reply)
        stage = submit_job.with_options(retries=len(policy.rungs), retry_delay_seconds=policy.delays_s)
        futures[job_id] = stage.submit(job_id, backend=jobs[job_id], ledger=ledger, policy=policy)
    failed = _errors(futures)
    live = {job.job_id for job in ledger_named(ledger).open_jobs(job_ids=list(failed))}
    unknown = {job_id for job_id, error in failed.items() if not isinstance(error, QJobsError)}
    return {job_id: error for job_id, error in failed.items() if job_id not in live or job_id in unknown}


def _collect(done: list[JobId], jobs: Mapping[JobId, str], ledger: str) -> dict[JobId, Exception]:
    futures = {job_id: collect_results.submit(job_id, backend=jobs[job_id], ledger=ledger) for job_id in done}
    return _errors(futures)


def _errors(futures: Mapping[JobId, PrefectFuture[Any]]) -> dict[JobId, Exception]:
    """Wait for task runs; what they raised, by job."""
    answers = {job_id: future.result(raise_on_failure=False) for job_id, future in futures.items()}
    return {job_id: answer for job_id, answer in answers.items() if isinstance(answer, Exception)}


def cancel_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001, RUF100
    """Cancellation hook: the jobs that this flow run made are cancelled too, unless it was told otherwise."""
    parameters = flow_run.parameters or {}
    if not parameters.get("cancel_remote_jobs", True):
        return
    ledger = ledger_named(parameters.get("ledger", ""))
    for job in ledger.jobs(run=str(UUID(str(flow_run.id))), statuses=LIVE):
        try:
            operations.cancel(ledger, backend_named(str(job.properties["backend_name"])), job.job_id)
        except QJobsError as error:
            get_logger("qjobs").warning("%s: the wish to cancel is kept and will be passed on: %s", job.job_id, error)
