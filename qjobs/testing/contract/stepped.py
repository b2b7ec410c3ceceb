# ruff: noqa: S101 - these are tests, shipped
"""What is asked of an adapter of a provider that takes a job in steps, besides the contract of all adapters."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest

from qjobs.backends.base import MissingResult, Snapshot, SteppedBackend
from qjobs.errors import AlreadyRuns, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, Key, RemoteId
from qjobs.testing.contract import BackendContract
from qjobs.testing.contract.steps import RecordingJournal, Stopped, bits_of, flips, new_key, stop, top

__all__ = ["SteppedContract"]


class SteppedContract(BackendContract):
    """The contract, and the laws of `SteppedBackend`.

    Attributes:
        patience_s: How long a reserved job is watched for whether it runs after all, in seconds.
    """

    patience_s: ClassVar[float] = 0.3

    @pytest.fixture
    def stepped(self, backend: SteppedBackend) -> SteppedBackend:
        """The backend under test, as one with steps."""
        assert isinstance(backend, SteppedBackend)
        return backend

    def numbers(self) -> Batch:
        """A batch of three items, of which item i prepares the number i."""
        return self.make_batch([(flips(3, on=bits_of(word)), 16) for word in range(3)])

    def reserve(self, backend: SteppedBackend, batch: Batch, key: Key) -> RemoteId:
        """Stop a submission right before the step that lets the job run; returns the reserved id."""
        journal = RecordingJournal(on_sending=stop)
        with pytest.raises(Stopped):
            backend.submit(batch, key, journal)
        assert journal.said == ["reserved", "sending"]
        return journal.reserved_ids[0]

    def test_reserved_first(self, stepped: SteppedBackend) -> None:
        """The id is handed over before anything can run, then the request is announced, then the job accepted."""
        journal = RecordingJournal()
        stepped.submit(self.numbers(), new_key(), journal)
        assert journal.said == ["reserved", "sending", "accepted"]
        assert journal.reserved_ids == journal.ids

    def test_reserved_does_not_run(self, stepped: SteppedBackend) -> None:
        """A reserved job is known, open, and never runs."""
        remote_id = self.reserve(stepped, self.numbers(), new_key())
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            answer = stepped.status([remote_id])[remote_id]
            assert isinstance(answer, Snapshot)
            assert answer.status is JobStatus.SUBMITTED, answer
            time.sleep(min(stepped.poll_interval_s[0], self.patience_s / 3))
        entries = dict(stepped.results(remote_id, [0, 1, 2]))
        assert all(isinstance(entry, MissingResult) and not entry.permanent for entry in entries.values())

    def test_resume(self, stepped: SteppedBackend) -> None:
        """A reserved job is gone on with: announced once, accepted once, with all items in their order."""
        batch = self.numbers()
        key = new_key()
        remote_id = self.reserve(stepped, batch, key)
        journal = RecordingJournal()
        stepped.resume(remote_id, batch, key, journal)
        assert journal.said == ["sending", "accepted"]
        assert journal.ids == [remote_id]
        assert self.wait(stepped, remote_id).status is JobStatus.COMPLETED
        assert [top(entry) for entry in self.entries(stepped, remote_id, 3)] == ["000", "001", "010"]

    def test_resume_is_kept_back(self, stepped: SteppedBackend) -> None:
        """What `sending` raises keeps the last step back again."""
        batch = self.numbers()
        key = new_key()
        remote_id = self.reserve(stepped, batch, key)
        with pytest.raises(Stopped):
            stepped.resume(remote_id, batch, key, RecordingJournal(on_sending=stop))
        assert self.snapshot(stepped, remote_id).status is JobStatus.SUBMITTED

    def test_resume_what_runs(self, stepped: SteppedBackend) -> None:
        """A job whose last step had arrived is accepted, and does not run twice."""
        batch = self.numbers()
        key = new_key()
        journal = RecordingJournal()
        stepped.submit(batch, key, journal)
        again = RecordingJournal()
        stepped.resume(journal.ids[0], batch, key, again)
        assert again.ids == journal.ids
        self.wait(stepped, journal.ids[0])
        self.entries(stepped, journal.ids[0], 3)

    def test_abandon(self, stepped: SteppedBackend) -> None:
        """An abandoned job never runs, and cannot be gone on with; a second call does nothing."""
        batch = self.numbers()
        key = new_key()
        remote_id = self.reserve(stepped, batch, key)
        stepped.abandon(remote_id)
        stepped.abandon(remote_id)
        journal = RecordingJournal()
        with pytest.raises(SubmissionRejected):
            stepped.resume(remote_id, batch, key, journal)
        assert journal.ids == []
        answer = stepped.status([remote_id]).get(remote_id)
        assert answer is None or (isinstance(answer, Snapshot) and answer.status is JobStatus.CANCELLED)

    def test_abandon_what_ran(self, stepped: SteppedBackend) -> None:
        """A job that has run is not abandoned: it must be adopted."""
        remote_id = self.submit(stepped, self.numbers())
        self.wait(stepped, remote_id)
        with pytest.raises(AlreadyRuns):
            stepped.abandon(remote_id)
        self.entries(stepped, remote_id, 3)

    def test_cancel_reserved(self, stepped: SteppedBackend) -> None:
        """A reserved job that is cancelled never runs."""
        batch = self.numbers()
        key = new_key()
        remote_id = self.reserve(stepped, batch, key)
        stepped.cancel(remote_id)
        with pytest.raises(SubmissionRejected):
            stepped.resume(remote_id, batch, key, RecordingJournal())
