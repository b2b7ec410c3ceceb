"""The sensor sends what a suspended run left, only while the run is suspended, and resumes it once."""

from __future__ import annotations

import uuid
from dataclasses import replace

from deploying import deployed
from given import a_batch
from observing import eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Cancelled, Running, Suspended
from scripted_block import script
from support import a_spec

from flows.run_circuits import run_circuits
from flows.sensor import run_once, sensor
from qjobs.backends.base import Limits
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.execute import ToSubmit, to_send
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy


def planned(store: Ledger, name: str, count: int) -> list[JobId]:
    """Jobs that were not sent."""
    specs = [a_spec(uuid.uuid4().hex, backend="slots", device="slots") for _ in range(count)]
    return store.create([replace(spec, opened_as=name) for spec in specs], now=utc_now())


def test_sent_while_suspended(client: SyncPrefectClient, store: Ledger) -> None:
    """Jobs are sent as places become free, by passes and by the flow; never for a run that is awake or cancelled."""
    name, backend = script("slots", limits=Limits(max_items=2, max_live_jobs=2), polls=1)
    ids = planned(store, name, 5)
    given = {"spec": a_batch("slots", backend=name, compiler="none").model_dump(mode="json")}
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, state=Running())
    unsent = dict.fromkeys(ids, ToSubmit(backend=name, policy=RetryPolicy(rungs=())))
    server = str(client.api_url)
    store.waits.register(str(run.id), ids, until="all", now=utc_now(), server=server, to_send=to_send(unsent))
    assert run_once(store, client).sent == [], "its process has not ended"
    client.set_flow_run_state(run.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    assert set(run_once(store, client).sent) == set(ids[:2])
    assert "qjobs.ledger" in client.read_flow_run(run.id).labels
    store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
    assert set(run_once(store, client).sent) == set(ids[2:4])
    store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
    sensor()
    assert store.dispatches.lanes() == []
    assert f"submit {ids[4]}" in {task_run.name for task_run in eventually(client.read_task_runs, bool)}
    store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
    assert run_once(store, client).resumed == [str(run.id)]
    assert (backend.n_submissions, backend.most_live) == (5, 2)
    assert {job.status for job in store.jobs(job_ids=ids)} == {JobStatus.COMPLETED}

    others = planned(store, name, 2)
    over = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, state=Cancelled())
    unsent = dict.fromkeys(others, ToSubmit(backend=name, policy=RetryPolicy(rungs=())))
    store.waits.register(str(over.id), others, until="all", now=utc_now(), server=server, to_send=to_send(unsent))
    passed = run_once(store, client)
    assert (passed.sent, str(over.id) in passed.ended) == ([], True)
    assert backend.n_submissions == 5
