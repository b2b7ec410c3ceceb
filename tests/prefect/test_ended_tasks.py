"""Task runs whose process has ended do not stay Running for ever."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from deploying import deployed
from observing import ends_of_tasks
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled, State, Suspended

from flows._support.ended_tasks import end_task_runs_of_earlier_process
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.ledger import Ledger
from qjobs.operations.plan import utc_now
from tasks import submit_job


@pytest.fixture
def run(client: SyncPrefectClient) -> FlowRun:
    """A deployed run with a task run that is over and one that is not."""
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters={}, state=Running())
    for number, state in enumerate((Completed(), Running())):
        client.create_task_run(submit_job, made.id, dynamic_key=str(number), state=state)
    return client.read_flow_run(made.id)


def later(store: Ledger, client: SyncPrefectClient) -> None:
    """A pass of a sensor a minute later, when what its process told before it ended is recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows._support.ended_tasks.utc_now", lambda: utc_now() + timedelta(minutes=1))
        assert run_once(store, client).trouble == {}


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (Crashed(), "Crashed: its process ended, and its run with it"),
        (Cancelled(), "Cancelled"),
        (Suspended(timeout_seconds=86400), "Running"),
        (Running(), "Running"),
    ],
    ids=lambda given: given.name if isinstance(given, State) else "",
)
def test_left_behind(client: SyncPrefectClient, store: Ledger, run: FlowRun, state: State, end: str) -> None:
    """The sensor ends the task runs of a run that is over; those of one that goes on are its own business."""
    client.set_flow_run_state(run.id, state, force=True)
    run_once(store, client)
    assert ends_of_tasks(client, run.id) == {"Completed", "Running"}, "its process may have told more just before"
    later(store, client)
    assert ends_of_tasks(client, run.id) == {"Completed", end}


def test_entered_again(client: SyncPrefectClient, run: FlowRun) -> None:
    """A run ends the task runs of its earlier process if that crashed, and not where it suspended the run or failed."""

    def ended(run_id: UUID, *states: State) -> int:
        for state in states:
            client.set_flow_run_state(run_id, state, force=True)
        return end_task_runs_of_earlier_process(client, client.read_flow_run(run_id))

    assert ended(run.id) == 0
    assert ended(run.id, Suspended(timeout_seconds=86400), Scheduled(), Running()) == 0
    assert ended(run.id, Failed(), Scheduled(), Running()) == 0
    assert ended(run.id, Crashed(), Scheduled(), Running()) == 1
    assert ends_of_tasks(client, run.id) == {"Completed", "Crashed: its process ended; the run went on in another"}
