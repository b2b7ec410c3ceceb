"""Poll: ask a backend for the status of many jobs at once and record its answers. Nothing here can submit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from qjobs.backends.base import Backend, Snapshot
from qjobs.errors import ProtocolError
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Job, JobId, RemoteId

__all__ = ["poll", "poll_each", "utc_now"]

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The present, aware UTC: the default clock of all operations."""
    return datetime.now(UTC)


def poll(
    ledger: Ledger,
    backend: Backend,
    job_ids: Sequence[JobId],
    *,
    now: Callable[[], datetime] = utc_now,
    seen: dict[RemoteId, Snapshot] | None = None,
) -> dict[JobId, JobStatus]:
    """Ask once for the status of all these jobs of one backend, and record it.

    A cancellation that was requested and that the provider does not know of yet is passed on first. Jobs that
    were never sent, are UNKNOWN or final are not asked for. `seen` has what was reported last, and is updated; a report
    that says nothing new is not written again.

    Returns:
        The status of each job afterwards.

    Raises:
        BackendUnavailable: The provider cannot be asked now; the ledger is as it was.
        CredentialsRejected: The same, until a person renews the credentials.
        ProtocolError: The provider left its contract; the jobs keep their last status.
    """
    statuses, failure = poll_each(ledger, backend, job_ids, now, {} if seen is None else seen)
    if failure is not None:
        raise failure
    return statuses


def poll_each(
    ledger: Ledger,
    backend: Backend,
    job_ids: Sequence[JobId],
    now: Callable[[], datetime],
    seen: dict[RemoteId, Snapshot],
) -> tuple[dict[JobId, JobStatus], ProtocolError | None]:
    """As `poll`, but a report that cannot be about its job stops no other: its error is returned."""
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=job_ids)}
    statuses = {job_id: job.status for job_id, job in jobs.items()}
    live: dict[RemoteId, Attempt] = {}
    for job_id, attempt in ledger.last_attempts(job_ids).items():
        is_present = not attempt.status.is_final and attempt.epoch == jobs[job_id].epoch
        if attempt.remote_id is not None and is_present:
            live[attempt.remote_id] = attempt
    if not live:
        return statuses, None
    _request_cancellations(ledger, backend, jobs, live)
    answers = backend.status(list(live))
    logger.debug("%s: polled %d jobs, %d answers", backend.name, len(live), len(answers))
    news: dict[RemoteId, Snapshot] = {}
    places: dict[RemoteId, Snapshot] = {}
    for remote_id, attempt in live.items():
        snapshot = answers.get(remote_id)
        if snapshot is None or (seen.get(remote_id) == snapshot and not snapshot.status.is_final):
            continue
        if _says_nothing_new(attempt, snapshot):
            if snapshot.queue_position is not None:
                places[remote_id] = snapshot
            continue
        news[remote_id] = snapshot
    reports = []
    for remote_id, snapshot in news.items():
        reports.append(Report(job_id=live[remote_id].job_id, number=live[remote_id].number, snapshot=snapshot))
    written, failure = ledger.record_reports(reports, now=now())
    for remote_id, snapshot in news.items():
        job_id = live[remote_id].job_id
        if job_id in written:
            seen[remote_id] = snapshot
            if written[job_id] is not statuses[job_id]:
                logger.info("%s: %s is %s", job_id, remote_id, written[job_id])
    statuses.update(written)
    _record_places(ledger, {live[remote_id].job_id: each.queue_position for remote_id, each in places.items()})
    seen.update(places)
    return statuses, failure


def _says_nothing_new(attempt: Attempt, snapshot: Snapshot) -> bool:
    """Whether a report of a whole job is what was recorded last, but for the place in the queue."""
    if snapshot.items or snapshot.cost is not None:
        return False
    if snapshot.queue_position is not None and snapshot.status is not JobStatus.QUEUED:
        return False
    recorded = (attempt.status, attempt.remote_status, attempt.message)
    return recorded == (snapshot.status, snapshot.remote_status, snapshot.message)


def _record_places(ledger: Ledger, places: Mapping[JobId, int | None]) -> None:
    """Keep the places in the queue that have changed, all at once: when one job ends, thousands move up."""
    known = ledger.queue_positions(list(places))
    changed = {job_id: place for job_id, place in places.items() if place is not None and place != known.get(job_id)}
    ledger.record_queue_positions(changed)


def _request_cancellations(
    ledger: Ledger, backend: Backend, jobs: Mapping[JobId, Job], live: Mapping[RemoteId, Attempt]
) -> None:
    """Pass on every cancellation that the provider does not know of yet."""
    items = ledger.items_to_cancel([attempt.job_id for attempt in live.values()])
    for remote_id, attempt in live.items():
        job = jobs[attempt.job_id]
        if job.cancel_requested_at is not None and job.status is not JobStatus.CANCELLING:
            backend.cancel(remote_id)
        elif job.cancel_requested_at is None and job.job_id in items:
            sent = attempt.items if attempt.items is not None else tuple(range(job.n_items))
            chosen = [sent.index(index) for index in items[job.job_id] if index in sent]
            if len(chosen) == len(sent):
                backend.cancel(remote_id)
            elif chosen and backend.cancels_items:
                backend.cancel(remote_id, chosen)
