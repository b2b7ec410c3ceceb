"""Run a batch of circuits as they are.

From the command line: `python -m flows.run_circuits examples/bell/circuits.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from flows._support.alive import alive
from flows._support.command import run_flow
from flows._support.stages import cancel_jobs, compiling, run_jobs
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list, load_circuit_list
from qjobs.operations.launch import launch_circuits
from qjobs.reports.files import artifact_key
from tasks import publish_artifacts
from tasks.artifacts import Published

__all__ = ["run_circuits"]


@flow(
    name="run-circuits",
    description="Run a batch of circuits on one backend.",
    flow_run_name="{spec.name}",
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type]
    retries=0,
    timeout_seconds=None,
    validate_parameters=True,
    persist_result=False,
    log_prints=False,
    on_cancellation=[cancel_jobs],
)
def run_circuits(
    spec: CircuitList,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,  # noqa: ARG001, FBT001, FBT002, RUF100
    waiting: Waiting = AUTO,
) -> Published:
    """Compile, submit, wait for and collect a batch of circuits.

    Args:
        spec: The circuits.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run whose jobs are to be found again; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with alive(ledger):
        plan, run = expand_circuit_list(spec), str(flow_run.id or "")

        identity = logical_run or run
        stage = compiling(
            spec.backend, spec.options(), name=spec.name, run=run, ledger=ledger, waiting=waiting, identity=identity
        )
        launched = launch_circuits(
            ledger_named(ledger),
            backend_named(spec.backend),
            plan,
            run=run,
            identity=identity,
            compile_stage=stage,
        )
        job_ids = launched.job_ids
        key = artifact_key(spec.name, "progress")
        problems = run_jobs(dict.fromkeys(job_ids, spec.backend), ledger=ledger, progress_key=key, waiting=waiting)
        published = publish_artifacts(plan, {spec.backend: job_ids}, ledger=ledger, note=f"logical run: {identity}")
        if problems:
            raise next(iter(problems.values()))
        return published


if __name__ == "__main__":
    sys.exit(run_flow(run_circuits, lambda path: load_circuit_list(Path(path))))
