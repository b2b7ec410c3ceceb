"""Submitting: the only code that can create a remote job.

The intent is written before the call and the remote id the moment it exists (write-ahead); what
may be done about an earlier attempt is the decision table's answer, never this module's.
"""

from __future__ import annotations

import contextlib
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
from qjobs.operations.attempts import GENTLE, LOOKED_UP, batch_of, items_to_send, last_attempt, submission_key
from qjobs.operations.cancel import cancel
from qjobs.operations.poll import fetch, poll, utc_now
from qjobs.operations.retry import Action, RetryPolicy, decide, standing_of

__all__ = ["Submission", "submit"]

_SENDS = frozenset({Action.SUBMIT, Action.RESTART, Action.CANCEL_AND_SUBMIT, Action.CANCEL_AND_RESTART})
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
    """Bring a job to the backend, or to terms with what is there already.

    Entering this again is always safe: what it does is the cell of the decision table for the job's
    last attempt and `strategy`. At most one remote job is alive at any time.

    Args:
        ledger: Where the job is.
        backend: Where it goes.
        job_id: Which.
        strategy: What may be done about an earlier attempt; DEFAULT never sends a second time.
        policy: Caps on submissions, time and cost; the backend's default where None.
        only: Where items are sent again, only these; None for all without a result.
        now: The clock.

    Returns:
        What was done.

    Raises:
        BackendUnavailable: Transient; enter again.
        Busy: Another process is submitting it, the device is full, or a cancellation is not confirmed.
        SubmissionRejected: The provider refused; no remote job exists.
        SubmissionUnknown: The reply was lost and the provider cannot be asked.
        CredentialsRejected: No remote job exists; renew the credentials.
        PolicyLimit: A cap of the policy is reached.
    """
    ledger.submissions.expire_leases(now=now(), job_ids=[job_id])
    job = ledger.job(job_id)
    attempt = last_attempt(ledger, job)
    if attempt is not None and attempt.status is JobStatus.SUBMITTING:
        raise Busy(f"{display_owner(attempt.lease_owner)} is submitting {job_id} now", job_id=job_id, retry_after_s=2.0)
    if attempt is not None and attempt.remote_id is not None and attempt.status.is_final:
        fetch(ledger, backend, job, now=now)
    standing = standing_of(attempt, len(ledger.missing_items(job_id)))
    decision = decide(standing, strategy, backend.lost_reply)
    action, reason = decision.action, decision.reason
    try:
        if action is Action.FIND:
            found = attempt is not None and _adopted(ledger, backend, job, attempt, now)
            action = Action.SYNC if found else decision.otherwise or Action.STAY_UNKNOWN
        if action in _SENDS:
            policy = policy or RetryPolicy.for_backend(backend.lost_reply)
            action, reason = _send_anew(ledger, backend, job, action, reason, strategy, policy, only, now)
    except StaleJob as error:
        raise Busy(f"another process moved {job_id} first ({error}); enter again", job_id=job_id) from error
    match action:
        case Action.SYNC:
            poll(ledger, backend, [job_id], now=now)
        case Action.REFUSE:
            words = attempt.message if attempt else job.message
            raise SubmissionRejected(
                f"{backend.name} refused {job_id}: {words}; correct it and use ALLOW_RESUBMIT",
                detail=words,
                job_id=job_id,
            )
        case Action.STAY_UNKNOWN:
            raise _unknown(job_id, backend, reason)
        case _:  # sent by now, or nothing is to be done
            pass
    job = ledger.job(job_id)
    attempt = last_attempt(ledger, job)
    remote_id = attempt.remote_id if attempt else None
    return Submission(job_id=job_id, action=action, reason=reason, status=job.status, remote_id=remote_id)


def _unknown(job_id: JobId, backend: Backend, reason: str) -> SubmissionUnknown:
    return SubmissionUnknown(
        f"{job_id} may or may not exist at {backend.device}: {reason}. Look there; if you find it, adopt it by its "
        "id; if you are sure that it does not exist, submit again with ALLOW_RESUBMIT",
        job_id=job_id,
    )


def _adopted(ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, now: Callable[[], datetime]) -> bool:
    """Look an UNKNOWN attempt up by its key and adopt what is found; whether something was."""
    remote_id = backend.find(submission_key(job, ledger.attempts(job.job_id), attempt))
    if remote_id is not None:
        ledger.submissions.accept(attempt, remote_id, now=now(), cause="found by key")
    return remote_id is not None


def _send_anew(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    action: Action,
    reason: str,
    strategy: RemoteRetryStrategy,
    policy: RetryPolicy,
    only: Sequence[int] | None,
    now: Callable[[], datetime],
) -> tuple[Action, str]:
    """End what may be alive of the job, then send; returns what was done after all, and why."""
    _check_caps(ledger, job, policy, now())
    restart = action in {Action.RESTART, Action.CANCEL_AND_RESTART}
    attempt = last_attempt(ledger, job)
    if attempt is not None and not attempt.status.is_final:
        _end(ledger, backend, job, attempt, now, looked_up=action is Action.SUBMIT, restart=restart)
        job = ledger.job(job.job_id)
    if job.cancel_requested_at is not None and strategy in GENTLE:
        return Action.RETURN, "its cancellation was asked for, so nothing is sent"
    missing = items_to_send(ledger, job, strategy, only)
    if not missing and not restart:
        return Action.RETURN, "it finished before it could be cancelled: every item has a result"
    indices = None if restart or len(missing) == job.n_items else missing
    _send(ledger, backend, job, indices, strategy, restart=restart, now=now)
    return Action.RESTART if restart else Action.SUBMIT, reason


def _end(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    attempt: Attempt,
    now: Callable[[], datetime],
    *,
    looked_up: bool,
    restart: bool,
) -> None:
    """Make sure that no remote job of `attempt` is alive, as far as the provider lets us.

    Args:
        ledger: Where the job is.
        backend: Where the remote job may be.
        job: The job.
        attempt: Its live attempt.
        now: The clock.
        looked_up: An UNKNOWN attempt was looked up a moment ago and not found.
        restart: What is sent next are all items; otherwise it is the same as was lost.

    Raises:
        Busy: The cancellation is not confirmed yet.
    """
    if attempt.status is JobStatus.UNKNOWN:
        if backend.lost_reply is LostReply.OPAQUE:
            ledger.submissions.release(
                attempt, "the caller takes the risk of a second remote job", now=now(), cause=_RISK_TAKEN
            )
            return
        if not looked_up:
            looked_up = not _adopted(ledger, backend, job, attempt, now)
        if looked_up:
            same_key = attempt.items is None or not restart
            if backend.lost_reply is not LostReply.DEDUPLICATED or not same_key:
                _wait_for_stragglers(ledger, backend, attempt, now())
            ledger.submissions.release(attempt, LOOKED_UP, now=now(), cause=_NOT_FOUND)
            return
    after = cancel(ledger, backend, job.job_id, now=now)
    if not after.status.is_final:
        raise Busy(
            f"{job.job_id} is being cancelled and {backend.name} has not confirmed it; enter again",
            job_id=job.job_id,
            retry_after_s=5.0,
        )
    fetch(ledger, backend, after, now=now)


def _wait_for_stragglers(ledger: Ledger, backend: Backend, attempt: Attempt, present: datetime) -> None:
    """Raise `Busy` while a submission whose reply was lost may still arrive at the provider.

    Counted from the moment it was given up: the intent is written before the call, which may take long.
    """
    if attempt.sent_at is None:
        return
    moves = ledger.events(attempt.job_id, of_items=False)
    lost_at = max(
        (e.at for e in moves if e.old is JobStatus.SUBMITTING and e.new is JobStatus.UNKNOWN), default=present
    )
    left = backend.settle_s - (present - lost_at).total_seconds()
    if left > 0:
        raise Busy(
            f"{attempt.job_id} is not at {backend.name} and may still arrive there; enter again in {left:.0f} s",
            job_id=attempt.job_id,
            retry_after_s=left,
        )


def _check_caps(ledger: Ledger, job: Job, policy: RetryPolicy, present: datetime) -> None:
    """Raise `PolicyLimit` where a further submission is above a cap; lost ones that were decided count too."""
    decided = sum(event.cause in {_NOT_FOUND, _RISK_TAKEN} for event in ledger.events(job.job_id, of_items=False))
    sent = sum(attempt.sent_at is not None for attempt in ledger.attempts(job.job_id)) + decided
    if not sent:
        return
    if sent >= policy.max_submissions:
        raise PolicyLimit(
            f"{job.job_id} was submitted {sent} times and the policy allows {policy.max_submissions}; "
            "look at its history with: qjobs jobs show",
            job_id=job.job_id,
        )
    if present - job.created_at > timedelta(seconds=policy.max_total_s):
        raise PolicyLimit(
            f"{job.job_id} is older than the {policy.max_total_s:g} s in which the policy submits again",
            job_id=job.job_id,
        )
    if policy.max_cost is not None and (job.cost or 0.0) + (job.cost_estimate or 0.0) > policy.max_cost:
        raise PolicyLimit(f"{job.job_id} would cost more than the policy's {policy.max_cost:g}", job_id=job.job_id)


def _send(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    indices: tuple[int, ...] | None,
    strategy: RemoteRetryStrategy,
    *,
    restart: bool,
    now: Callable[[], datetime],
) -> None:
    """Write the intent, call, write what came of it."""
    batch = batch_of(ledger, job, indices)
    attempt = ledger.submissions.claim(
        job.job_id,
        expected=job.status,
        strategy=strategy,
        owner=lease_owner(),
        lease_s=LEASE_S,
        now=now(),
        items=indices,
        new_epoch=restart,
        max_live_jobs=backend.limits.max_live_jobs,
    )
    key = submission_key(job, ledger.attempts(job.job_id), attempt)
    given: list[RemoteId] = []
    accepted: list[RemoteId] = []

    def created(remote_id: RemoteId) -> None:
        given.append(remote_id)
        ledger.submissions.accept(attempt, remote_id, now=now())
        accepted.append(remote_id)

    def sending() -> None:
        try:
            ledger.submissions.renew(attempt, lease_s=LEASE_S, now=now())
        except StaleJob:
            raise
        except LedgerError as error:
            raise NotSent(f"the ledger cannot be written, so nothing was sent: {error}") from error

    try:
        _call(backend, batch, key, created, sending, accepted)
    except BaseException as error:
        if accepted:
            ledger.record_event(job.job_id, "after acceptance", f"{type(error).__name__}: {error}", now=now())
            if isinstance(error, Exception):
                return
            raise
        _settle_failure(ledger, backend, attempt, given, error, now())
        raise


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
    """Write what a failed submission means; raises where something clearer than `error` can be said."""
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
                f"the reply to the submission of {attempt.job_id} was lost ({words}); enter again to look it up"
            ) from error
