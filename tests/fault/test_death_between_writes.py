"""A process that dies right before or right after any of its writes: nothing is lost, nothing runs twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend, SteppedBackend
from standing import LOST, RETRY_FOR_EVER, a_job, enter
from support import check_history

import qjobs
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    NotSent,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.sending import LEASE_S

DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
S = JobStatus


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


class _MortalDatabase:
    def __init__(self, real: object, last_write: int, before: bool) -> None:
        self._real = real
        self._left = last_write
        self._before = before
        self.dead = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._left -= 1
        if self.dead or (self._left == 0 and self._before):
            self.dead = True
            raise Killed
        with self._real.write() as connection:
            yield connection
        if self._left == 0:
            self.dead = True
            raise Killed


class MortalLedger(Ledger):
    """The ledger of a process that dies right before or right after its n-th write."""

    def __init__(self, ledger: Ledger, last_write: int, *, before: bool) -> None:
        self._compose(_MortalDatabase(ledger._db, last_write, before))


FAULTS = {
    "after": Fault(LOST, "after"),
    "before": Fault(LOST),
    "not sent": Fault(NotSent("no route")),
    "rejected": Fault(SubmissionRejected("no", detail="no")),
    "reserved": Fault(BackendUnavailable("502"), "reserved"),
}
ENTRIES = [
    ("new", DEFAULT, ""),
    ("new", DEFAULT, "after"),
    ("new", DEFAULT, "before"),
    ("new", DEFAULT, "not sent"),
    ("new", DEFAULT, "rejected"),
    ("rejected", ALLOW, ""),
    ("rejected", FULL, "after"),
    ("lost, exists", DEFAULT, ""),
    ("lost, exists", ALLOW, ""),
    ("lost, exists", FULL, "after"),
    ("lost, does not exist", ALLOW, ""),
    ("lost, does not exist", FULL, "after"),
    ("open", FORCE, ""),
    ("open", FULL, "after"),
    ("incomplete", FORCE, "after"),
    ("complete", FULL, ""),
]
STEPS = [
    ("new", DEFAULT, ""),
    ("new", DEFAULT, "reserved"),
    ("new", DEFAULT, "before"),
    ("new", DEFAULT, "after"),
    ("reserved", DEFAULT, ""),
    ("reserved", DEFAULT, "after"),
    ("reserved", FULL, ""),
    ("open", FORCE, "after"),
    ("open", FULL, "reserved"),
]
"""Entries at a provider that takes a job in steps; there no lost reply is left to a person."""


KINDS = {
    "deduplicated": (ScriptedBackend, DEDUPLICATED),
    "findable": (ScriptedBackend, FINDABLE),
    "opaque": (ScriptedBackend, OPAQUE),
    "stepped": (SteppedBackend, OPAQUE),
}


QUICK = ("findable", "stepped")
"""Kinds that are played each time; the others are slow tests."""


@pytest.mark.parametrize(
    ("kind", "standing", "strategy", "fault"),
    [
        pytest.param(kind, standing, strategy, fault, marks=[] if kind in QUICK else [pytest.mark.slow])
        for kind in KINDS
        for standing, strategy, fault in (STEPS if kind == "stepped" else ENTRIES)
        # where the caller takes the risk of a second remote job in words
        if not (kind == "opaque" and standing.startswith("lost") and strategy is not DEFAULT)
    ],
)
def test_death_between_writes(
    store: Ledger, kind: str, standing: str, strategy: RemoteRetryStrategy, fault: str
) -> None:
    """Whichever write was its last, one remote job lives, and the ledger knows of it."""
    for moment in range(40):
        make, lookup = KINDS[kind]
        backend = make(lookup)
        clock = Clock()
        job_id = a_job(store, standing, backend, f"key-{moment}")
        backend.faults.append(FAULTS.get(fault))
        mortal = MortalLedger(store, 1 + moment // 2, before=moment % 2 == 0)
        with contextlib.suppress(Killed, QJobsError):
            enter(mortal, backend, job_id, strategy, policy=RETRY_FOR_EVER)
        died = mortal._db.dead
        check_history(store, job_id)
        backend.faults.clear()
        clock.elapsed_s = LEASE_S + 2
        for again in [DEFAULT, DEFAULT] if kind == "opaque" else [DEFAULT, strategy, ALLOW]:
            with contextlib.suppress(SubmissionUnknown, SubmissionRejected, BackendUnavailable, Busy):
                qjobs.submit(store, backend, job_id, strategy=again, policy=RETRY_FOR_EVER, now=clock.now)
            assert len(backend.live()) <= 1
        check_history(store, job_id)
        assert backend.most_live <= 1
        known = {attempt.remote_id for attempt in store.attempts(job_id)}
        if kind != "opaque":  # nothing is lost: every remote job is in the ledger, and one was made
            assert set(backend.jobs) <= known
            assert backend.jobs
        elif set(backend.jobs) - known:
            assert store.job(job_id).status is S.UNKNOWN
        if not died:
            break
    else:
        pytest.fail("the submission never ended by itself")
