"""The real ledger, in memory, in processes that may die before and after every writing transaction."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import sqlalchemy as sa
from model_backend import BACKEND
from support import NOW, a_spec

from qjobs.errors import LedgerUnavailable
from qjobs.ledger import Ledger, planning
from qjobs.ledger.database import Database
from qjobs.model import Fingerprint, JobId
from qjobs.operations import recover

if TYPE_CHECKING:
    from simulation_world import World

OF_RUNS = ("dispatch", "dispatch_terms", "wait", "cap")
TABLES = ("event", "stray", "result", "item", "attempt", "job")
MOST_JOBS = 6
PLACE = Fingerprint(place="server 1")


@contextlib.contextmanager
def same_names(seed: int = 0) -> Iterator[None]:
    """Let new jobs have the same ids each time: jobs are asked for in the order of their ids."""
    numbers = random.Random(seed)
    names = SimpleNamespace(uuid4=lambda: uuid.UUID(int=numbers.getrandbits(128)))
    with mock.patch.object(planning, "uuid", names), mock.patch.object(recover, "uuid", names):
        yield


class CrashingDatabase:
    """The ledger's database, whose process may end before and after every writing transaction.

    What only reads needs no transaction of its own here, which would take half of the time.
    """

    def __init__(self, db: Database) -> None:
        self._inner = db
        self.world = None
        self.raw = db._engine.raw_connection().driver_connection  # in memory: one connection serves the thread
        reader = sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=sa.StaticPool)
        self._reading = reader.connect()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        yield self._reading

    def rows(
        self, query: sa.Select[tuple[object, ...]], values: Mapping[str, object] | None = None
    ) -> Sequence[sa.Row[tuple[object, ...]]]:
        return self._reading.execute(query, values).all()

    def rows_among(self, *values: object) -> list[sa.Row[tuple[object, ...]]]:
        return Database.rows_among(self, *values)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        if self.world and self.world.current:
            self.world.point("ledger: before")
            if self.world.happens(self.world.p_fault / 20):
                raise LedgerUnavailable("locked for too long")
        with self._inner.write() as connection:
            yield connection
        if self.world:
            self.world.point("ledger: after")


class SimulatedLedger(Ledger):
    """The real ledger in memory."""

    def __init__(self) -> None:
        super().__init__("sqlite:///:memory:")
        self.planned = {}
        for n, size in ((n, size) for n in range(MOST_JOBS) for size in (1, 2, 3)):
            spec = a_spec(f"sim{n}{size}x", n_items=size, backend=BACKEND)
            spec = replace(spec, fingerprint=str(PLACE), opened_as=BACKEND)
            with same_names(seed=10 * n + size):
                (self.planned[n, size],) = self.create([spec], now=NOW)
        self._compose(CrashingDatabase(self._db))
        for table in TABLES:
            self._db.raw.execute(f"CREATE TABLE planned_{table} AS SELECT * FROM {table}")

    def begin(self, world: World, sizes: Sequence[int]) -> list[JobId]:
        """Empty all tables, and copy planned jobs of so many items: planning anew would take half of the time."""
        for table in (*OF_RUNS, *TABLES):
            self._db.raw.execute(f"DELETE FROM {table}")
        jobs = [self.planned[n, size] for n, size in enumerate(sizes)]
        for table in reversed(TABLES):
            for job_id in jobs:
                copy = f"INSERT INTO {table} SELECT * FROM planned_{table} WHERE job_id = ?"
                self._db.raw.execute(copy, (job_id,))
        self._db.world = world
        return jobs

    def price_jobs(self, price: float) -> None:
        """Let every job be estimated at so much an item."""
        self._db.raw.execute("UPDATE job SET cost_estimate = n_items * ?", (price,))

    def rows(self, query: str, *values: object) -> list[tuple]:
        return self._db.raw.execute(query, values).fetchall()
