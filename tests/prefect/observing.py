"""What the server knows of a run. It learns of task runs and logs through queues, so every question has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort

DEADLINE_S = 60.0
T = TypeVar("T")


def eventually(ask: Callable[[], T], holds: Callable[[T], bool], *, deadline_s: float = DEADLINE_S) -> T:
    """The answer once it holds; the last one at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not holds(answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def logs_of(client: SyncPrefectClient, run: str, *, until: str) -> list[str]:
    """The run's log lines, at the latest when one with `until` is there."""

    def ask() -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in client.request("POST", "/logs/filter", json=wanted).json()]

    return eventually(ask, lambda lines: any(until in line for line in lines))


def task_names(client: SyncPrefectClient, run: UUID | str, *, last: str) -> list[str]:
    """Names of the tasks that ran in a flow run, sorted; asked until the one named `last` is final there."""

    def ask() -> list[TaskRun]:
        wanted = {"flow_runs": {"id": {"any_": [str(run)]}}}
        found = client.request("POST", "/task_runs/filter", json=wanted).json()
        return [TaskRun.model_validate(one) for one in found]

    def is_over(found: list[TaskRun]) -> bool:
        ended = {one.task_key.split("-")[0] for one in found if one.state is not None and one.state.is_final()}
        return last in ended and len(ended) > 0 and all(one.state.is_final() for one in found)

    return sorted(one.task_key.split("-")[0] for one in eventually(ask, is_over))


def ends_of_tasks(client: SyncPrefectClient, run: UUID | str) -> set[str]:
    """The states of the task runs of a flow run; of one that crashed with its words."""
    wanted = {"flow_runs": {"id": {"any_": [str(run)]}}}
    found = client.request("POST", "/task_runs/filter", json=wanted).json()
    states = [TaskRun.model_validate(one).state for one in found]
    return {f"{state.name}: {state.message}" if state.is_crashed() else state.name for state in states}


def last_run(client: SyncPrefectClient, name: str) -> FlowRun:
    """The newest flow run of that name."""
    wanted = {"flow_runs": {"name": {"any_": [name]}}, "sort": FlowRunSort.START_TIME_DESC.value, "limit": 1}
    return FlowRun.model_validate(client.request("POST", "/flow_runs/filter", json=wanted).json()[0])


def artifacts(client: SyncPrefectClient, key: str) -> list[Artifact]:
    """All versions of an artifact, oldest first."""
    wanted = {"artifacts": {"key": {"any_": [key]}}}
    found = [Artifact.model_validate(one) for one in client.request("POST", "/artifacts/filter", json=wanted).json()]
    return sorted(found, key=lambda one: one.created)
