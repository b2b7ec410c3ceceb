"""The adapter of the Munich Quantum Portal against `qjobs serve`, which speaks as the portal does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from strangers import check_place

from qjobs.backends.base import Backend
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend, PortalLogin
from qjobs.ledger import Ledger
from qjobs.model import Batch, Confirmation
from qjobs.service.running import RunningService
from qjobs.testing.contract import BackendContract, flips

EMAIL = "contract@localhost.test"
PASSWORD = "correct horse battery"
SHOTS_PER_S = 20_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Aer takes 50 microseconds a shot, and H2-1LE has a queue."""
    folder = tmp_path_factory.mktemp("mqp")
    devices = files("qjobs.service").joinpath("devices.yaml").read_text()
    slow = devices.replace("name: Aer,", f"name: Aer, shots_per_s: {SHOTS_PER_S},")
    slow = slow.replace("name: H2-1LE,", "name: H2-1LE, queue_time_s: 600, max_shots: 1000000,")
    assert slow != devices
    (folder / "devices.yaml").write_text(slow)
    options = ["--submit-delay", "0.02", "--workers", "2", "--devices", str(folder / "devices.yaml")]
    with RunningService(folder / "service", users={EMAIL: PASSWORD}, options=options) as service:
        yield service


@pytest.fixture(scope="module")
def token(service: RunningService) -> str:
    return service.sign_in(EMAIL, PASSWORD)


@pytest.fixture
def opened(service: RunningService, token: str) -> Iterator[Callable[..., MqpBackend]]:
    """Opens backends on the service, with its list of jobs."""
    made: list[MqpBackend] = []

    def open_one(**options: Any) -> MqpBackend:
        login = PortalLogin(identity=EMAIL, secret=PASSWORD, url=service.url)
        settings = {"url": service.url, "token": lambda: token, "verify": str(service.certificate), "portal": login}
        settings |= {"limiter": Limiter(), "poll_interval_s": (0.05, 1.0), "confirm": Confirmation()}
        made.append(MqpBackend(**({"resource": "Aer"} | settings | options)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.mark.slow
class TestMqpService(BackendContract):
    @pytest.fixture
    def backend(self, opened: Callable[..., MqpBackend]) -> Backend:
        self.opened = opened
        return opened()

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 50 * SHOTS_PER_S), (flips(1, on=[]), 50 * SHOTS_PER_S)])

    def refused_batch(self, backend: Backend) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 100_000_000)])

    def stranger(self, backend: Backend) -> MqpBackend:
        return self.opened(portal=None)

    def elsewhere(self, backend: Backend) -> MqpBackend:
        return self.opened(resource="H2-1LE")

    def secrets(self, backend: Backend) -> list[str]:
        return [PASSWORD]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(no_modify=True)

    def test_place_of_stranger(self, backend: Backend, ledger: Ledger) -> None:
        """A job of the same account that this ledger does not have takes one of its two places until it ends."""
        check_place(self, ledger, backend, self.stranger(backend), self.slow_batch())
