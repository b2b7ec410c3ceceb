"""Upkeep on a schedule: UNKNOWN jobs, remote jobs that nobody claims, runs whose process is gone."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from flows._support.heartbeat import heartbeat
from flows._support.lost_runs import recover_crashed_runs, recover_lost_runs
from flows._support.resume import PassSummary
from flows._support.unstarted_runs import recover_unstarted_runs
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.operations import recover as recovery
from qjobs.reports.markdown import cell

__all__ = ["reconcile"]


@flow(
    name="reconcile",
    description="Look up UNKNOWN jobs, and list remote jobs that nobody claims.",
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
    """Settle UNKNOWN jobs where their providers can look them up, and runs whose process is gone; sends nothing.

    Args:
        ledger: Name of a ledger block; the default ledger if empty.
        backends: Names of backends; those of all open jobs if empty.
        orphans: Whether to look for remote jobs with our keys that no row of the ledger claims.

    Returns:
        How many rows a person should look at; they are in the artifact `qjobs-in-doubt`.
    """
    with heartbeat(ledger):
        store = ledger_named(ledger)
        lost = PassSummary()
        with get_client(sync_client=True) as client:
            recover_lost_runs(store, client, lost)
            recover_unstarted_runs(store, client, lost)
            recover_crashed_runs(store, client, lost)
        for line in lost.lines({}):
            get_run_logger().info(line)
        used = {job.opened_as for job in store.open_jobs()}
        rows: list[dict[str, str]] = []
        for name in backends or sorted(used):
            try:
                rows += _in_doubt(store, name, orphans)
            except QJobsError as error:  # one bad provider stops no other
                get_run_logger().warning("%s: %s", name, error)
                rows.append({"what": name, "where": name, "why": f"{type(error).__name__}: {error}"})
        shown = [{name: cell(words) for name, words in row.items()} for row in rows]
        create_table_artifact(shown, key="qjobs-in-doubt", description="What a person should look at")
        return len(rows)


def _in_doubt(store: Ledger, name: str, orphans: bool) -> list[dict[str, str]]:
    """What could not be settled at one backend."""
    backend = backend_named(name)
    mine = store.jobs(backend=backend.name, device=backend.device, statuses=[JobStatus.UNKNOWN])
    ids = [job.job_id for job in mine]
    rows = []
    for one in recovery.reconcile(store, {backend.name: backend}, job_ids=ids) if ids else []:
        get_run_logger().info("%s: %s, %s", one.job_id, one.finding, one.words)
        if one.finding is not recovery.Finding.ADOPTED:
            rows.append({"what": str(one.job_id), "where": name, "why": f"{one.finding}: {one.words}"})
    if orphans and backend.remote_jobs() is not None:
        rows += [
            {"what": lost.remote_id, "where": name, "why": f"nobody claims it; its key is {lost.key}"}
            for lost in recovery.orphans(store, backend)
        ]
    return rows
