"""Sending: one call of an adapter's `submit` or `resume`, written down step by step."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from qjobs.backends.base import Backend, SteppedBackend
from qjobs.errors import (
    AlreadyRuns,
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    LedgerAway,
    LedgerError,
    NotSent,
    OverCap,
    QJobsError,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.model import Attempt, Batch, Job, ProgramHash, RemoteId, RemoteRetryStrategy
from qjobs.operations.attempts import price_of, submission_key
from qjobs.operations.calibration import Stand
from qjobs.operations.cancel import end_strays
from qjobs.operations.quota import check_quota
from qjobs.operations.room import held_by_others

__all__ = ["LEASE_S", "Fate", "Sender", "fate_of", "unknown"]

logger = logging.getLogger(__name__)

LEASE_S = 300.0
"""How long a submission may take before it counts as lost; longer than any time-out of an adapter."""
_PATIENCE_S = 60.0
"""How long the remote id of a job is held for a ledger that is away; it is lost with this process else."""
_PAUSE_S = 0.5


def unknown(job: Job, backend: Backend, reason: str) -> SubmissionUnknown:
    """The error of a job whose submission was lost and cannot be looked up; it says how to decide."""
    return SubmissionUnknown(
        f"{job.job_id} may or may not exist at {backend.device}: {reason}. Check there; if it exists: "
        f"qjobs jobs adopt {job.job_id} ITS_ID; if you are sure that it does not: qjobs jobs discard {job.job_id}",
        job_id=job.job_id,
    )


class Fate(StrEnum):
    """What became of a submission that failed."""

    NEVER_RAN = "never ran"
    """What was gone on with is refused and ended; it may be sent anew."""
    REJECTED = "rejected"
    """The provider refused it, and nothing of it is there."""
    LOST = "lost"
    """A remote job may exist which is not written down."""
    RESERVED = "reserved"
    """The provider has an id for it, and nothing of it can run yet."""
    NOT_SENT = "not sent"
    """Nothing left this process, or the provider proved that it took nothing."""


def fate_of(error: BaseException, *, refused: bool, resumes: bool, named: bool, reserved: bool, sent: bool) -> Fate:
    """What an error means for a submission.

    `refused` says that the provider refused it and that nothing of it is left there. `resumes` says that a reserved
    job was gone on with. `named` says that the provider has named the remote job. `reserved` says that an id was
    given before, and `sent` that the request which lets it run may have left.

    >>> fate_of(OSError("reset"), refused=False, resumes=False, named=False, reserved=False, sent=True)
    <Fate.LOST: 'lost'>
    """
    if refused:
        return Fate.NEVER_RAN if resumes else Fate.REJECTED
    if named or (reserved and sent):
        return Fate.LOST
    if reserved:
        return Fate.RESERVED
    if isinstance(error, CredentialsRejected | NotSent):
        return Fate.NOT_SENT
    return Fate.LOST if sent or isinstance(error, SubmissionUnknown) else Fate.NOT_SENT


def _words_of(error: BaseException) -> str:
    return str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends a job: claims it, calls the adapter, records the outcome."""

    ledger: Ledger
    backend: Backend
    job: Job
    attempts: Sequence[Attempt]
    now: Callable[[], datetime]

    def send(
        self,
        batch: Batch,
        indices: tuple[int, ...] | None,
        *,
        strategy: RemoteRetryStrategy,
        restart: bool,
        programs: Mapping[ProgramHash, ProgramHash],
        stand: Stand,
        max_run_cost: float | None = None,
    ) -> None:
        """Record the intent, what it will cost and how the device is (`stand`), call, record the outcome.

        A job that a cap, or the provider's own quota, leaves no money for is told so, and nothing is sent.

        Raises:
            As `qjobs.operations.submit.submit`.
        """
        others = held_by_others(self.ledger, self.backend, now=self.now)
        price = price_of(self.backend, batch)
        try:
            check_quota(self.ledger, self.backend, self.job, price, now=self.now)
            attempt = self.ledger.submissions.claim(
                self.job.job_id,
                expected=self.job.status,
                strategy=strategy,
                owner=lease_owner(),
                lease_s=LEASE_S,
                now=self.now(),
                items=indices,
                new_epoch=restart,
                max_live_jobs=self.backend.limits.max_live_jobs,
                max_account_jobs=self.backend.limits.max_account_jobs,
                others_on_device=others.on_device,
                others_of_account=others.of_account,
                price=price,
                max_run_cost=max_run_cost,
                programs=programs or None,
                compiled_on=stand.compiled_on,
                submitted_on=stand.submitted_on,
            )
        except OverCap as error:
            self.ledger.caps.tell(self.job.job_id, str(error), now=self.now())
            raise
        key = submission_key(self.job, self.attempts, attempt)
        self._call(attempt, lambda journal: self.backend.submit(batch, key, journal))

    def resume(self, attempt: Attempt, batch: Batch) -> None:
        """Go on with an attempt that was reserved.

        Raises:
            InvalidInput: The backend takes no job in steps.
            SubmissionRejected: It cannot be gone on with. Where it has ended the attempt is released: it never ran.
        """
        backend = self.backend
        remote_id = attempt.remote_id
        if remote_id is None or not isinstance(backend, SteppedBackend):
            raise InvalidInput(f"{remote_id} is reserved, and {backend.name} takes no job in steps", field="backend")
        attempt = self.ledger.submissions.take_over(attempt, owner=lease_owner(), lease_s=LEASE_S, now=self.now())
        key = submission_key(self.job, self.attempts, attempt)
        self._call(attempt, lambda journal: backend.resume(remote_id, batch, key, journal), resumes=True)

    def _call(self, attempt: Attempt, call: Callable[[_LedgerJournal], None], *, resumes: bool = False) -> None:
        journal = _LedgerJournal(self.ledger, self.backend, attempt, self.now)
        try:
            call(journal)
            journal.check_is_named()
        except BaseException as error:
            if journal.is_written:
                words = f"{type(error).__name__}: {error}"
                self.ledger.record_event(self.job.job_id, "after acceptance", words, now=self.now())
                if isinstance(error, Exception):
                    return
                raise
            self._settle_failure(journal, error, resumes=resumes)
            raise

    def _settle_failure(self, journal: _LedgerJournal, error: BaseException, *, resumes: bool) -> None:
        """Record what a failed submission means; raises a clearer error than `error` where there is one."""
        if isinstance(error, StaleJob):  # before anything was sent; or a late id, which is a stray by now
            return
        refused = isinstance(error, SubmissionRejected) and journal.given is None and self._is_ended(journal)
        fate = fate_of(
            error,
            refused=refused,
            resumes=resumes,
            named=journal.given is not None,
            reserved=journal.is_reserved,
            sent=journal.has_sent,
        )
        self._record(fate, journal, error)
        if (
            fate in {Fate.RESERVED, Fate.NOT_SENT}
            and isinstance(error, Exception)
            and not isinstance(error, QJobsError)
        ):
            so_far = "nothing runs yet" if fate is Fate.RESERVED else "nothing was sent"
            raise NotSent(f"{so_far}, because of {type(error).__name__}: {_words_of(error)}") from error

    def _record(self, fate: Fate, journal: _LedgerJournal, error: BaseException) -> None:
        """Write down the fate of a failed submission; a lost one raises what can be done about it."""
        attempt = journal.attempt
        submissions = self.ledger.submissions
        words = _words_of(error)
        match fate:
            case Fate.NEVER_RAN:
                submissions.release(attempt, words, now=self.now(), cause="never ran")
            case Fate.REJECTED:
                if isinstance(error, SubmissionRejected):
                    error.job_id = self.job.job_id
                    words = error.detail or words
                submissions.reject(attempt, words, now=self.now())
            case Fate.LOST:
                self._lose(journal, words, error)
            case Fate.RESERVED:
                submissions.mark_unknown(attempt, words, now=self.now(), cause="reserved")
            case Fate.NOT_SENT:
                cause = "credentials refused" if isinstance(error, CredentialsRejected) else "not sent"
                submissions.release(attempt, words, now=self.now(), cause=cause)
            case _:
                assert_never(fate)

    def _is_ended(self, journal: _LedgerJournal) -> bool:
        """Whether nothing of a refused submission can run: what was reserved for it is ended."""
        if journal.reserved_id is None or not isinstance(self.backend, SteppedBackend):
            return journal.reserved_id is None
        try:
            self.backend.abandon(journal.reserved_id)
        except AlreadyRuns as error:
            logger.warning("%s: %s was refused and runs: %s", self.job.job_id, journal.reserved_id, error)
            if not journal.has_sent:  # from now on it is asked for by its id
                journal.sending()
            return False
        except QJobsError as error:
            logger.warning("%s: %s cannot be ended now: %s", self.job.job_id, journal.reserved_id, error)
            return False
        return True

    def _lose(self, journal: _LedgerJournal, words: str, error: BaseException) -> None:
        """Record that a remote job may exist which is not written down."""
        if journal.given is not None:  # the id must not be lost with the error
            words = f"{self.backend.name} made {journal.given}, which could not be written down: {words}"
        with contextlib.suppress(LedgerError):  # then the lease runs out, and the attempt becomes UNKNOWN so
            self.ledger.submissions.mark_unknown(journal.attempt, words, now=self.now())
        if not isinstance(error, Exception):
            return
        if not self.backend.lookup.can_find and not journal.is_reserved:
            raise unknown(self.job, self.backend, words) from error
        raise BackendUnavailable(
            f"the reply to the submission of {self.job.job_id} was lost ({words}); submit again to look it up"
        ) from error


@dataclass(slots=True)
class _LedgerJournal:
    """`qjobs.backends.base.Journal` that writes to the ledger."""

    ledger: Ledger
    backend: Backend
    attempt: Attempt
    now: Callable[[], datetime]
    has_sent: bool = False
    reserved_id: RemoteId | None = field(init=False)
    given: RemoteId | None = None
    is_written: bool = False

    def __post_init__(self) -> None:
        self.reserved_id = self.attempt.remote_id

    @property
    def is_reserved(self) -> bool:
        return self.reserved_id is not None

    def preparing(self) -> None:
        self._renew(sending=False)

    def sending(self) -> None:
        self._renew(sending=True)
        self.has_sent = True

    def _renew(self, *, sending: bool) -> None:
        try:
            self.ledger.submissions.renew(self.attempt, lease_s=LEASE_S, now=self.now(), sending=sending)
        except StaleJob:
            raise
        except LedgerError as error:
            raise NotSent(f"the ledger cannot be written, so nothing was sent: {error}") from error

    def reserved(self, remote_id: RemoteId) -> None:
        try:
            self.ledger.submissions.reserve(self.attempt, remote_id, now=self.now())
        except StaleJob:
            self._end_late(remote_id)
            raise
        self.reserved_id = remote_id

    def check_is_named(self) -> None:
        if self.given is None:
            raise SubmissionUnknown(f"{self.backend.name} returned without naming a remote job")

    def accepted(self, remote_id: RemoteId) -> None:
        self.given = remote_id
        try:
            self._accept(remote_id)
        except StaleJob:
            self._end_late(remote_id)
            raise
        self.is_written = True

    def _accept(self, remote_id: RemoteId) -> None:
        """Write the id down; a ledger that is away is waited for, because the id is in this process alone."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.ledger.submissions.accept(self.attempt, remote_id, now=self.now())
            except LedgerAway:
                if time.monotonic() > until:
                    raise
                logger.warning("%s: the ledger is away; %s is still to be written", self.attempt.job_id, remote_id)
                time.sleep(_PAUSE_S)
            else:
                return

    def _end_late(self, remote_id: RemoteId) -> None:
        """Cancel a job that was made after this process had lost its claim: another one may have sent by now."""
        try:
            end_strays(self.ledger, self.backend, [self.attempt.job_id], now=self.now)
        except QJobsError as error:  # it is a stray by now, which a pass of the sensor ends
            logger.warning("%s: %s came late and could not be cancelled: %s", self.attempt.job_id, remote_id, error)
