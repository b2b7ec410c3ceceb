"""A parameterised experiment sweep.

From the command line: `python -m flows.sweep examples/qaoa_maxcut/sweep.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.utilities.annotations import quote

from flows._support.command import run_flow
from flows._support.run_ledger import entered
from flows._support.stages import EXPERIMENT, execute_in_flow, raise_first
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from tasks import publish_artifacts
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
) -> Published:
    """Run a sweep and publish its data frame, picture, table of jobs and provenance.

    Args:
        spec: The sweep.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run whose jobs are to be found again, where `fresh` is on.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with entered(ledger):
        plan = expand_sweep(spec)
        done = execute_in_flow(plan, ledger=ledger, waiting=waiting, identity=logical_run)
        # Prefect hands the task the plan itself; without the quotes it would look for futures in every point.
        quoted: SweepPlan = quote(plan)  # type: ignore[assignment]
        published = publish_artifacts(quoted, done.jobs, ledger=ledger, note="; ".join(done.summaries))
        for line in [*done.summaries, *published.lines]:
            get_run_logger().info(line)
        raise_first(done.problems)
        return published


if __name__ == "__main__":
    sys.exit(run_flow(sweep, lambda path: load_sweep(Path(path)), experiment=True))
