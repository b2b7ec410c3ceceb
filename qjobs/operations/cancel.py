"""Cancel: a request that is recorded, passed on, and confirmed by polling.

And the end of remote jobs that no attempt claims.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from qjobs.backends.base import Backend, Capability
from qjobs.errors import InvalidInput, ProtocolError, QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.strays import Stray
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId, Snapshot
from qjobs.operations.attempts import last_attempt
from qjobs.operations.poll import place_problem, poll, utc_now

__all__ = ["cancel", "end_strays"]

logger = logging.getLogger(__name__)


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


def end_strays(
    ledger: Ledger, backend: Backend, job_ids: Sequence[JobId], *, now: Callable[[], datetime] = utc_now
) -> list[Stray]:
    """Cancel remote jobs of these jobs that no attempt claims.

    Such a one is the job whose reply came after it was sent again. What has run by then stays at the provider, and the
    job's history says so. One that the provider does not know is cancelled too: one answer without it proves nothing.
    One that cannot be asked for stops no other.

    Returns:
        Those that are not ended yet.
    """
    pending = ledger.strays.pending(job_ids)
    if not pending:
        return []
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=[stray.job_id for stray in pending])}
    cancelled: list[Stray] = []
    left = [stray for stray in pending if place_problem(jobs[stray.job_id], backend) is not None]
    for stray in _not_ended(ledger, backend, [stray for stray in pending if stray not in left], now, ()):
        if _cancel(backend, stray):
            cancelled.append(stray)
        else:
            left.append(stray)
    return left + _not_ended(ledger, backend, cancelled, now, cancelled)


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
    cancelled: Collection[Stray],
) -> list[Stray]:
    """Ask for strays and record which have ended; the others. One that is not known has, if it was `cancelled` too."""
    answers = backend.status([stray.remote_id for stray in strays]) if strays else {}
    left = []
    for stray in strays:
        answer = answers.get(stray.remote_id)
        is_gone = answer is None and stray in cancelled
        if is_gone or (isinstance(answer, Snapshot) and answer.status.is_final):
            outcome = f"it is {answer.status}" if isinstance(answer, Snapshot) else "the provider does not know it"
            ledger.strays.end(stray, outcome=outcome, now=now())
        else:
            left.append(stray)
    return left
