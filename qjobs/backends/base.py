"""The Backend protocol: what an adapter must do so that no job is lost and none runs twice.

`qjobs.testing.contract.BackendContract` is this text as tests; run it against your own adapter.
`qjobs.backends.rest` is the shortest complete example.
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
    """A remote job that carries one of our keys; `n_items` is None where the provider does not show it."""

    remote_id: RemoteId
    key: Key
    n_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingResult:
    """Why an item has no result, in words for the user; never empty."""

    reason: str


def nothing() -> None:
    """Do nothing."""


@runtime_checkable
class Backend(Protocol):
    """An adapter to one device of one provider.

    Every method may be called from several threads at once. Where jobs outlive the process, an adapter keeps no state
    that a new process would miss: a job is reached again by its remote id, or by its key.

    Every method but `close` that asks the provider raises `BackendUnavailable` where it cannot be asked now,
    `CredentialsRejected` for 401 or 403, and `ProtocolError` for a body outside the contract.
    """

    @property
    def name(self) -> str:
        """The name that jobs are filed under (for example `aer`): one for each account at a provider, never changed."""

    @property
    def device(self) -> str:
        """The QPU or simulator behind it; together with `name` it says where a result comes from."""

    @property
    def limits(self) -> Limits:
        """What one job may hold, and how many jobs may be alive at a time; jobs are cut to fit before `submit`."""

    @property
    def lost_reply(self) -> LostReply:
        """What can be done when the reply to a submission is lost.

        Promise no more than the provider keeps: on it rests that no job runs twice. With DEDUPLICATED, `submit` may be
        called again with the same key; with FINDABLE, only if `find` does not find the key after `settle_s`; with
        OPAQUE, a person or a stated policy decides.
        """

    @property
    def exact_expvals(self) -> bool:
        """Whether items give the exact values of `ExecuteOptions.observables` instead of counts."""

    @property
    def outlives_us(self) -> bool:
        """Whether its jobs go on when this process ends, so that nobody has to stay and wait."""

    @property
    def compiles(self) -> bool:
        """Whether it takes batches of the kind `JobKind.COMPILE`, whose results are programs."""

    @property
    def cancels_items(self) -> bool:
        """Whether `cancel` takes chosen items of a job."""

    @property
    def settle_s(self) -> float:
        """How long after a lost reply a submission may still arrive, in seconds.

        A job that `find` does not find within this time may still come to exist, so nothing is sent again before it
        is over, unless the provider deduplicates. 0 where a submission cannot arrive late.
        """

    @property
    def poll_interval_s(self) -> tuple[float, float]:
        """Shortest and longest useful pause between two polls, in seconds; both above 0."""

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        """Create one remote job for `batch`, and return without waiting for it to run.

        A second call with the same key makes a second job, unless `lost_reply` is DEDUPLICATED: then it calls
        `created` with the id of the first one, also when that is final. Never send the request twice by yourself.

        Args:
            batch: What to run, within `limits`; item i of the remote job is `batch.items[i]`. Send `key` along
                wherever the provider keeps it.
            key: Names this submission: at most 64 letters, digits, hyphens and dots.
            created: Call it exactly once, with the remote id, the moment the id exists and before anything else can
                fail. What it raises must come out of `submit`.
            sending: Call it right before the request leaves that creates the job, and as often as you like while you
                prepare one: it renews the caller's lease. What it raises must come out of `submit`, and the request
                must not be sent: another process has the job.

        Raises:
            NotSent: No byte of the request left; the caller may call again.
            SubmissionRejected: The provider refused, in the words of `detail`; no remote job exists.
            CredentialsRejected: 401 or 403; no remote job exists.
            SubmissionUnknown: The reply was lost. Any other error counts as this one: a remote job may exist.
        """

    def find(self, key: Key) -> RemoteId | None:
        """The remote job that was made with exactly this key; None if there is none, and on an opaque backend.

        Of several with one key, the oldest.
        """

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """The present status of many jobs, in as few requests as the provider allows.

        A failed job is data and raises nothing. A job that the provider does not know is left out of the answer; it
        is never reported as anything. No ids give an empty answer.

        Raises:
            ProtocolError: A status word or a body outside the contract; an unknown word is never guessed at.
        """

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        """One entry for each submitted item, in the order of the batch: what there is by now, or why there is nothing.

        This holds for a job at any time, also while it runs, after it failed and after it was cancelled. A second call
        gives the same results. Counts are keyed by bit strings with bit 0 rightmost, classical registers joined
        without a space, the first one rightmost; a bit that nothing is measured into is 0.

        Raises:
            ProtocolError: A body outside the contract, or the id is not one of the provider's.
        """

    def remote_jobs(self) -> list[RemoteJob] | None:
        """All remote jobs that carry one of our keys, in any order; None where the provider cannot tell."""

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation, without waiting for it. A second call changes nothing and raises nothing.

        What is final stays as it is: neither its status nor its results change, and nothing is raised.

        Args:
            remote_id: The job.
            items: Positions in the submitted batch, from 0, where `cancels_items`; None for the whole job.

        Raises:
            ProtocolError: A refusal that no final job explains.
        """

    def target(self) -> Target:
        """What a compiler needs to know of the device."""

    def close(self) -> None:
        """Release clients and workers; jobs at the provider go on. A second call does nothing."""
