"""The trend of a health check: its report, its verdict, and an event that automations can act on."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.events import emit_event

from blocks import backend_named, ledger_named
from qjobs.backends.base import Backend
from qjobs.experiments.health_check import HealthCheck
from qjobs.model import JobId
from qjobs.paths import data_home
from qjobs.reports.files import artifact_key, write_file
from qjobs.reports.health_report import (
    HealthCheckRun,
    Verdict,
    draw_trend,
    health_check_runs,
    health_markdown,
    verdict,
    verdict_lines,
)
from tasks.logs import task_logger
from tasks.retrying import READS


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
        StorageFull: The picture cannot be written; the results are in the ledger.
    """
    store = ledger_named(ledger)
    backend = backend_named(spec.backend)
    runs = health_check_runs(store, experiment=spec.name, backend=backend.name, device=backend.device)
    made_by = store.job(job_ids[0]).run
    current = next(run for run in runs if run.run == made_by)
    title = f"{spec.name} {backend.device}"
    found = verdict(current, spec.min_success)
    picture = draw_trend(runs, spec.min_success)
    path = data_home() / "results" / artifact_key(title, "results") / "trend.png"
    keys = _show(title, spec, runs, current, picture)
    trend = Trend(
        verdict=found,
        lines=tuple(verdict_lines(current, spec.min_success)),
        picture=str(write_file(path, picture)) if picture else None,
        artifact_keys=keys,
    )
    _emit(title, spec, backend, current, trend)
    return trend


def _show(
    title: str, spec: HealthCheck, runs: Sequence[HealthCheckRun], current: HealthCheckRun, picture: bytes | None
) -> tuple[str, ...]:
    """Create the artifact; outside of a flow run there is nowhere to show it."""
    if FlowRunContext.get() is None:
        return ()
    key = artifact_key(title, "trend")
    image = f"data:image/png;base64,{base64.b64encode(picture).decode()}" if picture else None
    report = health_markdown(title, runs, current, spec.min_success, image)
    create_markdown_artifact(report, key=key, description=f"Trend of {title}")
    return (key,)


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
