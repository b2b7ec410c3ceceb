"""The adapter of the Munich Quantum Portal against a small portal: the contract, opaque and with the portal's list."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mqp_portal import IDENTITY, SECRET, TOKEN, MqpPortal

from qjobs.backends.base import Backend
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend, PortalLogin
from qjobs.model import Batch, Confirmation, RemoteId
from qjobs.testing.contract import BackendContract, flips


@pytest.fixture(scope="module")
def portal() -> Iterator[MqpPortal]:
    with MqpPortal() as portal:
        yield portal


class TestOpaque(BackendContract):
    with_list = False

    @pytest.fixture
    def backend(self, portal: MqpPortal) -> Iterator[Backend]:
        self.portal = portal
        portal.reset()
        portal.store.run_s = 0.0
        backend = self.opened()
        yield backend
        backend.close()

    def opened(self, **options: object) -> MqpBackend:
        login = PortalLogin(identity=IDENTITY, secret=SECRET, url=self.portal.list_url)
        settings = {"url": self.portal.url, "token": lambda: TOKEN, "limiter": Limiter()}
        settings |= {"poll_interval_s": (0.02, 1.0), "confirm": Confirmation()}
        return MqpBackend("QExa", portal=login if self.with_list else None, **(settings | options))

    def secrets(self, backend: Backend) -> list[str]:
        return [TOKEN, SECRET]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(no_modify=True)

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.portal.store.forget(f"r{remote_id}")
        return True

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.portal.store.refuse(f"r{remote_id}", {"status": 403})
        return True

    def slow_batch(self) -> Batch:
        self.portal.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        self.portal.have(broken={1: "the laser went off"})
        return self.make_batch([(flips(1, on=[0]), 8)] * 3)

    def refused_batch(self, backend: Backend) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 10_001)])


class TestWithList(TestOpaque):
    with_list = True
