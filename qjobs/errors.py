"""Every exception of qjobs.

A branch answers "what can the caller do", not "which layer broke"::

    QJobsError
    ├── InvalidInput            correct the input; nothing was written, nothing submitted
    │   └── InvalidCircuit      correct the circuit (or compile it for the device)
    ├── BackendUnavailable      transient: enter the operation again; Prefect retries it
    │   └── NotSent             as above, and it is proved that the request never left
    ├── CredentialsRejected     renew the credentials; waiting jobs are parked, never failed
    ├── SubmissionRejected      the provider refused: no remote job exists; its words are in `detail`
    ├── SubmissionUnknown       the reply was lost: reconcile, adopt or discard, never send again
    ├── JobLost                 the provider no longer knows the job: look there, then discard or submit by force
    ├── WrongBackend            what was opened is not what the job was sent to: open that one
    ├── PolicyLimit             a cap of the retry policy is reached: raise it, or leave the job as it is
    ├── Recalibrated            the device is not what the job was compiled for: nothing was sent; compile it anew
    ├── NotApproved             a person must approve it, or has refused it: nothing was sent
    ├── CanaryFailed            the first circuits are not sane: nothing more was sent; mend the circuits or the rule
    ├── ProtocolError           the provider left its contract; the job keeps its last status
    │   └── AlreadyRuns         what was to be ended, because it was only reserved, runs: adopt it
    ├── JobFailed               raised once, by collect; what finished is kept and can be read
    ├── JobNotFound             the ledger knows no such job
    ├── StaleJob                another process moved the job first: read it again
    ├── Busy                    another process holds the job, or the device is full: try again later
    │   └── OverCap             a cap leaves no money for the job now: it is held until some comes free, or raise it
    ├── WaitTimeout             the jobs go on; wait again
    └── LedgerError
        ├── LedgerUnavailable   unreadable or not a ledger: put right what it names
        │   └── LedgerAway      transient: locked, restarting or not reachable now; enter the operation again
        ├── LedgerSchemaMismatch  the ledger is of another schema version
        ├── WrongLedger         the run belongs to another ledger: start it where that one is
        └── StorageFull         no room to write; what was stored before is intact

Each error carries its data as attributes and survives `pickle` (a keyword-only constructor
otherwise crosses a process pool as `TypeError`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qjobs.redaction import without_known

__all__ = [
    "AlreadyRuns",
    "BackendUnavailable",
    "Busy",
    "CanaryFailed",
    "CredentialsRejected",
    "InvalidCircuit",
    "InvalidInput",
    "JobFailed",
    "JobLost",
    "JobNotFound",
    "LedgerAway",
    "LedgerError",
    "LedgerSchemaMismatch",
    "LedgerUnavailable",
    "NotApproved",
    "NotSent",
    "OverCap",
    "PolicyLimit",
    "ProtocolError",
    "QJobsError",
    "Recalibrated",
    "StaleJob",
    "StorageFull",
    "SubmissionRejected",
    "SubmissionUnknown",
    "WaitTimeout",
    "WrongBackend",
    "WrongLedger",
]


def _rebuild(cls: type[QJobsError], args: tuple[object, ...], state: dict[str, object]) -> QJobsError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class QJobsError(Exception):
    """Base of every error that qjobs raises on purpose; its message holds no secret that this process knows."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_known(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(
        self,
    ) -> tuple[Callable[..., QJobsError], tuple[type[QJobsError], tuple[Any, ...], dict[str, Any]]]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class InvalidInput(QJobsError, ValueError):
    """The input cannot be run; the message says what is wrong and what to do.

    Args:
        message: What is wrong and how to put it right.
        field: Where in the input, as a dotted path, if known.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidCircuit(InvalidInput):
    """A circuit cannot be read, lacks something, or does not fit the device."""


class BackendUnavailable(QJobsError):
    """A transient failure of the provider or of the way to it.

    Args:
        message: What failed.
        retry_after_s: The provider's own Retry-After in seconds, if it gave one.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotSent(BackendUnavailable):
    """A submission failed before any byte of it left: sending it again is safe."""


class CredentialsRejected(QJobsError):
    """The provider does not accept our credentials (401 or 403)."""


class SubmissionRejected(QJobsError):
    """The provider refused the submission, so no remote job exists.

    Args:
        message: Our sentence.
        detail: The provider's words, unchanged.
        job_id: Our job, when known.
    """

    def __init__(self, message: str, *, detail: str = "", job_id: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.job_id = job_id


class SubmissionUnknown(QJobsError):
    """The reply to a submission was lost, so a remote job may exist.

    Args:
        message: What happened and how to decide.
        job_id: Our job, when known.
    """

    def __init__(self, message: str, *, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobLost(QJobsError):
    """The provider has confirmed over time that it does not know a job that it had accepted.

    Args:
        message: What it said, and how to decide.
        job_id: Our job.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class WrongBackend(QJobsError):
    """The backend that was opened is not the one that the job was planned for or sent to.

    Its server, its account or its configuration is another, so that its answers are not about the job.

    Args:
        message: What the two are, and what to do.
        job_id: Our job.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class PolicyLimit(QJobsError):
    """The retry policy allows no further submission of a job.

    Args:
        message: Which cap, and how far the job is.
        job_id: Our job.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class Recalibrated(QJobsError):
    """The device was recalibrated after the circuits of a job were compiled, and it is not sent as it is.

    Args:
        message: What changed, and what to do.
        job_id: Our job.
        recompiles: Its run compiles it anew by itself, when it goes on.
    """

    def __init__(self, message: str, *, job_id: str, recompiles: bool = False) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.recompiles = recompiles


class NotApproved(QJobsError):
    """It costs more than what needs no approval, and nobody has approved it, or somebody has refused it."""


class CanaryFailed(QJobsError):
    """The first circuits of a sweep have no result, or none that is sane; the others were not sent."""


class ProtocolError(QJobsError):
    """The provider answered outside its contract (an unknown status word, cut-off JSON).

    Args:
        message: What it answered.
        code: The HTTP status, where that is what the contract does not have.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class AlreadyRuns(ProtocolError):
    """What was thought to be reserved, and to be ended, runs or has run: it is to be adopted."""


class JobFailed(QJobsError):
    """Some items of a job ended without a result.

    Args:
        message: Which and why.
        job_id: Our job.
        status: The job's final status.
        failed: Item index to reason, for every item without a result.
    """

    def __init__(self, message: str, *, job_id: str, status: str, failed: Mapping[int, str]) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.status = status
        self.failed = dict(failed)


class JobNotFound(QJobsError):
    """The ledger has no job of this id.

    Args:
        message: What was looked for.
        job_id: The id that was asked for.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class StaleJob(QJobsError):
    """A guarded move did not land, because the row had moved before.

    Args:
        message: What was tried.
        job_id: Our job.
    """

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class Busy(QJobsError):
    """The job is being submitted elsewhere, or the device's live-job limit is reached.

    Args:
        message: Which of the two.
        job_id: Our job.
        retry_after_s: When to look again, in seconds.
    """

    def __init__(self, message: str, *, job_id: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.retry_after_s = retry_after_s


class OverCap(Busy):
    """A cap, or the provider's quota, leaves no money for the job now; it is held until some comes free, or is given.

    Args:
        message: Which cap, how far it is used, and the command that raises it.
        job_id: Our job.
        retry_after_s: When to look again, in seconds.
    """

    def __init__(self, message: str, *, job_id: str, retry_after_s: float = 30.0) -> None:
        super().__init__(message, job_id=job_id, retry_after_s=retry_after_s)


class WaitTimeout(QJobsError):
    """The wait ended by its own time limit; the jobs themselves go on.

    Args:
        message: How many jobs are still open.
        job_ids: Those jobs.
    """

    def __init__(self, message: str, *, job_ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.job_ids = job_ids


class LedgerError(QJobsError):
    """Base of what can go wrong with the ledger itself."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be opened or read."""


class LedgerAway(LedgerUnavailable):
    """The ledger cannot be used now: it is locked, its server restarts or cannot be reached. Try again."""


class LedgerSchemaMismatch(LedgerError):
    """The ledger was written by another version of qjobs.

    Args:
        message: What to do.
        found: Schema version in the ledger.
        expected: Schema version of this qjobs.
    """

    def __init__(self, message: str, *, found: int, expected: int) -> None:
        super().__init__(message)
        self.found = found
        self.expected = expected


class WrongLedger(LedgerError):
    """The jobs of this run are in another ledger, or in a newer copy of this one; nothing was sent.

    Args:
        message: What to do.
        wanted_id: Id of the run's ledger.
        found_id: Id of this ledger.
    """

    def __init__(self, message: str, *, wanted_id: str, found_id: str) -> None:
        super().__init__(message)
        self.wanted_id = wanted_id
        self.found_id = found_id


class StorageFull(LedgerError):
    """There is no room to write; everything stored before is intact."""
