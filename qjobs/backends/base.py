"""The Backend protocol: what an adapter must do so that no job is lost and none runs twice.

`qjobs.testing.contract.BackendContract` is this text as tests; run it against your own adapter.
`qjobs.backends.rest` is the shortest complete example.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from qjobs.errors import InvalidInput, QJobsError
from qjobs.model import (
    Batch,
    Capability,
    Confirmation,
    Fingerprint,
    ItemResult,
    ItemSnapshot,
    JobKind,
    Key,
    Limits,
    Lookup,
    Price,
    RemoteId,
    Snapshot,
    Target,
)

__all__ = [
    "Answer",
    "Backend",
    "Capability",
    "Confirmation",
    "Fingerprint",
    "GuardsQuota",
    "ItemSnapshot",
    "Journal",
    "Limits",
    "LiveJob",
    "Lookup",
    "MissingResult",
    "PlainJournal",
    "Priced",
    "Pricing",
    "RemoteJob",
    "Result",
    "ShowsLive",
    "ShowsQuota",
    "Snapshot",
    "SteppedBackend",
    "Target",
    "WarmableBackend",
    "nothing",
    "rate_in_environment",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A remote job that carries one of our keys; `n_items` is None where the provider does not show it."""

    remote_id: RemoteId
    key: Key
    n_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveJob:
    """A job that waits or runs at the provider, whoever submitted it; `elsewhere` says that another device has it."""

    remote_id: RemoteId
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """How a device is paid: the unit of its costs, such as HQC, empty where it is free, and how they are counted."""

    unit: str
    words: str
    rate: float | None = None
    """What a shot of a circuit costs, where its user has set it."""

    @classmethod
    def of_shots(cls, unit: str, rate: float | None, *, otherwise: str) -> Pricing:
        """So much for each shot of each circuit; `otherwise` says why nobody can tell without a rate.

        Raises:
            InvalidInput: The rate is not a number from 0.
        """
        if rate is None:
            return cls(unit=unit, words=otherwise)
        if not 0 <= rate < math.inf:
            raise InvalidInput(f"a rate must be a number from 0, in {unit} a shot, not {rate:g}", field="rate")
        return cls(unit=unit, words=f"{rate:g} for each shot of a circuit, as it was set here", rate=rate)

    def cost_of(self, batch: Batch) -> float | None:
        """What a batch costs at this rate; None without one."""
        return None if self.rate is None else self.rate * sum(item.shots for item in batch.items)


def rate_in_environment(variable: str) -> float | None:
    """The rate that a variable of the environment sets; None where it is not set.

    Raises:
        InvalidInput: It is not a number.
    """
    text = os.environ.get(variable, "").strip()
    try:
        return float(text) if text else None
    except ValueError as error:
        raise InvalidInput(f"{variable} must be a number, not {text!r}", field=variable) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingResult:
    """Why an item has no result, in words for the user; never empty.

    `permanent` says that it will never come: the provider no longer has it (404, 410), or the device gives none. An
    item that is still open, or whose result may follow, is not permanent.
    """

    reason: str
    permanent: bool = False


Result: TypeAlias = "ItemResult | MissingResult"
Answer: TypeAlias = "Snapshot | QJobsError"
"""What `Backend.status` says of one job."""


def nothing() -> None:
    """Do nothing."""


class Journal(Protocol):
    """What a submission writes down while it is under way; what these methods raise must come out of `submit`."""

    def preparing(self) -> None:
        """Call it as often as you like while you prepare (uploads): it keeps the caller's claim on the job.

        Raises:
            StaleJob: Another process has the job: stop.
        """

    def sending(self) -> None:
        """Call it right before the request leaves after which something can run or be billed.

        What it raises keeps the request back. Whatever fails before it counts as never sent.

        Raises:
            StaleJob: Another process has the job: the request must not leave.
        """

    def reserved(self, remote_id: RemoteId) -> None:
        """The provider gave an id, and nothing of it can run or be billed before a later step.

        For providers that take a job in steps (`SteppedBackend`).
        """

    def accepted(self, remote_id: RemoteId) -> None:
        """The job exists and can run. Call it exactly once, before anything else can fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainJournal:
    """A journal of functions, for those who submit without a ledger."""

    accepted: Callable[[RemoteId], object]
    sending: Callable[[], object] = nothing
    preparing: Callable[[], object] = nothing
    reserved: Callable[[RemoteId], object] = field(default=lambda _: None)


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
    def fingerprint(self) -> Fingerprint:
        """What gives its answers their meaning: server, account, configuration, noise. Known without asking anybody."""

    @property
    def limits(self) -> Limits:
        """What one job may hold, and how many jobs may be alive at a time; jobs are cut to fit before `submit`."""

    @property
    def lookup(self) -> Lookup:
        """How a submission whose reply was lost can be looked up.

        Promise no more than the provider keeps: on it rests that no job runs twice.
        """

    @property
    def confirm(self) -> Confirmation:
        """When what the provider reports is believed."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do beyond running circuits for counts."""

    @property
    def settle_s(self) -> float:
        """How long after a lost reply a submission may still arrive, in seconds.

        A job that `find` does not find within this time may still come to exist, so nothing is sent again before it
        is over, unless the provider deduplicates. 0 where a submission cannot arrive late.
        """

    @property
    def poll_interval_s(self) -> tuple[float, float]:
        """Shortest and longest useful pause between two polls, in seconds; both above 0."""

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Create one remote job for `batch`, and return without waiting for it to run.

        A second call with the same key makes a second job, unless `lookup` deduplicates: then the id of the first
        one is accepted, also when that is final. Never send the request twice by yourself.

        Args:
            batch: What to run, within `limits`; item i of the remote job is `batch.items[i]`. Send `key` along
                wherever the provider keeps it.
            key: Names this submission: at most 64 letters, digits, hyphens and dots.
            journal: Told of every step, as `Journal` says.

        Raises:
            NotSent: No byte of the request left, or the provider's own answer proves that no job was made and asks
                to try again; the caller may call again.
            SubmissionRejected: The provider refused, which its own body proves, in the words of `detail`; no remote
                job exists.
            CredentialsRejected: As above, because of the credentials; no remote job exists.
            SubmissionUnknown: The reply was lost, or somebody on the way answered. Any other error after
                `journal.sending()` counts as this one: a remote job may exist.
        """

    def find(self, key: Key) -> RemoteId | None:
        """The remote job that was made with exactly this key; None if there is none, and where `lookup` cannot find.

        Of several with one key, the oldest.
        """

    def status(self, remote_ids: Sequence[RemoteId]) -> Mapping[RemoteId, Answer]:
        """The present status of many jobs, in as few requests as the provider allows.

        A failed job is data. A job that the provider says it does not know is left out; it is never reported as
        anything. What is wrong with one job (a refusal, a word outside the contract) is that job's answer, as an error
        that is not raised. No ids give an empty answer.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: None of the jobs could be asked for.
        """

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """A stream of (position, entry), one for each of `items`, or for each submitted item; in any order.

        An entry is the result, or why there is none. This holds for a job at any time, also while it runs, after it
        failed, after it was cancelled, and when the provider no longer knows it. A second call gives the same results.
        An error in the middle of the stream takes nothing back. Counts are keyed by bit strings with bit 0 rightmost,
        classical registers joined without a space, the first one rightmost; a bit that nothing is measured into is 0.

        Raises:
            ProtocolError: A body outside the contract, or the id is not one of the provider's.
        """

    def remote_jobs(self) -> list[RemoteJob] | None:
        """All remote jobs that carry a key, in any order; None where the provider cannot tell."""

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation, without waiting for it. A second call changes nothing and raises nothing.

        What is final stays as it is: neither its status nor its results change, and nothing is raised.

        Args:
            remote_id: The job.
            items: Positions in the submitted batch, from 0, with `Capability.CANCEL_ITEMS`; None for the whole job.

        Raises:
            ProtocolError: A refusal that no final job explains.
        """

    def estimate(self, batch: Batch) -> float | None:
        """What `batch` will cost, in the provider's unit; 0 where it is free, None where nobody can tell."""

    def target(self) -> Target:
        """What a compiler needs to know of the device."""

    def link(self, remote_id: RemoteId) -> str | None:
        """The address of the provider's own page of a job, for people; None where there is none."""

    def close(self) -> None:
        """Release clients and workers; jobs at the provider go on. A second call does nothing."""


@runtime_checkable
class Priced(Protocol):
    """A backend that tells people how its estimates come about; the cost of any other has no unit and no formula."""

    @property
    def pricing(self) -> Pricing:
        """How its device is paid for. Known without asking anybody."""


@runtime_checkable
class ShowsQuota(Protocol):
    """A backend whose provider shows what the account may still spend, so that no job is queued that cannot start."""

    def quota_left(self) -> Price | None:
        """What the account may still spend, in one cheap request; None where it has no limit, or none is shown.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be told now.
        """


@runtime_checkable
class GuardsQuota(Protocol):
    """A backend whose provider tells whether the account may run anything now, and not how much it may still spend."""

    def why_not_started(self, kind: JobKind) -> str:
        """Why it would start no job of this kind now, and when it does again, in a cheap request; empty where it would.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be told now.
        """


@runtime_checkable
class WarmableBackend(Backend, Protocol):
    """A backend that computes in processes of its own, which take a while to start."""

    def warm(self) -> None:
        """Have them started, in the background. Idempotent; does not wait."""


@runtime_checkable
class SteppedBackend(Backend, Protocol):
    """A backend whose provider takes a job in steps, of which only the last one makes it run.

    Its `submit` calls `journal.reserved` as soon as it has an id, `journal.sending` before the step that makes the job
    run, and `journal.accepted` after it.
    """

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        """Go on with a job that was reserved, as `submit` does after that.

        Raises:
            As `submit`. SubmissionRejected: The reservation is gone, or it cannot be gone on with.
        """

    def abandon(self, remote_id: RemoteId) -> None:
        """End a job that was reserved, so that it can never run. A second call does nothing.

        Raises:
            AlreadyRuns: It has run, or runs: it must be adopted instead.
        """


@runtime_checkable
class ShowsLive(Protocol):
    """A backend whose provider shows the live jobs of the account, so that those of others count for the limits.

    Where it shows none, or other people's jobs that take nothing from the account, leave this out: a wrong count keeps
    places empty.
    """

    def live_jobs(self) -> list[LiveJob] | None:
        """The jobs of the account that wait or run now, in one cheap request: ours, and those that others submitted.

        A job whose device the provider does not tell is not `elsewhere`. None where this backend is not shown them.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be told now, or not of all of them.
        """
