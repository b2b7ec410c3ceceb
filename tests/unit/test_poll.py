"""Poll: what is asked, and what is written of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from scripted import ScriptedBackend
from support import NOW, check_history, claim, create, submitted, whole

import qjobs
from qjobs.backends.base import Confirmation, Snapshot
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId
from qjobs.operations.sensor_pass import sensor_pass

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)


def test_one_request(store: Ledger, backend: ScriptedBackend) -> None:
    """All jobs are asked for at once, and the answers written."""
    job_ids = submitted(store, backend, "a", "b", "c")
    backend.report(S.RUNNING, S.QUEUED, of=0)
    backend.report(S.COMPLETED, S.ERROR, of=2, messages=[(1, "calibration")])
    assert qjobs.poll(store, backend, job_ids) == dict(zip(job_ids, (S.RUNNING, S.QUEUED, S.ERROR), strict=True))
    assert [sorted(ids) for ids in backend.asked] == [["remote-1", "remote-2", "remote-3"]]
    assert store.items(job_ids[2])[1].message == "calibration"


class CountingLedger(Ledger):
    """A ledger that counts the reports it is given."""

    n_reports = 0

    def record_reports(self, reports: Sequence[Report], **values: object) -> tuple[dict[JobId, JobStatus], object]:
        self.n_reports += len(reports)
        return super().record_reports(reports, **values)


def test_moving_up(store: Ledger, backend: ScriptedBackend) -> None:
    """When a queue moves up, the new places are written and no report is, however many jobs are in it."""
    job_ids = submitted(store, backend, "a", "b", "c")
    places: dict[str, int] = {}

    def status(remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        return {each: whole(S.QUEUED, "in line", queue_position=places[each]) for each in remote_ids}

    backend.status = status
    with CountingLedger(store.url) as ledger:
        for first in (5, 4, 4):
            places.update({f"remote-{number}": first + number for number in (1, 2, 3)})
            qjobs.poll(ledger, backend, job_ids)
            assert ledger.queue_positions(job_ids) == dict(zip(job_ids, range(first + 1, first + 4), strict=True))
            assert ledger.n_reports == 3, "the first time they became QUEUED; after that only places changed"


def n_statements(store: Ledger, work: Callable[[], object]) -> int:
    """How many statements the database gets."""
    seen: list[int] = []

    def count(*_: object) -> None:
        seen.append(1)

    sa.event.listen(store._db._engine, "before_cursor_execute", count)
    try:
        work()
    finally:
        sa.event.remove(store._db._engine, "before_cursor_execute", count)
    return len(seen)


def test_many_jobs(store: Ledger, backend: ScriptedBackend) -> None:
    """A poll that brings nothing new asks the database no more often for many jobs than for few."""
    backend.tells_items = False
    job_ids = submitted(store, backend, *(f"k{n}" for n in range(60)))
    qjobs.poll(store, backend, job_ids)
    few = n_statements(store, lambda: qjobs.poll(store, backend, job_ids[:5]))
    assert n_statements(store, lambda: qjobs.poll(store, backend, job_ids)) == few
    assert n_statements(store, lambda: sensor_pass(store, lambda _: backend)) <= few + 25
    few = n_statements(store, lambda: store.labels(job_ids[:5]))
    assert n_statements(store, lambda: store.labels(job_ids)) == few


def test_nothing_to_poll(store: Ledger, backend: ScriptedBackend) -> None:
    """Jobs that were never sent, are UNKNOWN or final are not asked for."""
    never_sent, unknown = create(store, "never"), create(store, "unknown")
    store.submissions.mark_unknown(claim(store, unknown), "lost", now=NOW)
    (final,) = submitted(store, backend, "final")
    backend.report(*DONE)
    qjobs.poll(store, backend, [final])
    backend.asked.clear()
    assert qjobs.poll(store, backend, [never_sent, unknown, final]) == {
        never_sent: S.CREATED,
        unknown: S.UNKNOWN,
        final: S.COMPLETED,
    }
    assert backend.asked == []


def test_silent_about_one(store: Ledger, backend: ScriptedBackend) -> None:
    """A job that one answer leaves out keeps its status."""
    backend.confirm = Confirmation()
    first, second = submitted(store, backend, "a", "b")
    backend.hidden.add(RemoteId("remote-1"))
    backend.report(*DONE)
    assert qjobs.poll(store, backend, [first, second]) == {first: S.SUBMITTED, second: S.COMPLETED}


def test_not_asked_for(store: Ledger, backend: ScriptedBackend) -> None:
    """What was not asked for is passed over."""

    class Chatty(ScriptedBackend):
        def status(self, remote_ids: object) -> object:
            return super().status(list(self.jobs))

    chatty = Chatty()
    first, _ = submitted(store, chatty, "a", "b")
    assert qjobs.poll(store, chatty, [first]) == {first: S.QUEUED}


@pytest.mark.parametrize("error", [ProtocolError("BANANA"), BackendUnavailable("502"), CredentialsRejected("401")])
def test_unusable_answer(store: Ledger, backend: ScriptedBackend, error: Exception) -> None:
    """An answer that cannot be used changes nothing."""
    (job_id,) = submitted(store, backend, "a")
    before = store.events(job_id)
    backend.troubles.append(error)
    with pytest.raises(type(error)):
        qjobs.poll(store, backend, [job_id])
    assert store.job(job_id).status is S.SUBMITTED
    assert store.events(job_id) == before


def test_wrong_length(store: Ledger, backend: ScriptedBackend) -> None:
    """A report of the wrong length stops no other."""
    first, second = submitted(store, backend, "a", "b")
    backend.jobs[RemoteId("remote-1")].items.append(S.RUNNING)
    backend.report(*DONE)
    with pytest.raises(ProtocolError, match="3 items"):
        qjobs.poll(store, backend, [first, second])
    assert store.job(first).status is S.SUBMITTED
    assert store.job(second).status is S.COMPLETED


def test_cancel_is_passed_on(store: Ledger) -> None:
    """A cancellation is passed on once, as soon as the provider can be reached."""
    backend = ScriptedBackend(confirms_cancel=False)
    (job_id,) = submitted(store, backend, "a")
    store.request_cancel(job_id, now=NOW)
    backend.troubles.append(BackendUnavailable("502"))
    with pytest.raises(BackendUnavailable):
        qjobs.poll(store, backend, [job_id])
    for _ in range(3):
        assert qjobs.poll(store, backend, [job_id]) == {job_id: S.CANCELLING}
    assert backend.jobs[RemoteId("remote-1")].cancels == 1
    check_history(store, job_id)
