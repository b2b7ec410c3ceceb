"""The last stage of a Divi program: its curve, its jobs and its files."""

from __future__ import annotations

import base64

from prefect import task

from blocks import ledger_named
from qjobs.experiments.divi_program import DiviProgramSpec
from qjobs.paths import data_home
from qjobs.reports.files import artifact_key, write_file, write_parquet
from qjobs.reports.program_report import ProgramOutcome, draw_losses, losses_frame, program_lines, program_markdown
from tasks.artifacts import Published
from tasks.hybrid import show_report
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
    """Make the files and artifacts of a logical run; a second call makes a new version of each.

    Raises:
        StorageFull: A file cannot be written; jobs and results are in the ledger.
    """
    store = ledger_named(ledger)
    jobs = store.jobs(experiment=spec.name, logical_run=logical_run)
    folder = data_home() / "results" / artifact_key(spec.name, "results")
    parquet = write_parquet(losses_frame(outcome), folder / "losses.parquet")
    picture = draw_losses(f"{spec.name}: {spec.program} on {spec.backend}", outcome)
    path = write_file(folder / "losses.png", picture) if picture else None
    image = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else None
    files = [f"data frame: `{parquet}`", *([f"picture: `{path}`"] if path else []), f"logical run: {logical_run}"]
    n_batches = len({str(job.properties.get("program_batch")) for job in jobs})
    report = program_markdown(spec.name, outcome, n_batches, image, files)
    keys = show_report(store, spec.name, spec.backend, [job.job_id for job in reversed(jobs)], report)
    task_logger().info("wrote %s", parquet)
    return Published(
        parquet=str(parquet),
        picture=str(path) if path else None,
        artifact_keys=keys,
        lines=tuple(program_lines(outcome, n_batches)),
        n_rows=len(outcome.losses),
        n_missing=0,
    )
