"""Cancel: a request that is recorded, passed on, and confirmed by polling.

And the end of remote jobs that no attempt claims.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from qjobs.backends.base import Backend, Capability, SteppedBackend
from qjobs.errors import AlreadyRuns, InvalidInput, ProtocolError, QJobsError, StaleJob
from qjobs.ledger import Ledger
from qjobs.ledger.strays import Stray
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Job, JobId, Snapshot
from qjobs.operations.attempts import last_attempt
from qjobs.operations.poll import check_place, place_problem, poll, utc_now

__all__ = ["cancel", "end_reservation", "end_strays"]

logger = logging.getLogger(__name__)

_SURELY_GONE = timedelta(days=1)
"""A stray that its provider does not know for so long has ended."""


def cancel(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    *,
    items: Sequence[int] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Job:
    """Request the cancellation of a job or of items, by the status of each. Idempotent.

    What was never sent is CANCELLED at once; what is final is left alone; for anything else the request is recorded
    and passed on, and a poll confirms it as CANCELLED (or COMPLETED, which wins). `items` are indices; None is the
    whole job.

    Returns:
        The job after one poll.

    Raises:
        InvalidInput: There is no such item; or the provider cancels whole jobs only, and this one was sent.
        BackendUnavailable: The request is recorded, and the next poll passes it on.
    """
    if items is not None:
        _check_cancels_items(ledger.job(job_id), backend)
    job = ledger.request_cancel(job_id, items=items, now=now())
    logger.info("%s: cancellation of %s requested, %s", job_id, "the job" if items is None else list(items), job.status)
    attempt = last_attempt(ledger.attempts(job_id), job.epoch)
    if job.status.is_final or attempt is None or attempt.remote_id is None or attempt.status.is_final:
        return job
    if attempt.is_reserved and job.cancel_requested_at is not None and attempt.status is JobStatus.UNKNOWN:
        check_place(job, backend)
        with contextlib.suppress(StaleJob):  # another process has settled it: what is there now is polled
            if end_reservation(ledger, backend, attempt, now=now):
                return ledger.job(job_id)
    poll(ledger, backend, [job_id], now=now)
    return ledger.job(job_id)


def _check_cancels_items(job: Job, backend: Backend) -> None:
    can = Capability.CANCEL_ITEMS in backend.capabilities
    if not (can or job.status.is_final or job.status is JobStatus.CREATED):
        raise InvalidInput(
            f"{job.job_id} is {job.status}, and {backend.name} cancels whole jobs only; cancel the job, "
            "or leave it to run",
            field="items",
        )


def end_reservation(
    ledger: Ledger, backend: Backend, attempt: Attempt, *, now: Callable[[], datetime] = utc_now
) -> bool:
    """End what a provider reserved, so that it can never run: then the attempt counts as never sent.

    Returns:
        Whether it has ended; one that runs after all is adopted instead.

    Raises:
        InvalidInput: The backend takes no job in steps.
        BackendUnavailable, ProtocolError: It cannot be ended now.
        StaleJob: Another process has settled the attempt.
    """
    if attempt.remote_id is None or not isinstance(backend, SteppedBackend):
        raise InvalidInput(
            f"{attempt.remote_id} is reserved, and {backend.name} takes no job in steps", field="backend"
        )
    try:
        backend.abandon(attempt.remote_id)
    except AlreadyRuns as error:
        logger.warning("%s: %s was reserved and runs: %s", attempt.job_id, attempt.remote_id, error)
        ledger.submissions.accept(attempt, attempt.remote_id, now=now(), cause="runs already")
        return False
    ledger.submissions.release(attempt, "what was reserved was ended", now=now(), cause="abandoned")
    return True


def end_strays(
    ledger: Ledger, backend: Backend, job_ids: Sequence[JobId], *, now: Callable[[], datetime] = utc_now
) -> list[Stray]:
    """Cancel remote jobs of these jobs that no attempt claims, or that came back after they were LOST and sent again.

    Such a one is the job whose reply came after it was sent again. What has run by then stays at the provider, and the
    job's history says so. One that the provider does not know is cancelled too, and asked for again for a day: some
    answers without it prove nothing. One that cannot be asked for stops no other. One that may be the job that is being
    sent now, because the provider gives both one id, is left until that is settled.

    Returns:
        Those that may still run, as far as the provider knows.
    """
    _note_revived(ledger, backend, job_ids, now)
    pending = ledger.strays.pending(job_ids)
    if not pending:
        return []
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=[stray.job_id for stray in pending])}
    cancelled: list[Stray] = []
    left = []
    for stray in pending:
        job = jobs[stray.job_id]
        if place_problem(job, backend) is not None or _may_be_sent_now(backend, job):
            left.append(stray)
    left_alone = set(left)
    asked = [stray for stray in pending if stray not in left_alone]
    for stray in _not_ended(ledger, backend, asked, now, frozenset()):
        if _cancel(backend, stray):
            cancelled.append(stray)
        else:
            left.append(stray)
    return left + _not_ended(ledger, backend, cancelled, now, frozenset(cancelled))


def _note_revived(ledger: Ledger, backend: Backend, job_ids: Sequence[JobId], now: Callable[[], datetime]) -> None:
    """Record remote jobs that were LOST and are alive after all, though another one has taken their place."""
    lost = ledger.lost_and_replaced(job_ids)
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=[attempt.job_id for attempt in lost])} if lost else {}
    here = {}
    for attempt in lost:
        if attempt.remote_id is not None and place_problem(jobs[attempt.job_id], backend) is None:
            here[attempt.remote_id] = attempt
    answers = backend.status(list(here)) if here else {}
    for remote_id, attempt in here.items():
        answer = answers.get(remote_id)
        if isinstance(answer, Snapshot) and not answer.status.is_final:
            why = f"attempt {attempt.number} was LOST and is {answer.status} after all, and was sent again since"
            ledger.strays.record(attempt.job_id, remote_id, why=why, now=now(), again=True)


def _may_be_sent_now(backend: Backend, job: Job) -> bool:
    """Whether a remote job of `job` may be that of a submission which is not settled: both have one key."""
    return backend.lookup.deduplicates(0.0) and job.status in {JobStatus.SUBMITTING, JobStatus.UNKNOWN}


def _cancel(backend: Backend, stray: Stray) -> bool:
    """Cancel a stray; whether its provider had the request, or says that there is nothing to cancel."""
    try:
        backend.cancel(stray.remote_id)
    except QJobsError as error:
        logger.warning("%s: %s cannot be cancelled: %s", stray.job_id, stray.remote_id, error)
        return isinstance(error, ProtocolError)
    return True


def _not_ended(
    ledger: Ledger,
    backend: Backend,
    strays: Sequence[Stray],
    now: Callable[[], datetime],
    cancelled: frozenset[Stray],
) -> list[Stray]:
    """Ask for strays and record which have ended; the others, without those that are `cancelled` and not known."""
    answers = backend.status([stray.remote_id for stray in strays]) if strays else {}
    left = []
    for stray in strays:
        answer = answers.get(stray.remote_id)
        if isinstance(answer, Snapshot) and answer.status.is_final:
            ledger.strays.end(stray, outcome=f"it is {answer.status}", cost=answer.total_cost, now=now())
        elif answer is not None or stray not in cancelled:
            left.append(stray)
        elif now() - stray.found_at >= _SURELY_GONE:
            ledger.strays.end(stray, outcome="its provider has not known it for a day", now=now())
    return left
