"""A provider with one circuit a job, in this process: every job is there at once, and costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    Journal,
    Limits,
    Lookup,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.errors import BackendUnavailable
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, RemoteId


@dataclass(slots=True)
class OneEach:
    """Jobs are COMPLETED once they were asked for twice; `max_live_jobs` bounds those that are not.

    With `loses` no reply to a submission arrives.
    """

    max_live_jobs: int | None = None
    loses: bool = False
    name: str = "one-each"
    device: str = "device"
    limits: Limits = field(init=False)
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint(place="here", settings="device"))
    capabilities: frozenset[Capability] = frozenset({Capability.DURABLE})
    settle_s: float = 0.0
    lookup: Lookup = field(default_factory=lambda: Lookup(by_key=True))
    confirm: Confirmation = field(default_factory=Confirmation)
    poll_interval_s: tuple[float, float] = (0.01, 0.5)
    asked: dict[RemoteId, int] = field(default_factory=dict)
    keys: dict[Key, RemoteId] = field(default_factory=dict)
    cancelled: set[RemoteId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.limits = Limits(max_items=1, max_live_jobs=self.max_live_jobs)

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Take a job."""
        assert len(batch.items) == 1
        journal.sending()
        remote_id = RemoteId(f"r{len(self.asked)}")
        self.asked[remote_id] = 0
        self.keys[key] = remote_id
        if self.loses:
            raise BackendUnavailable("reset")
        journal.accepted(remote_id)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        """QUEUED the first time, then COMPLETED."""
        found: dict[RemoteId, Answer] = {}
        for remote_id in remote_ids:
            self.asked[remote_id] += 1
            status = JobStatus.QUEUED if self.asked[remote_id] == 1 else JobStatus.COMPLETED
            if remote_id in self.cancelled:
                status = JobStatus.CANCELLED
            found[remote_id] = Snapshot(status=status, remote_status=status.lower())
        return found

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """The same counts for all."""
        for index in items or (0,):
            yield index, ItemResult(counts={"00": 60, "11": 40})

    def find(self, key: Key) -> RemoteId | None:
        """The job of a key."""
        return self.keys.get(key)

    def remote_jobs(self) -> list[RemoteJob]:
        """All of them."""
        return [RemoteJob(remote_id=remote_id, key=key, n_items=1) for key, remote_id in self.keys.items()]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """At once."""
        self.cancelled.add(remote_id)

    def target(self) -> Target:
        """Everything is taken as it is."""
        return Target(name=self.device, n_qubits=30)

    def estimate(self, batch: Batch) -> float:
        """Nothing."""
        return 0.0

    def link(self, remote_id: RemoteId) -> None:
        """There are no pages."""
