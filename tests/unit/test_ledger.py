"""Jobs in the ledger: created once, read back, given results, cancelled."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from support import (
    NOW,
    a_program,
    a_spec,
    an_item,
    at,
    check_history,
    claim,
    counts,
    create,
    item_statuses,
    job_moves,
    observe,
    raw,
    report,
    sent,
    unsettled,
    whole,
)

from qjobs.backends.base import ItemSnapshot
from qjobs.errors import InvalidInput, JobNotFound
from qjobs.ledger import Ledger, tables
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import ExecuteOptions, ItemResult, JobId, JobSpec, Key, Observable, RemoteId

S = JobStatus


def ids_of(ledger: Ledger, **filters: object) -> list[JobId]:
    return [job.job_id for job in ledger.jobs(**filters)]


def test_a_new_job(ledger: Ledger) -> None:
    """A job, its items and its circuits are read as they were created."""
    options = ExecuteOptions(seed=7, observables=(Observable(name="zz", terms=(("ZZ", 0.5), ("XI", -1.25))),))
    spec = a_spec(n_items=3, experiment="sweep", options=options, properties={"a": [1, 2.5, None, {"b": True}]})
    items = (replace(spec.batch.items[0], parameters=(("θ", 0.1), ("b", -2.0))), *spec.batch.items[1:])
    spec = replace(spec, batch=replace(spec.batch, items=items), cost_estimate=1.5, project="p", owner="o")
    (job_id,) = ledger.create([spec], now=NOW)
    job = ledger.job(job_id)
    assert (job.key, job.status, job.epoch, job.n_items) == (spec.key, S.CREATED, 1, 3)
    assert (job.backend, job.device, job.name) == (spec.backend, spec.device, spec.name)
    assert (job.experiment, job.run, job.project, job.owner) == ("sweep", "run", "p", "o")
    assert (job.options, job.properties, job.cost_estimate) == (options, spec.properties, 1.5)
    assert (job.created_at, job.finished_at, job.cancel_requested_at) == (NOW, None, None)
    read = ledger.items(job_id)
    assert [item.index for item in read] == [0, 1, 2]
    assert [item.label for item in read] == ["item-0", "item-1", "item-2"]
    assert read[0].parameters == (("θ", 0.1), ("b", -2.0))
    assert all(item.times == {S.CREATED: NOW} for item in read)
    assert ledger.programs([a_program().hash]) == {a_program().hash: a_program()}
    assert ledger.attempts(job_id) == []
    assert ledger.missing_items(job_id) == (0, 1, 2)
    check_history(ledger, job_id)


def test_opened_as(ledger: Ledger) -> None:
    """A job knows what opens its backend and what its results mean; one planned without has its backend's name."""
    words = {"opened_as": "nexus/H1-1E", "definition": "d", "fingerprint": "f", "compiled_with": "{}"}
    named = replace(a_spec("named"), logical_run="wish", **words)
    job_ids = ledger.create([named, a_spec("plain")], now=NOW)
    first, second = ledger.jobs(job_ids=job_ids)
    assert {name: getattr(first, name) for name in words} == words
    assert (first.logical_run, first.properties) == ("wish", {})
    assert (second.opened_as, second.definition, second.fingerprint, second.compiled_with) == ("fake", "", "", "")
    assert ids_of(ledger, logical_run="wish") == ids_of(ledger, definition="d") == job_ids[:1]


def test_create_is_idempotent(ledger: Ledger) -> None:
    """A key that is there already keeps its job, however far that is."""
    moved, _ = sent(ledger, "a")
    other = create(ledger, "b")
    again = ledger.create([a_spec("b"), a_spec("c"), a_spec("a")], now=at(5))
    assert (again[0], again[2]) == (other, moved)
    assert len(set(again)) == len(ledger.jobs()) == 3
    assert (ledger.job(moved).status, ledger.job(moved).created_at) == (S.SUBMITTED, NOW)
    assert len(ledger.events(other)) == 1
    assert len(ledger.items(other)) == 2
    assert ledger.create([], now=NOW) == []


def test_one_key_twice(ledger: Ledger) -> None:
    """Two specs with the same key are refused."""
    with pytest.raises(InvalidInput, match="the same"):
        ledger.create([a_spec("a"), a_spec("a")], now=NOW)
    assert ledger.jobs() == []


def test_many_items(ledger: Ledger) -> None:
    """A job of thousands of items is created, sent, reported and stored."""
    n_items = 3_000
    programs = [a_program(f"program {n}") for n in range(100)]
    items = tuple(an_item(f"item-{n}", program=programs[n % 100]) for n in range(n_items))
    small = a_spec()
    batch = replace(small.batch, items=items, programs={program.hash: program for program in programs})
    (job_id,) = ledger.create([replace(small, batch=batch)], now=NOW)
    assert [item.label for item in ledger.items(job_id)] == [item.label for item in items]
    assert len(ledger.programs(program.hash for program in programs)) == 100
    attempt = claim(ledger, job_id)
    ledger.submissions.accept(attempt, RemoteId("r"), now=NOW)
    assert observe(ledger, job_id, attempt.number, report(*[S.COMPLETED] * n_items), now=NOW) is S.COMPLETED
    assert ledger.store_results(job_id, attempt, dict.fromkeys(range(n_items), counts(b00=1)), now=NOW) == n_items
    assert ledger.missing_items(job_id) == ()


def test_many_jobs(ledger: Ledger) -> None:
    """More jobs than one list of values takes are created and asked about at once."""
    specs = [a_spec(f"k{n}", n_items=1) for n in range(1_200)]
    ids = ledger.create(specs, now=NOW)
    assert ids_of(ledger, job_ids=ids) == ids
    assert ledger.create(specs, now=NOW) == ids
    assert ledger.result_counts(ids) == dict.fromkeys(ids, 0)
    assert ledger.item_counts(ids) == {S.CREATED: 1_200}


def bad_shots(key: str) -> JobSpec:
    return a_spec(key, shots=-1)


def bad_label(key: str) -> JobSpec:
    spec = a_spec(key)
    return replace(spec, batch=replace(spec.batch, items=(spec.batch.items[0],) * 2))


def bad_program(key: str) -> JobSpec:
    spec = a_spec(key, program=a_program("nobody stored this"))
    return replace(spec, batch=replace(spec.batch, programs={}))


@pytest.mark.parametrize("bad", [bad_shots, bad_label, bad_program])
def test_all_or_nothing(ledger: Ledger, bad: object) -> None:
    """One bad job keeps all of its call from being created."""
    earlier = create(ledger, "earlier", program=a_program("earlier"))
    new = a_program("new")
    with pytest.raises(IntegrityError):
        ledger.create([a_spec("a", program=new), bad("b"), a_spec("c")], now=NOW)
    assert ids_of(ledger) == [earlier]
    assert ledger.programs([new.hash]) == {}
    for table, n_rows in ((tables.EVENT, 1), (tables.ITEM, 2)):
        assert len(ledger._db.rows(sa.select(table))) == n_rows
    assert len(ledger.create([a_spec("a", program=new), a_spec("b"), a_spec("c")], now=NOW)) == 3


def test_program_pairs(ledger: Ledger) -> None:
    """Each pair of a circuit as given and as sent is counted once for its job."""
    spec = a_spec(n_items=3)
    first, *others = spec.batch.items
    given = replace(first, source=a_program("given").hash)
    (job_id,) = ledger.create([replace(spec, batch=replace(spec.batch, items=(given, *others)))], now=NOW)
    sent_hash = a_program().hash
    assert set(ledger.program_pairs(job_id)) == {(a_program("given").hash, sent_hash, 1), (None, sent_hash, 2)}


def test_programs(ledger: Ledger) -> None:
    """A circuit is stored once."""
    ledger.add_programs([a_program("a"), a_program("b")])
    ledger.add_programs([a_program("b"), a_program("c")])
    ledger.add_programs([])
    hashes = [a_program(text).hash for text in "abcd"]
    assert set(ledger.programs(hashes)) == set(hashes[:3])


def test_no_such_job(ledger: Ledger) -> None:
    """What is asked of an id that no job has says so."""
    nobody = JobId("job-0")
    calls = (
        lambda: ledger.job(nobody),
        lambda: claim(ledger, nobody),
        lambda: ledger.request_cancel(nobody, now=NOW),
        lambda: ledger.record_event(nobody, "cause", "detail", now=NOW),
    )
    for call in calls:
        with pytest.raises(JobNotFound, match="job-0") as caught:
            call()
        assert caught.value.job_id == "job-0"
    assert ledger.results(nobody) == {}


def test_filters(ledger: Ledger) -> None:
    """Jobs are found by every filter, newest first or in the order of their ids."""
    specs = [a_spec("a", experiment="e"), a_spec("b", run="other"), a_spec("c", device="d"), a_spec("d", backend="b")]
    ids = ledger.create(specs, now=NOW)
    claim(ledger, ids[1])
    assert ids_of(ledger, experiment="e") == [ids[0]]
    assert ids_of(ledger, run="other") == [ids[1]]
    assert ids_of(ledger, device="d") == [ids[2]]
    assert ids_of(ledger, backend="b") == [ids[3]]
    assert ids_of(ledger, statuses=[S.SUBMITTING]) == [ids[1]]
    assert [job.job_id for job in ledger.open_jobs()] == [ids[1]]
    assert ledger.open_jobs(job_ids=[ids[0]]) == []
    assert ledger.jobs(statuses=[]) == []
    assert len(ledger.jobs(limit=3)) == 3
    assert ids_of(ledger, job_ids=[ids[3], JobId("job-0"), ids[0]]) == [ids[3], ids[0]]
    newest = create(ledger, "e")
    raw(ledger, tables.JOB.update().where(tables.JOB.c.job_id == newest).values(created_at=at(1)))
    assert ids_of(ledger)[0] == newest


def test_runs_with_open_jobs(ledger: Ledger) -> None:
    """A run has open jobs until they are final or their cancellation was requested."""
    ledger.create([a_spec("planned", run="1"), a_spec("cancelled", run="2")], now=NOW)
    done, attempt = sent(ledger, "done", run="3")
    wanted, _ = sent(ledger, "wanted", "remote-2", run="4")
    observe(ledger, done, attempt.number, whole(S.COMPLETED), now=NOW)
    assert ledger.runs_with_open_jobs() == ["1", "2", "4"]
    (cancelled,) = ledger.jobs(run="2")
    ledger.request_cancel(cancelled.job_id, now=NOW)
    ledger.request_cancel(wanted, now=NOW)
    assert ledger.runs_with_open_jobs() == ["1"]


def test_remote_ids(ledger: Ledger) -> None:
    """A remote job is found by its key, and by its id at its own backend only."""
    job_id, _ = sent(ledger, remote_id="r")
    assert (ledger.remote_ids([ledger.job(job_id).key]), ledger.remote_ids([Key("other")])) == ({"r"}, set())
    assert ledger.job_of_remote("fake", RemoteId("r")) == job_id
    assert ledger.job_of_remote("other", RemoteId("r")) is None


def test_last_attempts(ledger: Ledger) -> None:
    """The newest attempt of each job that has one."""
    job_id, attempt = sent(ledger)
    other = create(ledger, "other")
    observe(ledger, job_id, attempt.number, whole(S.ERROR), now=NOW)
    again = claim(ledger, job_id, S.ERROR)
    assert ledger.last_attempts([job_id, other]) == {job_id: again}


def test_events(ledger: Ledger) -> None:
    """An event of its own moves nothing, and its job is found by it."""
    job_id, _ = sent(ledger)
    other = create(ledger, "other")
    ledger.record_event(job_id, "ProtocolError", "an unknown word", now=at(1))
    assert job_moves(ledger, job_id)[-1] == (S.SUBMITTED, S.SUBMITTED, "ProtocolError")
    assert ledger.jobs_with_event([job_id, other], "ProtocolError") == {job_id}
    assert ledger.jobs_with_event([job_id, other], "ProtocolError", "an unknown word") == {job_id}
    assert ledger.jobs_with_event([job_id, other], "ProtocolError", "another") == set()
    check_history(ledger, job_id)


def test_results(ledger: Ledger) -> None:
    """Results are read as they were stored, in the order of their items."""
    job_id, attempt = sent(ledger, n_items=4)
    given = {
        2: ItemResult(counts={"00": 5, "11": 2**40}, duration_s=0.25),
        0: ItemResult(expvals={"zz": -0.1}),
        1: ItemResult(counts={}),
    }
    assert ledger.store_results(job_id, attempt, given, now=NOW) == 3
    assert ledger.results(job_id) == given
    assert list(ledger.results(job_id)) == [0, 1, 2]
    assert ledger.missing_items(job_id) == (3,)
    assert ledger.labels([job_id])[job_id] == {"item-0": True, "item-1": True, "item-2": True, "item-3": False}
    assert ledger.result_counts([job_id, JobId("job-0")]) == {job_id: 3, "job-0": 0}


def test_duplicate_results(ledger: Ledger) -> None:
    """The first result of an item in an epoch stays."""
    job_id, attempt = sent(ledger)
    assert ledger.store_results(job_id, attempt, {0: counts(b00=1)}, now=NOW) == 1
    assert ledger.store_results(job_id, attempt, {0: counts(b11=9), 1: counts(b01=2)}, now=at(1)) == 1
    assert ledger.store_results(job_id, attempt, {}, now=at(1)) == 0
    assert ledger.results(job_id) == {0: counts(b00=1), 1: counts(b01=2)}
    observe(ledger, job_id, attempt.number, whole(S.ERROR), now=NOW)
    again = claim(ledger, job_id, S.ERROR)
    assert ledger.store_results(job_id, again, {0: counts(b11=9)}, now=at(2)) == 0
    assert ledger.results(job_id)[0] == counts(b00=1)


def test_cancel_unsent(ledger: Ledger) -> None:
    """A job that was never sent is CANCELLED at once."""
    job_id = create(ledger)
    job = ledger.request_cancel(job_id, now=at(1))
    assert (job.status, job.finished_at, job.cancel_requested_at) == (S.CANCELLED, at(1), at(1))
    assert item_statuses(ledger, job_id) == [S.CANCELLED, S.CANCELLED]
    assert ledger.request_cancel(job_id, now=at(2)) == job
    check_history(ledger, job_id)


@pytest.mark.parametrize("status", [S.SUBMITTING, S.UNKNOWN, S.SUBMITTED])
def test_cancel_sent(ledger: Ledger, status: JobStatus) -> None:
    """The request to cancel a job that was sent is a column, not a status."""
    job_id, _ = sent(ledger) if status is S.SUBMITTED else unsettled(ledger, status)
    job = ledger.request_cancel(job_id, now=at(1))
    assert (job.status, job.cancel_requested_at, job.finished_at) == (status, at(1), None)
    assert ledger.request_cancel(job_id, now=at(2)) == job
    assert [cause for _, _, cause in job_moves(ledger, job_id)].count("cancel") == 1
    check_history(ledger, job_id)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_cancel_final(ledger: Ledger, status: JobStatus) -> None:
    """A final job, and its items, are left alone."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(status), now=NOW)
    before = (ledger.job(job_id), ledger.items(job_id))
    ledger.request_cancel(job_id, now=at(1))
    ledger.request_cancel(job_id, items=[0], now=at(1))
    assert (ledger.job(job_id), ledger.items(job_id)) == before


def test_cancel_items(ledger: Ledger) -> None:
    """Items to be cancelled are listed until the provider knows of it."""
    job_id, attempt = sent(ledger, n_items=3)
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.QUEUED, S.QUEUED), now=NOW)
    ledger.request_cancel(job_id, items=[0, 1, 2], now=at(1))
    assert ledger.items_to_cancel([job_id]) == {job_id: (1, 2)}
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.CANCELLING, S.CANCELLED), now=at(2))
    assert ledger.items_to_cancel([job_id]) == {}
    check_history(ledger, job_id)


@pytest.mark.parametrize("item", [-1, 2])
def test_cancel_no_such_item(ledger: Ledger, item: int) -> None:
    """An index that no item has is refused, and no other item is cancelled."""
    job_id = create(ledger)
    with pytest.raises(InvalidInput, match=f"has items 0 to 1, and no item {item}"):
        ledger.request_cancel(job_id, items=[0, item], now=NOW)
    assert item_statuses(ledger, job_id) == [S.CREATED, S.CREATED]


def attempt_row(job_id: JobId, number: int, status: str) -> dict[str, object]:
    return {"job_id": job_id, "number": number, "epoch": 1, "strategy": "DEFAULT", "status": status, "claimed_at": NOW}


def test_one_live_attempt(ledger: Ledger) -> None:
    """The database itself forbids a second live attempt."""
    job_id, _ = sent(ledger)
    for second in LIVE:
        with pytest.raises(IntegrityError):
            raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 2, second))
    with pytest.raises(IntegrityError):
        raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 1, "ERROR"))
    raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 2, "ERROR"))
    for second in LIVE:
        with pytest.raises(IntegrityError):
            raw(ledger, tables.ATTEMPT.update().where(tables.ATTEMPT.c.number == 2).values(status=second))


@pytest.mark.parametrize("table", [tables.JOB, tables.ITEM, tables.ATTEMPT])
def test_known_statuses(ledger: Ledger, table: sa.Table) -> None:
    """The database itself forbids any other word in a column of statuses."""
    job_id, _ = sent(ledger)
    for word in ("running", "RUNNING ", "", "DONE"):
        with pytest.raises(IntegrityError):
            raw(ledger, table.update().where(table.c.job_id == job_id).values(status=word))


def test_constraints(ledger: Ledger) -> None:
    """The database itself forbids negative shots, orphans and doubles."""
    job_id, _ = sent(ledger)
    item = tables.ITEM.update().where(tables.ITEM.c.job_id == job_id)
    result = {"job_id": job_id, "epoch": 1, "item_index": 0, "attempt": 1, "payload": b"", "received_at": NOW}
    raw(ledger, tables.RESULT.insert(), result)
    for statement, values in (
        (item.values(shots=-1), None),
        (item.values(label="the same"), None),
        (tables.ATTEMPT.insert(), attempt_row(JobId("job-0"), 1, "ERROR")),
        (tables.RESULT.insert(), result),
    ):
        with pytest.raises(IntegrityError):
            raw(ledger, statement, values)


def test_naive_datetimes(ledger: Ledger) -> None:
    """A datetime without a time zone is refused, and nothing is written."""
    naive = datetime(2025, 1, 1)  # noqa: DTZ001
    job_id, attempt = sent(ledger)
    times = ItemSnapshot(status=S.RUNNING, times={S.RUNNING: naive})
    for call in (
        lambda: ledger.create([a_spec("n")], now=naive),
        lambda: observe(ledger, job_id, attempt.number, whole(S.RUNNING), now=naive),
        lambda: observe(ledger, job_id, attempt.number, replace(whole(S.RUNNING), items=(times, times)), now=NOW),
        lambda: ledger.store_results(job_id, attempt, {0: counts(b0=1)}, now=naive),
        lambda: ledger.request_cancel(job_id, now=naive),
        lambda: ledger.submissions.expire_leases(now=naive),
    ):
        with pytest.raises(InvalidInput, match="naive datetime"):
            call()
    assert ids_of(ledger) == [job_id]
    assert ledger.job(job_id).status is S.SUBMITTED


def test_time_zones(ledger: Ledger) -> None:
    """A moment in any time zone is read as UTC."""
    there = NOW.astimezone(zoneinfo.ZoneInfo("Asia/Kathmandu"))
    (job_id,) = ledger.create([a_spec()], now=there)
    created = ledger.job(job_id).created_at
    assert (created, created.utcoffset()) == (NOW, timedelta(0))
