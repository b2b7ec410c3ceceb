"""A parameterised experiment sweep.

From the command line: `python -m flows.sweep examples/qaoa_maxcut/sweep.yaml`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from blocks import backend_named, ledger_named
from flows._support.alive import alive
from flows._support.command import run_flow
from flows._support.stages import cancel_jobs, compiling, run_jobs
from flows._support.waiting import AUTO, Waiting
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.model import JobId
from qjobs.operations.launch import Launched, launch_sweep
from qjobs.reports.files import artifact_key
from tasks import publish_artifacts
from tasks.artifacts import Published

__all__ = ["sweep"]


@flow(
    name="sweep",
    description="Run a parametric circuit at many points; points that are there already are reused.",
    flow_run_name="{spec.name}",
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type]
    retries=0,
    timeout_seconds=None,
    validate_parameters=True,
    persist_result=False,
    log_prints=False,
    on_cancellation=[cancel_jobs],
)
def sweep(
    spec: SweepSpec,
    ledger: str = "",
    cancel_remote_jobs: bool = True,  # noqa: ARG001, FBT001, FBT002, RUF100
    waiting: Waiting = AUTO,
) -> Published:
    """Run a sweep and publish its data frame, picture, table of jobs and provenance.

    Args:
        spec: The sweep.
        ledger: Name of a ledger block; the default ledger if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with alive(ledger):
        plan, logger = expand_sweep(spec), get_run_logger()
        for name in spec.backends:
            backend_named(name)  # a name that is wrong is refused before any backend gets a job
        key = artifact_key(spec.name, "progress")
        jobs: dict[str, list[JobId]] = defaultdict(list)
        to_run: dict[JobId, str] = {}
        notes = []
        for name in spec.backends:
            launched = _launch(plan, name, ledger, waiting)
            jobs[name] = list(launched.job_ids)
            open_ones = [job.job_id for job in ledger_named(ledger).jobs(job_ids=jobs[name]) if not job.status.is_final]
            to_run.update(dict.fromkeys([*open_ones, *launched.failed], name))
            notes.append(f"{name}: {launched.summary}")
            logger.info(notes[-1])
        problems = run_jobs(to_run, ledger=ledger, progress_key=key, waiting=waiting)
        # Prefect hands the task the plan itself; without the quotes it would look for futures in every point.
        quoted: SweepPlan = quote(plan)  # type: ignore[assignment]
        published = publish_artifacts(quoted, jobs, ledger=ledger, note="; ".join(notes))
        for line in published.lines:
            logger.info(line)
        if problems:
            raise next(iter(problems.values()))
        return published


def _launch(plan: SweepPlan, name: str, ledger: str, waiting: Waiting) -> Launched:
    spec, run = plan.spec, str(flow_run.id or "")
    options = spec.compile_options()
    stage = compiling(name, options, name=spec.name, run=run, ledger=ledger, waiting=waiting, fresh=spec.fresh)
    return launch_sweep(ledger_named(ledger), backend_named(name), plan, name=name, run=run, compile_stage=stage)


if __name__ == "__main__":
    sys.exit(run_flow(sweep, lambda path: load_sweep(Path(path))))
