"""Flow runs whose process has ended without reporting it: their worker, or its whole machine, has ended with it.

Prefect shows them as Running for ever, and they keep their places in queues and limits. The sensor sets them to
Crashed and starts those again that can go on where they were: their jobs are in the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed

from flows._support.our_runs import EXPERIMENTS, UPKEEP, our_flows, runs_of
from flows._support.publish import is_uuid
from flows._support.resume import (
    TOO_OFTEN,
    TRANSIENT,
    PassSummary,
    may_start_again,
    runs_by_id,
    start_again,
)
from flows._support.run_ledger import ledger_label
from qjobs.ledger import Ledger
from qjobs.ledger.heartbeats import Runner
from qjobs.operations.poll import utc_now

_WORDS = "its process has ended, and its worker too; its jobs are safe in the ledger"
_AGAIN = "its process was lost; it goes on with the jobs that it has"
_LATELY = timedelta(days=7)
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
    """Start those runs again that crashed by themselves, where they belong to this ledger or have open jobs in it.

    Such a run has neither a process nor a wait in the ledger. A job that it left UNKNOWN is settled by the pass that
    polls, and may be final before its run goes on.
    """
    looked_after = {wait.flow_run_id for wait in store.waits.runs()}
    looked_after.update(runner.flow_run_id for runner in store.heartbeats.runners())
    with_open_jobs = [run for run in store.runs_with_open_jobs() if is_uuid(run)]
    crashed = {**runs_by_id(client, with_open_jobs, [StateType.CRASHED]), **_crashed_lately(store, client)}
    for run_id, run in crashed.items():
        if run.deployment_id is None or run_id in looked_after:
            continue
        try:
            if may_start_again(client, run):
                if start_again(client, run, _CRASHED):
                    done.resumed.append(run_id)
            elif run_id in with_open_jobs:
                done.trouble[f"flow run {run_id}"] = TOO_OFTEN
        except TRANSIENT as error:
            done.trouble[f"flow run {run_id}"] = f"{type(error).__name__}: {error}"


def _crashed_lately(store: Ledger, client: SyncPrefectClient) -> dict[str, FlowRun]:
    """Runs that have come to our code with this ledger, and then crashed."""
    experiments = {key: name for key, name in our_flows(client).items() if name in EXPERIMENTS}
    chosen = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        end_time=FlowRunFilterEndTime(after_=utc_now() - _LATELY),  # type: ignore[arg-type]
    )
    found = runs_of(client, experiments, chosen)
    return {str(run.id): run for run in found if ledger_label(run) == store.ledger_id}
