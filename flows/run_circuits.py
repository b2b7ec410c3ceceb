"""Run a batch of circuits as they are.

From the command line: `python -m flows.run_circuits examples/bell/circuits.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows._support.command import run_flow
from flows._support.stages import EXPERIMENT, execute_in_flow, raise_first
from flows._support.unknown_jobs import entered_asking
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list, load_circuit_list
from qjobs.operations.check import Checked
from tasks import publish_artifacts, publish_plan
from tasks.artifacts import Published

__all__ = ["run_circuits"]


@flow(
    name="run-circuits",
    description="Run a batch of circuits on one backend.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def run_circuits(
    spec: CircuitList,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
    plan_only: bool = False,
) -> Published | Checked:
    """Compile, submit, wait for and collect a batch of circuits.

    Args:
        spec: The circuits.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run whose jobs are to be found again; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
        plan_only: Send nothing, and say what would run, what it would cost and how long it would wait.
    """
    with entered_asking(ledger, logical_run):
        plan = expand_circuit_list(spec)
        if plan_only:
            return publish_plan(plan, ledger=ledger, logical_run=logical_run)
        identity = logical_run or str(flow_run.id or "")
        done = execute_in_flow(plan, ledger=ledger, waiting=waiting, identity=identity)
        published = publish_artifacts(done.plan, done.jobs, ledger=ledger, note=f"logical run: {identity}")
        raise_first(done.problems)
        return published


if __name__ == "__main__":
    sys.exit(run_flow(run_circuits, lambda path: load_circuit_list(Path(path)), experiment=True))
