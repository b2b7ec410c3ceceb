"""Submit: what each failure of the call means, leases, and processes that race."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, a_job, enter
from support import NOW, check_history, claim, create, job_moves

import qjobs
from qjobs.backends.base import Journal, Lookup, PlainJournal
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    LedgerAway,
    LedgerUnavailable,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.submissions import Submissions
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, Key, RemoteId, RemoteRetryStrategy
from qjobs.operations.attempts import batch_of
from qjobs.operations.retry import Action
from qjobs.operations.sending import LEASE_S, Fate, fate_of

S = JobStatus
LOOKUPS = (DEDUPLICATED, FINDABLE, OPAQUE)
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy


@pytest.mark.parametrize("variant", LOOKUPS)
@pytest.mark.parametrize(
    ("error", "cause"), [(NotSent("no route"), "not sent"), (CredentialsRejected("401"), "credentials refused")]
)
def test_not_sent(store: Ledger, variant: Lookup, error: Exception, cause: str) -> None:
    """What was not sent, or with refused credentials, leaves the job as it was, to be sent later."""
    backend = ScriptedBackend(variant)
    job_id = create(store)
    backend.faults.append(Fault(error))
    with pytest.raises(type(error)):
        enter(store, backend, job_id)
    assert store.job(job_id).status is S.CREATED
    assert store.attempts(job_id)[0].sent_at is None
    assert job_moves(store, job_id)[-1] == (S.SUBMITTING, S.CREATED, cause)
    assert enter(store, backend, job_id).action is Action.SUBMIT


def test_rejected(store: Ledger) -> None:
    """A refusal keeps the provider's words."""
    backend = ScriptedBackend()
    job_id = create(store)
    backend.faults.append(Fault(SubmissionRejected("no", detail="too wide")))
    with pytest.raises(SubmissionRejected) as caught:
        enter(store, backend, job_id)
    assert (caught.value.job_id, caught.value.detail) == (job_id, "too wide")
    job = store.job(job_id)
    assert (job.status, job.message) == (S.ERROR, "too wide")
    with pytest.raises(SubmissionRejected, match="too wide"):
        enter(store, backend, job_id)


def test_lost_reply(store: Ledger) -> None:
    """A lost reply leaves the job UNKNOWN and keeps its cause."""
    for number, (variant, error) in enumerate([(FINDABLE, BackendUnavailable), (OPAQUE, SubmissionUnknown)]):
        backend = ScriptedBackend(variant)
        backend.faults.append(Fault(OSError("connection reset"), "after"))
        job_id = create(store, f"key-{number}")
        with pytest.raises(error, match="connection reset") as caught:
            enter(store, backend, job_id)
        assert isinstance(caught.value.__cause__, OSError)
        assert store.job(job_id).status is S.UNKNOWN
        assert "connection reset" in store.job(job_id).message


@pytest.mark.parametrize("variant", LOOKUPS)
@pytest.mark.parametrize(
    "error", [RuntimeError("bad JSON"), OSError("disk full"), ProtocolError("odd"), LedgerAway("x")]
)
def test_failed_preparation(store: Ledger, variant: Lookup, error: Exception) -> None:
    """Whatever fails before a request leaves was never sent, and is sent later."""
    backend = ScriptedBackend(variant)
    job_id = create(store)
    backend.faults.append(Fault(error, "preparing"))
    is_ours = isinstance(error, QJobsError)
    with pytest.raises(type(error) if is_ours else NotSent, match=str(error)):
        enter(store, backend, job_id)
    assert (store.job(job_id).status, store.attempts(job_id)[0].sent_at) == (S.CREATED, None)
    assert enter(store, backend, job_id).action is Action.SUBMIT


@pytest.mark.parametrize(
    "error", [RuntimeError("bad JSON"), OSError("reset"), ProtocolError("cut"), BackendUnavailable("429"), LOST]
)
@pytest.mark.parametrize("strategy", [ALLOW, FORCE])
def test_failed_after_the_request(store: Ledger, error: Exception, strategy: RemoteRetryStrategy) -> None:
    """Whatever fails once the request has left is UNKNOWN, and looked up before anything is sent again."""
    backend = ScriptedBackend()
    job_id = create(store)
    backend.faults.append(Fault(error, "after"))
    with pytest.raises(BackendUnavailable, match="look it up"):
        enter(store, backend, job_id)
    assert store.job(job_id).status is S.UNKNOWN
    assert enter(store, backend, job_id, strategy).action is Action.SYNC
    assert len(backend.jobs) == 1


@pytest.mark.parametrize("error", [RuntimeError("bad JSON"), NotSent("claims so"), SubmissionRejected("claims so")])
def test_error_after_acceptance(store: Ledger, error: Exception) -> None:
    """An error after the id is known changes nothing."""
    backend = ScriptedBackend(OPAQUE)
    backend.faults.append(Fault(error, "accepted"))
    job_id = create(store)
    got = enter(store, backend, job_id)
    assert (got.status, got.remote_id) == (S.SUBMITTED, "remote-1")
    assert [event.cause for event in store.events(job_id)][-1] == "after acceptance"


@pytest.mark.parametrize("when", ["before", "after", "accepted"])
def test_interrupt(store: Ledger, when: str) -> None:
    """An interrupt in the call is recorded and raised."""
    backend = ScriptedBackend()
    backend.faults.append(Fault(KeyboardInterrupt(), when))
    job_id = create(store)
    with pytest.raises(KeyboardInterrupt):
        enter(store, backend, job_id)
    assert store.job(job_id).status is (S.SUBMITTED if when == "accepted" else S.UNKNOWN)
    with contextlib.suppress(SubmissionUnknown):
        enter(store, backend, job_id)
    assert len(backend.jobs) == (0 if when == "before" else 1)
    check_history(store, job_id)


class LockedSubmissions(Submissions):
    """Another program locks the ledger just when the remote id exists."""

    def accept(self, attempt: Attempt, remote_id: RemoteId, **_: object) -> None:
        raise LedgerUnavailable("locked")


@pytest.mark.parametrize("variant", [FINDABLE, OPAQUE])
def test_unwritten_id(store: Ledger, variant: Lookup) -> None:
    """An id that cannot be written is in the error and in the history."""
    backend = ScriptedBackend(variant)
    job_id = create(store)
    with Ledger(store.url) as locked:
        locked.submissions = LockedSubmissions(locked._db)
        with pytest.raises((BackendUnavailable, SubmissionUnknown), match="remote-1"):
            enter(locked, backend, job_id)
    assert store.job(job_id).status is S.UNKNOWN
    assert "remote-1" in store.job(job_id).message
    assert "remote-1" in store.events(job_id)[-1].detail


def test_no_id(store: Ledger) -> None:
    """A backend that returns without an id leaves the job UNKNOWN."""

    class Silent(ScriptedBackend):
        def submit(self, *_: object) -> None:
            pass

    job_id = create(store)
    with pytest.raises(BackendUnavailable, match="without naming"):
        enter(store, Silent(), job_id)
    assert store.job(job_id).status is S.UNKNOWN


@pytest.mark.parametrize("settled", ["lease expired", "found by another process"])
def test_expired_lease(store: Ledger, settled: str) -> None:
    """A process that slept past its lease sends nothing."""
    backend, clock = ScriptedBackend(), Clock()
    job_id = create(store)

    def sleeps_long() -> None:
        backend.before_submit = lambda: None
        clock.sleep(LEASE_S + 1)
        store.submissions.expire_leases(now=clock.now())
        if settled == "found by another process":
            qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)

    backend.before_submit = sleeps_long
    with pytest.raises(Busy):
        qjobs.submit(store, backend, job_id, now=clock.now)
    assert len(backend.jobs) == (settled != "lease expired")
    qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)
    assert len(backend.jobs) == 1


def test_renewed_lease(store: Ledger) -> None:
    """A long preparation renews its lease."""
    clock = Clock()

    class Slow(ScriptedBackend):
        def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
            for _ in range(3):
                clock.sleep(LEASE_S * 0.9)
                store.submissions.expire_leases(now=clock.now())
                journal.preparing()
            super().submit(batch, key, journal)

    job_id = create(store)
    assert qjobs.submit(store, Slow(), job_id, now=clock.now).status is S.SUBMITTED


def test_on_disk(store: Ledger) -> None:
    """The intent is on disk before the call, and the id the moment it exists."""

    class Watching(ScriptedBackend):
        def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
            seen.append(store.job(job_id).status)
            seen.extend(attempt.remote_id for attempt in store.attempts(job_id))
            super().submit(batch, key, journal)
            seen.append(store.attempts(job_id)[0].remote_id)

    seen: list[object] = []
    job_id = create(store)
    enter(store, Watching(), job_id)
    assert seen == [S.SUBMITTING, None, "remote-1"]


def test_other_submitter(store: Ledger) -> None:
    """A job that another process is submitting is left alone."""
    job_id = create(store)
    claim(store, job_id, owner="elsewhere:1")
    for strategy in RemoteRetryStrategy:
        backend = ScriptedBackend()
        with pytest.raises(Busy, match="elsewhere:1"):
            enter(store, backend, job_id, strategy)
        assert not backend.jobs


@pytest.mark.parametrize("exists", [True, False])
def test_dead_submitter(store: Ledger, exists: bool) -> None:
    """A submission whose lease ran out is looked up."""
    backend = ScriptedBackend()
    job_id = create(store)
    attempt = claim(store, job_id, owner="dead:1")
    store.submissions.renew(attempt, lease_s=LEASE_S, now=NOW, sending=True)
    if exists:
        batch = batch_of(store, store.job(job_id))
        backend.submit(batch, store.job(job_id).key, PlainJournal(accepted=lambda _: None))
    late_s = LEASE_S + 1
    if exists:
        got = enter(store, backend, job_id, after_s=late_s)
        assert (got.action, got.remote_id) == (Action.SYNC, "remote-1")
    else:
        with pytest.raises(SubmissionUnknown):
            enter(store, backend, job_id, after_s=late_s)
        assert enter(store, backend, job_id, ALLOW, after_s=late_s).action is Action.SUBMIT
    assert len(backend.jobs) == 1
    assert (S.SUBMITTING, S.UNKNOWN, "lease expired") in job_moves(store, job_id)
    assert attempt.lease_owner == "dead:1"


def test_stragglers(store: Ledger) -> None:
    """A lost request may still arrive: nothing is sent before `settle_s` has passed since it was given up."""
    backend, clock = ScriptedBackend(), Clock()
    backend.settle_s = 30.0
    backend.faults.append(Fault(LOST))
    backend.before_submit = lambda: clock.sleep(15.0)
    job_id = create(store)
    with pytest.raises(BackendUnavailable):
        qjobs.submit(store, backend, job_id, now=clock.now)
    backend.before_submit = lambda: None
    clock.sleep(20.0)  # 35 s after the intent, 20 s after the reply was given up
    with pytest.raises(Busy, match="may still appear") as refused:
        qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)
    assert refused.value.retry_after_s == pytest.approx(10.0)
    assert not backend.jobs
    clock.sleep(10.0)
    assert qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now).action is Action.SUBMIT
    assert len(backend.jobs) == 1


@pytest.mark.parametrize("variant", LOOKUPS)
def test_two_threads(ledger: Ledger, variant: Lookup) -> None:
    """Two threads make one remote job."""
    backend = ScriptedBackend(variant)
    job_id = create(ledger)
    inside = threading.Barrier(2)
    backend.before_submit = lambda: inside.wait(10)
    outcomes: list[object] = []

    def first() -> None:
        outcomes.append(enter(ledger, backend, job_id))

    def second() -> None:
        inside.wait(10)  # the first is in its call
        try:
            outcomes.append(enter(ledger, backend, job_id))
        except Busy as error:
            outcomes.append(error)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda work: work(), (first, second)))
    assert len(outcomes) == 2
    assert len(backend.jobs) == 1
    check_history(ledger, job_id)


@pytest.mark.parametrize("standing", ["new", "lost, does not exist", "open", "incomplete", "complete"])
def test_many_threads(store: Ledger, standing: str) -> None:
    """Many threads never have two remote jobs alive."""
    backend = ScriptedBackend()
    job_id = a_job(store, standing, backend)
    before = len(backend.jobs)
    start = threading.Barrier(6)

    def work(_: int) -> None:
        start.wait(10)
        with contextlib.suppress(Busy):
            enter(store, backend, job_id, FORCE, policy=RETRY_FOR_EVER)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert backend.most_live <= 1
    assert len(backend.jobs) >= max(1, before)
    check_history(store, job_id)


NAMED, RESERVED, SENT = {"named": True}, {"reserved": True}, {"sent": True}
REFUSAL, BROKEN, NO_ROUTE = SubmissionRejected("no"), OSError("reset"), NotSent("no route")
FATES = [
    (REFUSAL, {"refused": True}, Fate.REJECTED),
    (REFUSAL, {"refused": True, **SENT}, Fate.REJECTED),
    (REFUSAL, {"refused": True, "resumes": True, **RESERVED}, Fate.NEVER_RAN),
    (REFUSAL, {**RESERVED, **SENT}, Fate.LOST),  # it could not be ended
    (REFUSAL, {**NAMED, **SENT}, Fate.LOST),
    (LedgerUnavailable("locked"), {**NAMED, **SENT}, Fate.LOST),
    (CredentialsRejected("401"), {**NAMED, **SENT}, Fate.LOST),
    (CredentialsRejected("401"), SENT, Fate.NOT_SENT),
    (CredentialsRejected("401"), RESERVED, Fate.RESERVED),
    (CredentialsRejected("401"), {**RESERVED, **SENT}, Fate.LOST),
    (NO_ROUTE, SENT, Fate.NOT_SENT),
    (NO_ROUTE, RESERVED, Fate.RESERVED),
    (NO_ROUTE, {**RESERVED, **SENT}, Fate.LOST),
    (BROKEN, {}, Fate.NOT_SENT),
    (BROKEN, SENT, Fate.LOST),
    (BROKEN, RESERVED, Fate.RESERVED),
    (BROKEN, {**RESERVED, **SENT}, Fate.LOST),
    (KeyboardInterrupt(), {}, Fate.NOT_SENT),
    (KeyboardInterrupt(), SENT, Fate.LOST),
    (SubmissionUnknown("no id"), {}, Fate.LOST),
]


@pytest.mark.parametrize(
    ("error", "given", "fate"), FATES, ids=[f"{type(error).__name__} {' '.join(given)}" for error, given, _ in FATES]
)
def test_fates(error: BaseException, given: dict[str, bool], fate: Fate) -> None:
    """The table of what an error means: what may be there is LOST, unless the provider proves otherwise."""
    standing = dict.fromkeys(("refused", "resumes", "named", "reserved", "sent"), False)
    assert fate_of(error, **{**standing, **given}) is fate
