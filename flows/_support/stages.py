"""The stages of an execution as tasks of Prefect, and the hook of cancelled runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.futures import PrefectFuture
from prefect.logging import get_logger
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

import qjobs
from blocks import backend_named, compile_cache, ledger_named
from flows._support.approval import asker
from flows._support.run_ledger import stamp
from flows._support.waiting import Waiting, wait_until
from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import QJobsError, SubmissionUnknown
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import JobId, ProgramHash
from qjobs.operations.approval import approval_of
from qjobs.operations.execute import Executed, ExperimentPlan, ToSubmit, WaitedFor, execute
from qjobs.operations.poll import utc_now
from qjobs.reports.files import artifact_key
from tasks import collect_results, compile_circuits, submit_job


class TaskStages:
    """`qjobs.operations.execute.Stages` as task runs of the present flow run.

    Submissions and collections run side by side. A wait may end the process: the run is suspended, and comes back
    to this point from the top of the flow. Keys of the artifacts come from `title`.
    """

    def __init__(self, ledger: str, title: str, waiting: Waiting) -> None:
        self._ledger = ledger
        self._title = title
        self._waiting = waiting

    def backend(self, name: str) -> Backend:
        """The backend of a name."""
        return backend_named(name)

    def compile(
        self, name: str, hashes: Sequence[ProgramHash], options: CompileOptions, *, fresh: bool, on: CompileOn
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits in one task run."""
        return compile_circuits(name, list(hashes), options, ledger=self._ledger, fresh=fresh, on=on)

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        """Submit each job in a task run; the ladder of its policy says how often it is retried."""
        store = ledger_named(self._ledger)
        stamp(store)  # a copy of the ledger from before now lacks these jobs
        futures = {}
        for job_id, job in jobs.items():
            policy = job.policy
            task = submit_job.with_options(retries=len(policy.rungs), retry_delay_seconds=policy.delays_s)
            futures[job_id] = task.submit(
                job_id,
                backend=job.backend,
                ledger=self._ledger,
                policy=policy,
                strategy=job.strategy,
                programs=dict(job.programs),
            )
        errors = _errors(futures)
        stamp(store)
        return errors

    def wait(self, waited_for: WaitedFor) -> None:
        """Wait in this process, or suspend the run; then the sensor sends what is unsent as places become free."""
        kind = waited_for.kind
        wait_until(
            waited_for,
            ledger=self._ledger,
            waiting=self._waiting,
            progress_key="qjobs-room" if kind == "room" else artifact_key(self._title, kind),
            unsent_key=artifact_key(self._title, "progress" if kind == "room" else kind),
        )

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Collect each job in a task run."""
        futures = {
            job_id: collect_results.submit(job_id, backend=name, ledger=self._ledger) for job_id, name in jobs.items()
        }
        return _errors(futures)


def execute_in_flow(
    plan: ExperimentPlan, *, ledger: str, waiting: Waiting, identity: str = "", title: str = ""
) -> Executed:
    """Take an experiment from its plan to its results in the present flow run.

    Where a person must approve it, a deployed run is suspended, and asks in Prefect's form; any other asks at the
    terminal. `identity` is the logical run, where it is not this run. Keys of the artifacts come from `title`, from the
    experiment's name if it is empty.
    """
    stages = TaskStages(ledger, title or plan.spec.name, waiting)
    store = ledger_named(ledger)
    run = str(flow_run.id or "")
    approval = approval_of(store, plan, backend_named, compile_cache(), asker(store), logical_run=identity or run)
    return execute(store, approval.plan, stages, run=run, identity=identity, approval=approval)


def raise_first(problems: Mapping[JobId, Exception]) -> None:
    """Fail the run with the first of its problems, if it has any: one that a person can decide goes before others."""
    for problem in sorted(problems.values(), key=lambda problem: not isinstance(problem, SubmissionUnknown)):
        raise problem


def _errors(futures: Mapping[JobId, PrefectFuture[Any]]) -> dict[JobId, Exception]:
    """Wait for task runs; what they raised, by job."""
    found: dict[JobId, Exception] = {}
    for job_id, future in futures.items():
        answer = future.result(raise_on_failure=False)
        if isinstance(answer, Exception):
            found[job_id] = answer
    return found


def cancel_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancellation hook: the jobs that this flow run made are cancelled too, unless `cancel_remote_jobs` is off.

    Jobs that another run waits for go on.
    """
    parameters = flow_run.parameters or {}
    if not parameters.get("cancel_remote_jobs", True):
        return
    ledger = ledger_named(parameters.get("ledger", ""))
    run = str(flow_run.id)
    jobs = ledger.jobs(run=run, statuses=set(JobStatus) - FINAL)
    shared = ledger.waits.jobs_of_others([job.job_id for job in jobs], run)
    jobs = [job for job in jobs if job.job_id not in shared]
    for job in jobs:  # the requests first: a backend that cannot be opened must not keep them from being written
        ledger.request_cancel(job.job_id, now=utc_now())
    for job in jobs:
        try:
            qjobs.cancel(ledger, backend_named(job.opened_as), job.job_id)
        except QJobsError as error:
            message = "%s: its cancellation is recorded and the sensor will pass it on: %s"
            get_logger("qjobs").warning(message, job.job_id, error)


EXPERIMENT: dict[str, Any] = {
    "task_runner": ThreadPoolTaskRunner(max_workers=8),
    "retries": 0,
    "timeout_seconds": None,
    "validate_parameters": True,
    "persist_result": False,
    "log_prints": False,
    "on_cancellation": [cancel_jobs],
}
"""Options of the flows that run an experiment. Entering one again is the sensor's business, or a person's."""
