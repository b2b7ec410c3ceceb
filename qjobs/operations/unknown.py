"""Jobs of which nobody knows whether they are at their provider: what a person is shown, and what they decide.

The default is to wait. A job is sent again only where a person chose it, for the one submission that they were asked
about, and after it was looked for once more where its provider can be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from qjobs.backends.base import Backend, ShowsLive
from qjobs.errors import LedgerError, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Job, JobId, RemoteId
from qjobs.operations.attempts import submission_key
from qjobs.operations.poll import check_place, utc_now
from qjobs.operations.recover import adopt, discard, reconcile

__all__ = ["DECIDED", "NOT_DONE", "Doubt", "Said", "Verdict", "decide", "doubt_about", "in_doubt"]

logger = logging.getLogger(__name__)

DECIDED = "decided"
"""Cause of the event that says what a person decided, and who."""
NOT_DONE = "decision not carried out"
"""Cause of the event that says why a decision changed nothing."""


class Verdict(StrEnum):
    """What a person says."""

    WAIT = "wait"
    """It is looked up once more, and asked about again."""
    ADOPT = "adopt"
    """It is the remote job that they name."""
    DISCARD = "discard"
    """It does not exist there, and is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a person has said about one submission of a job, as the answer to the `question`-th question about it."""

    verdict: Verdict
    number: int
    question: int
    by: str
    through: str
    remote_id: str = ""

    @property
    def words(self) -> str:
        """For the history of the job."""
        what = f"{self.verdict} {self.remote_id}".strip() if self.verdict is Verdict.ADOPT else str(self.verdict)
        return f"{what}, by {self.by}, {self.through} (submission {self.number}, question {self.question})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A submission that may or may not have arrived.

    `candidates` are remote jobs that may be it; None where the provider cannot tell, for the reason in `why`.
    """

    job: Job
    attempt: Attempt
    candidates: tuple[RemoteId, ...] | None
    why: str = ""


def in_doubt(ledger: Ledger, job_ids: Sequence[JobId]) -> dict[JobId, Attempt]:
    """The last attempts of those of these jobs that are UNKNOWN; one that is reserved can be gone on with, and is not.

    They come in the order of `job_ids`.
    """
    unknown = {job.job_id for job in ledger.jobs(job_ids=job_ids, statuses=[JobStatus.UNKNOWN])}
    attempts = ledger.last_attempts(sorted(unknown))
    found = {}
    for job_id in dict.fromkeys(job_ids):
        attempt = attempts.get(job_id)
        if attempt is not None and attempt.status is JobStatus.UNKNOWN and not attempt.is_reserved:
            found[job_id] = attempt
    return found


def doubt_about(ledger: Ledger, backend: Backend, attempt: Attempt) -> Doubt:
    """What a person needs to decide about an UNKNOWN attempt.

    Raises:
        LedgerError: The ledger cannot be used; nothing else is raised.
    """
    job = ledger.job(attempt.job_id)
    try:
        check_place(job, backend)
        candidates = _candidates(ledger, backend, job, attempt)
    except LedgerError:
        raise
    except QJobsError as error:
        return Doubt(job=job, attempt=attempt, candidates=None, why=str(error))
    why = "" if candidates is not None else f"{backend.name} lists no jobs that could be compared"
    return Doubt(job=job, attempt=attempt, candidates=candidates, why=why)


def _candidates(ledger: Ledger, backend: Backend, job: Job, attempt: Attempt) -> tuple[RemoteId, ...] | None:
    """Remote jobs that no job of the ledger has, and that carry the key of the attempt, or none that is known."""
    key = submission_key(job, ledger.attempts(job.job_id), attempt)
    keyed = backend.remote_jobs()
    live = backend.live_jobs() if isinstance(backend, ShowsLive) else None
    if keyed is None and live is None:
        return None
    of_other_keys = {listed.remote_id for listed in keyed or () if listed.key != key}
    found = [listed.remote_id for listed in keyed or () if listed.key == key]
    found += [each.remote_id for each in live or () if not each.elsewhere and each.remote_id not in of_other_keys]
    unclaimed = (each for each in dict.fromkeys(found) if ledger.job_of_remote(backend.name, each) is None)
    return tuple(unclaimed)


def decide(
    ledger: Ledger, backend: Backend, job_id: JobId, said: Said, *, now: Callable[[], datetime] = utc_now
) -> None:
    """Write down what a person has said, and carry it out; a second call changes nothing more.

    It holds for the submission that they were asked about, while that is UNKNOWN. Where the job was found meanwhile, or
    cannot be adopted, nothing changes, and its history says why.

    Raises:
        LedgerError: The ledger cannot be used; nothing else is raised.
    """
    is_new = job_id not in ledger.jobs_with_event([job_id], DECIDED, said.words)
    if is_new:
        ledger.record_event(job_id, DECIDED, said.words, now=now())
        logger.info("%s: %s", job_id, said.words)
    if not _is_open(ledger, job_id, said):
        if is_new and said.verdict is not Verdict.WAIT:
            _not_done(ledger, job_id, said, _how_it_is(ledger, job_id), now)
        return
    try:
        match said.verdict:
            case Verdict.WAIT:
                pass
            case Verdict.ADOPT if not said.remote_id:
                _not_done(ledger, job_id, said, "adopt needs the id that the job has at its provider", now)
            case Verdict.ADOPT:
                adopt(ledger, backend, job_id, RemoteId(said.remote_id), now=now)
            case Verdict.DISCARD:
                if backend.lookup.can_find:
                    reconcile(ledger, {backend.name: backend}, job_ids=[job_id], now=now)
                if _is_open(ledger, job_id, said):
                    discard(ledger, job_id, now=now)
                else:
                    _not_done(ledger, job_id, said, _how_it_is(ledger, job_id), now)
            case _:
                assert_never(said.verdict)
    except LedgerError:
        raise
    except QJobsError as error:
        _not_done(ledger, job_id, said, str(error), now)


def _is_open(ledger: Ledger, job_id: JobId, said: Said) -> bool:
    attempt = in_doubt(ledger, [job_id]).get(job_id)
    return attempt is not None and attempt.number == said.number


def _how_it_is(ledger: Ledger, job_id: JobId) -> str:
    attempt = ledger.last_attempts([job_id])[job_id]
    remote = f" as {attempt.remote_id}" if attempt.remote_id is not None else ""
    return f"it came too late, the job is {ledger.job(job_id).status}{remote}, so that it changes nothing"


def _not_done(ledger: Ledger, job_id: JobId, said: Said, why: str, now: Callable[[], datetime]) -> None:
    words = f"{said.words}: {why}"
    ledger.record_event(job_id, NOT_DONE, words, now=now())
    logger.warning("%s: %s", job_id, words)
