"""Poll: ask a backend for the status of many jobs at once and record its answers. Nothing here can submit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from qjobs.backends.base import Answer, Backend, Capability, Fingerprint, Snapshot
from qjobs.backends.limiter import share_paces
from qjobs.errors import BackendUnavailable, LedgerError, QJobsError, WrongBackend
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Attempt, Job, JobId, RemoteId
from qjobs.operations.attempts import last_attempt

__all__ = ["Polled", "ask_again", "check_place", "check_settings", "place_problem", "poll", "poll_each", "utc_now"]

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The present, aware UTC: the default clock of all operations."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What a poll brought: the status of each job afterwards, and what was in the way of single jobs.

    `news` are the jobs of which something new was reported, and `accepted` says when the provider took those that were
    asked for.
    """

    statuses: dict[JobId, JobStatus]
    troubles: dict[JobId, QJobsError] = field(default_factory=dict)
    news: set[JobId] = field(default_factory=set)
    accepted: dict[JobId, datetime] = field(default_factory=dict)


def place_problem(job: Job, backend: Backend) -> WrongBackend | None:
    """Why answers of a backend cannot be about a job: it is another server or account; None if they can."""
    known = Fingerprint.of(job.fingerprint).place
    opened = backend.fingerprint.place
    if not job.fingerprint or known == opened:
        return None
    return WrongBackend(
        f"{job.job_id} was sent to {known}, and {job.opened_as} now opens {opened}, which answers for other jobs; "
        f"let {job.opened_as} open {known} again, and give the other one a name of its own",
        job_id=job.job_id,
    )


def check_place(job: Job, backend: Backend) -> None:
    """Refuse a backend at another server or account: a job there may have the same remote id.

    Raises:
        WrongBackend: It is another one.
    """
    problem = place_problem(job, backend)
    if problem is not None:
        raise problem


def check_settings(job: Job, backend: Backend) -> None:
    """Refuse to send a job to a backend whose configuration has changed since it was planned.

    Raises:
        WrongBackend: Its results would mean something else.
    """
    check_place(job, backend)
    if job.fingerprint and job.fingerprint != str(backend.fingerprint):
        raise WrongBackend(
            f"{job.job_id} was planned for {Fingerprint.of(job.fingerprint).settings}, and {job.opened_as} now is "
            f"{backend.fingerprint.settings}; set it back, or run the experiment anew",
            job_id=job.job_id,
        )


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
        WrongBackend: The backend is not the one that a job was sent to.

        What is wrong with one job is raised after the answers about all others are recorded.
    """
    polled = poll_each(ledger, backend, job_ids, now, {} if seen is None else seen)
    for trouble in polled.troubles.values():
        raise trouble
    return polled.statuses


def poll_each(
    ledger: Ledger,
    backend: Backend,
    job_ids: Sequence[JobId],
    now: Callable[[], datetime],
    seen: dict[RemoteId, Snapshot],
) -> Polled:
    """As `poll`, but what is wrong with one job stops no other: it is returned."""
    share_paces(ledger.paces)
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=job_ids)}
    polled = Polled(statuses={job_id: job.status for job_id, job in jobs.items()})
    live: dict[RemoteId, Attempt] = {}
    for job_id, attempt in ledger.last_attempts(job_ids).items():
        is_present = not attempt.status.is_final and attempt.epoch == jobs[job_id].epoch
        if attempt.remote_id is None or attempt.accepted_at is None or not is_present:
            continue
        polled.accepted[job_id] = attempt.accepted_at
        problem = place_problem(jobs[job_id], backend)
        if problem is None:
            live[attempt.remote_id] = attempt
        else:
            polled.troubles[job_id] = problem
    if not live:
        return polled
    said_cancelled = {each: attempt for each, attempt in live.items() if attempt.awaited is JobStatus.CANCELLED}
    others = {each: attempt for each, attempt in live.items() if each not in said_cancelled}
    _request_cancellations(ledger, backend, jobs, others, polled.troubles)
    answers = backend.status(list(live))
    logger.debug("%s: polled %d jobs, %d answers", backend.name, len(live), len(answers))
    revived = {each: attempt for each, attempt in said_cancelled.items() if _is_alive(answers.get(each))}
    _request_cancellations(ledger, backend, jobs, revived, polled.troubles)
    _record(ledger, backend, live, answers, polled, seen, now)
    return polled


def _is_alive(answer: Answer | None) -> bool:
    return isinstance(answer, Snapshot) and not answer.status.is_final


def _record(
    ledger: Ledger,
    backend: Backend,
    live: Mapping[RemoteId, Attempt],
    answers: Mapping[RemoteId, Answer],
    polled: Polled,
    seen: dict[RemoteId, Snapshot],
    now: Callable[[], datetime],
) -> None:
    """Record the answers that say something new."""
    news: dict[RemoteId, Snapshot | None] = {}
    places: dict[RemoteId, Snapshot] = {}
    _record_presence(ledger, live, answers)
    for remote_id, attempt in live.items():
        answer = answers.get(remote_id)
        if isinstance(answer, QJobsError):
            polled.troubles[attempt.job_id] = answer
        elif answer is None:
            news[remote_id] = None
            seen.pop(remote_id, None)
        elif seen.get(remote_id) == answer and not answer.status.is_final:
            continue
        elif _says_nothing_new(attempt, answer):
            if answer.queue_position is not None:
                places[remote_id] = answer
        else:
            news[remote_id] = answer
    reports = []
    for remote_id, snapshot in news.items():
        attempt = live[remote_id]
        reports.append(Report(job_id=attempt.job_id, number=attempt.number, snapshot=snapshot, confirm=backend.confirm))
    written, failures = ledger.record_reports(reports, now=now())
    polled.troubles.update(failures)
    polled.news.update(written)
    for remote_id, snapshot in news.items():
        job_id = live[remote_id].job_id
        if job_id in written:
            if snapshot is not None:
                seen[remote_id] = snapshot
            if written[job_id] is not polled.statuses[job_id]:
                logger.info("%s: %s is %s", job_id, remote_id, written[job_id])
    polled.statuses.update(written)
    _record_places(ledger, {live[remote_id].job_id: each.queue_position for remote_id, each in places.items()})
    seen.update(places)


def _record_presence(ledger: Ledger, live: Mapping[RemoteId, Attempt], answers: Mapping[RemoteId, Answer]) -> None:
    """What is said of one job and cannot be read shows all the same that its provider knows it."""
    present: list[Attempt] = []
    for remote_id, attempt in live.items():
        answer = answers.get(remote_id)
        speaks_of_it = isinstance(answer, QJobsError) and not isinstance(answer, BackendUnavailable)
        if speaks_of_it and attempt.awaited is JobStatus.LOST:
            present.append(attempt)
    if present:
        ledger.record_presence(present)


def _says_nothing_new(attempt: Attempt, snapshot: Snapshot) -> bool:
    """Whether a report of a whole job is what was recorded last, but for the place in the queue."""
    if snapshot.items or snapshot.cost is not None or attempt.awaited is not None:
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
    ledger: Ledger,
    backend: Backend,
    jobs: Mapping[JobId, Job],
    live: Mapping[RemoteId, Attempt],
    troubles: dict[JobId, QJobsError],
) -> None:
    """Pass on every cancellation that the provider does not know of yet; one that is refused stops no other.

    Where the provider cannot be reached at all, nothing more is asked of it: the poll that follows says so.
    """
    if not live:
        return
    items = ledger.items_to_cancel([attempt.job_id for attempt in live.values()])
    for remote_id, attempt in live.items():
        job = jobs[attempt.job_id]
        chosen = _to_cancel(backend, job, attempt, items.get(job.job_id, ()))
        if chosen == ():
            continue
        try:
            backend.cancel(remote_id, chosen)
        except LedgerError:
            raise
        except QJobsError as error:
            troubles[job.job_id] = error
            logger.warning("%s: the cancellation of %s was refused: %s", job.job_id, remote_id, error)
            if isinstance(error, BackendUnavailable):
                return


def _to_cancel(backend: Backend, job: Job, attempt: Attempt, items: Sequence[int]) -> tuple[int, ...] | None:
    """Positions of the items that are to be cancelled at the provider; None for the whole job, () for nothing."""
    if job.cancel_requested_at is not None:
        return () if job.status is JobStatus.CANCELLING else None
    sent = attempt.items if attempt.items is not None else tuple(range(job.n_items))
    chosen = tuple(sent.index(index) for index in items if index in sent)
    if chosen and len(chosen) == len(sent):
        return None
    return chosen if Capability.CANCEL_ITEMS in backend.capabilities else ()


def ask_again(
    ledger: Ledger, backend: Backend, job: Job, attempts: Sequence[Attempt], now: Callable[[], datetime]
) -> bool:
    """Ask for every remote job that a job ever had, before another one is sent; whether anything has changed.

    One that the ledger has as final or LOST and that is alive there again is reopened, where it is the newest of the
    present epoch; an older one is noted as a stray, which is to be cancelled.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be known now, so nothing may be sent.
        StaleJob: Another process moved the job meanwhile, so that the answer may be an old one.
    """
    check_place(job, backend)
    sent: dict[RemoteId, Attempt] = {}
    for attempt in attempts:
        if attempt.remote_id is not None and attempt.accepted_at is not None:
            sent[attempt.remote_id] = attempt
    if not sent:
        return False
    last_event = ledger.last_event(job.job_id)
    answers = backend.status(list(sent))
    last = last_attempt(attempts, job.epoch)
    newest = last if last is not None and last.sent_at is not None else None
    changed = False
    for remote_id, attempt in sent.items():
        answer = answers.get(remote_id)
        if isinstance(answer, QJobsError):
            raise answer
        if attempt is newest:
            if answer is None and attempt.status in FINAL | {JobStatus.LOST}:
                continue  # what is final stands, though its record is gone
            report = Report(
                job_id=job.job_id,
                number=attempt.number,
                snapshot=answer,
                confirm=backend.confirm,
                asked_again=True,
                last_event=last_event,
            )
            before = (attempt.status, job.status)
            written, failures = ledger.record_reports([report], now=now(), cause="asked again")
            for failure in failures.values():
                raise failure
            after = ledger.last_attempts([job.job_id])[job.job_id].status
            changed = changed or before != (after, written[job.job_id])
        elif answer is not None and not answer.status.is_final:
            words = f"attempt {attempt.number} is {answer.status} there again, and another one has taken its place"
            ledger.strays.record(job.job_id, remote_id, why=words, now=now(), again=True)
            changed = True
    return changed
