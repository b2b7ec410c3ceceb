"""A parameterised experiment sweep.

From the command line: `python -m flows.sweep examples/qaoa_maxcut/sweep.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.utilities.annotations import quote

from flows._support.command import SAID_BELOW, run_flow
from flows._support.stages import EXPERIMENT, execute_in_flow, raise_first
from flows._support.unknown_jobs import entered_asking
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.operations.check import Checked
from qjobs.operations.plan import ExperimentPlan
from tasks import publish_artifacts, publish_plan
from tasks.artifacts import Published

__all__ = ["sweep"]


@flow(
    name="sweep",
    description="Run a parametric circuit at many points; points that are there already are reused.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def sweep(
    spec: SweepSpec,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
    plan_only: bool = False,
) -> Published | Checked:
    """Run a sweep and publish its data frame, picture, table of jobs and provenance.

    Args:
        spec: The sweep.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run whose jobs are to be found again, where `fresh` is on.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
        plan_only: Send nothing, and say what would run, what it would cost and how long it would wait.
    """
    with entered_asking(ledger):
        plan = expand_sweep(spec)
        if plan_only:
            return publish_plan(_quoted(plan), ledger=ledger, logical_run=logical_run)
        done = execute_in_flow(plan, ledger=ledger, waiting=waiting, identity=logical_run)
        published = publish_artifacts(_quoted(done.plan), done.jobs, ledger=ledger, note="; ".join(done.summaries))
        for line in done.summaries:
            get_run_logger().info(line)
        for line in published.lines:
            get_run_logger().info(line, extra=SAID_BELOW)
        raise_first(done.problems)
        return published


def _quoted(plan: ExperimentPlan) -> SweepPlan:
    """A plan for a task, which gets the plan itself; without quotes Prefect would look for futures in every point."""
    quoted: SweepPlan = quote(plan)  # type: ignore[assignment]
    return quoted


if __name__ == "__main__":
    sys.exit(run_flow(sweep, lambda path: load_sweep(Path(path)), experiment=True))
