"""Look up: what became of a submission whose reply was lost. Nothing here can submit.

One answer that a job is not there proves nothing: lists lag and proxies hold requests back. Absence is certain when
several answers agree, apart in time, by every route that there is, and longer after the last sign of life than a
request can be on its way.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from qjobs.backends.base import Backend
from qjobs.errors import Busy, ProtocolError, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Event, ItemResult, Job, RemoteId, Snapshot
from qjobs.operations.attempts import submission_key
from qjobs.operations.poll import check_place

__all__ = ["LookUp"]

logger = logging.getLogger(__name__)

_LOOKED_UP = "looked up"
"""Cause of the event of each look-up that found nothing."""


@dataclass(slots=True)
class LookUp:
    """One look-up of the attempts of a job; `attempts` are all of them, first to last.

    The job's history is read once, when it is first needed; what is noted here is added to it.
    """

    ledger: Ledger
    backend: Backend
    job: Job
    attempts: Sequence[Attempt]
    now: Callable[[], datetime]
    _history: list[Event] | None = field(default=None, init=False)
    _noted: dict[int, datetime] = field(default_factory=dict, init=False)

    def adopt(self, attempt: Attempt, *, cause: str = "found by key") -> RemoteId | None:
        """Look an UNKNOWN attempt up by its key, and adopt what is found; None where nothing is, which is noted.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be looked up now.
            WrongBackend: It was sent to another place, and what is not here proves nothing.
        """
        check_place(self.job, self.backend)
        if not self.backend.lookup.can_find:
            return None
        key = submission_key(self.job, self.attempts, attempt)
        remote_id = self.backend.find(key)
        if remote_id is None:
            listed = self.backend.remote_jobs() or []
            remote_id = next((job.remote_id for job in listed if job.key == key), None)
        if remote_id is None:
            self._note_absence(attempt)
            return None
        self.ledger.submissions.accept(attempt, remote_id, now=self.now(), cause=cause)
        return remote_id

    def adopt_by_id(self, attempt: Attempt, *, cancel_now: bool) -> bool:
        """Ask for the remote id of an attempt whose last step's reply was lost; whether it is alive or ran.

        It is adopted then. One that is confirmed dead is released: it never ran. With `cancel_now` one that waits is
        cancelled at once, else only when it has waited for longer than a step can be on its way.

        Raises:
            Busy: It waits, and the step may still arrive; or its end, or that it is not there, is not certain.
            WrongBackend: It was sent to another place.
        """
        check_place(self.job, self.backend)
        remote_id = attempt.remote_id
        if remote_id is None:
            raise AssertionError("an attempt is asked for by its remote id")
        answer = self.backend.status([remote_id]).get(remote_id)
        if isinstance(answer, QJobsError):
            raise answer
        waits = answer is not None and answer.status is JobStatus.SUBMITTED
        left_s = 0.0 if cancel_now else self._may_arrive_for_s(attempt)
        if waits and left_s > 0:
            raise Busy(
                f"{remote_id} waits at {self.backend.name}, and the step that makes it run may still arrive; submit "
                f"again in {left_s:.0f} s",
                job_id=self.job.job_id,
                retry_after_s=left_s,
            )
        if waits:
            answer = self._after_cancelling(remote_id)
        submissions = self.ledger.submissions
        if answer is None:
            self._note_absence(attempt)
            self.check_absence_is_certain(attempt)
        if answer is None or self._is_dead(attempt, remote_id, answer):
            submissions.release(attempt, f"{remote_id} never ran and is ended", now=self.now(), cause="never ran")
            return False
        submissions.accept(attempt, remote_id, now=self.now(), cause="asked for by its id")
        return True

    def _is_dead(self, attempt: Attempt, remote_id: RemoteId, answer: Snapshot) -> bool:
        """Whether a job was ended before anything of it came to a result; its results say so where no items are told.

        A cancellation may reach a job that has begun, and what has run of it is paid for.
        """
        if answer.status is not JobStatus.CANCELLED:
            return False
        if answer.items is not None:
            return not any(item.status is JobStatus.COMPLETED for item in answer.items)
        n_items = self.job.n_items if attempt.items is None else len(attempt.items)
        found = self.backend.results(remote_id, range(n_items))
        return not any(isinstance(entry, ItemResult) for _, entry in found)

    def _after_cancelling(self, remote_id: RemoteId) -> Snapshot | None:
        try:
            self.backend.cancel(remote_id)
        except ProtocolError as error:  # refused because it ran
            logger.info("%s cannot be cancelled: %s", remote_id, error)
        answer = self.backend.status([remote_id]).get(remote_id)
        if isinstance(answer, QJobsError):
            raise answer
        if answer is not None and answer.status in {JobStatus.SUBMITTED, JobStatus.CANCELLING}:
            raise Busy(
                f"{remote_id} is being cancelled and {self.backend.name} has not confirmed it; submit again later",
                job_id=self.job.job_id,
                retry_after_s=5.0,
            )
        return answer

    def is_deduplicated(self) -> bool:
        """Whether the same submission may be sent again whenever: the provider always takes it for the first one.

        A token that runs out does not do: nobody knows when the first request arrived, nor when the next one leaves.
        """
        lookup = self.backend.lookup
        return lookup.chosen_id or lookup.token_lifetime_s == math.inf

    def check_absence_is_certain(self, attempt: Attempt) -> None:
        """Refuse to send again while a submission whose reply was lost may still be there, or arrive.

        Raises:
            Busy: It is not certain yet; it says for how long.
        """
        confirm = self.backend.confirm
        absences = self._absences(attempt)
        left_s = self._may_arrive_for_s(attempt)
        missing = confirm.absent_times - len(absences)
        if missing > 0 and absences:
            since = (self.now() - absences[-1]).total_seconds()
            left_s = max(left_s, missing * confirm.absent_apart_s - since)
        if left_s > 0 or missing > 0:
            left_s = max(left_s, 1.0)
            raise Busy(
                f"{self.job.job_id} is not at {self.backend.name}, by {len(absences)} of {confirm.absent_times} "
                f"answers, and may still appear there; submit again in {left_s:.0f} s",
                job_id=self.job.job_id,
                retry_after_s=left_s,
            )

    def _note_absence(self, attempt: Attempt) -> None:
        absences = self._absences(attempt)
        present = self.now()
        if len(absences) >= self.backend.confirm.absent_times:
            return  # enough for every decision, and whoever waits for it looks it up for days
        if absences and (present - absences[-1]).total_seconds() < self.backend.confirm.absent_apart_s:
            return
        self.ledger.record_event(self.job.job_id, _LOOKED_UP, _absence_words(attempt), now=present)
        self._noted[attempt.number] = present

    def _absences(self, attempt: Attempt) -> list[datetime]:
        """When look-ups of an attempt found nothing, each long enough after the one before."""
        words = _absence_words(attempt)
        found = []
        for event in self._events():
            if event.cause == _LOOKED_UP and event.detail == words:
                found.append(event.at)
        noted_at = self._noted.get(attempt.number)
        return found if noted_at is None else [*found, noted_at]

    def _events(self) -> list[Event]:
        if self._history is None:
            self._history = self.ledger.events(self.job.job_id, of_items=False)
        return self._history

    def _may_arrive_for_s(self, attempt: Attempt) -> float:
        """For how long the request of a lost attempt may still arrive at the provider, in seconds.

        Counted from the moment it was given up: the intent is recorded before the call, which may take long.
        """
        if attempt.sent_at is None:
            return 0.0
        present = self.now()
        lost_at = present
        for event in self._events():
            if event.old is JobStatus.SUBMITTING and event.new is JobStatus.UNKNOWN:
                lost_at = event.at
        return self.backend.settle_s - (present - lost_at).total_seconds()


def _absence_words(attempt: Attempt) -> str:
    return f"attempt {attempt.number} is not found"
