"""The Backend protocol: what an adapter must do so that no job is lost and none runs twice.

`qjobs.testing.contract.BackendContract` is this text as tests; run it against your own adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qjobs.model import Batch, ItemResult, ItemSnapshot, Key, Limits, LostReply, RemoteId, Snapshot, Target

__all__ = [
    "Backend",
    "ItemSnapshot",
    "Limits",
    "LostReply",
    "MissingResult",
    "RemoteJob",
    "Snapshot",
    "Target",
    "nothing",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A remote job that carries one of our keys, as far as the provider shows it; None where it does not."""

    remote_id: RemoteId
    key: Key
    n_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingResult:
    """Why an item has no result."""

    reason: str


def nothing() -> None:
    """Do nothing."""


@runtime_checkable
class Backend(Protocol):
    """An adapter to one device of one provider.

    All methods may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """The adapter's name, as jobs are filed under it (for example `aer`)."""

    @property
    def device(self) -> str:
        """The QPU or simulator behind it."""

    @property
    def limits(self) -> Limits:
        """What one job may hold."""

    @property
    def lost_reply(self) -> LostReply:
        """What can be done when the reply to a submission is lost."""

    @property
    def exact_expvals(self) -> bool:
        """Whether `ExecuteOptions.observables` is honoured."""

    @property
    def outlives_us(self) -> bool:
        """Whether its jobs go on when this process ends, so that nobody has to stay and wait."""

    @property
    def compiles(self) -> bool:
        """Whether it takes compile jobs."""

    @property
    def cancels_items(self) -> bool:
        """Whether `cancel` takes chosen items of a job."""

    @property
    def settle_s(self) -> float:
        """How long after a lost reply a submission may still arrive, in seconds.

        What `find` does not find within it may yet come to exist, so nothing is sent again before, unless
        both are deduplicated. 0 where that cannot be.
        """

    @property
    def poll_interval_s(self) -> tuple[float, float]:
        """Shortest and longest useful pause between two polls, in seconds."""

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        """Create one remote job for `batch`, without waiting for it to run.

        Calls `created(remote_id)` the moment the id exists, before anything else can fail, and
        `sending()` right before the request leaves that creates the job (and as often as it likes while
        it prepares one): it renews the caller's lease, and what it raises means that another process has
        the job, so that the request must not be sent.

        Raises:
            NotSent: No byte left; the caller may call again.
            SubmissionRejected: The provider refused; no remote job exists.
            CredentialsRejected: 401 or 403; no remote job exists.
            SubmissionUnknown: Anything else; a remote job may exist.
        """

    def find(self, key: Key) -> RemoteId | None:
        """The remote job that was made with `key`, if there is one; None on an opaque backend.

        Raises:
            BackendUnavailable: The provider cannot be asked now.
        """

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """The present status of many jobs, in as few requests as the provider allows.

        A failed job is data and raises nothing. An id that the provider does not tell about is
        left out of the answer.

        Raises:
            BackendUnavailable: The provider cannot be asked now.
            CredentialsRejected: 401 or 403.
            ProtocolError: A word or a body outside the contract.
        """

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        """One entry per submitted item, in order; what there is, also of a job that failed.

        Raises:
            BackendUnavailable: The results cannot be read now.
            CredentialsRejected: 401 or 403.
            ProtocolError: A body outside the contract.
        """

    def remote_jobs(self) -> list[RemoteJob] | None:
        """All remote jobs that carry one of our keys; None where the provider cannot tell.

        Raises:
            BackendUnavailable: The provider cannot be asked now.
        """

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation. Idempotent; a final job is left alone and nothing is raised.

        Args:
            remote_id: The job.
            items: Positions in the submitted batch, where `cancels_items`; None for the whole job.
        """

    def target(self) -> Target:
        """What a compiler needs to know of the device."""

    def close(self) -> None:
        """Release clients and workers. Idempotent."""
