"""A variational minimisation of a Hamiltonian's energy; each epoch is one batch of circuits.

From the command line: `python -m flows.hybrid examples/h2/hybrid.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.annotations import quote

from blocks import backend_named, ledger_named
from flows._support.command import SAID_BELOW, run_flow
from flows._support.stages import EXPERIMENT, execute_in_flow
from flows._support.unknown_jobs import entered_asking
from flows._support.waiting import AUTO, Waiting
from qjobs.errors import QJobsError
from qjobs.experiments.hybrid import HybridPlan, HybridSpec, expand_hybrid, load_hybrid
from qjobs.experiments.sweep import SweepPlan
from qjobs.operations.execute import Executed
from qjobs.operations.hybrid import interrupted_hybrid, minimise_in_ledger
from tasks import publish_hybrid
from tasks.artifacts import Published

__all__ = ["hybrid"]


@flow(
    name="hybrid",
    description="Minimise a Hamiltonian's energy: each epoch is one batch of circuits.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def hybrid(
    spec: HybridSpec,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
) -> Published:
    """Minimise epoch by epoch, and publish the energy curve beside exact diagonalisation.

    Every epoch is recorded in the ledger before the next one begins. Entered again, the run goes on at its epoch, with
    the optimiser as it was and the job that is under way. What was recorded is published also where an epoch fails.

    Args:
        spec: What is minimised, and how.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run to go on with; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with entered_asking(ledger, logical_run):
        plan = expand_hybrid(spec)
        identity = logical_run or str(flow_run.id or "")
        store = ledger_named(ledger)

        def run_epoch(sweep: SweepPlan) -> Executed:
            return execute_in_flow(sweep, ledger=ledger, waiting=waiting, identity=identity)

        # Prefect hands the task the plan itself; without the quotes it would look for futures in it.
        quoted: HybridPlan = quote(plan)  # type: ignore[assignment]
        try:
            minimise_in_ledger(store, backend_named(spec.backend), plan, run_epoch, logical_run=identity)
        except QJobsError:
            if store.epochs.of_run(identity):
                publish_hybrid(quoted, identity, ledger=ledger)
            raise
        published = publish_hybrid(quoted, identity, ledger=ledger)
        for line in published.lines:
            get_run_logger().info(line, extra=SAID_BELOW)
        return published


if __name__ == "__main__":
    sys.exit(
        run_flow(
            hybrid,
            lambda path: load_hybrid(Path(path)),
            experiment=True,
            work_out=expand_hybrid,
            interrupted=interrupted_hybrid,
        )
    )
