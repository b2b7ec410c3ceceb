"""Submitting and cancelling: the only code that can create a remote job or end one.

The intent is written before the call and the remote id the moment it exists (write-ahead); what
may be done about an earlier attempt is the decision table's answer, never this module's.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from qjobs.backends.base import Backend
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    NotSent,
    PolicyLimit,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, ItemSpec, Job, JobId, Key, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.polling import fetch, last_attempt, poll, utc_now
from qjobs.retry import Action, RetryPolicy, decide, standing_of

__all__ = ["Submission", "cancel", "submission_key", "submit"]

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
    ledger.expire_leases(now=now(), job_ids=[job_id])
    job = ledger.job(job_id)
    if job.status is JobStatus.CANCELLED and not ledger.attempts(job_id) and strategy is RemoteRetryStrategy.DEFAULT:
        return Submission(
            job_id=job_id, action=Action.RETURN, reason="it was cancelled", status=job.status, remote_id=None
        )
    attempt = last_attempt(ledger, job)
    if attempt is not None and attempt.status is JobStatus.SUBMITTING:
        raise Busy(f"{attempt.lease_owner} is submitting {job_id} at this moment", job_id=job_id, retry_after_s=2.0)
    if attempt is not None and attempt.remote_id is not None and attempt.status.is_final:
        fetch(ledger, backend, job, now=now)
    missing = ledger.missing_items(job_id)
    decision = decide(standing_of(attempt, len(missing)), strategy, backend.lost_reply)
    action = decision.action
    if action is Action.FIND:
        action = _find(ledger, backend, job, attempt, decision.otherwise or Action.STAY_UNKNOWN, now)
    if action in {Action.CANCEL_AND_SUBMIT, Action.CANCEL_AND_RESTART}:
        _confirm_cancelled(ledger, backend, job, now)
        restart = action is Action.CANCEL_AND_RESTART
        action = Action.RESTART if restart else Action.SUBMIT
        job = ledger.job(job_id)
        missing = ledger.missing_items(job_id)
    match action:
        case Action.SUBMIT | Action.RESTART:
            _check_caps(ledger, job, policy or RetryPolicy.for_backend(backend.lost_reply), now())
            indices = None if action is Action.RESTART or len(missing) == job.n_items else missing
            _send(ledger, backend, job, indices, strategy, restart=action is Action.RESTART, now=now)
        case Action.SYNC:
            poll(ledger, backend, [job_id], now=now)
        case Action.REFUSE:
            raise SubmissionRejected(
                f"{backend.name} refused {job_id}: {job.message}; correct it and use ALLOW_RESUBMIT",
                detail=job.message,
                job_id=job_id,
            )
        case Action.STAY_UNKNOWN:
            raise _unknown(job_id, backend, decision.reason)
        case _:
            pass
    job = ledger.job(job_id)
    attempt = last_attempt(ledger, job)
    return Submission(
        job_id=job_id,
        action=action,
        reason=decision.reason,
        status=job.status,
        remote_id=attempt.remote_id if attempt else None,
    )


def _unknown(job_id: JobId, backend: Backend, reason: str) -> SubmissionUnknown:
    return SubmissionUnknown(
        f"{job_id} may or may not exist at {backend.device}: {reason}. Look there; if you find it, adopt it by its "
        "id; if you are sure that it does not exist, submit again with ALLOW_RESUBMIT",
        job_id=job_id,
    )


def _find(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    attempt: Attempt | None,
    otherwise: Action,
    now: Callable[[], datetime],
) -> Action:
    """Look an UNKNOWN attempt up by its key; adopt what is found, else `otherwise`."""
    if attempt is None:  # the table gives FIND only for an attempt that was sent
        return Action.SUBMIT
    remote_id = backend.find(submission_key(job, ledger.attempts(job.job_id), attempt))
    if remote_id is not None:
        ledger.accept(attempt, remote_id, now=now(), cause="found by key")
        return Action.SYNC
    if otherwise is Action.SUBMIT:
        ledger.unsend(attempt, "looked up by its key and not found", now=now(), cause="not found")
    return otherwise


def submission_key(job: Job, attempts: Sequence[Attempt], attempt: Attempt) -> Key:
    """The key that goes to the provider with an attempt.

    Attempts that left no remote job share one key, so that a request that arrives late is found or
    deduplicated; once a remote job exists the next attempt gets a key of its own.
    """
    accepted = sum(1 for a in attempts if a.number < attempt.number and a.remote_id is not None)
    return job.key if accepted == 0 else Key(f"{job.key}-{accepted + 1}")


def _confirm_cancelled(ledger: Ledger, backend: Backend, job: Job, now: Callable[[], datetime]) -> None:
    attempt = last_attempt(ledger, job)
    if attempt is not None and attempt.status is JobStatus.UNKNOWN:
        _find(ledger, backend, job, attempt, Action.SUBMIT, now)
    after = cancel(ledger, backend, job.job_id, now=now)
    if not after.status.is_final and after.status is not JobStatus.CREATED:
        raise Busy(
            f"{job.job_id} is being cancelled and {backend.name} has not confirmed it; enter again",
            job_id=job.job_id,
            retry_after_s=5.0,
        )
    fetch(ledger, backend, after, now=now)


def _check_caps(ledger: Ledger, job: Job, policy: RetryPolicy, present: datetime) -> None:
    attempts = [a for a in ledger.attempts(job.job_id) if a.sent_at is not None]
    if not attempts:
        return
    if len(attempts) >= policy.max_submissions:
        raise PolicyLimit(
            f"{job.job_id} was submitted {len(attempts)} times and the policy allows {policy.max_submissions}; "
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
    batch = _batch_of(ledger, job, indices)
    try:
        attempt = ledger.claim(
            job.job_id,
            expected=job.status,
            strategy=strategy,
            owner=f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}",
            lease_s=LEASE_S,
            now=now(),
            items=indices,
            new_epoch=restart,
            max_live_jobs=backend.limits.max_live_jobs,
        )
    except StaleJob as error:
        raise Busy(f"another process moved {job.job_id} first; enter again", job_id=job.job_id) from error
    key = submission_key(job, ledger.attempts(job.job_id), attempt)
    accepted: list[RemoteId] = []

    def created(remote_id: RemoteId) -> None:
        ledger.accept(attempt, remote_id, now=now())
        accepted.append(remote_id)

    try:
        backend.submit(batch, key, created)
    except BaseException as error:
        if accepted:
            ledger.note(job.job_id, "after acceptance", f"{type(error).__name__}: {error}", now=now())
            if isinstance(error, Exception):
                return
            raise
        _settle_failure(ledger, backend, attempt, error, now())
        raise


def _settle_failure(
    ledger: Ledger, backend: Backend, attempt: Attempt, error: BaseException, present: datetime
) -> None:
    """Write what a failed submission means; raises where something clearer than `error` can be said."""
    match error:
        case NotSent():
            ledger.unsend(attempt, str(error), now=present)
        case CredentialsRejected():
            ledger.unsend(attempt, str(error), now=present, cause="credentials refused")
        case SubmissionRejected():
            ledger.reject(attempt, error.detail or str(error), now=present)
        case _:
            words = str(error) or type(error).__name__
            ledger.lose(attempt, words, now=present)
            if not isinstance(error, Exception):
                return
            if backend.lost_reply is LostReply.OPAQUE:
                raise _unknown(attempt.job_id, backend, words) from error
            raise BackendUnavailable(
                f"the reply to the submission of {attempt.job_id} was lost ({words}); enter again to look it up"
            ) from error


def _batch_of(ledger: Ledger, job: Job, indices: tuple[int, ...] | None) -> Batch:
    items = ledger.items(job.job_id)
    chosen = items if indices is None else [items[index] for index in indices]
    programs = ledger.programs({item.program for item in chosen})
    specs = tuple(
        ItemSpec(
            label=item.label,
            program=item.program,
            shots=item.shots,
            parameters=item.parameters,
            source=item.source,
        )
        for item in chosen
    )
    return Batch(number=0, items=specs, programs=programs, options=job.options)


def cancel(ledger: Ledger, backend: Backend, job_id: JobId, *, now: Callable[[], datetime] = utc_now) -> Job:
    """Ask for cancellation, by the job's state. Idempotent.

    A job that was never sent is CANCELLED at once; a final one is left alone; any other gets the wish
    written down and passed on, and becomes CANCELLED when a poll confirms it (or COMPLETED, which wins).

    Returns:
        The job after one poll.

    Raises:
        BackendUnavailable: The wish is written down and the next poll passes it on.
    """
    job = ledger.request_cancel(job_id, now=now())
    attempt = last_attempt(ledger, job)
    if job.status.is_final or attempt is None or attempt.remote_id is None or attempt.status.is_final:
        return job
    poll(ledger, backend, [job_id], now=now)
    return ledger.job(job_id)
