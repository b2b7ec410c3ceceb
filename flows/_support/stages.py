"""What the flows share: compile, submit within the device's limit, wait, collect; and the cancellation hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.futures import PrefectFuture
from prefect.logging import get_logger
from prefect.runtime import flow_run

from blocks import backend_named, ledger_named
from flows._support.waiting import Waiting, wait_until
from qjobs.compiling.compiler import CompileOptions, Compiler
from qjobs.errors import Busy, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import Job, JobId, ProgramHash
from qjobs.operations import plan as operations
from qjobs.operations.compile_jobs import compiled_by, plan_compilation
from qjobs.operations.launch import CompileStage
from qjobs.operations.retry import RetryPolicy
from qjobs.reports.files import artifact_key
from tasks import collect_results, compile_circuits, submit_job

__all__ = ["cancel_jobs", "compiling", "run_jobs"]

_NOT_MOVING = frozenset({JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""Waiting moves none of these; submitting again does."""


def compiling(
    backend: str,
    options: CompileOptions,
    *,
    name: str,
    run: str,
    ledger: str,
    waiting: Waiting,
    identity: str = "",
    fresh: bool = False,
) -> CompileStage:
    """The compile stage of a flow: here, or by a compile job of the provider's.

    Args:
        backend: Name of the backend.
        options: Compiler and level.
        name: Name of what is compiled for.
        run: Who makes the jobs.
        ledger: Name of the ledger block.
        waiting: How a compile job is waited for.
        identity: The logical run, where it is another.
        fresh: Compile anew what is there already.
    """

    def here(hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
        return compile_circuits(backend, list(hashes), options, ledger=ledger, fresh=fresh)

    def there(hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
        store = ledger_named(ledger)
        planned = plan_compilation(
            store,
            backend_named(backend),
            hashes,
            level=options.level,
            name=name,
            run=run,
            backend_name=backend,
            identity=identity or run,
            fresh=fresh,
        )
        key = artifact_key(name, "compile-progress")
        jobs = dict.fromkeys(planned.job_ids, backend)
        for problem in run_jobs(jobs, ledger=ledger, progress_key=key, waiting=waiting).values():
            raise problem
        return {**planned.have, **compiled_by(store, planned.job_ids)}

    return there if options.compiler is Compiler.REMOTE else here


def run_jobs(jobs: Mapping[JobId, str], *, ledger: str, progress_key: str, waiting: Waiting) -> dict[JobId, Exception]:
    """Take jobs from wherever they are to their results.

    Submissions run side by side, never more live jobs than the device takes; one job's failure leaves
    the others alone. A job that cannot be submitted now (the device is full, or another process is
    submitting it) is submitted again later.

    Args:
        jobs: Job id to the name of its backend, in the order of submission.
        ledger: Name of the ledger block.
        progress_key: Key of the progress artifact.
        waiting: How the jobs are waited for; a run that is suspended comes back here from the top.

    Returns:
        What went wrong, by job; empty when every job has all its results.
    """
    store = ledger_named(ledger)
    if run := str(flow_run.id or ""):
        store.waits.end(run)
    final = [job.job_id for job in store.jobs(job_ids=list(jobs), statuses=FINAL)]
    problems = _collect(final, jobs, ledger)
    unsent = [job_id for job_id in jobs if job_id not in final]
    under_way: list[JobId] = []
    while unsent or under_way:
        chosen = _room_for(unsent, jobs, store)
        if not chosen and not under_way:
            others = _in_the_way(unsent, jobs, store)
            _wait_for_others(others, ledger, waiting)
            chosen = _room_for(unsent, jobs, store) or set(unsent[:1])
        failed = _submit(chosen, jobs, ledger)
        later, lost = _sort(failed, store)
        problems.update(lost)
        under_way += [job_id for job_id in unsent if job_id in chosen and job_id not in {*later, *lost}]
        unsent = [job_id for job_id in unsent if job_id not in chosen or job_id in later]
        if not under_way:
            continue
        wait_until(
            "any" if unsent else "all",
            {job_id: jobs[job_id] for job_id in under_way},
            ledger=ledger,
            waiting=waiting,
            progress_key=progress_key,
            shown=list(jobs),
        )
        statuses = {job.job_id: job.status for job in store.jobs(job_ids=under_way)}
        problems.update(_collect([job_id for job_id in under_way if statuses[job_id].is_final], jobs, ledger))
        unsent += [job_id for job_id in under_way if statuses[job_id] in _NOT_MOVING]
        under_way = [job_id for job_id in under_way if statuses[job_id] in LIVE - _NOT_MOVING]
    return problems


def _room_for(unsent: list[JobId], jobs: Mapping[JobId, str], store: Ledger) -> set[JobId]:
    """The first jobs that their devices have room for."""
    chosen: set[JobId] = set()
    for name in {jobs[job_id] for job_id in unsent}:
        mine = [job_id for job_id in unsent if jobs[job_id] == name]
        most = backend_named(name).limits.max_live_jobs
        chosen.update(mine if most is None else mine[: max(0, most - len(_live_on(name, store)))])
    return chosen


def _in_the_way(unsent: list[JobId], jobs: Mapping[JobId, str], store: Ledger) -> dict[JobId, str]:
    """Live jobs, other runs' too, on the devices that `unsent` waits for."""
    return {job.job_id: name for name in sorted({jobs[job_id] for job_id in unsent}) for job in _live_on(name, store)}


def _wait_for_others(jobs: Mapping[JobId, str], ledger: str, waiting: Waiting) -> None:
    """Wait until a device has room again."""
    key = "qjobs-room"
    wait_until("any", jobs, ledger=ledger, waiting=waiting, progress_key=key, shown=list(jobs))


def _live_on(name: str, store: Ledger) -> list[Job]:
    backend = backend_named(name)
    return store.jobs(backend=backend.name, device=backend.device, statuses=LIVE)


def _submit(chosen: set[JobId], jobs: Mapping[JobId, str], ledger: str) -> dict[JobId, Exception]:
    futures = {}
    for job_id in (job_id for job_id in jobs if job_id in chosen):
        policy = RetryPolicy.for_backend(backend_named(jobs[job_id]).lost_reply)
        stage = submit_job.with_options(retries=len(policy.rungs), retry_delay_seconds=policy.delays_s)
        futures[job_id] = stage.submit(job_id, backend=jobs[job_id], ledger=ledger, policy=policy)
    return _errors(futures)


def _sort(failed: Mapping[JobId, Exception], store: Ledger) -> tuple[set[JobId], dict[JobId, Exception]]:
    """Failed submissions: those to submit again later, and those that are lost; any other job is at its provider."""
    later = {job_id for job_id, error in failed.items() if isinstance(error, Busy)}
    alive = {job.job_id for job in store.jobs(job_ids=list(failed), statuses=LIVE - _NOT_MOVING)}
    lost = {
        job_id: error
        for job_id, error in failed.items()
        if job_id not in later and (job_id not in alive or not isinstance(error, QJobsError))
    }
    return later, lost


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
    jobs = ledger.jobs(run=str(flow_run.id), statuses=set(JobStatus) - FINAL)
    for job in jobs:  # the wishes first: a backend that cannot be opened must not keep them from being written
        ledger.request_cancel(job.job_id, now=operations.utc_now())
    for job in jobs:
        try:
            operations.cancel(ledger, backend_named(job.opened_as), job.job_id)
        except QJobsError as error:
            get_logger("qjobs").warning("%s: the wish to cancel is kept and will be passed on: %s", job.job_id, error)
