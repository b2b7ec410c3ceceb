"""A ledger with many open jobs that all exist at the job service, and what a pass of the sensor over it takes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from processes import ROOT, until
from waiting_processes import peak_mb
from waiting_service import BELL, cancel, signed_in, status

import qjobs
from qjobs.backends.base import Limits
from qjobs.backends.nexus import NexusBackend
from qjobs.circuits.programs import read_circuit
from qjobs.ledger import Ledger
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.poll import utc_now
from qjobs.service import tables as schema
from qjobs.service.running import RunningService
from qjobs.service.settings import Settings
from qjobs.testing.faults import Route
from qjobs.testing.proxy import FaultyProxy

DEVICE = "Aer"
QUEUE = """\
devices:
  - {name: Aer, kind: hardware, backend: AerBackend, config: AerConfig, device_name: aer_simulator, n_qubits: 8,
     gate_set: [H, CX, Measure, Reset, Barrier], queue_time_s: 10000000}
"""
"""One machine behind a queue of months."""
_A_PAGE = 1000


@dataclass(slots=True)
class Pass:
    """What one pass took: seconds, jobs asked for, requests by their route, and what its process held afterwards."""

    label: str
    seconds: float
    cpu_s: float
    asked: int
    moved: int
    published: int
    memory_mb: float
    peak_mb: float
    requests: dict[str, int] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)

    @property
    def n_requests(self) -> int:
        """All that were sent about jobs; tokens and the project are asked for once in a process."""
        return sum(self.requests.get(route, 0) for route in (Route.LISTING, Route.STATUS, Route.RESULTS, Route.FIND))


@dataclass(slots=True)
class Filled:
    """How the jobs came to be, and the passes."""

    before_mb: float
    n_jobs: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    passes: list[Pass] = field(default_factory=list)


def measure(n_jobs: int, folder: Path, environment: Mapping[str, str]) -> Filled:
    """Fill a ledger and a service, and pass over them.

    Args:
        n_jobs: How many jobs.
        folder: Of its own.
        environment: That of a user of a Prefect server.
    """
    folder.mkdir()
    (folder / "devices.yaml").write_text(QUEUE)
    words = "--workers 1 --submit-delay 0 --access-ttl 86400"
    options = ("--devices", str(folder / "devices.yaml"), *words.split())
    service = RunningService(folder / "service", options=options)
    begin = time.perf_counter()
    with service, FaultyProxy(service.url) as proxy:
        token = service.sign_in()
        with Ledger(f"sqlite:///{folder / 'ledger.db'}") as store:
            first, last = _fill(store, service, f"nexus@{proxy.url.partition('://')[2]}", token, n_jobs)
        with signed_in(service) as user:
            _wait_for_place(user, last, n_jobs)
            seconds = time.perf_counter() - begin

            def move_up() -> None:
                cancel(user, first)
                _wait_for_place(user, last, n_jobs - 1)

            there = {"NEXUS_PROTOCOL": "http", "NEXUS_DOMAIN": "127.0.0.1", "NEXUS_PORT": proxy.url.rpartition(":")[2]}
            mine = {"QJOBS_HOME": str(folder), "QJOBS_NEXUS_TOKEN": token}
            found = _passes({**environment, **there, **mine}, proxy, move_up)
    found.n_jobs = n_jobs
    found.seconds = seconds
    return found


def _wait_for_place(user: httpx.Client, job: str, place: int) -> None:
    shown = f"the last job's place in the queue is {place}"
    until(lambda: status(user, job).get("queue_position"), lambda told: told == place, shown, 300.0)


def _fill(store: Ledger, service: RunningService, name: str, token: str, n_jobs: int) -> tuple[str, str]:
    """The first job is submitted; the others are its copies in the service's database, and told to the ledger.

    Returns:
        The remote ids of the first and the last.
    """
    backend = NexusBackend(
        DEVICE, url=service.url, name=name, token=token, verify=str(service.certificate), limits=Limits(max_items=1)
    )
    bell = read_circuit(BELL)
    items = [ItemSpec(label=str(number), program=bell.hash, shots=10) for number in range(n_jobs)]
    with contextlib.closing(backend):
        ids = qjobs.plan(
            store,
            backend,
            items,
            {bell.hash: bell},
            run="bench",
            name="bell",
            experiment="waiting",
            properties={"backend_name": f"nexus/{DEVICE}"},
        )
        first = qjobs.submit(store, backend, ids[0])
    assert first.remote_id is not None
    service.stop()
    remote_ids = _copied(service, first.remote_id, {job.job_id: job.key for job in store.jobs(job_ids=ids[1:])})
    service.start()
    for job_id, remote_id in remote_ids.items():
        attempt = store.submissions.claim(
            job_id,
            expected=JobStatus.CREATED,
            strategy=RemoteRetryStrategy.DEFAULT,
            owner="bench",
            lease_s=300.0,
            now=utc_now(),
        )
        store.submissions.accept(attempt, remote_id, now=utc_now())
    return first.remote_id, remote_ids[ids[-1]]


def _copied(service: RunningService, first: RemoteId, keys: Mapping[JobId, str]) -> dict[JobId, RemoteId]:
    """Copies of a remote job under other keys, in the database of a service that does not run."""
    from qjobs.service.tables import SERVICE

    remote_ids = {job_id: RemoteId(str(uuid.uuid4())) for job_id in keys}
    job = schema.job
    item = schema.job_item
    db = Database(Settings(data=service.data).database_url, SERVICE)
    with contextlib.closing(db), db.write() as connection:
        model = dict(connection.execute(sa.select(job).where(job.c.job_id == first)).one()._mapping)
        one = dict(connection.execute(sa.select(item).where(item.c.job_id == first)).one()._mapping)
        named = {job_id: {"name": f"qjobs-{key}", "properties": {}} for job_id, key in keys.items()}
        rows = [
            {**model, **named[job_id], "job_id": remote_id, "sequence": model["sequence"] + place}
            for place, (job_id, remote_id) in enumerate(remote_ids.items(), start=1)
        ]
        for part in _parts(rows):
            connection.execute(job.insert(), part)
        for part in _parts([{**one, "item_uuid": str(uuid.uuid4()), "job_id": row["job_id"]} for row in rows]):
            connection.execute(item.insert(), part)
    return remote_ids


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), _A_PAGE):
        yield list(rows[start : start + _A_PAGE])


def _passes(environment: Mapping[str, str], proxy: FaultyProxy, move_up: Callable[[], None]) -> Filled:
    """Passes in a process of their own; before the third one the queue moves."""
    command = [sys.executable, str(Path(__file__).with_name("waiting_pass.py"))]
    process = subprocess.Popen(
        command, env=dict(environment), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin as orders, process.stdout as answers:
        found = Filled(before_mb=json.loads(answers.readline())["memory_mb"])
        for label, order, prepare in (
            ("first, all due", "pass", None),
            ("all due, as before", "due", None),
            ("all due, moved up", "due", move_up),
            ("none due", "pass", None),
        ):
            if prepare is not None:
                prepare()
            asked = proxy.asked
            orders.write(f"{order}\n")
            orders.flush()
            told = json.loads(answers.readline())
            requests = {str(route): number for route, number in (proxy.asked - asked).items() if route is not None}
            found.passes.append(Pass(label=label, requests=requests, **told))
        orders.close()
        while process.poll() is None:  # not ru_maxrss: that of a child begins with what its parent held
            with contextlib.suppress(OSError):
                found.peak_mb = max(found.peak_mb, peak_mb(process.pid))
            time.sleep(0.02)
    return found
