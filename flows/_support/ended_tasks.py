"""Task runs of processes that have ended: only the process tells Prefect of them, so that they stay Running for ever.

They are ended when their run is entered again, and by the sensor where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from flows._support.our_runs import our_flows
from qjobs.operations.poll import utc_now

__all__ = ["end_task_runs_left_behind", "end_task_runs_of_earlier_process"]

_WENT_ON = "its process ended; the run went on in another"
_ENDED = "its process ended, and its run with it"
_CANCELLED = "its run was cancelled, and its process ended"
_OPEN = TaskRunFilter(
    state=TaskRunFilterState(
        type=TaskRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED])
    )
)
_LATELY = timedelta(days=7)
_TOLD = timedelta(seconds=30)
"""What a process told of its tasks before it ended, the server has recorded by then."""
_TASKS_A_REQUEST = 200
_UNFINISHED = {StateType.SCHEDULED.value, StateType.PENDING.value, StateType.RUNNING.value}


def end_task_runs_of_earlier_process(client: SyncPrefectClient, run: FlowRun) -> int:
    """End what an earlier process of the present run left, where that one crashed; how many task runs there were.

    A process that suspended its run has ended its task runs by itself: what the server has not heard of yet, it will.
    """
    if not _came_from_a_crash(client, run.id):
        return 0
    return _end(client, Crashed(message=_WENT_ON), flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))


def end_task_runs_left_behind(client: SyncPrefectClient) -> int:
    """End the task runs of our runs that crashed or were cancelled, and that nobody has started again.

    Returns:
        How many there were.
    """
    flows = our_flows(client)
    if not flows:
        return 0
    n_ended = 0
    ours = FlowFilter(id=FlowFilterId(any_=list(flows)))
    present = utc_now()
    between = FlowRunFilterEndTime(after_=present - _LATELY, before_=present - _TOLD)  # type: ignore[arg-type]
    ends: Sequence[tuple[StateType, State[Any]]] = (
        (StateType.CRASHED, Crashed(message=_ENDED)),
        (StateType.CANCELLED, Cancelled(message=_CANCELLED)),
    )
    for kind, state in ends:
        of_kind = FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind]))
        chosen = FlowRunFilter(state=of_kind, end_time=between)
        n_ended += _end(client, state, flow_filter=ours, flow_run_filter=chosen)
    return n_ended


def _end(client: SyncPrefectClient, state: State[Any], **chosen: Any) -> int:
    n_ended = 0
    while True:
        found = client.read_task_runs(task_run_filter=_OPEN, limit=_TASKS_A_REQUEST, **chosen)
        for task_run in found:
            client.set_task_run_state(task_run.id, state, force=True)
        n_ended += len(found)
        if len(found) < _TASKS_A_REQUEST:
            return n_ended


def _came_from_a_crash(client: SyncPrefectClient, run: UUID) -> bool:
    """Whether what is now under way was crashed before it was scheduled, or started, again."""
    states = client.request("GET", "/flow_run_states/", params={"flow_run_id": str(run)}).json()
    for state in sorted(states, key=lambda each: str(each["timestamp"]), reverse=True):
        if state["type"] not in _UNFINISHED:
            return bool(state["type"] == StateType.CRASHED.value)
    return False
