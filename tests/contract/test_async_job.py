"""The wrapper of Divi's protocol, over an object that talks to a provider on a real socket: the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from async_provider import TOKEN, AsyncProvider, FindingObject, HttpObject, OneNumberObject

from qjobs.backends.async_job import AsyncJob
from qjobs.backends.base import Backend
from qjobs.model import Batch, RemoteId
from qjobs.testing.contract import BackendContract, ItemForm, flips


@pytest.fixture(scope="module")
def provider() -> Iterator[AsyncProvider]:
    with AsyncProvider() as provider:
        yield provider


class TestOpaque(BackendContract):
    kind: type[HttpObject] = HttpObject

    @pytest.fixture
    def backend(self, provider: AsyncProvider) -> Iterator[Backend]:
        self.provider = provider
        provider.reset()
        provider.store.run_s = 0.0
        self.object = self.kind(provider.url)
        backend = self.opened()
        yield backend
        backend.close()
        self.object.http.close()

    def opened(self, **options: object) -> AsyncJob:
        return AsyncJob(self.object, name="async", device="cluster", poll_interval_s=(0.02, 1.0), **options)

    def secrets(self, backend: Backend) -> list[str]:
        return [TOKEN]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(settings={"mitigation": True})

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.store.forget(remote_id)
        return True

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.store.refuse(remote_id, {"status": 403})
        return True

    def slow_batch(self) -> Batch:
        self.provider.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        self.provider.have(broken={1: "the laser went off"})
        return self.make_batch([(flips(1, on=[0]), 8)] * 3)

    def refused_batch(self, backend: Backend) -> Batch:
        body = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[1] q;\nbit[1] c;\nc[0] = measure q[0];\n'
        return self.make_batch([(f"{body}if (c[0]) {{ x q[0]; }}\nc[0] = measure q[0];\n", 8)])


class TestFindable(TestOpaque):
    kind = FindingObject


class TestOneNumber(TestOpaque):
    """Where every circuit is run as often: the batches of the contract with that number of shots."""

    kind = OneNumberObject

    def opened(self, **options: object) -> AsyncJob:
        self.object.shots = 25
        return super().opened(**options)

    def make_batch(self, items: list[ItemForm], **options: object) -> Batch:
        with_shots = [(source, 25, *parameters) for source, _, *parameters in items]
        return super().make_batch(with_shots, **options)
