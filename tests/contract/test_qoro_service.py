"""The adapter of Qoro against `qjobs serve`, which speaks as Qoro does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import httpx
import pytest

from qjobs.backends.base import Backend
from qjobs.backends.http import tls_context
from qjobs.backends.limiter import Limiter
from qjobs.backends.qoro import QoroBackend
from qjobs.backends.qoro.fragments import fragments_of
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, Observable, RemoteId
from qjobs.service.running import RunningService
from qjobs.testing.contract import bits_of, flips, rotations
from qjobs.testing.contract.stepped import SteppedContract
from qjobs.testing.contract.steps import top

USER = "contract@localhost.test"
SHOTS_PER_S = 20_000
SMALL_BYTES = 1000
"""Bytes of a fragment that has a few small circuits, or a template with some rows."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Aer takes 50 microseconds a shot."""
    folder = tmp_path_factory.mktemp("qoro")
    devices = files("qjobs.service").joinpath("devices.yaml").read_text()
    slow = devices.replace("name: Aer,", f"name: Aer, shots_per_s: {SHOTS_PER_S},")
    assert slow != devices
    (folder / "devices.yaml").write_text(slow)
    options = ["--submit-delay", "0.02", "--workers", "2", "--devices", str(folder / "devices.yaml")]
    with RunningService(folder / "service", users={USER: "a secret"}, options=options) as service:
        yield service


@pytest.fixture(scope="module")
def token(service: RunningService) -> str:
    return service.portal_token(USER)


@pytest.fixture
def opened(service: RunningService, token: str) -> Iterator[Callable[..., QoroBackend]]:
    """Opens backends on the service."""
    made: list[QoroBackend] = []

    def open_one(**options: Any) -> QoroBackend:
        settings = {"url": service.qoro_environment["QORO_API_URL"], "token": lambda: token, "limiter": Limiter()}
        settings |= {"verify": str(service.certificate), "poll_interval_s": (0.05, 1.0)}
        made.append(QoroBackend("Aer", **(settings | options)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.mark.slow
class TestQoroService(SteppedContract):
    @pytest.fixture
    def backend(self, service: RunningService, opened: Callable[..., QoroBackend], token: str) -> Backend:
        self.service = service
        self.opened = opened
        self.token = token
        return opened()

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 50 * SHOTS_PER_S), (flips(1, on=[]), 50 * SHOTS_PER_S)])

    def refused_batch(self, backend: Backend) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 100_000_000)])

    def secrets(self, backend: Backend) -> list[str]:
        return [self.token]

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        """As its owner deletes it."""
        answer = httpx.delete(
            f"{self.service.qoro_environment['QORO_API_URL']}/job/{remote_id}",
            headers={"authorization": f"Bearer {self.token}"},
            verify=tls_context(str(self.service.certificate)),
        )
        return answer.is_success

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(packing=True)

    def test_fragments(self, backend: Backend) -> None:
        """Circuits in several fragments, each with its own shots, come back in order, to another process too."""
        batch = self.make_batch([(flips(3, on=bits_of(word)), 10 + word) for word in range(8)])
        assert len(fragments_of(batch, SMALL_BYTES)) > 2
        remote_id = self.submit(self.opened(fragment_bytes=SMALL_BYTES), batch)
        assert self.wait(backend, remote_id).status is JobStatus.COMPLETED
        found = self.entries(backend, remote_id, 8)
        assert [entry.counts for entry in found] == [{f"{word:03b}": 10 + word} for word in range(8)]

    def test_template(self, backend: Backend) -> None:
        """A sweep is sent as a template, its rows in several fragments."""
        rows = [{"alpha": math.pi * (number % 2), "beta": math.pi * (number // 2 % 2)} for number in range(30)]
        batch = self.make_batch([(rotations(), 20, row) for row in rows])
        sent = fragments_of(batch, SMALL_BYTES)
        assert len(sent) > 2
        assert all("circuit_template" in fragment for fragment in sent)
        remote_id = self.submit(self.opened(fragment_bytes=SMALL_BYTES), batch)
        assert self.wait(backend, remote_id).status is JobStatus.COMPLETED
        found = self.entries(backend, remote_id, 30)
        assert [top(entry) for entry in found] == [f"{number % 4:02b}" for number in range(30)]

    def test_values_read_elsewhere(self, backend: Backend) -> None:
        """Another process, which knows nothing of a job but its id, reads its values under the observables' names."""
        observables = [Observable(name="sum", terms=(("IZ", 1.0), ("ZI", 2.0), ("XX", 0.5), ("II", 0.25)))]
        rows = [{"alpha": 0.4, "beta": 1.1}, {"alpha": 2.0, "beta": 0.3}]
        remote_id = self.submit(
            backend, self.make_batch([(rotations(), 1, row) for row in rows], observables=observables)
        )
        self.wait(backend, remote_id)
        found = self.entries(self.opened(), remote_id, 2)
        for row, entry in zip(rows, found, strict=True):
            alpha = row["alpha"]
            beta = row["beta"]
            expected = math.cos(alpha) + 2 * math.cos(beta) + 0.5 * math.sin(alpha) * math.sin(beta) + 0.25
            assert entry.expvals == pytest.approx({"sum": expected})
