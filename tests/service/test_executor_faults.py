"""The executor under faults: lost replies of the database, and circuits that do not end."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from own_service import AER, EVERYTHING, FLIP, OwnService, layered

from qjobs.errors import LedgerUnavailable
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.execution.executor import Executor


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnService]:
    own = OwnService(tmp_path)
    yield own
    own.close()


class _LosesReplies:
    """A database whose replies to some commits are lost, and which some transactions do not reach.

    Args:
        db: The database itself.
        fates: Of each writing transaction: `ok`, `not reached`, `reply lost`.
    """

    def __init__(self, db: Database, fates: Iterator[str]) -> None:
        self._db = db
        self._fates = fates
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        fate = next(self._fates)
        self.counts[fate] += 1
        if fate == "not reached":
            raise LedgerUnavailable("it does not answer")
        with self._db.write() as connection:
            yield connection
        if fate == "reply lost":
            raise LedgerUnavailable("it does not answer any more")


def executor_with(own: OwnService, db: Any, monkeypatch: pytest.MonkeyPatch) -> Executor:
    monkeypatch.setattr("qjobs.service.execution.executor._AFTER_ERROR_S", 0.01)
    service = own.service
    return Executor(
        db,
        service.clock,
        service.devices,
        service.changes,
        service.jobs,
        service.settings,
        service.lock,
    )


@pytest.mark.parametrize("shift", [0, 1])
def test_lost_commit_replies(own: OwnService, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """Lost replies to commits lose no item and double no result."""
    fates = itertools.islice(itertools.cycle(["reply lost", "not reached", "ok"]), shift, 40)
    db = _LosesReplies(own.service.db, itertools.chain(["ok"], fates, itertools.repeat("ok")))
    executor = executor_with(own, db, monkeypatch)
    job = own.submit([own.upload(FLIP)] * 12, AER, shots=1)
    compiling = own.submit([own.upload(FLIP)] * 3, AER, job_type="compile")
    executor.start()
    try:
        own.finish(job)
        own.finish(compiling)
    finally:
        executor.stop()
    assert db.counts["reply lost"] > 1
    assert {item.status for item in own.items(job) + own.items(compiling)} == {JobStatus.COMPLETED}
    stored = [row.result_id for row in own.rows(schema.result, job_id=job)]
    assert sorted(stored) == sorted(item.result_id or "" for item in own.items(job))
    assert len(own.rows(schema.compilation, job_id=compiling)) == 3


@pytest.mark.slow
def test_endless_cancelled_circuit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled circuit that takes hours keeps nobody waiting."""
    monkeypatch.setattr("qjobs.service.execution.abandoned._GRACE_S", 0.2)
    monkeypatch.setattr("qjobs.service.execution.abandoned._LOOK_S", 0.1)
    with contextlib.closing(OwnService(tmp_path, workers=1)) as own:
        own.service.executor.start()
        own.finish(own.submit([FLIP], AER, shots=1))
        job = own.submit([layered(24, 100).measure_all()], AER, shots=10)
        own.until(lambda: own.job(job).status == "RUNNING")
        waiting = own.submit([FLIP], AER, shots=1)
        own.store.cancel(EVERYTHING, job)
        assert own.finish(waiting).status == "COMPLETED"
        assert own.job(job).status == "CANCELLED"
        assert len(own.rows(schema.result, job_id=waiting)) == 1
