"""Collect: bring the results of a job into the ledger, and say which are missing and why. Nothing here can submit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from qjobs.backends.base import Backend, MissingResult
from qjobs.errors import BackendUnavailable, Busy, JobFailed, ProtocolError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Item, ItemResult, Job, JobId
from qjobs.operations.poll import utc_now

__all__ = ["Collected", "collect", "store_results"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What there is of a job. `missing` maps the index of every item without a result to the reason."""

    job: Job
    missing: Mapping[int, str]
    ledger: Ledger = field(repr=False)

    @property
    def items(self) -> list[Item]:
        """The items in submission order, read from the ledger."""
        return self.ledger.items(self.job.job_id)

    @property
    def results(self) -> dict[int, ItemResult]:
        """The results by item index, read from the ledger."""
        return self.ledger.results(self.job.job_id, epoch=self.job.epoch)


def collect(
    ledger: Ledger,
    backend: Backend | None,
    job_id: JobId,
    *,
    partial: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Collected:
    """Bring every result of a final job into the ledger. A second call asks only for what is still missing.

    Without a backend, it takes what is stored. With `partial` it returns what there is, of a failed or unfinished job
    too, and raises nothing for it.

    Raises:
        JobFailed: Items ended without a result; all others are stored and kept.
        BackendUnavailable: The results cannot be read now, or are not there yet; collect again later.
        Busy: The job is not final.
    """
    job = ledger.job(job_id)
    partial = partial or backend is None
    if not (partial or job.status.is_final):
        raise Busy(f"{job_id} is {job.status}; wait for it first", job_id=job_id)
    if backend is None:
        missing = dict.fromkeys(ledger.missing_items(job_id), "it is not in the ledger")
    else:
        missing = store_results(ledger, backend, job, now=now)
    if missing and not partial:
        raise _missing_results(ledger, job, missing)
    return Collected(job=job, missing=missing, ledger=ledger)


def _missing_results(ledger: Ledger, job: Job, missing: Mapping[int, str]) -> JobFailed | BackendUnavailable:
    items = {item.index: item for item in ledger.items(job.job_id) if item.index in missing}
    late = [item for item in items.values() if item.status is JobStatus.COMPLETED]
    if late:
        return BackendUnavailable(
            f"{len(late)} items of {job.job_id} are COMPLETED and their results are not there yet"
        )
    reasons = {index: item.message or missing[index] for index, item in items.items()}
    first = items[min(items)]
    return JobFailed(
        f"{len(items)} of {job.n_items} items of {job.job_id} on {job.device} have no result; the first is "
        f"{first.label} ({first.status}): {reasons[first.index] or 'no reason given'}",
        job_id=job.job_id,
        status=job.status,
        failed=reasons,
    )


def store_results(
    ledger: Ledger, backend: Backend, job: Job, *, now: Callable[[], datetime] = utc_now
) -> dict[int, str]:
    """Store the results of a job that are at its backend now; what is stored already is kept.

    Asked for are the attempts of the present epoch, the newest first, as long as an item has none.

    Returns:
        Item index to reason, for every item that still has no result.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: As `Backend.results`.
    """
    reasons = dict.fromkeys(ledger.missing_items(job.job_id), job.message or f"the job is {job.status}")
    attempts = []
    for attempt in ledger.attempts(job.job_id):
        if attempt.epoch == job.epoch and attempt.remote_id is not None:
            attempts.append(attempt)
    for attempt in reversed(attempts):
        if not reasons:
            break
        try:
            reasons = _store_results_of(ledger, backend, job, attempt, reasons, now())
        except ProtocolError:
            if attempt is attempts[-1]:
                raise  # an older one may be forgotten by now
    if job.status.is_final and job.next_poll_at is not None and not _are_late(ledger, job, reasons):
        ledger.schedule.set_next({job.job_id: None})
    return reasons


def _are_late(ledger: Ledger, job: Job, reasons: Mapping[int, str]) -> bool:
    """Whether an item is COMPLETED and its result is not there yet."""
    return bool(reasons) and any(
        item.status is JobStatus.COMPLETED for item in ledger.items(job.job_id) if item.index in reasons
    )


def _store_results_of(
    ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, reasons: Mapping[int, str], present: datetime
) -> dict[int, str]:
    """Store what an attempt has of the items that lack a result (`reasons`); the reasons for those that still do."""
    sent = attempt.items if attempt.items is not None else tuple(range(job.n_items))
    if attempt.remote_id is None or not set(sent) & set(reasons):
        return dict(reasons)
    answers = backend.results(attempt.remote_id)
    if len(answers) != len(sent):
        raise ProtocolError(
            f"{backend.name} gave {len(answers)} results for the {len(sent)} items of {attempt.remote_id}; "
            "none of them was stored; collect again later"
        )
    by_index = dict(zip(sent, answers, strict=True))
    found = {index: answer for index, answer in by_index.items() if not isinstance(answer, MissingResult)}
    new = ledger.store_results(job.job_id, attempt, found, now=present)
    logger.info("%s: %d new results from %s", job.job_id, new, attempt.remote_id)
    still_missing = {}
    for index, reason in reasons.items():
        answer = by_index.get(index)
        if index not in found:
            still_missing[index] = answer.reason if isinstance(answer, MissingResult) else reason
    return still_missing
