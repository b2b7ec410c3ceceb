"""The reference adapter against the scripted provider, in its three variants."""

from collections.abc import Iterator

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.base import Backend
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.model import Batch, RemoteId
from qjobs.testing.contract import BackendContract, flips
from qjobs.testing.servers import ScriptedProvider

TOKEN = "a-token-of-the-account"


@pytest.fixture(scope="module", params=list(LostReply))
def provider(request: pytest.FixtureRequest) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(str(request.param), token=TOKEN) as provider:
        yield provider


class TestRest(BackendContract):
    @pytest.fixture
    def backend(self, provider: ScriptedProvider) -> Iterator[Backend]:
        self.provider = provider
        provider.store.run_s = 0.0
        backend = self.opened()
        yield backend
        backend.close()

    def opened(self, **options: object) -> RestBackend:
        variant = LostReply(self.provider.store.variant)
        return RestBackend(self.provider.url, lost_reply=variant, token=lambda: TOKEN, **options)

    def secrets(self, backend: Backend) -> list[str]:
        return [TOKEN]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(device="another")

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.forget(remote_id)
        return True

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        self.provider.refuse(remote_id, {"status": 403})
        return True

    def slow_batch(self) -> Batch:
        self.provider.store.run_s = 60.0
        return self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])

    def failing_batch(self) -> Batch:
        circuit = QuantumCircuit(1, 1)
        circuit.rx(1 / Parameter("x"), 0)
        circuit.measure(0, 0)
        return self.make_batch([(circuit, 10, {"x": value}) for value in (1.0, 0.0, 2.0)])
