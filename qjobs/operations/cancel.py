"""Cancelling: a wish that is written down, passed on, and confirmed by polling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from qjobs.backends.base import Backend
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.attempts import last_attempt
from qjobs.operations.poll import poll, utc_now

__all__ = ["cancel"]


def cancel(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    *,
    items: Sequence[int] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Job:
    """Ask for cancellation, by the state of the job and of each item. Idempotent.

    What was never sent is CANCELLED at once; what is final is left alone; any other gets the wish
    written down and passed on, and becomes CANCELLED when a poll confirms it (or COMPLETED, which wins).

    Args:
        ledger: Where the job is.
        backend: Where it may be under way.
        job_id: Which.
        items: Indices of the items that are meant; None for the whole job.
        now: The clock.

    Returns:
        The job after one poll.

    Raises:
        InvalidInput: There is no such item; or the provider cancels whole jobs only, and this one was sent.
        BackendUnavailable: The wish is written down and the next poll passes it on.
    """
    if items is not None:
        _check_items_can_end(ledger.job(job_id), backend)
    job = ledger.request_cancel(job_id, items=items, now=now())
    attempt = last_attempt(ledger.attempts(job_id), job.epoch)
    if job.status.is_final or attempt is None or attempt.remote_id is None or attempt.status.is_final:
        return job
    poll(ledger, backend, [job_id], now=now)
    return ledger.job(job_id)


def _check_items_can_end(job: Job, backend: Backend) -> None:
    if not (backend.cancels_items or job.status.is_final or job.status is JobStatus.CREATED):
        raise InvalidInput(
            f"{job.job_id} is {job.status}, and {backend.name} cancels whole jobs only; cancel the job, "
            "or leave it to run",
            field="items",
        )
