"""Cancel: a request that is recorded, passed on, and confirmed by polling."""

from __future__ import annotations

import logging
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
    if not (backend.cancels_items or job.status.is_final or job.status is JobStatus.CREATED):
        raise InvalidInput(
            f"{job.job_id} is {job.status}, and {backend.name} cancels whole jobs only; cancel the job, "
            "or leave it to run",
            field="items",
        )
