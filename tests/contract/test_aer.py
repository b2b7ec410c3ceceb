"""The Aer adapter keeps the contract, with noise and without."""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from aer_batches import superposition
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.aer import AerBackend, NoiseSpec
from qjobs.backends.base import Backend
from qjobs.model import Batch
from qjobs.testing.contract import BackendContract


@pytest.fixture(scope="module")
def ideal() -> Iterator[AerBackend]:
    with AerBackend(n_workers=2) as backend:
        backend.warm()
        yield backend


@pytest.fixture(scope="module")
def noisy() -> Iterator[AerBackend]:
    noise = NoiseSpec(depolarizing_1q=0.002, depolarizing_2q=0.01, readout=0.02)
    with AerBackend(device="noisy_simulator", noise=noise, n_workers=2) as backend:
        backend.warm()
        yield backend


class TestAer(BackendContract):
    is_seeded: ClassVar[bool] = True

    @pytest.fixture
    def backend(self, ideal: AerBackend) -> Backend:
        return ideal

    @pytest.fixture
    def closable(self) -> Iterator[Backend]:
        with AerBackend(n_workers=1) as backend:
            yield backend

    def otherwise(self, backend: Backend) -> Backend:
        return AerBackend(device="aer_simulator", noise=NoiseSpec(readout=0.01))

    def slow_batch(self) -> Batch:
        return self.make_batch([(superposition(17), 100_000)] * 8)

    def failing_batch(self) -> Batch:
        # Expressions that cannot be evaluated at the values of one item.
        circuit = QuantumCircuit(1, 1)
        circuit.rx(1 / Parameter("x"), 0)
        circuit.measure(0, 0)
        return self.make_batch([(circuit, 10, {"x": value}) for value in (1.0, 0.0, 2.0)])


class TestNoisyAer(TestAer):
    expval_tolerance: ClassVar[float] = 0.2

    @pytest.fixture
    def backend(self, noisy: AerBackend) -> Backend:
        return noisy

    def slow_batch(self) -> Batch:
        return self.make_batch([(superposition(9), 20_000)] * 8)
