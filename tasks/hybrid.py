"""The last stage of a hybrid run: its curve, its table and its files, made from the ledger alone."""

from __future__ import annotations

import base64
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from blocks import backend_named, ledger_named
from qjobs.experiments.hamiltonian import ground_energy
from qjobs.experiments.hybrid import HybridPlan
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.paths import data_home
from qjobs.reports.files import artifact_key, write_file, write_parquet
from qjobs.reports.hybrid_report import draw_energies, epochs_frame, hybrid_lines, hybrid_markdown
from qjobs.reports.progress import cut_table
from qjobs.reports.provenance import provenance, provenance_markdown
from tasks.artifacts import Published
from tasks.logs import task_logger
from tasks.retrying import READS


@task(
    name="publish-hybrid",
    description="Write the epochs and the energy curve, and show report, jobs and provenance in the UI.",
    task_run_name="publish {plan.spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_hybrid(plan: HybridPlan, logical_run: str, *, ledger: str = "") -> Published:
    """Make the files and artifacts of a logical run from its epochs; a second call makes a new version of each.

    Raises:
        StorageFull: A file cannot be written; the epochs are in the ledger.
    """
    store = ledger_named(ledger)
    name = plan.spec.name
    epochs = store.epochs.of_run(logical_run)
    exact = ground_energy(plan.hamiltonian)
    folder = data_home() / "results" / artifact_key(name, "results")
    parquet = write_parquet(epochs_frame(plan, epochs), folder / "epochs.parquet")
    picture = draw_energies(plan, epochs, exact)
    path = write_file(folder / "energy.png", picture) if picture else None
    image = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else None
    files = [f"data frame: `{parquet}`", *([f"picture: `{path}`"] if path else []), f"logical run: {logical_run}"]
    job_ids = list(dict.fromkeys(job_id for epoch in epochs for job_id in epoch.job_ids))
    report = hybrid_markdown(plan, epochs, exact, image, files)
    keys = show_report(store, name, plan.spec.backend, job_ids, report)
    task_logger().info("wrote %s", parquet)
    return _published(plan, parquet, path, keys, hybrid_lines(plan, epochs, exact), len(epochs))


def _published(
    plan: HybridPlan, parquet: Path, picture: Path | None, keys: tuple[str, ...], lines: list[str], n_epochs: int
) -> Published:
    return Published(
        parquet=str(parquet),
        picture=str(picture) if picture else None,
        artifact_keys=keys,
        lines=tuple(lines),
        n_rows=n_epochs,
        n_missing=0,
    )


def show_report(store: Ledger, name: str, backend: str, job_ids: list[JobId], report: str) -> tuple[str, ...]:
    """Create the artifacts: report, jobs, provenance. Outside of a flow run there is nowhere to show them."""
    if FlowRunContext.get() is None:
        return ()
    first, rows, origin = (artifact_key(name, what) for what in ("report", "jobs", "provenance"))
    create_markdown_artifact(report, key=first, description=f"Results of {name}")
    shown, words = cut_table(store, job_ids, name)
    create_table_artifact(shown, key=rows, description=words)
    record = provenance(store, {backend: backend_named(backend)}, job_ids)
    create_markdown_artifact(provenance_markdown(record), key=origin, description=f"Provenance of {name}")
    return first, rows, origin
