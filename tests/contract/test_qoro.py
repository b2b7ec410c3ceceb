"""The adapter of Qoro against a small Qoro: the contract of all, that of steps, and lost replies at each step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qoro_cloud import CLUSTER, SYSTEM, TOKEN, QoroCloud

from qjobs.backends.base import Backend
from qjobs.backends.limiter import Limiter
from qjobs.backends.qoro import QoroBackend, TargetKind
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, RemoteId
from qjobs.testing.contract import RecordingJournal, flips, new_key
from qjobs.testing.contract.stepped import SteppedContract
from qjobs.testing.contract.steps import top
from qjobs.testing.faults import Action, Fault, Route

TWO_EACH = 700
"""Bytes of a fragment that has two small circuits."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[QoroCloud]:
    with QoroCloud() as cloud:
        yield cloud


class TestQoro(SteppedContract):
    @pytest.fixture
    def backend(self, cloud: QoroCloud) -> Iterator[Backend]:
        self.cloud = cloud
        cloud.reset()
        cloud.store.run_s = 0.0
        self.all_opened: list[QoroBackend] = []
        yield self.opened()
        for backend in self.all_opened:
            backend.close()

    def opened(self, target: str = CLUSTER, **options: object) -> QoroBackend:
        settings = {"url": self.cloud.url, "token": lambda: TOKEN, "limiter": Limiter()}
        settings |= {"poll_interval_s": (0.02, 1.0), "timeout_s": 5.0}
        backend = QoroBackend(target, **(settings | options))
        self.all_opened.append(backend)
        return backend

    def secrets(self, backend: Backend) -> list[str]:
        return [TOKEN]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(packing=True)

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.cloud.store.forget(remote_id)
        return True

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.cloud.store.refuse(remote_id, {"status": 403})
        return True

    def slow_batch(self) -> Batch:
        self.cloud.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        self.cloud.have(broken={1: "the laser went off"})
        return self.make_batch([(flips(1, on=[0]), 8)] * 3)

    def refused_batch(self, backend: Backend) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 10_001)])

    @pytest.mark.parametrize("action", [Action.DROP_BEFORE, Action.DROP_AFTER, Action.CODE_AFTER, Action.CUT])
    def test_fragment_is_lost(self, stepped: QoroBackend, action: Action) -> None:
        """Nobody can tell whether it arrived: the job cannot be gone on with, is deleted, and another one is made."""
        self.cloud.inject(Fault(route=Route.ADD, action=action, code=401))
        backend = self.opened(fragment_bytes=TWO_EACH)
        batch = self.numbers()
        journal = RecordingJournal()
        with pytest.raises(BackendUnavailable, match="nothing can run yet"):
            backend.submit(batch, new_key(), journal)
        assert journal.said == ["reserved"]
        (remote_id,) = journal.reserved_ids
        with pytest.raises(SubmissionRejected) as caught:
            backend.resume(remote_id, batch, new_key(), journal)
        assert "2 fragments" in caught.value.detail
        backend.abandon(remote_id)
        assert self.cloud.deleted == [remote_id]
        assert self.cloud.ids == []
        assert [top(entry) for entry in self.run(backend, batch)] == ["000", "001", "010"]
        assert len(self.cloud.ids) == 1

    @pytest.mark.parametrize("action", [Action.DROP_AFTER, Action.CODE_AFTER, Action.NOT_JSON])
    def test_last_fragment_is_lost(self, stepped: QoroBackend, action: Action) -> None:
        """It ran: asking for the reserved id shows it, and it is accepted without running again."""
        self.cloud.inject(Fault(route=Route.FINALISE, action=action, code=429))
        journal = RecordingJournal()
        batch = self.numbers()
        with pytest.raises(SubmissionUnknown):
            stepped.submit(batch, new_key(), journal)
        assert journal.said == ["reserved", "sending"]
        (remote_id,) = journal.reserved_ids
        assert self.wait(stepped, remote_id).status is JobStatus.COMPLETED
        stepped.resume(remote_id, batch, new_key(), journal)
        assert journal.ids == self.cloud.ids == [remote_id]

    def test_empty_answer(self, stepped: QoroBackend) -> None:
        """Qoro's client reads nothing of the answer to a fragment: there may be nothing in it."""
        self.cloud.ways.answers_nothing = True
        assert len(self.run(stepped, self.numbers())) == 3

    @pytest.mark.parametrize(("code", "error"), [(429, NotSent), (401, CredentialsRejected), (422, SubmissionRejected)])
    @pytest.mark.parametrize("route", [Route.INIT, Route.ADD])
    def test_refused_step(self, stepped: QoroBackend, route: Route, code: int, error: type[Exception]) -> None:
        """Qoro's own refusal of a step after which nothing can run is believed."""
        self.cloud.inject(Fault(route=route, action=Action.CODE_BEFORE, code=code, proved=True, retry_after="0"))
        journal = RecordingJournal()
        with pytest.raises(error):
            self.opened(fragment_bytes=TWO_EACH).submit(self.numbers(), new_key(), journal)
        assert "sending" not in journal.said

    @pytest.mark.parametrize(("code", "error"), [(429, SubmissionUnknown), (422, SubmissionRejected)])
    def test_refused_last_step(self, stepped: QoroBackend, code: int, error: type[Exception]) -> None:
        """Of the last step, what a gateway answers too is not believed, whoever said it."""
        self.cloud.inject(Fault(route=Route.FINALISE, action=Action.CODE_BEFORE, code=code, proved=True))
        with pytest.raises(error):
            stepped.submit(self.numbers(), new_key(), RecordingJournal())

    def test_no_id(self, stepped: QoroBackend) -> None:
        """An id that is lost is a job that never runs; the next submission gets another."""
        self.cloud.inject(Fault(route=Route.INIT, action=Action.DROP_AFTER))
        journal = RecordingJournal()
        with pytest.raises(BackendUnavailable):
            stepped.submit(self.numbers(), new_key(), journal)
        assert journal.said == []
        assert self.submit(stepped, self.numbers()) == "r2"
        assert self.cloud.ids == ["r2"]

    def test_abandoned_is_deleted(self, stepped: QoroBackend) -> None:
        """What is abandoned is cancelled and deleted; where a cancellation is refused, deleted."""
        self.cloud.ways.uncancellable = frozenset({"PENDING"})
        remote_id = self.reserve(stepped, self.numbers(), new_key())
        with pytest.raises(ProtocolError):
            stepped.cancel(remote_id)
        stepped.abandon(remote_id)
        assert self.cloud.deleted == [remote_id]

    def test_other_process(self, stepped: QoroBackend) -> None:
        """What another process sent is read as well: labels say how many shots and bits an item has."""
        remote_id = self.submit(stepped, self.numbers())
        self.wait(stepped, remote_id)
        entries = self.entries(stepped, remote_id, 3)
        other = self.opened()
        assert list(other.results(remote_id)) == list(enumerate(entries))
        self.cloud.ways.entries = {1: {"encoding": "qh1", "n_bits": 3, "payload": "UUgxAwMFAwEEAgUDAQEBAQEB"}}
        read = other.results(remote_id)
        assert [next(read), next(read)] == [(0, entries[0]), (2, entries[2])]
        with pytest.raises(ProtocolError, match="5 shots, and 16"):
            next(read)

    def test_system(self, stepped: QoroBackend) -> None:
        """A system of QPUs is named in another field, gives no expectation values, and is as wide as its widest."""
        backend = self.opened(SYSTEM, kind=TargetKind.SYSTEM)
        assert backend.target().n_qubits == 20
        remote_id = self.submit(backend, self.numbers())
        assert self.cloud.sent[remote_id].body["qpu_system_name"] == SYSTEM
        with pytest.raises(SubmissionRejected, match="no cluster and no system"):
            self.opened("nowhere").submit(self.numbers(), new_key(), RecordingJournal())
