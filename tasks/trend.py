"""The trend of a health check: its report, its verdict, and an event that automations can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext
from prefect.events import emit_event

from blocks import backend_named, ledger_named
from qjobs.backends.base import Backend
from qjobs.experiments.health_check import HealthCheck
from qjobs.ledger import Ledger
from qjobs.ledger.costs import CostGroup
from qjobs.ledger.job_filter import JobFilter
from qjobs.model import JobId
from qjobs.reports.files import artifact_key
from qjobs.reports.health_report import (
    HealthCheckRun,
    Verdict,
    draw_trend,
    health_check_runs,
    health_markdown,
    scores_frame,
    verdict,
    verdict_lines,
)
from qjobs.reports.markdown import plain
from qjobs.results.save import definition_of, origin, save_frame
from qjobs.results.store import SavedRun
from tasks.artifacts import data_address, link_files
from tasks.logs import task_logger
from tasks.retrying import READS

_COSTS = "qjobs-costs"
_MOST_COSTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The verdict on a run, in a word and line by line, and what shows it."""

    verdict: Verdict
    lines: tuple[str, ...]
    picture: str | None
    artifact_keys: tuple[str, ...]


@task(
    name="publish-trend",
    description="Score the run, show it with the runs before it, and emit an event with the verdict.",
    task_run_name="trend of {spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_trend(spec: HealthCheck, job_ids: Sequence[JobId], *, ledger: str = "") -> Trend:
    """Score a run and show the trend; a second call makes a new version of the report and emits the event again.

    Raises:
        StorageFull: A file cannot be written; the results are in the ledger.
    """
    store = ledger_named(ledger)
    backend = backend_named(spec.backend)
    runs = health_check_runs(store, experiment=spec.name, backend=backend.name, device=backend.device)
    made_by = store.job(job_ids[0]).run
    current = next(run for run in runs if run.run == made_by)
    title = f"{spec.name} {backend.device}"
    found = verdict(current, spec.min_success)
    picture = draw_trend(runs, spec.min_success)
    jobs, backends = {spec.backend: job_ids}, {spec.backend: backend}
    record = origin(store, "trend", spec, definition_of(spec), jobs, backends, key=["run", "series"])
    lines = verdict_lines(current, spec.min_success)
    saved = save_frame(f"{title} trend", record["definition"], scores_frame(runs), picture, record, lines)
    keys = (*_show(title, spec, runs, current, picture, saved), *_show_costs(store))
    trend = Trend(verdict=found, lines=tuple(lines), picture=saved.picture, artifact_keys=keys)
    _emit(title, spec, backend, current, trend)
    return trend


def _show(
    title: str,
    spec: HealthCheck,
    runs: Sequence[HealthCheckRun],
    current: HealthCheckRun,
    picture: bytes | None,
    saved: SavedRun,
) -> tuple[str, ...]:
    """Create the artifact, and links to its files; outside of a flow run there is nowhere to show them."""
    if FlowRunContext.get() is None:
        return ()
    key = artifact_key(title, "trend")
    image = data_address(picture)
    report = health_markdown(title, runs, current, spec.min_success, image)
    create_markdown_artifact(report, key=key, description=f"Trend of {plain(title)}")
    link_files(saved)
    return (key,)


def _show_costs(store: Ledger) -> tuple[str, ...]:
    """Create the table of what all jobs of the ledger cost, newest month first."""
    if FlowRunContext.get() is None:
        return ()
    groups = (CostGroup.MONTH, CostGroup.OWNER, CostGroup.PROJECT, CostGroup.DEVICE)
    rows = [line.named(groups) for line in reversed(store.costs(JobFilter(), groups))]
    shown = rows[:_MOST_COSTS]
    words = f"What jobs cost, in the unit of each provider: the newest {len(shown)} of {len(rows)} lines"
    create_table_artifact(shown, key=_COSTS, description=f"{words}. All: qjobs costs --csv")
    return (_COSTS,)


def _emit(title: str, spec: HealthCheck, backend: Backend, current: HealthCheckRun, trend: Trend) -> None:
    """Log the verdict, and emit the event `qjobs.benchmark.VERDICT` (passed, below or incomplete)."""
    log = task_logger().info if trend.verdict is Verdict.PASSED else task_logger().warning
    for line in trend.lines:
        log("%s", line)
    emit_event(
        event=f"qjobs.benchmark.{trend.verdict}",
        resource={
            "prefect.resource.id": f"qjobs.benchmark.{artifact_key(title, 'trend')}",
            "prefect.resource.name": title,
            "qjobs.backend": backend.name,
            "qjobs.device": backend.device,
            "qjobs.experiment": spec.name,
        },
        payload={
            "min_success": spec.min_success,
            "lines": list(trend.lines),
            "scores": {score.series.name: score.value for score in current.scores},
        },
    )
