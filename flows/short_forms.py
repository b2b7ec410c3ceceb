"""Flows with short forms, for common experiments: each makes a sweep of its form, and runs it as `flows.sweep` does."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prefect import flow

from flows._support.run_ledger import unchanged
from flows._support.stages import EXPERIMENT
from flows._support.waiting import AUTO, Waiting
from flows.sweep import sweep
from qjobs.experiments.short_forms import BuilderForm, QaoaForm, SweepFile
from qjobs.experiments.sweep import expand_sweep
from qjobs.operations.check import Checked
from tasks.artifacts import Published

__all__ = ["qaoa", "registered_builder", "sweep_file"]


@flow(
    name="sweep-file",
    description="Run a sweep that stands in a file of the project; points that are there already are reused.",
    flow_run_name="{spec.file}",
    **EXPERIMENT,
)
def sweep_file(
    spec: SweepFile,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
    plan_only: bool = False,
) -> Published | Checked:
    """Run the sweep of a file.

    A run that is entered again reads the file again. Where it says something else by then, nothing is sent.

    Args:
        spec: The file.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run whose jobs are to be found again, where `fresh` is on.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
        plan_only: Send nothing, and say what would run, what it would cost and how long it would wait.
    """
    found = spec.sweep(Path.cwd())
    read = f"{found.model_dump_json()} {expand_sweep(found).definition}"
    unchanged(spec.file, hashlib.sha256(read.encode()).hexdigest())
    return sweep.fn(found, ledger, logical_run, cancel_remote_jobs, waiting, plan_only)


@flow(
    name="qaoa",
    description="Scan both angles of QAOA with one layer, for the largest cut of a graph.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def qaoa(
    spec: QaoaForm,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
    plan_only: bool = False,
) -> Published | Checked:
    """Run the landscape of a graph.

    Args:
        spec: The graph and the angles.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run to go on with; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
        plan_only: Send nothing, and say what would run, what it would cost and how long it would wait.
    """
    return sweep.fn(spec.sweep(), ledger, logical_run, cancel_remote_jobs, waiting, plan_only)


@flow(
    name="registered-builder",
    description="Run the circuits of a registered builder at many points; points that are there already are reused.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def registered_builder(
    spec: BuilderForm,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
    plan_only: bool = False,
) -> Published | Checked:
    """Run a builder's circuits.

    Args:
        spec: The builder, and where it is varied.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Name of an earlier logical run to go on with; a new one if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
        plan_only: Send nothing, and say what would run, what it would cost and how long it would wait.
    """
    return sweep.fn(spec.sweep(), ledger, logical_run, cancel_remote_jobs, waiting, plan_only)
