"""The reference adapter against the scripted provider, in its three variants."""

from collections.abc import Iterator

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.base import Backend, LostReply
from qjobs.backends.rest import RestBackend
from qjobs.model import Batch
from qjobs.testing.contract import BackendContract, flips
from qjobs.testing.servers import ScriptedProvider


@pytest.fixture(scope="module", params=list(LostReply))
def provider(request: pytest.FixtureRequest) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(str(request.param), token="secret") as provider:
        yield provider


class TestRest(BackendContract):
    @pytest.fixture
    def backend(self, provider: ScriptedProvider) -> Iterator[Backend]:
        self.provider = provider
        provider.store.run_s = 0.0
        variant = LostReply(provider.store.variant)
        backend = RestBackend(provider.url, lost_reply=variant, token=lambda: "secret")
        yield backend
        backend.close()

    def slow_batch(self) -> Batch:
        self.provider.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        circuit = QuantumCircuit(1, 1)
        circuit.rx(1 / Parameter("x"), 0)
        circuit.measure(0, 0)
        return self.make_batch([(circuit, 10, {"x": value}) for value in (1.0, 0.0, 2.0)])

    def test_cancels_chosen_items(self, backend: Backend) -> None:
        """Only the chosen items are cancelled."""
        remote_id = self.submit(backend, self.slow_batch())
        backend.cancel(remote_id, [1])
        items = backend.status([remote_id])[remote_id].items
        assert items is not None
        assert [item.status for item in items] == ["RUNNING", "CANCELLED"]
        backend.cancel(remote_id)
