"""The last stage: files and artifacts of a run, made from the ledger alone."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from blocks import backend_named, ledger_named
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.model import JobId
from qjobs.paths import data_home
from qjobs.reports.files import artifact_key, write_file
from qjobs.reports.progress import cut_table
from qjobs.reports.provenance import provenance, provenance_markdown
from qjobs.reports.run_report import RunReport, report_of
from tasks.logs import task_logger
from tasks.retrying import READS


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run published: files, artifact keys, and a summary, line by line."""

    parquet: str
    picture: str | None
    artifact_keys: tuple[str, ...]
    lines: tuple[str, ...]
    n_rows: int
    n_missing: int


@task(
    name="publish-artifacts",
    description="Write the data frame and the picture, and show report, jobs and provenance in the UI.",
    task_run_name="publish {plan.spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_artifacts(
    plan: SweepPlan | CircuitListPlan, jobs: Mapping[str, Sequence[JobId]], *, ledger: str = "", note: str = ""
) -> Published:
    """Make the files and artifacts of a run; a second call makes a new version of each.

    `jobs` maps backend names to job ids, reused ones included. `note` is a sentence for the report.

    Raises:
        StorageFull: A file cannot be written; the results are in the ledger.
    """
    store = ledger_named(ledger)
    folder = data_home() / "results" / artifact_key(plan.spec.name, "results")
    parquet = folder / "results.parquet"
    outcome = report_of(store, plan, jobs, parquet)
    picture = write_file(folder / "landscape.png", outcome.picture) if outcome.picture else None
    job_ids = list(dict.fromkeys(itertools.chain.from_iterable(jobs.values())))
    record = provenance(store, {name: backend_named(name) for name in jobs}, job_ids)
    files = [f"data frame: `{parquet}`", *([f"picture: `{picture}`"] if picture else []), *([note] if note else [])]
    table = cut_table(store, job_ids, plan.spec.name)
    keys = _show(plan.spec.name, outcome, files, table, provenance_markdown(record))
    task_logger().info("wrote %s", parquet)
    return _published(outcome, parquet, picture, keys)


def _published(outcome: RunReport, parquet: Path, picture: Path | None, keys: tuple[str, ...]) -> Published:
    return Published(
        parquet=str(parquet),
        picture=str(picture) if picture else None,
        artifact_keys=keys,
        lines=outcome.lines,
        n_rows=outcome.n_rows,
        n_missing=outcome.n_missing,
    )


def _show(
    name: str, outcome: RunReport, files: Sequence[str], table: tuple[list[dict[str, object]], str], record: str
) -> tuple[str, ...]:
    """Create the artifacts; outside of a flow run there is nowhere to show them."""
    if FlowRunContext.get() is None:
        return ()
    image = f"data:image/png;base64,{base64.b64encode(outcome.picture).decode()}" if outcome.picture else None
    report, rows, origin = (artifact_key(name, what) for what in ("report", "jobs", "provenance"))
    create_markdown_artifact(outcome.markdown(image, files), key=report, description=f"Report of {name}")
    shown, words = table
    create_table_artifact(shown, key=rows, description=words)
    create_markdown_artifact(record, key=origin, description=f"Provenance of {name}")
    return report, rows, origin
