"""A job database of the portal for tests: two users, their budgets, two resources, and a clock that a test sets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.liveness import lease_owner
from qjobs.service import tables
from qjobs.service.mqp import jobs
from qjobs.service.mqp.catalogue import add_budget, add_user, save_resource
from qjobs.service.mqp.claims import FREE
from qjobs.service.mqp.jobs import CircuitJob, HamiltonianJob, JobDatabase, Resource

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
BELL3 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
HISTOGRAM = json.dumps({"00": 60, "11": 40})
INJECTIONS = (
    "'; DROP TABLE mqp_job; --",
    "x' OR '1'='1",
    "1; DELETE FROM mqp_job",
    "id) FROM mqp_job; --",
    "\x00' OR 1=1",
    "a\"; UPDATE mqp_job SET status = 'FAILED'; --",
    "\ud800",
)
ROOT = Path(__file__).parents[3]


class Parts:
    """The database, its clock, and who claims."""

    def __init__(self, url: str) -> None:
        self.moment = START
        self.owner: str | None = None
        self.opened = JobDatabase.open(url, now=lambda: self.moment)
        self.database = self.opened.__enter__()
        self.database.claimant = lambda: self.owner or lease_owner()

    def close(self) -> None:
        self.opened.__exit__(None, None, None)

    def begin(self) -> None:
        """Empty the tables, and fill in the users, budgets and resources."""
        with self.database.db.write() as connection:
            for table in (tables.mqp_job, tables.mqp_budget, tables.mqp_resource, tables.user):
                if table is tables.mqp_job:
                    connection.execute(table.update().values(task_id=None))
                connection.execute(table.delete())
        self.moment = START
        self.owner = None
        for name in ("ada", "bob"):
            add_user(self.database, name)
            add_budget(self.database, name, "research")
        add_budget(self.database, "bob", "bobs-own")
        save_resource(self.database, Resource(name="Q5", qubits=5, max_shots=1000, max_circuits=3))
        save_resource(self.database, Resource(name="Q20", qubits=20))

    def later(self, **spans: float) -> None:
        self.moment += timedelta(**spans)

    def rows(self) -> int:
        """How many jobs there are."""
        with self.database.db.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(tables.mqp_job)) or 0

    def change(self, name: str, **values: Any) -> None:
        """Change a resource."""
        with self.database.db.write() as connection:
            connection.execute(tables.mqp_resource.update().where(tables.mqp_resource.c.name == name).values(**values))

    def all_pending(self) -> None:
        """Put all jobs back, as if nobody had had them."""
        with self.database.db.write() as connection:
            connection.execute(tables.mqp_job.update().values(status="PENDING", **FREE))

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """What the database is asked inside the block."""
        found: list[str] = []

        def note(*event: Any) -> None:
            found.append(event[2])

        engine = self.database.db._engine
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            yield found
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)


def a_job(owner: str = "ada", target: str = "Q5", *, queued: bool = False, circuit: str = BELL) -> CircuitJob:
    """A new circuit job of 100 shots."""
    return jobs.create_job(100, circuit, owner, "research", target, "qasm", queued=queued)


def a_hamiltonian(owner: str = "ada", *, task_id: int | None = None) -> HamiltonianJob:
    """A new Hamiltonian job."""
    return jobs.create_hamiltonian_job("0 1; 1 2;", "0.5 0.1;", owner, "research", "Q5", task_id=task_id)


def many_users(parts: Parts, number: int, *, each: int = 1) -> None:
    """So many users `user0`, `user1` ..., with a budget and so many pending jobs for Q5, written at once."""
    names = [f"user{place}" for place in range(number)]
    common = {"display_name": "", "password_hash": "!", "groups": [], "created_real": START}
    job = {"kind": "circuit", "budget": "research", "target_specification": "Q5", "circuit": BELL, "shots": 100}
    job |= {"circuit_format": "qasm", "no_modify": False, "queued": False, "status": "PENDING", "cost": 0.0, "note": ""}
    with parts.database.db.write() as connection:
        connection.execute(tables.user.insert(), [{"user_id": name, "email": name, **common} for name in names])
        budgets = [{"owner": name, "name": "research", "created_at": START} for name in names]
        connection.execute(tables.mqp_budget.insert(), budgets)
        rows = [{"owner": name, "timestamp_submitted": START, **job} for _ in range(each) for name in names]
        connection.execute(tables.mqp_job.insert(), rows)


def claimed(owner: str = "ada") -> CircuitJob:
    """A job that this process has."""
    a_job(owner)
    return jobs.fetch_all_pending_jobs_from_users([owner])[0]


def now_of(job: CircuitJob | HamiltonianJob) -> CircuitJob | HamiltonianJob:
    """The job as it is now."""
    if isinstance(job, CircuitJob):
        found = jobs.fetch_result_by_job_id_and_identity(str(job.id), job.owner)
    else:
        found = jobs.fetch_hamiltonian_result_by_job_id_and_identity(str(job.id), job.owner)
    assert found is not None
    return found


def ids(found: list[CircuitJob] | list[HamiltonianJob]) -> list[int]:
    """Their ids, in the order in which they came."""
    return [job.id for job in found]


def a_dead_owner() -> str:
    """The name of a process that has ended."""
    code = "from qjobs.ledger.liveness import lease_owner; print(lease_owner())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
