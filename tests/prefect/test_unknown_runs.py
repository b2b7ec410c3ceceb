"""Runs whose job is UNKNOWN: they ask before they fail, and nothing is sent a second time unless a person says so."""

from __future__ import annotations

import pytest
from deploying import deployed
from given import a_batch
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from scripted_block import ScriptedBackend, script

from flows._support.asking import UNKNOWN, asked_about, key_of, keyset_of
from flows.approve import decide, waiting_for_decision
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.backends.base import Limits, Lookup
from qjobs.errors import InvalidInput, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.operations.recover import adopt

OPAQUE = Lookup()


def asked(client: SyncPrefectClient, name: str, backend: str) -> FlowRun:
    """A run of the deployment that asks about a job."""
    spec = a_batch(name, backend=backend, compiler="none").model_dump(mode="json")
    given = {"spec": spec, "waiting": {"mode": "inline"}}
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, name=name)
    return asks_again(client, made)


def asks_again(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """The run, after it was entered and has asked."""
    with pytest.raises(Pause):
        run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    return client.read_flow_run(run.id)


def text_of(client: SyncPrefectClient, run: FlowRun) -> str:
    """What the form of a run says."""
    return client.read_flow_run_input(run.id, keyset_of(key_of(run))["description"])


def answer(client: SyncPrefectClient, run: FlowRun, decision: str, remote_id: str = "", by: str = "anna") -> None:
    decide(client, str(run.id), {"decision": decision, "remote_id": remote_id, "decided_by": by}, about=UNKNOWN)


def said(store: Ledger, experiment: str) -> list[str]:
    """What the history of an experiment's jobs says of decisions."""
    jobs = store.jobs(experiment=experiment)
    events = [event for job in jobs for event in store.events(job.job_id) if event.cause.startswith("deci")]
    return [event.detail for event in events]


def lossy(name: str, *on_submit: str, lookup: Lookup = OPAQUE, **options: object) -> tuple[str, ScriptedBackend]:
    """A backend that loses replies, and shows the live jobs of the account."""
    opened, backend = script(name, on_submit=on_submit, lookup=lookup, **options)
    backend.strangers = []
    return opened, backend


def test_adopted(client: SyncPrefectClient, store: Ledger) -> None:
    """The form shows the job and what may be it; the one that is named is adopted, and nothing is sent again."""
    name, backend = lossy("lost-there", "lost reply")
    run = asked(client, "adopted", name)
    (job,) = store.jobs(experiment="adopted")
    assert (job.status, run.state.name, asked_about(key_of(run))) == (JobStatus.UNKNOWN, "Suspended", job.job_id)
    assert run.state.message == f"asks about {job.job_id}: it may or may not be at lost-there; adopt, discard or wait"
    text = text_of(client, run)
    assert "- `lost-there-0`" in text
    assert "it runs twice and costs twice" in text
    assert run.id in [each.id for each in waiting_for_decision(client)]
    passed = run_once(store, client)
    assert (passed.resumed, passed.trouble) == ([], {}), "only a person resumes it"
    answer(client, run, "adopt", "lost-there-0")
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 1
    assert said(store, "adopted") == [
        "adopt lost-there-0, by anna, through Prefect (submission 1, question 1)",
    ]


def test_discarded(client: SyncPrefectClient, store: Ledger) -> None:
    """A job that is discarded is sent once more, and not again where the run is entered again."""
    name, backend = lossy("lost-nowhere", "lost", "lost reply")
    run = asked(client, "discarded", name)
    assert "shows no job now that may be it" in text_of(client, run)
    answer(client, run, "discard")
    again = asks_again(client, run)
    assert backend.n_submissions == 2, "its second reply was lost too"
    assert key_of(again).endswith("-2-1"), "another submission is another question"
    answer(client, again, "wait")
    last = asks_again(client, run)
    assert (backend.n_submissions, key_of(last)[-4:]) == (2, "-2-2")
    answer(client, last, "adopt", "lost-nowhere-0")
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 2
    assert [words.partition(",")[0] for words in said(store, "discarded")] == [
        "discard",
        "wait",
        "adopt lost-nowhere-0",
    ]


def test_refused(client: SyncPrefectClient, store: Ledger) -> None:
    """What cannot be adopted is asked about again, with the reason; so is an adoption without an id."""
    name, backend = lossy("lost-odd", "lost reply")
    run = asked(client, "odd", name)
    with pytest.raises(InvalidInput, match=r"asks about .* choose --adopt ID, --discard or --wait"):
        decide(client, str(run.id), {"approve": True, "decided_by": "anna"})
    answer(client, run, "adopt", "another")
    again = asks_again(client, run)
    assert "lost-odd does not know it" in text_of(client, again)
    answer(client, again, "adopt")
    assert "adopt needs the id" in text_of(client, asks_again(client, run))
    assert backend.n_submissions == 1


def test_found_meanwhile(client: SyncPrefectClient, store: Ledger) -> None:
    """A decision that comes after the job was found changes nothing, and its history says so."""
    name, backend = lossy("lost-found", "lost reply")
    run = asked(client, "found", name)
    (job,) = store.jobs(experiment="found")
    adopt(store, backend, job.job_id, RemoteId("lost-found-0"))
    answer(client, run, "discard", by="berta")
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 1
    decided, not_done = said(store, "found")
    assert decided == "discard, by berta, through Prefect (submission 1, question 1)"
    assert not_done.endswith("it came too late, the job is COMPLETED as lost-found-0, so that it changes nothing")


def test_sensor_goes_on(client: SyncPrefectClient, store: Ledger) -> None:
    """Once the job was found by another way, the sensor resumes the run, and nobody need answer."""
    name, backend = lossy("lost-sensed", "lost reply")
    run = asked(client, "sensed", name)
    (job,) = store.jobs(experiment="sensed")
    assert run_once(store, client).resumed == []
    adopt(store, backend, job.job_id, RemoteId("lost-sensed-0"))
    assert run_once(store, client).resumed == [str(run.id)]
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 1


def test_found_by_discard(client: SyncPrefectClient, store: Ledger) -> None:
    """Before a job is sent again that can be looked up, it is looked up once more: found, it is adopted instead."""
    name, backend = lossy("lost-late", "lost reply", lookup=Lookup(by_key=True))
    hidden = dict(backend.jobs)
    spec = a_batch("late", backend=name, compiler="none", retries={"ladder": ["DEFAULT"], "delays_s": [0.01]})
    backend.find = lambda key: None  # type: ignore[method-assign]
    given = {"spec": spec.model_dump(mode="json"), "waiting": {"mode": "inline"}}
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, name="late")
    run = asks_again(client, made)
    del backend.find  # it appears
    assert hidden == {}
    answer(client, run, "discard")
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 1
    assert "it came too late" in said(store, "late")[-1]


def test_two(client: SyncPrefectClient, store: Ledger) -> None:
    """Several jobs are asked about one after the other, the one that was asked about least first; others go on."""
    name, backend = lossy("lost-two", "lost", "ok", "lost", limits=Limits(max_items=1))
    spec = a_batch("two", 3, backend=name, compiler="none")
    given = {"spec": spec.model_dump(mode="json"), "waiting": {"mode": "inline"}}
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, name="two")
    run = asks_again(client, made)
    statuses = sorted(job.status for job in store.jobs(experiment="two"))
    assert statuses == [JobStatus.COMPLETED, JobStatus.UNKNOWN, JobStatus.UNKNOWN]
    assert "2 jobs of this run are in doubt" in text_of(client, run)
    first = asked_about(key_of(run))
    answer(client, run, "wait")
    run = asks_again(client, run)
    second = asked_about(key_of(run))
    assert second != first
    answer(client, run, "discard")
    run = asks_again(client, run)
    assert (asked_about(key_of(run)), backend.n_submissions) == (first, 4)
    answer(client, run, "discard")
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert backend.n_submissions == 5


def test_not_deployed(api: str, store: Ledger) -> None:
    """A run that nothing could start again fails with the commands that decide."""
    name, _ = lossy("lost-here", "lost reply")
    with pytest.raises(SubmissionUnknown):
        run_circuits(spec=a_batch("here", backend=name, compiler="none"))
    assert store.jobs(experiment="here")[0].status is JobStatus.UNKNOWN
