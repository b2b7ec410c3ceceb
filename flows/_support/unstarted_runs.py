"""Flow runs that a worker took and that never started, or ended unseen, because the worker is gone.

A worker that dies, by an orderly SIGTERM too, leaves the runs that it was starting as Pending or Submitting for ever,
and their places in queues and limits taken. No process of them ever came to our code, so that nothing in the ledger
tells of them: the state's age and the heartbeats of the pool's workers do. The sensor sets them to Crashed, which
frees their places, and starts them again.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from flows._support.our_runs import UPKEEP, our_flows, runs_of
from flows._support.resume import TRANSIENT, PassSummary, go_on_if_possible, runs_by_id
from flows._support.run_ledger import ledger_label
from qjobs.ledger import Ledger
from qjobs.operations.poll import utc_now

_TAKEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_BEATS_MISSED = 3
_OF_DEAD_WORKER = timedelta(minutes=5)
"""A process that its worker has started, and that outlived it, has so long to come to our code."""
_CLAIMED = timedelta(minutes=15)
"""Between Pending and Submitting a worker that lives asks the server for the work, and nothing else."""
_OF_LIVING_WORKER = timedelta(hours=1)
"""A worker that lives may be building or fetching something; but it may also be a new one of the same name."""
_TOLD = timedelta(minutes=10)
_WORDS = "it did not start: its worker is gone"
_AGAIN = "its worker was lost; it is started again"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker of a pool: since when the server knows it, and when it counts as silent."""

    name: str
    since: datetime
    silent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A work pool with its workers, and whether their runs are processes beside them."""

    workers: tuple[Worker, ...]
    is_process: bool

    def living(self, now: datetime) -> list[Worker]:
        """The workers that were heard of."""
        return [worker for worker in self.workers if now <= worker.silent_at]


def grace_of(run: FlowRun, state: State[Any], pool: Pool, now: datetime) -> timedelta | None:
    """How old the state of a run may become before it is given up; None if only its worker can tell.

    The worker writes its name into the labels before it says Submitting. While the run is Pending they may have the
    name of the worker that had it before it was suspended: any that lived then may be starting it.
    """
    name = run.labels.get("prefect.worker.name")
    is_claimed_only = state.name == "Pending" or not name
    may_have_it = [
        worker
        for worker in pool.living(now)
        if (worker.since <= state.timestamp if is_claimed_only else worker.name == name)
    ]
    if pool.is_process and not may_have_it:
        return _OF_DEAD_WORKER
    if state.is_running():
        return None
    return _CLAIMED if pool.is_process and state.name == "Pending" else _OF_LIVING_WORKER


def recover_unstarted_runs(store: Ledger, client: SyncPrefectClient, done: PassSummary) -> None:
    """Free and start again every run of ours that a worker took and that will not start any more.

    Runs that wait for a worker where none is heard of are told.
    """
    flows = our_flows(client)
    pools: dict[str, Pool] = {}
    present = utc_now()
    heard_of = {runner.flow_run_id for runner in store.heartbeats.runners()}  # the ledger knows their processes
    taken = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_TAKEN)))
    for run in runs_of(client, flows, taken):
        if str(run.id) in heard_of:
            continue
        try:
            if _is_given_up(store, run, _pool_of(client, run, pools), present, done):
                _recover(client, run, flows[run.flow_id], done)
        except TRANSIENT as error:
            done.trouble[f"flow run {run.id}"] = f"{type(error).__name__}: {error}"
    _tell_waiting(client, flows, pools, present, done)


def _is_given_up(store: Ledger, run: FlowRun, pool: Pool, present: datetime, done: PassSummary) -> bool:
    if run.state is None or run.deployment_id is None:
        return False
    if run.state.is_running() and ledger_label(run) not in {"", store.ledger_id}:
        return False  # its process says in another ledger that it lives
    age, grace = present - run.state.timestamp, grace_of(run, run.state, pool, present)
    if grace is None or age <= _OF_DEAD_WORKER:
        return False
    if _has_process_here(run):
        if run.state.is_running():
            return False
        grace = _OF_LIVING_WORKER  # it may still come to its code; or it is something that a lost process has left
    if age > grace:
        return True
    if run.state.is_pending() and age > _TOLD:
        worker = run.labels.get("prefect.worker.name", "its worker")
        words = f"{run.state.name} for more than {_minutes(_TOLD)} minutes; {worker} may still be starting it"
        done.trouble[f"flow run {run.id}"] = f"{words}. It is started again after {_minutes(grace)} minutes"
    return False


def _recover(client: SyncPrefectClient, run: FlowRun, flow: str, done: PassSummary) -> None:
    """Free the places of a run, and start it again; not if another sensor, or its process, was faster."""
    known = run.state
    fresh = runs_by_id(client, [str(run.id)]).get(str(run.id))
    if known is None or fresh is None or fresh.state is None or fresh.state.id != known.id:
        return
    if known.is_cancelling():
        client.set_flow_run_state(run.id, Cancelled(message=_WORDS), force=True)
        done.lost.append(str(run.id))
        return
    client.set_flow_run_state(run.id, Crashed(message=_WORDS), force=True)
    done.lost.append(str(run.id))
    if flow not in UPKEEP:  # those are started by their schedules
        go_on_if_possible(client, client.read_flow_run(run.id), _AGAIN, done)


def _tell_waiting(
    client: SyncPrefectClient, flows: Mapping[UUID, str], pools: dict[str, Pool], present: datetime, done: PassSummary
) -> None:
    """Tell of the runs that are due, or were resumed, and that no worker takes because there is none."""
    waiting: Counter[str] = Counter()
    before = present - _OF_DEAD_WORKER
    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=before),  # type: ignore[arg-type]
    )
    for run in runs_of(client, flows, due):
        is_new = run.state is None or run.state.timestamp > before
        if run.work_pool_name and not is_new and not _pool_of(client, run, pools).living(present):
            waiting[run.work_pool_name] += 1
    for name, n_runs in waiting.items():
        words = f"{n_runs} runs wait for a worker and none is heard of; start one"
        done.trouble[f"work pool {name}"] = f"{words}: prefect worker start --pool {name}"


def _pool_of(client: SyncPrefectClient, run: FlowRun, known: dict[str, Pool]) -> Pool:
    name = run.work_pool_name or ""
    if name not in known:
        known[name] = _read_pool(client, name)
    return known[name]


def _read_pool(client: SyncPrefectClient, name: str) -> Pool:
    """A pool as the server knows it; without a pool (`serve`) nothing is known of whoever starts the run."""
    if not name:
        return Pool(workers=(), is_process=False)
    path = {"work_pool_name": name}
    found = client.request("POST", "/work_pools/{work_pool_name}/workers/filter", path_params=path, json={}).json()
    workers = []
    for one in found:
        if one["last_heartbeat_time"]:
            pause = timedelta(seconds=one["heartbeat_interval_seconds"] or 30)
            silent_at = datetime.fromisoformat(one["last_heartbeat_time"]) + _BEATS_MISSED * pause
            since = datetime.fromisoformat(one["created"])
            workers.append(Worker(name=one["name"], since=since, silent_at=silent_at))
    return Pool(workers=tuple(workers), is_process=client.read_work_pool(name).type == "process")


def _has_process_here(run: FlowRun) -> bool:
    """Whether a process of this machine was started for the run, or by a process of the run."""
    wanted = f"FLOW_RUN_ID={run.id}".encode()
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or belongs to another user
            if wanted in (folder / "environ").read_bytes():
                return True
    return False


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
