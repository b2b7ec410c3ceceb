"""Upkeep on a schedule: jobs whose fate is unknown, and remote jobs that nobody claims."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from qjobs import recovery
from qjobs.errors import QJobsError
from qjobs.lifecycle import JobStatus

__all__ = ["reconcile"]


@flow(
    name="reconcile",
    description="Look up jobs whose fate is unknown, and list remote jobs that nobody claims.",
    flow_run_name="reconcile",
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    retries=0,
    timeout_seconds=3600,
    validate_parameters=True,
    persist_result=False,
    log_prints=False,
    on_cancellation=[],
)
def reconcile(ledger: str = "", backends: list[str] = [], orphans: bool = True) -> int:  # noqa: B006
    """Settle UNKNOWN jobs as far as their providers tell; sends nothing.

    Args:
        ledger: Name of a ledger block; the default ledger if empty.
        backends: Names of backends; those of all open jobs if empty.
        orphans: Whether to look for remote jobs with our keys that no row of the ledger claims.

    Returns:
        How many rows a person should look at; they are in the artifact `qjobs-in-doubt`.
    """
    store, logger = ledger_named(ledger), get_run_logger()
    used = {str(job.properties.get("backend_name") or job.backend) for job in store.open_jobs()}
    rows: list[dict[str, str]] = []
    for name in backends or sorted(used):
        try:
            backend = backend_named(name)
            mine = store.jobs(backend=backend.name, device=backend.device, statuses=[JobStatus.UNKNOWN])
            ids = [job.job_id for job in mine]
            for one in recovery.reconcile(store, {backend.name: backend}, job_ids=ids) if ids else []:
                logger.info("%s: %s, %s", one.job_id, one.outcome, one.words)
                if one.outcome is not recovery.Outcome.ADOPTED:
                    rows.append({"what": one.job_id, "where": name, "why": f"{one.outcome}: {one.words}"})
            if orphans and backend.remote_jobs() is not None:
                rows += [
                    {"what": lost.remote_id, "where": name, "why": f"nobody claims it; its key is {lost.key}"}
                    for lost in recovery.orphans(store, backend)
                ]
        except QJobsError as error:  # one bad provider stops no other
            logger.warning("%s: %s", name, error)
            rows.append({"what": name, "where": name, "why": f"{type(error).__name__}: {error}"})
    create_table_artifact(rows, key="qjobs-in-doubt", description="What a person should look at")
    return len(rows)
