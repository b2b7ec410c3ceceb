"""The last stage: files and artifacts of a run, made from the ledger alone."""

from __future__ import annotations

import base64
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from blocks import backend_named, ledger_named
from qjobs.backends.base import Backend
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.redaction import without_known
from qjobs.reports.files import artifact_key, is_url
from qjobs.reports.markdown import address, code, plain
from qjobs.reports.progress import cut_table
from qjobs.reports.provenance import provenance, provenance_markdown
from qjobs.results.save import save_run
from qjobs.results.store import SavedRun
from tasks.logs import task_logger
from tasks.retrying import READS

_MOST_PAGES = 10
"""Jobs with a link of their own; the table of jobs has the addresses of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run published: its files (paths or URLs), the keys of its artifacts, and a summary, line by line.

    Where there is no picture, `why_no_picture` says why.
    """

    parquet: str
    picture: str | None
    artifact_keys: tuple[str, ...]
    lines: tuple[str, ...]
    n_rows: int
    n_missing: int
    why_no_picture: str = ""


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
    """Save the results of a run and make its artifacts; a second call saves them anew, and makes a new version of each.

    `jobs` maps backend names to job ids, reused ones included. `note` is a sentence for the report.

    Raises:
        StorageFull: A file cannot be written; the results are in the ledger.
    """
    store = ledger_named(ledger)
    backends = {name: backend_named(name) for name in jobs}
    saved = save_run(store, plan, jobs, backends)
    report = saved.report.markdown(data_address(saved.report.picture), files_of(saved.run, note))
    keys = show(store, saved.run, jobs, backends, report)
    task_logger().info("wrote %s", saved.run.file)
    return published(saved.run, keys)


def published(run: SavedRun, keys: tuple[str, ...]) -> Published:
    """What was published of a saved run, with the keys of its artifacts."""
    return Published(
        parquet=without_known(run.file),  # a URL may have a password
        picture=run.picture and without_known(run.picture),
        artifact_keys=keys,
        lines=tuple(run.record["lines"]),
        n_rows=run.record["n_rows"],
        n_missing=run.record["n_missing"],
        why_no_picture=run.record.get("why_no_picture", ""),
    )


def files_of(run: SavedRun, note: str = "") -> list[str]:
    """Sentences for a report: where its files are, and the note."""
    files = [f"data frame: {code(run.file)}"]
    if run.picture:
        command = f"qjobs results {shlex.quote(f'{run.name}/{run.run}')} --picture FILE.svg --dark"
        files.append(f"picture: {code(run.picture)}; in other formats and for dark pages: {code(command)}")
    if run.fits:
        files.append(f"fits: {code(run.fits)}")
    return [without_known(line) for line in [*files, *([plain(note)] if note else [])]]


def data_address(picture: bytes | None) -> str | None:
    """A picture as an address, which Prefect's UI shows; None where there is none."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else None


def show(
    store: Ledger, run: SavedRun, jobs: Mapping[str, Sequence[JobId]], backends: Mapping[str, Backend], report: str
) -> tuple[str, ...]:
    """Create the artifacts of a saved run: its report, its jobs, where it comes from, and links to what belongs to it.

    `jobs` maps backend names to job ids. Outside of a flow run there is nowhere to show them.

    Returns:
        The keys of report, jobs and provenance.
    """
    context = FlowRunContext.get()
    if context is None:
        return ()
    name = run.name
    job_ids = list(dict.fromkeys(itertools.chain.from_iterable(jobs.values())))
    pages = _pages(store, jobs, backends)
    key, rows, origin = (artifact_key(name, what) for what in ("report", "jobs", "provenance"))
    create_markdown_artifact(report, key=key, description=f"Report of {plain(name)}")
    shown, words = cut_table(store, job_ids, name, pages)
    create_table_artifact(shown, key=rows, description=words)
    creator = context.flow_run.created_by if context.flow_run is not None else None
    asked_by = (creator.display_value or "") if creator is not None else ""
    record = provenance_markdown(provenance(store, backends, job_ids), run.record, run.url, asked_by)
    create_markdown_artifact(record, key=origin, description=f"Provenance of {plain(name)}")
    link_files(run)
    for number, (job_id, page) in enumerate(itertools.islice(pages.items(), _MOST_PAGES), 1):
        _link(
            artifact_key(name, f"job-{number}"), job_id, page, f"The provider's page of job {number} of {plain(name)}"
        )
    return key, rows, origin


def link_files(run: SavedRun) -> None:
    """Make links to the files of a saved run: its data frame, and its picture if there is one."""
    _link(artifact_key(run.name, "data"), run.file, run.file, f"The data frame of {plain(run.name)}, as Parquet")
    if run.picture:
        _link(artifact_key(run.name, "picture"), run.picture, run.picture, f"The picture of {plain(run.name)}")


def _link(key: str, words: str, place: str, description: str) -> None:
    """Make a link artifact, unless the place is none that a page should lead to. A file's words are its path."""
    found = address(place if is_url(place) else Path(place).absolute().as_uri())
    if found is not None:
        create_link_artifact(found, link_text=plain(words), key=key, description=description)


def _pages(store: Ledger, jobs: Mapping[str, Sequence[JobId]], backends: Mapping[str, Backend]) -> dict[JobId, str]:
    """The provider's own pages of jobs, where it has any."""
    found = {}
    for name, job_ids in jobs.items():
        for job_id, attempt in store.last_attempts(job_ids).items():
            page = backends[name].link(attempt.remote_id) if attempt.remote_id is not None else None
            if page is not None:
                found[job_id] = page
    return found
