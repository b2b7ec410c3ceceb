"""The adapter of a provider that takes jobs in steps keeps the contract of all, and that of steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qjobs.backends.base import Backend
from qjobs.errors import BackendUnavailable, CredentialsRejected, NotSent, SubmissionRejected, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, RemoteId
from qjobs.testing.contract import RecordingJournal, flips, new_key
from qjobs.testing.contract.stepped import SteppedContract
from qjobs.testing.contract.steps import top
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider
from qjobs.testing.stepped import SteppedRestBackend

TOKEN = "a-token-of-the-account"


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("opaque", token=TOKEN) as provider:
        yield provider


class TestStepped(SteppedContract):
    @pytest.fixture
    def backend(self, provider: ScriptedProvider) -> Iterator[Backend]:
        self.provider = provider
        provider.reset()
        provider.store.run_s = 0.0
        backend = SteppedRestBackend(provider.url, token=TOKEN, items_per_step=1, timeout_s=5.0)
        yield backend
        backend.close()

    def secrets(self, backend: Backend) -> list[str]:
        return [TOKEN]

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.forget(remote_id)
        return True

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.refuse(remote_id, {"status": 403}, lists=True)
        return True

    def slow_batch(self) -> Batch:
        self.provider.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        self.provider.break_items({1: "the laser went off"})
        return self.make_batch([(flips(1, on=[0]), 8)] * 3)

    @pytest.mark.parametrize("action", [Action.DROP_BEFORE, Action.DROP_AFTER, Action.CODE_AFTER, Action.CUT])
    @pytest.mark.parametrize("skip", [0, 1])
    def test_step_is_lost(self, stepped: SteppedRestBackend, action: Action, skip: int) -> None:
        """A step of which nothing is known may be entered again; the job has every item once."""
        self.provider.inject(Fault(route=Route.ADD, action=action, skip=skip, code=401))
        batch = self.numbers()
        key = new_key()
        journal = RecordingJournal()
        with pytest.raises(BackendUnavailable):
            stepped.submit(batch, key, journal)
        assert journal.said == ["reserved"]
        stepped.resume(journal.reserved_ids[0], batch, key, journal)
        assert journal.said == ["reserved", "sending", "accepted"]
        assert [top(entry) for entry in self.entries(stepped, journal.ids[0], 3)] == ["000", "001", "010"]

    @pytest.mark.parametrize("action", [Action.DROP_AFTER, Action.CODE_AFTER, Action.NOT_JSON])
    def test_last_step_is_lost(self, stepped: SteppedRestBackend, action: Action) -> None:
        """It ran: asking for the reserved id shows it, and it is accepted without running again."""
        self.provider.inject(Fault(route=Route.FINALISE, action=action, code=429))
        batch = self.numbers()
        key = new_key()
        journal = RecordingJournal()
        with pytest.raises(SubmissionUnknown):
            stepped.submit(batch, key, journal)
        assert journal.said == ["reserved", "sending"]
        (remote_id,) = journal.reserved_ids
        assert self.wait(stepped, remote_id).status is JobStatus.COMPLETED
        stepped.resume(remote_id, batch, key, journal)
        assert journal.ids == [remote_id]
        assert self.provider.created == 1

    def test_last_step_arrives_late(self, stepped: SteppedRestBackend) -> None:
        """A cancelled reservation refuses the last step that arrives after it."""
        self.provider.store.clock = clock = Clock()
        self.provider.inject(Fault(route=Route.FINALISE, action=Action.DONE_LATE, seconds=20.0))
        journal = RecordingJournal()
        with pytest.raises(SubmissionUnknown):
            stepped.submit(self.numbers(), new_key(), journal)
        (remote_id,) = journal.reserved_ids
        assert self.snapshot(stepped, remote_id).status is JobStatus.SUBMITTED
        stepped.cancel(remote_id)
        clock.now_s += 60.0
        assert self.snapshot(stepped, remote_id).status is JobStatus.CANCELLED

    @pytest.mark.parametrize(("code", "error"), [(429, NotSent), (401, CredentialsRejected), (422, SubmissionRejected)])
    @pytest.mark.parametrize("route", [Route.INIT, Route.ADD, Route.FINALISE])
    def test_refused_step(self, stepped: SteppedRestBackend, route: Route, code: int, error: type[Exception]) -> None:
        """The provider's own refusal means the same at every step."""
        self.provider.inject(Fault(route=route, action=Action.CODE_BEFORE, code=code, proved=True, retry_after="0"))
        journal = RecordingJournal()
        with pytest.raises(error):
            stepped.submit(self.numbers(), new_key(), journal)
        assert journal.ids == []

    def test_no_id(self, stepped: SteppedRestBackend) -> None:
        """An id that is lost is a job that never runs; the next submission gets another."""
        self.provider.inject(Fault(route=Route.INIT, action=Action.DROP_AFTER))
        journal = RecordingJournal()
        with pytest.raises(BackendUnavailable):
            stepped.submit(self.numbers(), new_key(), journal)
        assert journal.said == []
        assert self.submit(stepped, self.numbers()) == "r2"
        assert not self.provider.store.is_live(self.provider.store.job("r1"))


class Clock:
    """The provider's clock, which stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s
