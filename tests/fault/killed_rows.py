"""Rows in which the job service itself is killed (SIGKILL), or its workers, and started again on the same folder.

It is the real `qjobs serve`, behind the proxy of `nexus_rows.py`; the rest of a row is as there. The remote jobs are
counted in the service's own database, because no reply tells of what was stored right before the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import nexus_rows
from aer_batches import children_of, until
from driving import Clock, Following, Seen
from provider_rows import Row

from qjobs.ledger import Ledger
from qjobs.service.running import RunningService
from qjobs.testing.faults import Route
from qjobs.testing.proxy import FaultyProxy, route_of

_DEVICES = """
devices:
  - {name: Aer, kind: hardware, backend: AerBackend, config: AerConfig, n_qubits: 20, shots_per_s: 100}
"""
_AWAY_S = 20.0
"""For how long it is away, in seconds of the row's clock."""
_KILLED = httpx.Response(502, json={"message": "the service was killed"})


@dataclass(frozen=True, kw_only=True)
class KilledRow(Row):
    """The service is killed when a request of `at` comes: `when` is "before" it is carried out, "after" that, or so
    many seconds after it was passed on. With `once_running` the first request counts that finds items done and others
    not. With `workers` it lives on, and its worker processes are killed.
    """

    at: Route
    when: str | float = "before"
    once_running: bool = False
    workers: bool = False


_INTO_SUBMISSION = KilledRow(name="service killed: 4 ms into the submission", at=Route.SUBMIT, when=0.004, lost="made")
_WHILE_IT_RUNS = KilledRow(name="service killed: while the job runs", at=Route.STATUS, when="after", once_running=True)
_WHILE_READ = KilledRow(name="service killed: while results are read", at=Route.RESULTS)
ROWS = (
    KilledRow(name="service killed: before it has the job", at=Route.SUBMIT, lost="never"),
    _INTO_SUBMISSION,
    replace(_INTO_SUBMISSION, name="service killed: 25 ms into the submission", when=0.025),
    KilledRow(name="service killed: has the job, reply lost", at=Route.SUBMIT, when="after", lost="made"),
    _WHILE_IT_RUNS,
    _WHILE_READ,
    KilledRow(name="the service's workers are killed", at=Route.SUBMIT, when="after", workers=True),
)
SENSOR_ROWS = (_INTO_SUBMISSION, _WHILE_IT_RUNS, _WHILE_READ)
"""Those that are played with the sensor too: before the job is there, nothing is other with it."""


class DeadlyProxy(FaultyProxy):
    """The proxy, which kills the service behind it once, and starts it again after a while."""

    def __init__(self, service: RunningService) -> None:
        super().__init__(service.url)
        self.service = service
        self.row: KilledRow | None = None
        """The row whose kill is still to come."""
        self._turn = threading.Lock()

    def _pass_on(self, request: object) -> httpx.Response:
        with self._turn if self._is_meant(request) else contextlib.nullcontext():
            if not self._is_meant(request):  # any more
                return super()._pass_on(request)
            row = self.row
            if row.when == "before":
                self._kill(row)
                return super()._pass_on(request)
            if isinstance(row.when, float):
                timer = threading.Timer(row.when, self._kill, [row])
                timer.start()
                super()._pass_on(request)
                timer.join()
                return _KILLED
            answer = super()._pass_on(request)
            if row.once_running and not _runs(answer):
                return answer
            self._kill(row)
            return answer if row.workers else _KILLED

    def _is_meant(self, request: object) -> bool:
        return self.row is not None and self.row.at is route_of(request.method, request.target)

    def _kill(self, row: KilledRow) -> None:
        self.row = None
        if row.workers:
            for pid in until(lambda: children_of(self.service.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        self.service.kill()
        self.do_at(self.clock() + _AWAY_S, self.service.start)


def _runs(answer: httpx.Response) -> bool:
    items = answer.json()["data"]["attributes"]["definition"]["items"]
    done = [item["status"]["status"] == "COMPLETED" for item in items]
    return any(done) and not all(done)


class KilledProvider(nexus_rows.NexusProvider):
    """What a row needs to know: the deadly proxy, and the database of the service."""

    def __init__(self, service: RunningService) -> None:
        self.token = service.sign_in()
        self.service = service
        self.proxy = DeadlyProxy(service)
        self._before: set[str] = set()

    @property
    def ids(self) -> list[str]:
        """The jobs in the database that were not there before the row."""
        return [job_id for job_id in self._stored() if job_id not in self._before]

    @property
    def created(self) -> int:
        return len(self.ids)

    def prepare(self, row: Row, clock: Clock) -> None:
        if not self.service.pid:  # the row before was over first
            self.service.start()
        super().prepare(row, clock)
        self._before = set(self._stored())
        self.proxy.row = row

    def _stored(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.service.data / "service.db")) as database:
            return [row[0] for row in database.execute("SELECT job_id FROM service_job ORDER BY sequence")]


def play(
    row: Row, provider: KilledProvider, ledger: Ledger, *, jump_s: float = 0.0, follow: Following | None = None
) -> Seen:
    """Run one row, in which something is killed indeed."""
    seen = nexus_rows.play(row, provider, ledger, jump_s=jump_s, follow=follow)
    assert provider.proxy.row is None, f"{row.name}: nothing was killed"
    return seen


@contextmanager
def running(folder: Path) -> Iterator[KilledProvider]:
    """The service and its proxy."""
    devices = folder / "devices.yaml"
    devices.parent.mkdir(parents=True, exist_ok=True)
    devices.write_text(_DEVICES)
    options = ("--submit-delay", "0.02", "--workers", "1", "--devices", str(devices))
    with RunningService(folder / "service", options=options) as service:
        provider = KilledProvider(service)
        with provider.proxy:
            yield provider
