"""A service of one test's own, in this process, without HTTP: its store, its executor, its workers."""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pytket.backends.backendresult import BackendResult
from pytket.circuit import Circuit

from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.settings import Settings
from qjobs.service.store.job_records import ItemRecord, JobRecord

EVERYTHING = sa.select(schema.project.c.project_id)
AER = {"type": "AerConfig"}
FLIP = Circuit(1, 1).X(0).Measure(0, 0)
DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: AerBackend, config: AerConfig, n_qubits: 20}
  - {name: slow, kind: hardware, backend: B, config: QuantinuumConfig, n_qubits: 5, shots_per_s: 1, costs: hqc}
  - {name: queued, kind: hardware, backend: B, config: QueuedConfig, n_qubits: 5, queue_time_s: 1814400}
  - {name: night, kind: nexus-hosted, backend: B, config: NightConfig, n_qubits: 5, state: in maintenance}
"""


def quantinuum(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "QuantinuumConfig", "device_name": name, **more}


SLOW = quantinuum("slow")


def layered(n: int, layers: int) -> Circuit:
    """A circuit that takes as long as it is told to."""
    circuit = Circuit(n)
    for layer in range(layers):
        for qubit in range(n):
            circuit.Rx(0.1 * (qubit + 1), qubit).CX(qubit, (qubit + 1 + layer % 3) % n)
    return circuit


def state(items: list[ItemRecord]) -> list[str]:
    """The statuses of items."""
    return [item.status.value for item in items]


def add_user(service: Service, name: str, groups: tuple[str, ...] = ()) -> User:
    """A new user without a password: hashing is slow, and has tests of its own."""
    row = {"user_id": str(uuid.uuid4()), "email": f"{name}-{uuid.uuid4().hex[:8]}@localhost.test"}
    row |= {"display_name": name, "groups": list(groups)}
    with service.db.write() as connection:
        connection.execute(schema.user.insert().values(**row, password_hash="none", created_real=datetime.now(UTC)))
    return service.accounts.user(row["email"])


class OwnService:
    """A service, a user of it and a project of theirs."""

    def __init__(self, folder: Path, *, url: str | None = None, devices: str | None = None, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if devices is not None:
            (folder / "devices.yaml").write_text(devices)
            more["device_file"] = folder / "devices.yaml"
        settings = {"submit_delay_s": 0.0, "workers": 1, **more}
        self.service = Service.open(Settings(data=folder, database=url, **settings))
        self.store = self.service.jobs
        self.user = self.add_user("ada")
        self.project = self.add_project(self.user)

    def close(self) -> None:
        self.service.close()

    def add_user(self, name: str) -> User:
        return add_user(self.service, name)

    def add_project(self, user: User) -> str:
        project_id = str(uuid.uuid4())
        now = self.service.clock.now()
        row = {"project_id": project_id, "owner_id": user.user_id, "name": project_id, "properties": {}}
        moments = {"created_at": now, "modified_at": now, "contents_modified_at": now}
        with self.service.db.write() as connection:
            connection.execute(schema.project.insert().values(**row, **moments))
        return project_id

    def upload(self, circuit: Circuit | bytes, kind: str = "circuit", project: str | None = None) -> str:
        """Store a circuit as a document."""
        body = circuit if isinstance(circuit, bytes) else json.dumps(circuit.to_dict()).encode()
        document_id = str(uuid.uuid4())
        now = self.service.clock.now()
        row = {"document_id": document_id, "kind": kind, "project_id": project or self.project, "name": "circuit"}
        row |= {"owner_id": self.user.user_id, "properties": {}, "body": zlib.compress(body)}
        with self.service.db.write() as connection:
            connection.execute(schema.document.insert().values(**row, created_at=now, modified_at=now))
        return document_id

    def submit(
        self,
        circuits: Sequence[Circuit | str],
        config: dict[str, Any],
        *,
        job_type: str = "execute",
        shots: int | None = 100,
        user: User | None = None,
        project: str | None = None,
        item: dict[str, Any] | None = None,
        **definition: Any,
    ) -> str:
        """Make a job; circuits are uploaded, ids of programs are taken."""
        ids = [each if isinstance(each, str) else self.upload(each) for each in circuits]
        more = {**({"n_shots": shots} if job_type == "execute" and shots else {}), **(item or {})}
        return self.store.create(
            user or self.user,
            project or self.project,
            name="a job",
            job_type=job_type,
            definition={
                "backend_config": config,
                "items": [{"program_id": each, **more} for each in ids],
                **definition,
            },
        )

    def job(self, job_id: str) -> JobRecord:
        return self.store.record(EVERYTHING, job_id)

    def items(self, job_id: str) -> list[ItemRecord]:
        return self.store.items(job_id)

    def until(self, holds: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait for something that must come true."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.005)

    def finish(self, job_id: str, timeout_s: float = 60.0) -> JobRecord:
        """Wait for the end of a job."""
        self.until(lambda: self.job(job_id).status.is_final, timeout_s)
        return self.job(job_id)

    def run(self, circuits: Sequence[Circuit | str], config: dict[str, Any], **more: Any) -> list[ItemRecord]:
        """Run a job to its end."""
        job_id = self.submit(circuits, config, **more)
        self.finish(job_id)
        return self.items(job_id)

    def raw(self, result_id: str | None) -> dict[str, Any]:
        """The stored body of a result."""
        table = schema.result
        with self.service.db.read() as connection:
            body = connection.scalar(sa.select(table.c.body).where(table.c.result_id == result_id))
        assert body is not None
        return dict(json.loads(zlib.decompress(body)))

    def result(self, item: ItemRecord) -> BackendResult:
        assert item.result_id, f"{item.status}: {item.message}"
        return BackendResult.from_dict(self.raw(item.result_id))

    def circuit(self, document_id: str) -> Circuit:
        return Circuit.from_dict(json.loads(self.service.content.document_body(document_id)))

    def rows(self, table: sa.Table, **equal: Any) -> list[Any]:
        query = sa.select(table)
        for name, value in equal.items():
            query = query.where(table.c[name] == value)
        with self.service.db.read() as connection:
            return list(connection.execute(query))

    def set_item(self, item: ItemRecord, **columns: Any) -> None:
        """Put an item into a state, and let its job add up."""
        from qjobs.service.store.job_moves import locked, roll_up_jobs

        table = schema.job_item
        now = self.service.clock.now()
        with self.service.db.write() as connection:
            connection.execute(table.update().where(table.c.item_uuid == item.item_uuid).values(columns))
            roll_up_jobs(connection, locked(connection, [item.job_id]).values(), now)
