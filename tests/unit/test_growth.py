"""What a job costs does not depend on how many there are: statements, and the steps of the database, are counted."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from launching import planned
from one_each import OneEach

import qjobs
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import BackendUnavailable
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.execute import DirectStages, execute
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.reports.run_report import report_of

FEW = 8
TIMES = 4
STEPS = 50
"""Steps of SQLite's virtual machine that count as one."""
TEXT = (
    'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; qubit[2] q; bit[2] c; rx(a) q[0]; cx q[0], q[1]; '
    "c = measure q;"
)


@dataclass(slots=True)
class Work:
    """What a database was asked for."""

    statements: int = 0
    steps: int = 0


@contextlib.contextmanager
def counting() -> Iterator[Work]:
    """Count all that every connection that is opened meanwhile does."""
    work = Work()

    def stepped() -> int:
        work.steps += 1
        return 0

    def opened(connection: sqlite3.Connection, _: object) -> None:
        connection.set_progress_handler(stepped, STEPS)

    def executing(*_: object) -> None:
        work.statements += 1

    sa.event.listen(sa.Pool, "connect", opened)
    sa.event.listen(sa.Engine, "before_cursor_execute", executing)
    try:
        yield work
    finally:
        sa.event.remove(sa.Pool, "connect", opened)
        sa.event.remove(sa.Engine, "before_cursor_execute", executing)


@dataclass(frozen=True, slots=True)
class Place:
    """A ledger, and a provider that takes one circuit a job."""

    store: Ledger
    provider: OneEach
    plan: SweepPlan
    folder: Path

    def planned(self) -> Sequence[JobId]:
        return planned(self.store, self.provider, self.plan, CompileCache(self.folder / "compiled"), run="run").job_ids

    def submitted(self) -> Sequence[JobId]:
        job_ids = self.planned()
        for job_id in job_ids:
            with contextlib.suppress(BackendUnavailable):
                qjobs.submit(self.store, self.provider, job_id)
        return job_ids

    def finished(self) -> Sequence[JobId]:
        job_ids = self.submitted()
        self.wait(job_ids)
        return job_ids

    def wait(self, job_ids: Sequence[JobId]) -> None:
        statuses = qjobs.wait(self.store, {"one": self.provider}, job_ids, timeout_s=60)
        assert set(statuses.values()) == {JobStatus.COMPLETED}

    def execute(self, _: object) -> None:
        retries = self.plan.spec.retries.model_copy(update={"strategy": RemoteRetryStrategy.ALLOW_RESUBMIT})
        plan = SweepPlan(
            **{name: getattr(self.plan, name) for name in SweepPlan.__slots__ if name != "spec"},
            spec=self.plan.spec.model_copy(update={"retries": retries}),
        )
        stages = DirectStages(self.store, {"one": self.provider}, CompileCache(self.folder / "compiled"))
        done = execute(self.store, plan, stages, run="run")
        assert not done.problems
        assert report_of(self.store, plan, done.jobs).n_missing == 0

    def passes(self, job_ids: Sequence[JobId]) -> None:
        for _ in range(2):
            sensor_pass(self.store, lambda _: self.provider)
            self.store.schedule.set_next(dict.fromkeys([job.job_id for job in self.store.open_jobs()], None))
        assert sum(self.store.result_counts(job_ids).values()) == len(job_ids)

    def collect(self, job_ids: Sequence[JobId]) -> None:
        for job_id in job_ids:
            qjobs.collect(self.store, self.provider, job_id)

    def cancel(self, job_ids: Sequence[JobId]) -> None:
        for job_id in job_ids:
            assert qjobs.cancel(self.store, self.provider, job_id).status is JobStatus.CANCELLED

    def reconcile(self, job_ids: Sequence[JobId]) -> None:
        assert len(qjobs.reconcile(self.store, {"one-each": self.provider})) == len(job_ids)


def nothing(_: Place) -> Sequence[JobId]:
    return ()


CASES: dict[
    str, tuple[dict[str, object], Callable[[Place], Sequence[JobId]], Callable[[Place, Sequence[JobId]], object]]
]
CASES = {
    "plan": ({}, nothing, lambda place, _: place.planned()),
    "plan again": ({}, Place.finished, lambda place, _: place.planned()),
    "submit": ({}, nothing, lambda place, _: place.submitted()),
    "poll": ({}, Place.submitted, Place.wait),
    "collect": ({}, Place.finished, Place.collect),
    "cancel": ({}, Place.submitted, Place.cancel),
    "reconcile": ({"loses": True}, Place.submitted, Place.reconcile),
    "sensor": ({}, Place.submitted, Place.passes),
    "sensor, lost replies": (
        {"loses": True},
        Place.submitted,
        lambda place, _: sensor_pass(place.store, lambda _: place.provider),
    ),
    "execute": ({}, nothing, Place.execute),
    "execute, few at a time": ({"max_live_jobs": 3}, nothing, Place.execute),
}


def work_of(case: str, n_jobs: int, folder: Path) -> Work:
    """What a database does for so many jobs."""
    options, prepare, act = CASES[case]
    folder.mkdir()
    axis = {"name": "a", "kind": "linspace", "start": 0.0, "stop": 3.0, "count": n_jobs}
    spec = {"name": "growth", "circuit": {"openqasm": TEXT}, "axes": [axis], "shots": 100, "backends": ["one"]}
    plan = expand_sweep(SweepSpec.model_validate(spec))
    with counting() as work, Ledger(f"sqlite:///{folder / 'ledger.db'}") as store:
        place = Place(store, OneEach(**options), plan, folder)  # type: ignore[arg-type]
        job_ids = prepare(place)
        before = Work(work.statements, work.steps)
        act(place, job_ids)
        return Work(work.statements - before.statements, work.steps - before.steps)


@pytest.mark.parametrize("case", CASES)
def test_linear(case: str, tmp_path: Path) -> None:
    """Four times as many jobs take at most about four times as many statements and steps; all pairs would take 16."""
    few = work_of(case, FEW, tmp_path / "few")
    many = work_of(case, TIMES * FEW, tmp_path / "many")
    assert many.statements <= 1.1 * TIMES * few.statements, (few, many)
    assert many.steps <= 1.5 * TIMES * few.steps, (few, many)
