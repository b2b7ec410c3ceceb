"""Flow runs whose process has ended without reporting it: their worker, or its whole machine, has ended with it.

Prefect shows them as Running for ever, and they keep their places in queues and limits. The sensor sets them to
Crashed and starts those again that can go on where they were: their jobs are in the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed

from flows._support.publish import is_uuid
from flows._support.resume import (
    TRANSIENT,
    PassSummary,
    go_on_if_possible,
    may_start_again,
    runs_by_id,
    start_again,
)
from qjobs.ledger import Ledger
from qjobs.ledger.heartbeats import Runner
from qjobs.operations.poll import utc_now

UPKEEP = ("sensor", "reconcile")
"""Flows that nobody needs to start again: their schedules do."""
_WORDS = "its process has ended, and its worker too; its jobs are safe in the ledger"
_AGAIN = "its process was lost; it goes on with the jobs that it has"
_CRASHED = "it crashed; it goes on with the jobs that it has"


def recover_lost_runs(store: Ledger, client: SyncPrefectClient, done: PassSummary) -> None:
    """Set every run whose processes are all gone to Crashed, and start it again where it can go on.

    Runs that `client` does not know, and that another server may know, are left alone.
    """
    by_run: dict[str, list[Runner]] = defaultdict(list)
    for runner in store.heartbeats.runners():
        by_run[runner.flow_run_id].append(runner)
    present = utc_now()
    server = str(client.api_url).rstrip("/")
    for sensor in by_run.pop("", []):
        if sensor.is_gone(present):
            store.heartbeats.end("", sensor.owner)
    gone = {}
    for run, runners in by_run.items():
        if all(runner.is_gone(present) for runner in runners):
            gone[run] = runners
    found = runs_by_id(client, list(gone))
    for run_id, runners in gone.items():
        if run_id not in found and any(runner.server.rstrip("/") != server for runner in runners):
            continue
        try:
            _recover(store, client, found.get(run_id), runners, done)
            for runner in runners:
                store.heartbeats.end(run_id, runner.owner)
        except TRANSIENT as error:
            done.trouble[f"flow run {run_id}"] = f"{type(error).__name__}: {error}"


def _recover(
    store: Ledger, client: SyncPrefectClient, run: FlowRun | None, runners: Sequence[Runner], done: PassSummary
) -> None:
    """Recover one run; one that has moved since the last heartbeat of its processes is left alone."""
    if run is None or run.state is None:
        return
    last = max(runner.heartbeat_at for runner in runners)
    if run.state.is_cancelling():
        client.set_flow_run_state(run.id, Cancelled(message=_WORDS), force=True)
        done.lost.append(str(run.id))
    elif run.state.is_running() and run.state.timestamp <= last:
        client.set_flow_run_state(run.id, Crashed(message=_WORDS), force=True)
        done.lost.append(str(run.id))
        run = client.read_flow_run(run.id)
    if run.state is None or not run.state.is_crashed() or run.deployment_id is None or runners[0].flow in UPKEEP:
        return
    if (
        not store.waits.runs(flow_run_id=str(run.id))
        and may_start_again(client, run)
        and start_again(client, run, _AGAIN)
    ):
        done.resumed.append(str(run.id))


def recover_crashed_runs(store: Ledger, client: SyncPrefectClient, done: PassSummary) -> None:
    """Start those runs again that crashed by themselves and left jobs that are not final.

    Such a run has neither a process nor a wait in the ledger; its jobs name it. A job that it left UNKNOWN is settled
    by the pass that polls.
    """
    others = {wait.flow_run_id for wait in store.waits.runs()}
    others.update(runner.flow_run_id for runner in store.heartbeats.runners())
    ids = [run for run in store.runs_with_open_jobs() if is_uuid(run) and run not in others]
    for run_id, run in runs_by_id(client, ids, [StateType.CRASHED]).items():
        if run.deployment_id is None:
            continue
        try:
            go_on_if_possible(client, run, _CRASHED, done)
        except TRANSIENT as error:
            done.trouble[f"flow run {run_id}"] = f"{type(error).__name__}: {error}"
