"""A Hypothesis state machine drives the ledger against a plain dict, on both databases.

The model is written from docs/glossary.md, "Statuses" and "What is done", not from the ledger: it knows the statuses,
which of them are final, and what each verb promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support import NOW, a_spec, check_history, claim, counts, empty, observe

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.errors import ProtocolError, StaleJob
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import Attempt, Confirmation, ItemResult, JobId, RemoteId

S = JobStatus
AT_PROVIDER = [S.SUBMITTED, S.QUEUED, S.RUNNING, S.RETRYING, S.CANCELLING]
FINISHED = [S.COMPLETED, S.CANCELLED, S.ERROR, S.DEPLETED, S.TERMINATED]
UNSETTLED = [S.SUBMITTING, S.UNKNOWN]
MAY_REVIVE = [S.CANCELLED, S.ERROR, S.DEPLETED, S.TERMINATED]
CONFIRM = Confirmation(absent_times=2, lost_apart_s=0.0)


@dataclass
class ModelAttempt:
    handle: Attempt
    epoch: int
    items: tuple[int, ...]
    lease_until: object
    status: JobStatus = S.SUBMITTING
    remote_id: str | None = None
    is_sent: bool = False
    is_accepted: bool = False
    by_item: bool = False
    absences: int = 0

    def is_told(self, status: JobStatus) -> None:
        if status is not self.status and not self.is_accepted:  # it runs, so it was sent
            self.is_sent = self.is_accepted = True
        self.status = status

    @property
    def is_released(self) -> bool:
        return self.status is S.CANCELLED and not self.is_sent

    @property
    def is_reserved(self) -> bool:
        return self.remote_id is not None and not self.is_sent and self.status in UNSETTLED


@dataclass
class ModelJob:
    items: list[JobStatus]
    status: JobStatus = S.CREATED
    epoch: int = 1
    cancel_requested: bool = False
    attempts: list[ModelAttempt] = field(default_factory=list)
    results: dict[tuple[int, int], ItemResult] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return any(attempt.status not in [*FINISHED, S.LOST] for attempt in self.attempts)


def may_report(old: JobStatus, new: JobStatus) -> bool:
    """Whether a report of `new` changes a row in `old`."""
    if old in FINISHED:
        return (old, new) == (S.CANCELLED, S.COMPLETED)
    return new in AT_PROVIDER + FINISHED


class LedgerMachine(RuleBasedStateMachine):
    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        empty(self.ledger)
        self.jobs: dict[JobId, ModelJob] = {}
        self.keys: dict[str, JobId] = {}
        self.now = NOW
        self.remote_ids = 0
        self.strays: set[tuple[JobId, str]] = set()

    def pick(self, data: st.DataObject) -> tuple[JobId, ModelJob]:
        job_id = data.draw(st.sampled_from(list(self.jobs)), label="job")
        return job_id, self.jobs[job_id]

    def pick_attempt(self, data: st.DataObject) -> tuple[JobId, ModelJob, ModelAttempt]:
        """Mostly the newest attempt."""
        with_attempts = [job_id for job_id, job in self.jobs.items() if job.attempts]
        job_id = data.draw(st.sampled_from(with_attempts), label="job")
        job = self.jobs[job_id]
        back = data.draw(st.sampled_from([0, 0, 0, 1, 2]), label="attempts back")
        return job_id, job, job.attempts[max(-len(job.attempts), -1 - back)]

    def some_job(self) -> bool:
        return bool(self.jobs)

    def some_attempt(self) -> bool:
        return any(job.attempts for job in self.jobs.values())

    @rule(keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True), n_items=st.integers(1, 3))
    def create(self, keys: list[str], n_items: int) -> None:
        ids = self.ledger.create([a_spec(key, n_items=n_items) for key in keys], now=self.now)
        for key, job_id in zip(keys, ids, strict=True):
            assert self.keys.setdefault(key, job_id) == job_id
            self.jobs.setdefault(job_id, ModelJob(items=[S.CREATED] * n_items))

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(some_job)
    @rule(data=st.data(), stale=st.sampled_from([False, False, False, True]), new_epoch=st.booleans())
    def claim(self, data: st.DataObject, stale: bool, new_epoch: bool) -> None:
        job_id, job = self.pick(data)
        expected = data.draw(st.sampled_from([s for s in S if s is not job.status])) if stale else job.status
        chosen = None
        if not new_epoch and data.draw(st.booleans(), label="some items"):
            chosen = tuple(sorted(data.draw(st.sets(st.integers(0, len(job.items) - 1), min_size=1))))
        lease_s = data.draw(st.sampled_from([10.0, 60.0]))
        try:
            attempt = claim(
                self.ledger, job_id, expected, lease_s=lease_s, now=self.now, items=chosen, new_epoch=new_epoch
            )
        except StaleJob:
            assert stale or job.live
            return
        assert not stale
        assert not job.live
        if new_epoch:
            job.epoch += 1
            job.items = [S.CREATED] * len(job.items)
        job.status = S.SUBMITTING
        job.cancel_requested = False
        sent = chosen if chosen is not None else tuple(range(len(job.items)))
        until = self.now + timedelta(seconds=lease_s)
        job.attempts.append(ModelAttempt(handle=attempt, epoch=job.epoch, items=sent, lease_until=until))

    @precondition(some_job)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        """Claim and accept in one step, so that most of an example is about jobs that a provider has."""
        idle = [job_id for job_id, job in self.jobs.items() if not job.live]
        if not idle:
            return
        job_id = data.draw(st.sampled_from(idle), label="job")
        job = self.jobs[job_id]
        attempt = claim(self.ledger, job_id, job.status, now=self.now)
        self.remote_ids += 1
        remote_id = f"remote-{self.remote_ids}"
        self.ledger.submissions.accept(attempt, RemoteId(remote_id), now=self.now)
        job.status = S.SUBMITTED
        job.cancel_requested = False
        job.items = [S.SUBMITTED] * len(job.items)
        sent = ModelAttempt(handle=attempt, epoch=job.epoch, items=tuple(range(len(job.items))), lease_until=None)
        sent.status = S.SUBMITTED
        sent.remote_id = remote_id
        sent.is_sent = sent.is_accepted = True
        job.attempts.append(sent)

    @precondition(some_attempt)
    @rule(data=st.data(), same=st.booleans())
    def accept(self, data: st.DataObject, same: bool) -> None:
        job_id, job, attempt = self.pick_attempt(data)
        self.remote_ids += 1
        remote_id = attempt.remote_id if same and attempt.remote_id else f"remote-{self.remote_ids}"
        try:
            self.ledger.submissions.accept(attempt.handle, RemoteId(remote_id), now=self.now)
        except StaleJob:
            assert attempt.status not in UNSETTLED
            assert attempt.remote_id != remote_id or not attempt.is_accepted
            self.strays.add((job_id, remote_id))
            return
        if attempt.remote_id == remote_id and attempt.is_accepted:
            return
        assert attempt.status in UNSETTLED
        self.model_accept(job, attempt)
        attempt.remote_id = remote_id

    def model_accept(self, job: ModelJob, attempt: ModelAttempt) -> None:
        attempt.status = job.status = S.SUBMITTED
        attempt.is_sent = attempt.is_accepted = True
        for index in attempt.items:
            job.items[index] = S.SUBMITTED

    @precondition(some_attempt)
    @rule(data=st.data())
    def reserve(self, data: st.DataObject) -> None:
        job_id, _, attempt = self.pick_attempt(data)
        self.remote_ids += 1
        remote_id = f"remote-{self.remote_ids}"
        try:
            self.ledger.submissions.reserve(attempt.handle, RemoteId(remote_id), now=self.now)
        except StaleJob:
            assert attempt.status not in UNSETTLED or attempt.remote_id is not None
            self.strays.add((job_id, remote_id))
            return
        assert attempt.status in UNSETTLED
        assert attempt.remote_id is None
        attempt.remote_id = remote_id

    def settle(self, data: st.DataObject, verb: str) -> tuple[ModelJob, ModelAttempt] | None:
        _, job, attempt = self.pick_attempt(data)
        try:
            getattr(self.ledger.submissions, verb)(attempt.handle, f"by {verb}", now=self.now)
        except StaleJob:
            assert attempt.status not in UNSETTLED
            return None
        assert attempt.status in UNSETTLED or (verb, attempt.status) == ("release", S.LOST)
        return job, attempt

    @precondition(some_attempt)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        settled = self.settle(data, "reject")
        if settled:
            job, attempt = settled
            attempt.status = job.status = S.ERROR
            for index in attempt.items:
                if job.items[index] is not S.COMPLETED:
                    job.items[index] = S.ERROR

    @precondition(some_attempt)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        settled = self.settle(data, "release")
        if settled:
            self.model_release(*settled)

    def model_release(self, job: ModelJob, attempt: ModelAttempt) -> None:
        was_lost = attempt.status is S.LOST
        attempt.status = S.CANCELLED
        attempt.is_sent = False
        if was_lost:
            if self.is_replaced(job, attempt):
                return
            for index in attempt.items:
                if job.items[index] is S.LOST:
                    job.items[index] = S.CREATED
        job.status = roll_up(job.items)
        if job.status is S.CREATED and job.cancel_requested:
            self.cancelled_unsent(job)

    def is_replaced(self, job: ModelJob, attempt: ModelAttempt) -> bool:
        later = job.attempts[job.attempts.index(attempt) + 1 :]
        return attempt.epoch != job.epoch or any(not each.is_released for each in later)

    @precondition(some_attempt)
    @rule(data=st.data())
    def mark_unknown(self, data: st.DataObject) -> None:
        settled = self.settle(data, "mark_unknown")
        if settled:
            job, attempt = settled
            attempt.is_sent = attempt.is_sent or (attempt.status is S.SUBMITTING and attempt.remote_id is None)
            attempt.status = job.status = S.UNKNOWN

    def reported(self, data: st.DataObject, attempt: ModelAttempt) -> Snapshot | None:
        words = st.sampled_from(AT_PROVIDER + FINISHED * 2)
        kinds = ["whole", "whole", "items", "items", "wrong number", "absent"]
        kind = data.draw(st.sampled_from(kinds), label="report")
        if kind == "absent":
            return None
        if kind == "whole":
            status = data.draw(words, label="status")
            return Snapshot(status=status, remote_status=f"their {status}")
        n = len(attempt.items) + (kind == "wrong number")
        items = data.draw(st.lists(words, min_size=n, max_size=n), label="statuses")
        snapshots = tuple(ItemSnapshot(status=s) for s in items)
        return Snapshot(status=roll_up(items), remote_status="theirs", items=snapshots)

    @precondition(some_attempt)
    @rule(data=st.data(), asked_again=st.booleans())
    def observe(self, data: st.DataObject, asked_again: bool) -> None:
        """Up to three reports of one attempt."""
        job_id, job, attempt = self.pick_attempt(data)
        for _ in range(data.draw(st.integers(1, 3), label="reports")):
            self.observe_once(data, job_id, job, attempt, asked_again)

    def observe_once(
        self, data: st.DataObject, job_id: JobId, job: ModelJob, attempt: ModelAttempt, asked_again: bool
    ) -> None:
        snapshot = self.reported(data, attempt)
        values = {"now": self.now, "confirm": CONFIRM, "asked_again": asked_again}
        try:
            after = observe(self.ledger, job_id, attempt.handle.number, snapshot, **values)
        except StaleJob:
            assert attempt.remote_id is None
            return
        except ProtocolError:
            assert snapshot.items
            assert len(snapshot.items) != len(attempt.items)
            return
        assert attempt.remote_id is not None
        if not attempt.is_reserved:
            replaced = self.is_replaced(job, attempt) or attempt.is_released
            if snapshot is None:
                self.model_absence(job, attempt, replaced)
            elif replaced:
                self.model_late(job_id, job, attempt, snapshot.status)
            else:
                self.model_observe(job, attempt, snapshot, asked_again)
        assert after is job.status

    def model_absence(self, job: ModelJob, attempt: ModelAttempt, replaced: bool) -> None:
        if replaced or attempt.status in [*FINISHED, S.LOST, S.SUBMITTING]:
            return
        attempt.absences += 1
        if attempt.absences < CONFIRM.absent_times:
            return
        attempt.absences = 0
        attempt.status = S.LOST
        for index in attempt.items:
            if job.items[index] not in FINISHED:
                job.items[index] = S.LOST
        job.status = roll_up(job.items)

    def model_late(self, job_id: JobId, job: ModelJob, attempt: ModelAttempt, said: JobStatus) -> None:
        """The items are another attempt's now: an older one that was LOST makes that a second job."""
        if attempt.status is S.LOST and said in AT_PROVIDER:
            self.strays.add((job_id, attempt.remote_id))
        elif attempt.status is S.LOST and said is S.COMPLETED:
            for younger in job.attempts[job.attempts.index(attempt) + 1 :]:
                if younger.remote_id and younger.status not in FINISHED:
                    self.strays.add((job_id, younger.remote_id))
        if may_report(attempt.status, said) and not (attempt.status is S.LOST and said in AT_PROVIDER):
            attempt.is_told(said)

    def model_observe(self, job: ModelJob, attempt: ModelAttempt, snapshot: Snapshot, asked_again: bool) -> None:
        if attempt.status in UNSETTLED:  # the report is faster than the reply
            self.model_accept(job, attempt)
        said = snapshot.status
        revives = asked_again and (bool(snapshot.items) or attempt.status in MAY_REVIVE)
        if attempt.by_item and not snapshot.items and said in FINISHED:
            revives = False

        def may(old: JobStatus, new: JobStatus) -> bool:
            alive = new in [*AT_PROVIDER, S.COMPLETED]
            return may_report(old, new) or (revives and old in MAY_REVIVE and alive)

        contradicts = said is not attempt.status and not may(attempt.status, said)
        if snapshot.items:
            for index, item in zip(attempt.items, snapshot.items, strict=True):
                if may(job.items[index], item.status):
                    job.items[index] = item.status
        elif contradicts:
            return
        elif not attempt.by_item or attempt.status is S.LOST or (revives and attempt.status in MAY_REVIVE):
            for index in attempt.items:
                if may(job.items[index], said):
                    job.items[index] = said
        elif said in FINISHED:
            for index in attempt.items:
                if job.items[index] not in FINISHED:
                    job.items[index] = said
        status = roll_up(job.items[index] for index in attempt.items)
        if not snapshot.items and not attempt.by_item:
            status = said
        if status is attempt.status and contradicts:
            return
        if status is attempt.status or may(attempt.status, status):
            attempt.is_told(status)
            attempt.absences = 0
            attempt.by_item = attempt.by_item or bool(snapshot.items)
            new = roll_up(job.items)
            if may(job.status, new) or new is S.CREATED:
                if job.status in FINISHED and new not in FINISHED:
                    job.cancel_requested = False
                job.status = new

    @precondition(some_attempt)
    @rule(data=st.data(), n=st.integers(0, 1000))
    def store_results(self, data: st.DataObject, n: int) -> None:
        job_id, job, attempt = self.pick_attempt(data)
        chosen = data.draw(st.sets(st.sampled_from(attempt.items)), label="items")
        given = {index: counts(b0=n + index) for index in chosen}
        fresh = [index for index in given if (attempt.epoch, index) not in job.results]
        assert self.ledger.store_results(job_id, attempt.handle, given, now=self.now) == len(fresh)
        job.results.update({(attempt.epoch, index): given[index] for index in fresh})

    def cancelled_unsent(self, job: ModelJob) -> None:
        job.status = S.CANCELLED
        job.items = [S.CANCELLED if status is S.CREATED else status for status in job.items]

    @precondition(some_job)
    @rule(data=st.data())
    def request_cancel(self, data: st.DataObject) -> None:
        job_id, job = self.pick(data)
        if job.status not in FINISHED:
            job.cancel_requested = True
        if job.status is S.CREATED:
            self.cancelled_unsent(job)
        elif job.status is S.LOST:
            job.items = [status if status in FINISHED else S.CANCELLED for status in job.items]
            job.status = roll_up(job.items)
            for attempt in job.attempts:
                if attempt.status is S.LOST:
                    attempt.status = S.CANCELLED
        assert self.ledger.request_cancel(job_id, now=self.now).status is job.status

    @precondition(some_attempt)
    @rule(data=st.data(), lease_s=st.sampled_from([10.0, 60.0]), sending=st.booleans())
    def renew(self, data: st.DataObject, lease_s: float, sending: bool) -> None:
        _, _, attempt = self.pick_attempt(data)
        try:
            self.ledger.submissions.renew(attempt.handle, lease_s=lease_s, now=self.now, sending=sending)
        except StaleJob:
            assert attempt.status is not S.SUBMITTING
            return
        assert attempt.status is S.SUBMITTING
        attempt.lease_until = self.now + timedelta(seconds=lease_s)
        attempt.is_sent = attempt.is_sent or sending

    @rule()
    def expire_leases(self) -> None:
        late = []
        for job_id, job in self.jobs.items():
            for attempt in job.attempts:
                if attempt.status is S.SUBMITTING and attempt.lease_until < self.now:
                    late.append(job_id)
                    if attempt.is_sent or attempt.remote_id:
                        attempt.status = job.status = S.UNKNOWN
                    else:
                        self.model_release(job, attempt)
        assert sorted(self.ledger.submissions.expire_leases(now=self.now)) == sorted(late)

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        assert {job.job_id for job in self.ledger.jobs()} == set(self.jobs)
        for job_id, model in self.jobs.items():
            job = self.ledger.job(job_id)
            assert (job.status, job.epoch) == (model.status, model.epoch)
            assert (job.cancel_requested_at is not None) == model.cancel_requested
            assert [item.status for item in self.ledger.items(job_id)] == model.items
            attempts = [(a.status, a.remote_id, a.epoch, a.sent_at is None) for a in self.ledger.attempts(job_id)]
            assert attempts == [(a.status, a.remote_id, a.epoch, not a.is_sent) for a in model.attempts]

    @invariant()
    def no_remote_job_is_forgotten(self) -> None:
        assert {(stray.job_id, stray.remote_id) for stray in self.ledger.strays.pending()} == self.strays

    @invariant()
    def results_are_never_lost(self) -> None:
        for job_id, model in self.jobs.items():
            for epoch in range(1, model.epoch + 1):
                kept = {index: value for (e, index), value in model.results.items() if e == epoch}
                assert self.ledger.results(job_id, epoch=epoch) == kept
            have = {index for e, index in model.results if e == model.epoch}
            assert set(self.ledger.missing_items(job_id)) == set(range(len(model.items))) - have

    @invariant()
    def histories_are_unbroken(self) -> None:
        for job_id in self.jobs:
            check_history(self.ledger, job_id)
            moves = self.ledger.events(job_id, of_items=False)
            for event in moves:
                if event.old in FINISHED and event.new is not event.old:
                    revived = event.cause == "alive again" and event.old is not S.COMPLETED
                    by_caller = event.new is S.SUBMITTING or revived
                    assert by_caller or (event.old, event.new) == (S.CANCELLED, S.COMPLETED)


def check(ledger: Ledger, n_examples: int) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.ledger = ledger
    examples = settings(max_examples=n_examples, stateful_step_count=25, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(Machine, settings=examples)


@pytest.mark.timeout(120)
def test_ledger(ledger: Ledger) -> None:
    """The ledger is a dict with a history."""
    check(ledger, 25 if ledger.url.startswith("sqlite") else 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ledger_for_long(ledger: Ledger) -> None:
    """The same, with many more examples."""
    check(ledger, 120 if ledger.url.startswith("sqlite") else 40)
