"""A program of Divi on any backend of ours.

From the command line: `python -m flows.divi_program FILE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.annotations import quote

from blocks import ledger_named
from flows._support.command import run_flow
from flows._support.stages import EXPERIMENT, TaskStages
from flows._support.unknown_jobs import entered_asking
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.divi_program import DiviProgramSpec, load_divi_program
from qjobs.interop.divi import QjobsBackend
from qjobs.interop.divi_outcome import outcome_of
from qjobs.operations.program_batches import interrupted_program
from qjobs.reports.program_report import ProgramOutcome
from tasks import publish_divi_program
from tasks.artifacts import Published

__all__ = ["divi_program"]


@flow(
    name="divi-program",
    description="Run a registered program of Divi; each of its batches is jobs of the ledger.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def divi_program(
    spec: DiviProgramSpec,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
) -> Published:
    """Run a program to its end, and publish what it came to.

    The program keeps its state in its own memory. Entered again, after a suspension or a crash, it starts from the top
    with the same seed, and the ledger answers the batches that it asked for before; a batch that differs from the one
    before is refused and nothing is sent.

    Args:
        spec: Which program, with what, and where.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run to go on with; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with entered_asking(ledger, logical_run):
        run = str(flow_run.id or "")
        identity = logical_run or run
        backend = QjobsBackend(
            spec.backend,
            run=identity,
            entry=run,
            experiment=spec.name,
            shots=spec.shots,
            exact=spec.exact,
            seed=spec.seed_of(identity),
            ledger=ledger_named(ledger),
            compiling=spec,
            retries=spec.retries,
            stages=TaskStages(ledger, spec.name, waiting),
        )
        with backend:
            program = spec.build(backend, identity)
            program.run()
        # Prefect hands the task the value itself; without the quotes it would look for futures in it.
        outcome: ProgramOutcome = quote(outcome_of(program))  # type: ignore[assignment]
        published = publish_divi_program(spec, outcome, identity, ledger=ledger)
        for line in published.lines:
            get_run_logger().info(line)
        return published


if __name__ == "__main__":
    sys.exit(
        run_flow(
            divi_program,
            lambda path: load_divi_program(Path(path)),
            experiment=True,
            work_out=lambda spec: spec,
            interrupted=lambda store, spec: interrupted_program(store, spec.name),
        )
    )
