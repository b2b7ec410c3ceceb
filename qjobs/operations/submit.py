"""Submit: the only code that can create a remote job.

The intent is recorded before the call, and the remote id the moment it exists (write-ahead). What may be done about an
earlier attempt is decided by the table in `qjobs.operations.retry`, never here. Before anything is sent a second time,
every remote job that there ever was is asked for once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from qjobs.backends.base import Backend
from qjobs.backends.limiter import share_paces
from qjobs.errors import Busy, JobLost, StaleJob, SubmissionRejected
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import display_owner
from qjobs.lifecycle import FINAL, REOPENS, JobStatus
from qjobs.model import Attempt, Batch, ItemSpec, Job, JobId, ProgramHash, RemoteId, RemoteRetryStrategy
from qjobs.operations.attempts import (
    LEAVES_CANCELLED_ALONE,
    LOOKED_UP,
    NOT_FOUND,
    REPLACED,
    RISK_TAKEN,
    SAME_KEY,
    batch_of,
    check_caps,
    check_cost,
    items_to_send,
    last_attempt,
)
from qjobs.operations.calibration import Stand, check_calibration
from qjobs.operations.cancel import end_reservation, end_strays
from qjobs.operations.collect import store_results
from qjobs.operations.look_up import LookUp
from qjobs.operations.poll import ask_again, check_settings, poll, utc_now
from qjobs.operations.retry import Action, Decision, RetryPolicy, Standing, decide, standing_of
from qjobs.operations.sending import Sender, unknown

__all__ = ["Submission", "submit"]

logger = logging.getLogger(__name__)

_SENDS = frozenset(
    {
        Action.SUBMIT,
        Action.RESTART,
        Action.CANCEL_AND_SUBMIT,
        Action.CANCEL_AND_RESTART,
        Action.ABANDON_AND_RESTART,
    }
)
_RESTARTS = frozenset({Action.RESTART, Action.CANCEL_AND_RESTART, Action.ABANDON_AND_RESTART})
_ASKED_AGAIN = frozenset({Standing.INCOMPLETE, Standing.LOST})
"""Standings in which a job is asked for once more, whatever the strategy: it may be alive there again."""


def _may_send(decision: Decision) -> bool:
    """Whether what is decided may end in a submission."""
    return not _SENDS.isdisjoint({decision.action, decision.otherwise}) or decision.action in {
        Action.ASK,
        Action.RESUME,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What `submit` did: the action of the decision table, why, and how the job stands now."""

    job_id: JobId
    action: Action
    reason: str
    status: JobStatus
    remote_id: RemoteId | None


def submit(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    *,
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
    policy: RetryPolicy | None = None,
    only: Sequence[int] | None = None,
    programs: Mapping[ProgramHash, ProgramHash] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Submission:
    """Submit a job, or settle what an earlier attempt left.

    Calling it again is always safe: what it does is the cell of the decision table for the job's last attempt and
    `strategy`. At most one remote job is alive at any time. DEFAULT never sends a second time. `policy` caps
    submissions, time and cost; None takes the backend's default. `only` limits which items are sent again; None for all
    without a result. `programs` maps programs of the job to newly compiled ones, which a restart sends instead, and so
    does the first submission. Before each submission the device is compared with what the job was compiled for.

    Returns:
        What was done.

    Raises:
        BackendUnavailable: Transient; submit again.
        Busy: Another process is submitting it, the device is full, a cancellation is not confirmed, or other items of
            it are under way; or a cap leaves no money for it now (`OverCap`).
        SubmissionRejected: The provider refused; no remote job exists.
        SubmissionUnknown: The reply was lost and the provider cannot be asked.
        JobLost: The provider does not know the job any more.
        CredentialsRejected: No remote job exists; renew the credentials.
        WrongBackend: The backend is another one than the job was planned for.
        PolicyLimit: A cap of the policy is reached, or a cap of the ledger can never count it.
        Recalibrated: The device was recalibrated since the job was compiled, and the policy does not send it so.
    """
    share_paces(ledger.paces)
    job = ledger.job(job_id)
    attempts = ledger.attempts(job_id)
    if any(attempt.status is JobStatus.SUBMITTING for attempt in attempts) and ledger.submissions.expire_leases(
        now=now(), job_ids=[job_id]
    ):
        job = ledger.job(job_id)
        attempts = ledger.attempts(job_id)
    policy = policy or RetryPolicy.for_backend(backend.lookup)
    entry = _Entry(ledger, backend, job, attempts, strategy, policy, only, programs or {}, now)
    try:
        return entry.run()
    except StaleJob as error:
        raise Busy(f"another process moved {job_id} first ({error}); submit again", job_id=job_id) from error


@dataclass(slots=True)
class _Entry:
    """One call of `submit`: the job and its attempts, read once, and read again after something was written."""

    ledger: Ledger
    backend: Backend
    job: Job
    attempts: Sequence[Attempt]
    strategy: RemoteRetryStrategy
    policy: RetryPolicy
    only: Sequence[int] | None
    programs: Mapping[ProgramHash, ProgramHash]
    now: Callable[[], datetime]

    @property
    def last(self) -> Attempt | None:
        return last_attempt(self.attempts, self.job.epoch)

    @property
    def look_up(self) -> LookUp:
        return LookUp(self.ledger, self.backend, self.job, self.attempts, self.now)

    def read_again(self) -> None:
        self.job = self.ledger.job(self.job.job_id)
        self.attempts = self.ledger.attempts(self.job.job_id)

    def run(self) -> Submission:
        last = self.last
        if last is not None and last.status is JobStatus.SUBMITTING:
            raise Busy(
                f"{display_owner(last.lease_owner)} is submitting {self.job.job_id} now",
                job_id=self.job.job_id,
                retry_after_s=2.0,
            )
        action, reason = self._decide()
        if action is Action.RESUME:
            action, reason = self._resume(reason)
        if action in _SENDS:
            action, reason = self._send_again(action, reason)
        match action:
            case Action.SYNC:
                poll(self.ledger, self.backend, [self.job.job_id], now=self.now)
                self.read_again()
            case Action.REFUSE:
                raise self._refusal()
            case Action.STAY_UNKNOWN:
                raise unknown(self.job, self.backend, reason)
            case _:  # sent by now, or nothing is to be done
                self._end_needless(action)
                self.read_again()
        last = self.last
        remote_id = last.remote_id if last else None
        logger.info("%s: %s (%s), %s as %s", self.job.job_id, action, reason, self.job.status, remote_id)
        return Submission(
            job_id=self.job.job_id, action=action, reason=reason, status=self.job.status, remote_id=remote_id
        )

    def _end_needless(self, action: Action) -> None:
        """End what is reserved where every result is there: those of a remote job that was LOST, and came back."""
        last = self.last
        if action is Action.RETURN and last is not None and last.is_reserved and last.status is JobStatus.UNKNOWN:
            end_reservation(self.ledger, self.backend, last, now=self.now)

    def _decide(self) -> tuple[Action, str]:
        """The cell of the table, after asking once more for what the ledger takes for dead."""
        standing = self._standing()
        decision = decide(standing, self.strategy, self.backend.lookup)
        asks = standing in _ASKED_AGAIN or _may_send(decision)
        has_more = standing is Standing.COMPLETE and self.job.status in REOPENS  # results of what had failed
        if (asks or has_more) and ask_again(self.ledger, self.backend, self.job, self.attempts, self.now):
            self.read_again()
            taken_for_over = standing in _ASKED_AGAIN
            standing = self._standing()
            decision = decide(standing, self.strategy, self.backend.lookup)
            if taken_for_over and decision.action is Action.CANCEL_AND_SUBMIT:
                return Action.SYNC, "it is alive there again, so that nothing is sent"
        action = decision.action
        if action is Action.FIND:
            found = self.look_up.adopt(self._last())
            action = Action.SYNC if found else decision.otherwise or Action.STAY_UNKNOWN
        elif action is Action.ASK:
            cancel_now = self.job.cancel_requested_at is not None
            action = Action.SYNC if self.look_up.adopt_by_id(self._last(), cancel_now=cancel_now) else Action.SUBMIT
            self.read_again()
        if standing is Standing.UNKNOWN and action in _SENDS and not self.policy.resend_unfound:
            if decision.action is not Action.FIND and self.look_up.adopt(self._last()):
                self.read_again()
                return self._decide()
            return Action.STAY_UNKNOWN, "the reply was lost, and the policy never sends such a job again"
        return action, decision.reason

    def _standing(self) -> Standing:
        return standing_of(self.last, self._n_missing())

    def _last(self) -> Attempt:
        last = self.last
        if last is None:
            raise AssertionError("a decision about an attempt needs one")
        return last

    def _n_missing(self) -> int:
        """How many items have no result, after asking a final remote job for what it has."""
        last = self.last
        if last is None:
            return self.job.n_items
        if last.remote_id is not None and last.status.is_final:
            return len(store_results(self.ledger, self.backend, self.job, now=self.now))
        return len(self.ledger.missing_items(self.job.job_id))

    def _refusal(self) -> SubmissionRejected | JobLost:
        job_id = self.job.job_id
        last = self.last
        words = last.message if last else self.job.message
        if last is not None and last.status is JobStatus.LOST:
            return JobLost(
                f"{self.backend.name} no longer knows {last.remote_id}, the remote job of {job_id} ({words}). Look "
                f"there; if it is gone, send what has no result again with: qjobs jobs retry {job_id} --strategy "
                f"FORCE_RESUBMIT; or give it up with: qjobs jobs cancel {job_id}",
                job_id=job_id,
            )
        return SubmissionRejected(
            f"{self.backend.name} refused {job_id}: {words}; correct what it names, then: "
            f"qjobs jobs retry {job_id} --strategy ALLOW_RESUBMIT",
            detail=words,
            job_id=job_id,
        )

    def _resume(self, reason: str) -> tuple[Action, str]:
        """Go on with what is reserved; where it cannot be gone on with, it is ended and sent anew."""
        last = self._last()
        if self.job.cancel_requested_at is not None:
            runs = not end_reservation(self.ledger, self.backend, last, now=self.now)
            self.read_again()
            return Action.SYNC if runs else Action.SUBMIT, "its cancellation was requested, so what was reserved ended"
        check_settings(self.job, self.backend)
        self._check_calibration({}, is_first=False)
        self._end_strays()
        batch = batch_of(self.ledger, self.job, last.items)
        try:
            Sender(self.ledger, self.backend, self.job, self.attempts, self.now).resume(last, batch)
        except SubmissionRejected as error:
            logger.info("%s: %s cannot be gone on with: %s", self.job.job_id, last.remote_id, error)
            self.read_again()
            if not self._last().status.is_final:
                raise
            return Action.SUBMIT, f"what was reserved is gone ({error}), and nothing of it has run"
        return Action.RESUME, reason

    def _send_again(self, action: Action, reason: str) -> tuple[Action, str]:
        """End what may be alive of the job, then send; returns what was done after all, and why."""
        check_settings(self.job, self.backend)
        restart = action in _RESTARTS
        self._refuse_chosen_while_others_run()
        check_caps(self.ledger, self.job, self.attempts, self.policy, self.now(), self.strategy)
        if self.policy.max_cost is not None:
            check_cost(self.backend, self.job, self.policy, self._most(restart=restart))
        is_first = not self.attempts or self._was_never_sent()
        programs = self.programs if restart or is_first else {}
        stand = self._check_calibration(programs, is_first=is_first and not restart)
        last = self.last
        if last is not None and not last.status.is_final:
            is_there = self._end(last, restart=restart, cancels=action is not Action.SUBMIT)
            self.read_again()
            if is_there:
                return Action.SYNC, "it was found at the provider after all"
        if self.attempts:
            self._end_strays()
        if self.job.cancel_requested_at is not None and self.strategy in LEAVES_CANCELLED_ALONE:
            return Action.RETURN, "its cancellation was requested, so nothing is sent"
        indices = None
        specs: Sequence[ItemSpec] = ()
        if not self.attempts:
            specs = self.ledger.item_specs(self.job.job_id, unless_cancelled=True)
        if not restart and not specs:
            items = self.ledger.items(self.job.job_id)
            missing = self.ledger.missing_items(self.job.job_id) if self.attempts else range(self.job.n_items)
            chosen = items_to_send(self.job, self.attempts, items, missing, self.strategy, self.only)
            if not chosen:
                return Action.RETURN, "it finished before it could be cancelled: every item has a result"
            indices = None if len(chosen) == self.job.n_items else chosen
        batch = batch_of(self.ledger, self.job, indices, specs)
        if programs:
            batch = self._recompiled(batch)
        sender = Sender(self.ledger, self.backend, self.job, self.attempts, self.now)
        sender.send(
            batch,
            indices,
            strategy=self.strategy,
            restart=restart,
            programs=programs,
            max_run_cost=self.policy.max_run_cost,
            stand=stand,
        )
        return Action.RESTART if restart else Action.SUBMIT, reason

    def _was_never_sent(self) -> bool:
        """Whether nothing of the job can ever have reached the provider, so that its key stands for no circuits yet."""
        events = self.ledger.events(self.job.job_id, of_items=False)
        return all(event.new in {JobStatus.CREATED, JobStatus.SUBMITTING} for event in events)

    def _check_calibration(self, programs: Mapping[ProgramHash, ProgramHash], *, is_first: bool) -> Stand:
        """Compare the device with what the job was compiled for, before anything is ended or sent."""
        return check_calibration(
            self.ledger,
            self.backend,
            self.job,
            self.policy.on_recalibration,
            programs=programs.values(),
            is_first=is_first,
            now=self.now(),
        )

    def _most(self, *, restart: bool) -> Batch:
        """The most that may be sent: what comes to an end meanwhile is left out of it."""
        if restart or not self.attempts:
            return batch_of(self.ledger, self.job)
        missing = self.ledger.missing_items(self.job.job_id)
        if self.only is None:
            return batch_of(self.ledger, self.job, missing)
        items = self.ledger.items(self.job.job_id)
        named = [index for index in missing if index in self.only or items[index].status is JobStatus.CREATED]
        return batch_of(self.ledger, self.job, named)

    def _recompiled(self, batch: Batch) -> Batch:
        """The batch with the programs that take the place of its own."""
        items = tuple(replace(item, program=self.programs.get(item.program, item.program)) for item in batch.items)
        return replace(batch, items=items, programs=self.ledger.programs({item.program for item in items}))

    def _refuse_chosen_while_others_run(self) -> None:
        """Raise `Busy` where chosen items are to be sent again while the remote job still runs others."""
        last = self.last
        if self.only is None or last is None or last.status not in {*JobStatus} - FINAL - {JobStatus.LOST}:
            return
        if last.status is JobStatus.UNKNOWN or self.strategy is RemoteRetryStrategy.FULL_RESTART:
            return
        others = []
        chosen = set()
        for item in self.ledger.items(self.job.job_id):
            if item.index in self.only:
                chosen.add(item.status)
            elif not item.status.is_final:
                others.append(item.label)
        named = "".join(f" --status {status}" for status in sorted(chosen))
        if others:
            raise Busy(
                f"{len(others)} other items of {self.job.job_id} are still under way (the first is {others[0]}), and "
                f"sending some again would cancel them; wait for them, then: qjobs jobs retry {self.job.job_id}{named} "
                f"--strategy {self.strategy}",
                job_id=self.job.job_id,
                retry_after_s=60.0,
            )

    def _end(self, attempt: Attempt, *, restart: bool, cancels: bool) -> bool:
        """Make sure that no remote job of `attempt` is alive, as far as the provider can confirm it.

        With `restart` all items are sent next, otherwise the same ones as were lost. What is found is cancelled with
        `cancels`, and kept without: then True is returned.

        Raises:
            Busy: It is not certain yet.
        """
        submissions = self.ledger.submissions
        look_up = self.look_up
        if attempt.status is JobStatus.LOST:
            return False
        if attempt.is_reserved:
            if not end_reservation(self.ledger, self.backend, attempt, now=self.now):
                self._cancel()
            return False
        if attempt.status is JobStatus.UNKNOWN and attempt.remote_id is not None:
            if not look_up.adopt_by_id(attempt, cancel_now=cancels):
                return False
        elif attempt.status is JobStatus.UNKNOWN and not look_up.adopt(attempt):  # a fresh look, right before sending
            other_circuits = restart and bool(self.programs)
            same = not other_circuits and (attempt.items is None or not restart)
            if same and look_up.is_deduplicated():
                submissions.release(attempt, LOOKED_UP, now=self.now(), cause=SAME_KEY, is_proved=False, same_key=True)
            elif other_circuits and look_up.is_deduplicated() and not self.backend.lookup.can_find:
                raise self._cannot_replace()
            elif not self.backend.lookup.can_find:
                words = "the caller takes the risk of a second remote job"
                submissions.release(attempt, words, now=self.now(), cause=RISK_TAKEN, is_proved=False)
            else:
                look_up.check_absence_is_certain(attempt)
                words = REPLACED if other_circuits else LOOKED_UP
                submissions.release(attempt, words, now=self.now(), cause=NOT_FOUND)
            return False
        if cancels:
            self._cancel()
        return not cancels

    def _cannot_replace(self) -> Busy:
        job_id = self.job.job_id
        return Busy(
            f"the reply to the submission of {job_id} was lost, and {self.backend.name} would answer other circuits "
            f"with its old ones; find it first, which sends nothing twice: qjobs jobs retry {job_id} --strategy "
            "ALLOW_RESUBMIT",
            job_id=job_id,
            retry_after_s=60.0,
        )

    def _cancel(self) -> None:
        """Cancel the remote job, and see that it is final.

        Raises:
            Busy: The provider has not confirmed it yet.
        """
        job_id = self.job.job_id
        self.ledger.request_cancel(job_id, now=self.now())
        poll(self.ledger, self.backend, [job_id], now=self.now)
        after = self.ledger.job(job_id)
        if not after.status.is_final:
            raise Busy(
                f"{job_id} is being cancelled and {self.backend.name} has not confirmed it; submit again later",
                job_id=job_id,
                retry_after_s=5.0,
            )
        store_results(self.ledger, self.backend, after, now=self.now)

    def _end_strays(self) -> None:
        """End remote jobs of this job that no attempt claims, before another one is sent.

        Raises:
            Busy: One of them is still alive.
        """
        left = end_strays(self.ledger, self.backend, [self.job.job_id], now=self.now)
        if left:
            raise Busy(
                f"{left[0].remote_id}, another remote job of {self.job.job_id}, is not ended yet ({left[0].why}); "
                "submit again later",
                job_id=self.job.job_id,
                retry_after_s=5.0,
            )
