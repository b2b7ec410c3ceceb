"""Collect: bring the results of a job into the ledger, and say which are missing and why. Nothing here can submit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from qjobs.backends.base import Backend, Result
from qjobs.backends.limiter import share_paces
from qjobs.circuits.counts import has_shots
from qjobs.errors import BackendUnavailable, Busy, JobFailed, LedgerError, ProtocolError, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Item, ItemResult, Job, JobId, JobKind
from qjobs.operations.calibration import snapshot_now
from qjobs.operations.poll import check_place, utc_now

__all__ = ["Collected", "collect", "results_by_label", "store_ready", "store_results"]

logger = logging.getLogger(__name__)

_TOGETHER = 1000
_OUTCOMES_TOGETHER = 300_000
_TOGETHER_S = 2.0
"""Results are stored as they come: so many, or so many outcomes of them, or what came in so long, in one transaction.
It bounds what is held in memory, and what is lost with this process."""
_NEVER_COMES_S = 86_400.0
"""How long after its end the result of an item may still come, where the provider does not say how long it keeps it."""
_ASKED_S = 3_600.0
"""How long it is asked for in vain, at least, before it is given up: one answer proves nothing, however late it is."""
_NOT_YET = "no result yet"


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
        _raise_missing(ledger, backend, job, missing)
    return Collected(job=job, missing=missing, ledger=ledger)


def _raise_missing(ledger: Ledger, backend: Backend | None, job: Job, missing: Mapping[int, str]) -> None:
    """Raise for the items without a result, unless they are done without one, as on a syntax checker."""
    items = {item.index: item for item in ledger.items(job.job_id) if item.index in missing}
    if backend is not None and not _gives_results(backend, job):
        items = {index: item for index, item in items.items() if item.status is not JobStatus.COMPLETED}
        if not items:
            return
    late = [item for item in items.values() if item.status is JobStatus.COMPLETED and item.no_result is None]
    if late:
        raise BackendUnavailable(
            f"{len(late)} items of {job.job_id} are COMPLETED and their results are not there yet: "
            f"{missing[late[0].index]}"
        )
    reasons = {index: _reason(item, missing[index]) for index, item in items.items()}
    first = items[min(items)]
    raise JobFailed(
        f"{len(items)} of {job.n_items} items of {job.job_id} on {job.device} have no result; the first is "
        f"{first.label} ({first.status}): {reasons[first.index] or 'no reason given'}",
        job_id=job.job_id,
        status=job.status,
        failed=reasons,
    )


def _gives_results(backend: Backend, job: Job) -> bool:
    """Whether items of a job have results there: a syntax checker gives none, but what it compiles."""
    return backend.limits.gives_results or job.kind is JobKind.COMPILE


def _reason(item: Item, missing: str) -> str:
    """Why an item has no result: the provider's words, with its detail."""
    words = item.no_result or item.message or missing
    detail = item.error_detail
    return f"{words} ({detail})" if detail and detail not in words else words


def results_by_label(ledger: Ledger, job_ids: Sequence[JobId]) -> dict[str, ItemResult]:
    """Results of jobs by the labels of their items.

    Raises:
        JobFailed: An item has none, or counts that add up to nothing.
    """
    found: dict[str, ItemResult] = {}
    missing: dict[str, tuple[JobId, int]] = {}
    for job_id in job_ids:
        results = ledger.results(job_id)
        for item in ledger.items(job_id):
            result = results.get(item.index)
            if result is None or (result.counts is not None and not has_shots(result.counts)):
                missing[item.label] = (job_id, item.index)
            else:
                found[item.label] = result
    for label, (job_id, index) in missing.items():
        if label not in found:
            reason = "it has no counts, so that nothing can be worked out of it"
            raise JobFailed(
                f"circuit {label} of job {job_id}: {reason}; use a device that measures",
                job_id=job_id,
                status=JobStatus.COMPLETED,
                failed={index: reason},
            )
    return found


def store_ready(
    ledger: Ledger, backend: Backend, job_ids: Sequence[JobId], *, now: Callable[[], datetime] = utc_now
) -> dict[JobId, QJobsError]:
    """Store the results of items that are COMPLETED, of jobs that still run others too.

    Returns:
        What went wrong, by job; it stops no other.
    """
    troubles: dict[JobId, QJobsError] = {}
    for job in ledger.jobs(job_ids=ledger.jobs_awaiting_results(job_ids)):
        try:
            store_results(ledger, backend, job, now=now)
        except LedgerError:
            raise
        except QJobsError as error:
            troubles[job.job_id] = error
    return troubles


def store_results(
    ledger: Ledger, backend: Backend, job: Job, *, now: Callable[[], datetime] = utc_now
) -> dict[int, str]:
    """Store the results of a job that are at its backend now; what is stored already is kept.

    Asked for are the attempts of the present epoch, the newest first, as long as an item has none. A result that will
    never come is recorded as such, with the reason, and nobody waits for it any more.

    Returns:
        Item index to reason, for every item that still has no result.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: As `Backend.results`; what came before it is stored.
        WrongBackend: The backend is not the one that the job was sent to.
    """
    share_paces(ledger.paces)
    check_place(job, backend)
    reasons = dict.fromkeys(ledger.missing_items(job.job_id), job.message or f"the job is {job.status}")
    attempts = []
    for attempt in ledger.attempts(job.job_id):
        if attempt.epoch == job.epoch and attempt.accepted_at is not None:
            attempts.append(attempt)
    for attempt in reversed(attempts):
        if not reasons:
            break
        try:
            reasons = _Download(ledger, backend, job, attempt, now()).run(reasons)
        except ProtocolError:
            if attempt is attempts[-1]:
                raise  # an older one may be forgotten by now
    if job.status.is_final and job.next_poll_at is not None and not ledger.awaited_items(job.job_id):
        ledger.schedule.set_next({job.job_id: None})
    return reasons


@dataclass(frozen=True, slots=True)
class _Download:
    """Brings what one attempt has of the items that lack a result."""

    ledger: Ledger
    backend: Backend
    job: Job
    attempt: Attempt
    present: datetime

    @property
    def gives_results(self) -> bool:
        return _gives_results(self.backend, self.job)

    def run(self, reasons: Mapping[int, str]) -> dict[int, str]:
        """Store what there is; `reasons` are those of all items that lack a result, and so is what is returned."""
        sent = self.attempt.items if self.attempt.items is not None else tuple(range(self.job.n_items))
        wanted = [position for position, index in enumerate(sent) if index in reasons]
        if self.attempt.remote_id is None or not wanted:
            return dict(reasons)
        answers = self.backend.results(self.attempt.remote_id, wanted)
        still_missing = dict(reasons)
        permanent: dict[int, str] = {}
        unanswered = {sent[position] for position in wanted}
        for part in _parts(answers):
            found: dict[int, ItemResult] = {}
            for position, entry in part:
                index = self._index(sent, unanswered, position)
                unanswered.discard(index)
                if isinstance(entry, ItemResult):
                    if self.gives_results:
                        found[index] = entry
                        still_missing.pop(index, None)
                else:
                    still_missing[index] = entry.reason
                    if entry.permanent:
                        permanent[index] = entry.reason
            new = self.ledger.store_results(
                self.job.job_id, self.attempt, found, now=self.present, results_on=self._device() if found else None
            )
            if new:
                logger.info("%s: %d new results from %s", self.job.job_id, new, self.attempt.remote_id)
        self._settle(permanent, still_missing)
        if unanswered:
            raise ProtocolError(
                f"{self.backend.name} said nothing of {len(unanswered)} of the {len(wanted)} items of "
                f"{self.attempt.remote_id} that were asked for; collect again later"
            )
        return still_missing

    def _device(self) -> str | None:
        """The fingerprint of the device; None where it cannot be asked: that keeps no results back."""
        try:
            return snapshot_now(self.ledger, self.backend, now=self.present).fingerprint
        except LedgerError:
            raise
        except QJobsError as error:
            logger.info("%s does not say how %s is calibrated: %.500s", self.backend.name, self.job.device, error)
            return None

    def _index(self, sent: Sequence[int], unanswered: Collection[int], position: int) -> int:
        if not 0 <= position < len(sent) or sent[position] not in unanswered:
            raise ProtocolError(
                f"{self.backend.name} gave a result for position {position} of {self.attempt.remote_id}, which was "
                "not asked for, or twice; what came before it is stored; collect again later"
            )
        return sent[position]

    def _settle(self, permanent: Mapping[int, str], still_missing: Mapping[int, str]) -> None:
        """Record which results will never come: the provider said so, or it keeps none for so long."""
        if not still_missing:
            return
        settled: dict[int, str] = {}
        awaited = self.ledger.awaited_since(self.job.job_id)
        in_vain = awaited.keys() & still_missing.keys() - permanent.keys()
        asked_s = self._asked_for_s(len(in_vain)) if in_vain and self.gives_results else 0.0
        kept_s = self.backend.limits.results_kept_s
        # An open item may still get one; a failed one needs no such word.
        for index, completed_at in awaited.items():
            if index not in still_missing or completed_at is None:
                continue
            age_s = (self.present - completed_at).total_seconds()
            if index in permanent:
                settled[index] = permanent[index]
            elif not self.gives_results:
                settled[index] = f"{self.job.device} gives no results"
            elif asked_s < _ASKED_S:
                continue
            elif kept_s and age_s > kept_s:
                settled[index] = f"{self.backend.name} keeps results for {kept_s:g} s, and {still_missing[index]}"
            elif age_s > _NEVER_COMES_S:
                settled[index] = f"it has been COMPLETED for {age_s / 3600:.0f} hours, and {still_missing[index]}"
        if settled:
            self.ledger.settle_missing(self.job.job_id, self.attempt, settled, now=self.present)

    def _asked_for_s(self, n_items: int) -> float:
        """For how long results of COMPLETED items have been asked for in vain; the first time is written down."""
        first = self.ledger.first_event_at(self.job.job_id, _NOT_YET, since=self.attempt.accepted_at)
        if first is None:
            words = f"{n_items} items are COMPLETED and have no result yet"
            self.ledger.record_event(self.job.job_id, _NOT_YET, words, now=self.present)
            return 0.0
        return (self.present - first).total_seconds()


def _parts(
    answers: Iterable[tuple[int, Result]], monotonic: Callable[[], float] = time.monotonic
) -> Iterable[list[tuple[int, Result]]]:
    """A stream in parts; what came before an error is a part of its own."""
    part: list[tuple[int, Result]] = []
    n_outcomes = 0
    until = monotonic() + _TOGETHER_S
    try:
        for answer in answers:
            part.append(answer)
            entry = answer[1]
            if isinstance(entry, ItemResult) and entry.counts is not None:
                n_outcomes += len(entry.counts)
            if len(part) == _TOGETHER or n_outcomes >= _OUTCOMES_TOGETHER or monotonic() >= until:
                yield part
                part = []
                n_outcomes = 0
                until = monotonic() + _TOGETHER_S
    except QJobsError:
        if part:
            yield part
        raise
    if part:
        yield part
