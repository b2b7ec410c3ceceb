"""The adapter of the Munich Quantum Portal against `qjobs serve`, which speaks as the portal does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from strangers import check_place

from qjobs.backends.base import Backend
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend, PortalLogin
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.ledger import Ledger
from qjobs.ledger.submissions import Submissions
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, Confirmation, OnRecalibration
from qjobs.operations.execute import DirectStages, execute
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


LINE = """devices:
- {name: line, kind: nexus-hosted, backend: B, config: LineConfig, n_qubits: 3, max_shots: 20000,
   gate_set: [Rz, PhasedX, CZ, Measure, Barrier], native_only: true, connectivity: [COUPLED, [1, 2]]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("rule", OnRecalibration)
def test_recalibrated(tmp_path: Path, rule: OnRecalibration) -> None:
    """A device of the service is coupled otherwise after a restart; a job compiled before follows the rule of its run.

    The service refuses circuits on qubits that are not coupled.
    """
    devices = tmp_path / "devices.yaml"
    devices.write_text(LINE.replace("COUPLED", "[0, 1]"))
    bell = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'
    spec = {"name": "bell", "circuits": [{"openqasm": bell}], "shots": 50, "backend": "line", "on_recalibration": rule}
    plan = expand_circuit_list(CircuitList.model_validate(spec))

    class Killed(Submissions):
        def claim(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    options = ["--submit-delay", "0.02", "--workers", "1", "--devices", str(devices)]
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=options) as service:

        def enter(*, killed: bool) -> tuple[JobStatus, list[str]]:
            token = service.sign_in(EMAIL, PASSWORD)
            settings = {"url": service.url, "token": lambda: token, "verify": str(service.certificate)}
            settings |= {"limiter": Limiter(), "poll_interval_s": (0.05, 1.0), "confirm": Confirmation()}
            with (
                Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as store,
                contextlib.closing(MqpBackend(resource="line", no_modify=True, **settings)) as backend,
            ):
                if killed:
                    store.submissions = Killed(store._db)
                stages = DirectStages(store, {"line": backend}, CompileCache(tmp_path / "compiled"))
                done = execute(store, plan, stages, run="run")
                (job,) = store.jobs()
                return job.status, [type(each).__name__ for each in done.problems.values()]

        with pytest.raises(KeyboardInterrupt):
            enter(killed=True)
        service.stop()
        devices.write_text(LINE.replace("COUPLED", "[0, 2]"))
        service.start()
        found = enter(killed=False)
    assert (
        found
        == {
            OnRecalibration.WARN: (JobStatus.ERROR, ["JobFailed"]),
            OnRecalibration.RECOMPILE: (JobStatus.COMPLETED, []),
            OnRecalibration.FAIL: (JobStatus.CREATED, ["Recalibrated"]),
        }[rule]
    )


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
