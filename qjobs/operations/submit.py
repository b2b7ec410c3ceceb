"""Submit: the only code that can create a remote job.

The intent is recorded before the call, and the remote id the moment it exists (write-ahead). What may be done about an
earlier attempt is decided by the table in `qjobs.operations.retry`, never here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from qjobs.backends.base import Backend
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    LedgerError,
    NotSent,
    PolicyLimit,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import display_owner, lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, Job, JobId, Key, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.operations.attempts import (
    LEAVES_CANCELLED_ALONE,
    LOOKED_UP,
    batch_of,
    items_to_send,
    last_attempt,
    submission_key,
)
from qjobs.operations.cancel import cancel
from qjobs.operations.collect import store_results
from qjobs.operations.poll import poll, utc_now
from qjobs.operations.retry import Action, RetryPolicy, decide, standing_of

__all__ = ["Submission", "submit"]

logger = logging.getLogger(__name__)

_SENDS = frozenset({Action.SUBMIT, Action.RESTART, Action.CANCEL_AND_SUBMIT, Action.CANCEL_AND_RESTART})
_RESTARTS = frozenset({Action.RESTART, Action.CANCEL_AND_RESTART})
_NOT_FOUND = "not found"
_RISK_TAKEN = "risk taken"
LEASE_S = 300.0
"""How long a submission may take before it counts as lost; longer than any time-out of an adapter."""


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
    now: Callable[[], datetime] = utc_now,
) -> Submission:
    """Submit a job, or settle what an earlier attempt left.

    Calling it again is always safe: what it does is the cell of the decision table for the job's last attempt and
    `strategy`. At most one remote job is alive at any time. DEFAULT never sends a second time. `policy` caps
    submissions, time and cost; None takes the backend's default. `only` limits which items are sent again; None for all
    without a result.

    Returns:
        What was done.

    Raises:
        BackendUnavailable: Transient; submit again.
        Busy: Another process is submitting it, the device is full, or a cancellation is not confirmed.
        SubmissionRejected: The provider refused; no remote job exists.
        SubmissionUnknown: The reply was lost and the provider cannot be asked.
        CredentialsRejected: No remote job exists; renew the credentials.
        PolicyLimit: A cap of the policy is reached.
    """
    job = ledger.job(job_id)
    attempts = ledger.attempts(job_id)
    if any(attempt.status is JobStatus.SUBMITTING for attempt in attempts) and ledger.submissions.expire_leases(
        now=now(), job_ids=[job_id]
    ):
        job = ledger.job(job_id)
        attempts = ledger.attempts(job_id)
    entry = _Entry(ledger, backend, job, attempts, strategy, policy, only, now)
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
    policy: RetryPolicy | None
    only: Sequence[int] | None
    now: Callable[[], datetime]

    @property
    def last(self) -> Attempt | None:
        return last_attempt(self.attempts, self.job.epoch)

    def read_again(self) -> None:
        self.job = self.ledger.job(self.job.job_id)
        self.attempts = self.ledger.attempts(self.job.job_id)

    def run(self) -> Submission:
        job_id = self.job.job_id
        last = self.last
        if last is not None and last.status is JobStatus.SUBMITTING:
            raise Busy(
                f"{display_owner(last.lease_owner)} is submitting {job_id} now", job_id=job_id, retry_after_s=2.0
            )
        decision = decide(standing_of(last, self._n_missing(last)), self.strategy, self.backend.lost_reply)
        action = decision.action
        reason = decision.reason
        if action is Action.FIND:
            found = last is not None and self._adopt(last)
            action = Action.SYNC if found else decision.otherwise or Action.STAY_UNKNOWN
        if action in _SENDS:
            action, reason = self._send_again(action, reason)
        match action:
            case Action.SYNC:
                poll(self.ledger, self.backend, [job_id], now=self.now)
                self.read_again()
            case Action.REFUSE:
                words = last.message if last else self.job.message
                raise SubmissionRejected(
                    f"{self.backend.name} refused {job_id}: {words}; correct what it names, then: "
                    f"qjobs jobs retry {job_id} --strategy ALLOW_RESUBMIT",
                    detail=words,
                    job_id=job_id,
                )
            case Action.STAY_UNKNOWN:
                raise _unknown(job_id, self.backend, reason)
            case _:  # sent by now, or nothing is to be done
                self.read_again()
        last = self.last
        remote_id = last.remote_id if last else None
        logger.info("%s: %s (%s), %s as %s", job_id, action, reason, self.job.status, remote_id)
        return Submission(job_id=job_id, action=action, reason=reason, status=self.job.status, remote_id=remote_id)

    def _n_missing(self, last: Attempt | None) -> int:
        """How many items have no result, after asking a final remote job for what it has."""
        if last is None:
            return self.job.n_items
        if last.remote_id is not None and last.status.is_final:
            return len(store_results(self.ledger, self.backend, self.job, now=self.now))
        return len(self.ledger.missing_items(self.job.job_id))

    def _adopt(self, attempt: Attempt) -> bool:
        """Look an UNKNOWN attempt up by its key and adopt what is found; whether something was."""
        remote_id = self.backend.find(submission_key(self.job, self.attempts, attempt))
        if remote_id is not None:
            self.ledger.submissions.accept(attempt, remote_id, now=self.now(), cause="found by key")
        return remote_id is not None

    def _send_again(self, action: Action, reason: str) -> tuple[Action, str]:
        """End what may be alive of the job, then send; returns what was done after all, and why."""
        self._check_caps()
        restart = action in _RESTARTS
        last = self.last
        if last is not None and not last.status.is_final:
            self._end(last, looked_up=action is Action.SUBMIT, restart=restart)
            self.read_again()
        if self.job.cancel_requested_at is not None and self.strategy in LEAVES_CANCELLED_ALONE:
            return Action.RETURN, "its cancellation was requested, so nothing is sent"
        items = self.ledger.items(self.job.job_id)
        indices = None
        if not restart:
            missing = self.ledger.missing_items(self.job.job_id) if self.attempts else range(self.job.n_items)
            chosen = items_to_send(self.job, self.attempts, items, missing, self.strategy, self.only)
            if not chosen:
                return Action.RETURN, "it finished before it could be cancelled: every item has a result"
            indices = None if len(chosen) == self.job.n_items else chosen
        self._send(batch_of(self.ledger, self.job, items, indices), indices, restart=restart)
        return Action.RESTART if restart else Action.SUBMIT, reason

    def _end(self, attempt: Attempt, *, looked_up: bool, restart: bool) -> None:
        """Make sure that no remote job of `attempt` is alive, as far as the provider can confirm it.

        `looked_up` says that an UNKNOWN attempt was looked up a moment ago and not found. With `restart` all items are
        sent next, otherwise the same ones as were lost.

        Raises:
            Busy: The cancellation is not confirmed yet.
        """
        submissions = self.ledger.submissions
        if attempt.status is JobStatus.UNKNOWN:
            if self.backend.lost_reply is LostReply.OPAQUE:
                words = "the caller takes the risk of a second remote job"
                submissions.release(attempt, words, now=self.now(), cause=_RISK_TAKEN)
                return
            if looked_up or not self._adopt(attempt):
                same_key = attempt.items is None or not restart
                if self.backend.lost_reply is not LostReply.DEDUPLICATED or not same_key:
                    self._wait_for_stragglers(attempt)
                submissions.release(attempt, LOOKED_UP, now=self.now(), cause=_NOT_FOUND)
                return
        job_id = self.job.job_id
        after = cancel(self.ledger, self.backend, job_id, now=self.now)
        if not after.status.is_final:
            raise Busy(
                f"{job_id} is being cancelled and {self.backend.name} has not confirmed it; submit again later",
                job_id=job_id,
                retry_after_s=5.0,
            )
        store_results(self.ledger, self.backend, after, now=self.now)

    def _wait_for_stragglers(self, attempt: Attempt) -> None:
        """Raise `Busy` while a submission whose reply was lost may still arrive at the provider.

        Counted from the moment it was given up: the intent is recorded before the call, which may take long.
        """
        if attempt.sent_at is None:
            return
        present = self.now()
        lost_at = present
        for event in self.ledger.events(attempt.job_id, of_items=False):
            if event.old is JobStatus.SUBMITTING and event.new is JobStatus.UNKNOWN:
                lost_at = event.at
        left = self.backend.settle_s - (present - lost_at).total_seconds()
        if left > 0:
            raise Busy(
                f"{attempt.job_id} is not at {self.backend.name} and may still arrive there; submit again "
                f"in {left:.0f} s",
                job_id=attempt.job_id,
                retry_after_s=left,
            )

    def _check_caps(self) -> None:
        """Raise `PolicyLimit` where a further submission is above a cap; lost ones count too."""
        if not self.attempts:
            return
        job_id = self.job.job_id
        policy = self.policy or RetryPolicy.for_backend(self.backend.lost_reply)
        events = self.ledger.events(job_id, of_items=False)
        sent = sum(attempt.sent_at is not None for attempt in self.attempts)
        sent += sum(event.cause in {_NOT_FOUND, _RISK_TAKEN} for event in events)
        if not sent:
            return
        if sent >= policy.max_submissions:
            raise PolicyLimit(
                f"{job_id} was submitted {sent} times and the policy allows {policy.max_submissions}; "
                f"see its history with: qjobs jobs show {job_id}",
                job_id=job_id,
            )
        if self.now() - self.job.created_at > timedelta(seconds=policy.max_total_s):
            raise PolicyLimit(
                f"{job_id} is older than the {policy.max_total_s:g} s in which the policy submits again",
                job_id=job_id,
            )
        cost = (self.job.cost or 0.0) + (self.job.cost_estimate or 0.0)
        if policy.max_cost is not None and cost > policy.max_cost:
            raise PolicyLimit(f"{job_id} would cost more than the policy's {policy.max_cost:g}", job_id=job_id)

    def _send(self, batch: Batch, indices: tuple[int, ...] | None, *, restart: bool) -> None:
        """Record the intent, call, record the outcome."""
        job = self.job
        ledger = self.ledger
        attempt = ledger.submissions.claim(
            job.job_id,
            expected=job.status,
            strategy=self.strategy,
            owner=lease_owner(),
            lease_s=LEASE_S,
            now=self.now(),
            items=indices,
            new_epoch=restart,
            max_live_jobs=self.backend.limits.max_live_jobs,
        )
        key = submission_key(job, self.attempts, attempt)
        given: list[RemoteId] = []
        accepted: list[RemoteId] = []

        def created(remote_id: RemoteId) -> None:
            given.append(remote_id)
            ledger.submissions.accept(attempt, remote_id, now=self.now())
            accepted.append(remote_id)

        def sending() -> None:
            try:
                ledger.submissions.renew(attempt, lease_s=LEASE_S, now=self.now())
            except StaleJob:
                raise
            except LedgerError as error:
                raise NotSent(f"the ledger cannot be written, so nothing was sent: {error}") from error

        try:
            _call(self.backend, batch, key, created, sending, accepted)
        except BaseException as error:
            if accepted:
                words = f"{type(error).__name__}: {error}"
                ledger.record_event(job.job_id, "after acceptance", words, now=self.now())
                if isinstance(error, Exception):
                    return
                raise
            _settle_failure(ledger, self.backend, attempt, given, error, self.now())
            raise


def _unknown(job_id: JobId, backend: Backend, reason: str) -> SubmissionUnknown:
    return SubmissionUnknown(
        f"{job_id} may or may not exist at {backend.device}: {reason}. Check there; if it exists: "
        f"qjobs jobs adopt {job_id} ITS_ID; if you are sure that it does not: qjobs jobs discard {job_id}",
        job_id=job_id,
    )


def _call(
    backend: Backend,
    batch: Batch,
    key: Key,
    created: Callable[[RemoteId], None],
    sending: Callable[[], None],
    accepted: Sequence[RemoteId],
) -> None:
    backend.submit(batch, key, created, sending)
    if not accepted:
        raise SubmissionUnknown(f"{backend.name} returned without naming a remote job")


def _settle_failure(
    ledger: Ledger,
    backend: Backend,
    attempt: Attempt,
    given: Sequence[RemoteId],
    error: BaseException,
    present: datetime,
) -> None:
    """Record what a failed submission means; raises a clearer error than `error` where there is one."""
    match error:
        case StaleJob():  # from `renew`, before anything was sent; or from `accept`, which keeps the id in an event
            return
        case NotSent() if not given:
            ledger.submissions.release(attempt, str(error), now=present)
        case CredentialsRejected() if not given:
            ledger.submissions.release(attempt, str(error), now=present, cause="credentials refused")
        case SubmissionRejected() if not given:
            error.job_id = attempt.job_id
            ledger.submissions.reject(attempt, error.detail or str(error), now=present)
        case _:
            words = str(error) or type(error).__name__
            if given:  # the id must not be lost with the error
                words = f"{backend.name} made {given[-1]}, which could not be written down: {words}"
            with contextlib.suppress(LedgerError):  # then the lease runs out, and the attempt becomes UNKNOWN so
                ledger.submissions.mark_unknown(attempt, words, now=present)
            if not isinstance(error, Exception):
                return
            if backend.lost_reply is LostReply.OPAQUE:
                raise _unknown(attempt.job_id, backend, words) from error
            raise BackendUnavailable(
                f"the reply to the submission of {attempt.job_id} was lost ({words}); submit again to look it up"
            ) from error
