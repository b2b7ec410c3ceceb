"""The last stage of a Divi program: its curve, its jobs and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from blocks import backend_named, ledger_named
from qjobs.backends.base import Backend
from qjobs.experiments.divi_program import DiviProgramSpec
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports.program_report import ProgramOutcome, draw_losses, losses_frame, program_lines, program_markdown
from qjobs.results.save import definition_of, origin, save_frame
from tasks.artifacts import Published, data_address, files_of, published, show
from tasks.logs import task_logger
from tasks.retrying import READS


@task(
    name="publish-divi-program",
    description="Write the losses and their curve, and show report, jobs and provenance in the UI.",
    task_run_name="publish {spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_divi_program(
    spec: DiviProgramSpec, outcome: ProgramOutcome, logical_run: str, *, ledger: str = ""
) -> Published:
    """Save the losses of a logical run and make its artifacts; a second call saves them anew.

    Raises:
        StorageFull: A file cannot be written; jobs and results are in the ledger.
    """
    store = ledger_named(ledger)
    jobs = store.jobs(experiment=spec.name, logical_run=logical_run)
    job_ids = [job.job_id for job in reversed(jobs)]
    n_batches = len({str(job.properties.get("program_batch")) for job in jobs})
    lines = program_lines(outcome, n_batches)
    picture = draw_losses(f"{spec.name}: {spec.program} on {spec.backend}", outcome)
    of_backend, backends = {spec.backend: job_ids}, {spec.backend: backend_named(spec.backend)}
    record = _origin(store, spec, of_backend, backends, logical_run)
    saved = save_frame(spec.name, record["definition"], losses_frame(outcome), picture, record, lines)
    files = files_of(saved, f"logical run: {logical_run}")
    report = program_markdown(spec.name, outcome, n_batches, data_address(picture), files)
    keys = show(store, saved, of_backend, backends, report)
    task_logger().info("wrote %s", saved.file)
    return published(saved, keys)


def _origin(
    store: Ledger,
    spec: DiviProgramSpec,
    jobs: Mapping[str, Sequence[JobId]],
    backends: Mapping[str, Backend],
    logical_run: str,
) -> dict[str, Any]:
    definition = definition_of(spec)
    return origin(store, "divi", spec, definition, jobs, backends, key=["iteration"], logical_run=logical_run)
