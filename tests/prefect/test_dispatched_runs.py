"""The sensor sends what a suspended run left, only while the run is suspended, and resumes it once."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from deploying import deployed
from given import a_batch
from observing import eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Running, Suspended
from scripted_block import script
from support import a_spec, claim, create, sending

from flows._support.resume import _cancel_jobs_of
from flows.run_circuits import run_circuits
from flows.sensor import run_once, sensor
from qjobs.backends.base import Limits
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.execute import ToSubmit, to_send
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy


def planned(store: Ledger, name: str, count: int) -> list[JobId]:
    """Jobs that were not sent."""
    specs = [a_spec(uuid.uuid4().hex, backend="slots", device="slots") for _ in range(count)]
    return store.create([replace(spec, opened_as=name) for spec in specs], now=utc_now())


def test_suspended_for_strangers(client: SyncPrefectClient, store: Ledger) -> None:
    """A deployed run whose device is full of jobs of others leaves its own to the sensor, which sends them in time."""
    name, backend = script("visited-there", limits=Limits(max_items=1, max_live_jobs=1), polls=1)
    backend.strangers = ["x"]
    spec = a_batch("left to the sensor", 2, backend=name, compiler="none")
    given = {"spec": spec.model_dump(mode="json")}
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given)
    with contextlib.suppress(Pause):
        run_flow(run_circuits, flow_run=run, parameters={"spec": spec})
    assert client.read_flow_run(run.id).state.name == "Suspended"
    ids = {job.job_id for job in store.jobs(experiment=spec.name)}
    assert (len(ids), store.dispatches.waiting(list(ids))) == (2, ids)
    assert run_once(store, client).sent == []
    backend.strangers = []
    assert len(run_once(store, client).sent) == 1


def test_sent_since(ledger: Ledger) -> None:
    """What a dispatcher sends for a run just after it was cancelled is cancelled too; what a person sends goes on."""
    present = utc_now()
    cancelled = SimpleNamespace(timestamp=present - timedelta(seconds=5.0))
    run = SimpleNamespace(id="cancelled", state=cancelled, parameters={})
    first, again = (create(ledger, key, run="cancelled") for key in ("first", "again"))
    for job_id, strategy in ((first, RemoteRetryStrategy.DEFAULT), (again, RemoteRetryStrategy.FORCE_RESUBMIT)):
        attempt = sending(ledger, claim(ledger, job_id, strategy=strategy, now=present), now=present)
        ledger.submissions.accept(attempt, RemoteId(f"of {job_id}"), now=present)
    _cancel_jobs_of(ledger, run)
    assert ledger.job(first).cancel_requested_at is not None
    assert ledger.job(again).cancel_requested_at is None


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

    def names() -> set[str]:
        return {task_run.name for task_run in client.read_task_runs()}

    last = f"submit {ids[4]}"
    assert last in eventually(names, lambda found: last in found)
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
