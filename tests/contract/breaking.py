"""The contract for small adapters, and the mark of a wrong one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from right_adapter import BAD_SHOTS, RightAdapter

from qjobs.model import Batch, RemoteId
from qjobs.testing.contract import BackendContract, bits_of, flips

Adapter = type[RightAdapter]
WRONG: list[object] = []


def breaks(test: str) -> Callable[[Adapter], Adapter]:
    """Name the test of the contract that catches a wrong adapter."""

    def register(adapter: Adapter) -> Adapter:
        WRONG.append(pytest.param(adapter, test, id=adapter.__name__))
        return adapter

    return register


class Contract(BackendContract):
    is_seeded = True
    timeout_s = 1.0

    def secrets(self, backend: RightAdapter) -> list[str]:
        return ["password"]

    def otherwise(self, backend: RightAdapter) -> RightAdapter:
        return type(backend)(noise=0.5)

    def forget(self, backend: RightAdapter, remote_id: RemoteId) -> bool:
        del backend.jobs[remote_id]
        return True

    def refuse_status(self, backend: RightAdapter, remote_id: RemoteId) -> bool:
        backend.refused.add(remote_id)
        return True

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 8)] * 2)

    def failing_batch(self) -> Batch:
        return self.make_batch([(flips(3, on=bits_of(word)), BAD_SHOTS) for word in range(3)])
