"""What the ledger logs: every move once, after it has landed, and no password."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from support import LEASE_S, NOW, a_spec, at, claim, counts, create, ended_owner, observe, report, sending, sent, whole

from qjobs.errors import Busy, InvalidInput, StaleJob
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import display_owner
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.redaction import LONGEST

S = JobStatus
Log = Callable[[], list[str]]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Log:
    """What was logged at INFO since the last call."""
    monkeypatch.setattr(logging.getLogger("qjobs"), "propagate", True)  # Prefect's settings may say otherwise
    caplog.set_level(logging.DEBUG, logger="qjobs")

    def taken() -> list[str]:
        assert {record.levelname for record in caplog.records} <= {"INFO"}
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    return taken


def test_life_of_a_job(store: Ledger, log: Log) -> None:
    """Each move is one line with the job's id, the remote id once there is one, the statuses and the reason."""
    (job_id,) = store.create([a_spec()], now=NOW)
    attempt = claim(store, job_id)
    store.submissions.accept(attempt, RemoteId("r"), now=NOW)
    store.submissions.accept(attempt, RemoteId("r"), now=NOW)  # a second time: nothing moves
    (attempt,) = store.attempts(job_id)
    observe(store, job_id, attempt.number, whole(S.QUEUED, "in line"), now=NOW)
    store.request_cancel(job_id, items=[1], now=NOW)
    store.request_cancel(job_id, now=NOW)
    store.request_cancel(job_id, now=NOW)
    for _ in range(2):
        observe(store, job_id, attempt.number, report(S.COMPLETED, S.CANCELLING), now=NOW)
    observe(store, job_id, attempt.number, report(S.COMPLETED, S.CANCELLED), now=NOW)
    for _ in range(2):
        store.store_results(job_id, attempt, {0: counts(b00=1)}, now=NOW)
    store.record_event(job_id, "deadline", "3 days are over", now=NOW)
    observe(store, job_id, attempt.number, whole(S.RUNNING), now=NOW)
    remote = f"{job_id} (remote r)"
    assert log() == [
        f"{job_id}: CREATED, 2 items for device",
        f"{job_id}: CREATED -> SUBMITTING, submit: attempt 1, DEFAULT",
        f"{remote}: SUBMITTING -> SUBMITTED, submit: attempt 1 is r",
        f"{remote}: SUBMITTED -> QUEUED, poll: in line",
        f"{remote}: items: 1 of 2, cancel: cancellation was requested",
        f"{remote}: QUEUED, cancel: cancellation was requested",
        f"{remote}: items: 1 COMPLETED, 1 CANCELLING, poll",
        f"{remote}: QUEUED -> CANCELLING, poll: theirs",
        f"{remote}: items: 1 CANCELLED, poll",
        f"{remote}: CANCELLING -> CANCELLED, poll: theirs",
        f"{remote}: results stored: 1, attempt 1",
        f"{remote}: CANCELLED, deadline: 3 days are over",
        f"{remote}: CANCELLED, contradiction: attempt 1 is CANCELLED; a later report of RUNNING changes nothing",
    ]


def test_settled(store: Ledger, log: Log) -> None:
    """Refused, released, lost and expired submissions say so, and what was cancelled before it was sent."""
    ids = store.create([a_spec(name) for name in ("refused", "released", "lost", "expired")], now=NOW)
    attempts = [claim(store, job_id, owner="host:1:1 proof") for job_id in ids]
    sending(store, attempts[3])
    store.request_cancel(ids[1], items=[0], now=NOW)
    log()
    store.submissions.reject(attempts[0], "too many qubits", now=NOW)
    store.submissions.release(attempts[1], "no route", now=NOW)
    store.request_cancel(ids[1], now=NOW)
    store.submissions.mark_unknown(attempts[2], "502", now=NOW)
    store.submissions.mark_unknown(attempts[2], "502", now=NOW)
    store.submissions.expire_leases(now=at(LEASE_S + 1))
    assert log() == [
        f"{ids[0]}: SUBMITTING -> ERROR, rejected: too many qubits",
        f"{ids[1]}: SUBMITTING -> CREATED, not sent: no route",
        f"{ids[1]}: items: 1 CREATED -> CANCELLED, cancel: never sent",
        f"{ids[1]}: CREATED -> CANCELLED, cancel: never sent",
        f"{ids[2]}: SUBMITTING -> UNKNOWN, lost reply: 502",
        f"{ids[3]}: SUBMITTING -> UNKNOWN, lease expired: attempt 1: host:1:1 did not settle it within its lease",
    ]


def test_late_words(store: Ledger, log: Log) -> None:
    """An id or a report that comes too late is logged with the remote id that it is about."""
    job_id, attempt = sent(store)
    observe(store, job_id, attempt.number, whole(S.CANCELLED), now=NOW)
    again = claim(store, job_id, S.CANCELLED)
    store.submissions.reject(again, "no", now=NOW)
    log()
    with pytest.raises(StaleJob):
        store.submissions.accept(again, RemoteId("late"), now=NOW)
    observe(store, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    assert log() == [
        f"{job_id} (remote late): ERROR, stray: late is to be cancelled: late id of attempt 2",
        f"{job_id} (remote remote-1): ERROR, late report: attempt 1 is COMPLETED",
    ]


def test_runs(store: Ledger, log: Log) -> None:
    """Waits and processes that begin and end are logged once, and a password in a server's URL is not."""
    (job_id, other) = store.create([a_spec("a"), a_spec("b")], now=NOW)
    server = "http://me:hunter2@host.test/api"
    log()
    store.waits.register("run", [job_id, other], until="any", now=NOW, server=server)
    for _ in range(2):
        store.heartbeats.record("run", "host:1:1 proof", flow="sweep", server=server, now=NOW)
        store.waits.end("run")
    for _ in range(2):
        store.heartbeats.end("run", "host:1:1 proof")
    assert log() == [
        f"flow run run waits for any of 2 jobs: {job_id}, {other}",
        "host:1:1 runs sweep, flow run run",
        "flow run run waits no longer",
        "host:1:1 ended flow run run",
    ]


def test_freed_jobs(store: Ledger, log: Log) -> None:
    """Jobs that a pass left behind are logged when they are free again."""
    sent(store)
    owner = ended_owner()
    store.schedule.claim_due(now=NOW, lease_s=60.0, limit=9, owner=owner)
    log()
    store.schedule.claim_due(now=NOW, lease_s=60.0, limit=9, owner="another")
    assert log() == [f"jobs due again: 1, which {display_owner(owner)} claimed and did not schedule"]


def test_rolled_back(store: Ledger, log: Log) -> None:
    """Nothing is logged of a transaction that is rolled back."""
    job_id, attempt = sent(store)
    waiting = create(store, "waiting")
    no_remote_id = create(store, "no remote id")
    claim(store, no_remote_id)
    log()
    reports = [
        Report(job_id=job_id, number=attempt.number, snapshot=whole(S.RUNNING)),
        Report(job_id=no_remote_id, number=attempt.number, snapshot=whole(S.RUNNING)),
    ]
    bad = replace(a_spec("bad"), batch=replace(a_spec().batch, items=(a_spec().batch.items[0],) * 2))
    for error, call in (
        (StaleJob, lambda: store.record_reports(reports, now=NOW)),
        (StaleJob, lambda: claim(store, waiting, S.ERROR)),
        (Busy, lambda: claim(store, waiting, max_live_jobs=2)),
        (IntegrityError, lambda: store.create([a_spec("good"), bad], now=NOW)),
        (InvalidInput, lambda: store.request_cancel(waiting, items=[0, 7], now=NOW)),
    ):
        with pytest.raises(error):
            call()
    assert log() == []
    assert [store.job(each).status for each in (job_id, waiting)] == [S.SUBMITTED, S.CREATED]


def test_new_ledger(ledger_url: str, log: Log) -> None:
    """A new ledger is logged once, without the password of its URL."""
    url = sa.make_url(ledger_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(password="hunter2")
    for _ in range(2):
        with Ledger(url.render_as_string(hide_password=False)) as ledger:
            without_password = ledger.url
    assert log() == [f"made a new ledger at {without_password}"]
    assert "hunter2" not in without_password


def test_long_words(store: Ledger, log: Log) -> None:
    """Words of others are cut in the log; the event has as many as anybody reads."""
    job_id, attempt = sent(store)
    log()
    observe(store, job_id, attempt.number, whole(S.ERROR, "x" * 5_000), now=NOW)
    (line,) = log()
    assert len(line) < 300
    assert len(store.events(job_id)[-1].detail) == LONGEST
