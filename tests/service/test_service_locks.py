"""Locks on PostgreSQL: of projects, and of the database by one service."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from own_service import AER, EVERYTHING, FLIP, OwnService
from pytket.circuit import Circuit
from standing_service import fresh_database

from qjobs.errors import InvalidInput
from qjobs.service import tables as schema
from qjobs.service.errors import NotFound
from qjobs.service.store.job_moves import locked
from qjobs.service.store.records import DocumentKind


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OwnService]:
    with fresh_database("postgresql", tmp_path, request) as url:
        own = OwnService(tmp_path / "data", url=url)
        yield own
        own.close()


@contextlib.contextmanager
def meanwhile(own: OwnService, call: Callable[[], object], found: list[object]) -> Iterator[Callable[[], None]]:
    """Run something beside a transaction; what is given waits until it stands before a lock."""

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(type(error))

    def is_blocked() -> bool:
        active = sa.table("pg_stat_activity", sa.column("wait_event_type"), sa.column("datname"))
        here = sa.and_(active.c.wait_event_type == "Lock", active.c.datname == sa.func.current_database())
        with own.service.db.read() as connection:
            return bool(connection.scalar(sa.select(sa.func.count()).select_from(active).where(here)))

    thread = threading.Thread(target=run)
    try:
        yield lambda: (thread.start(), own.until(is_blocked, 10))[1]
    finally:
        thread.join(10)


def test_job_in_a_deleted_project(own: OwnService) -> None:
    """A job for a project that is being deleted is refused, and is no failure."""
    found = list[object]()
    table = schema.project
    program = own.upload(Circuit(1, 1).Measure(0, 0))
    project = own.add_project(own.user)
    with (
        meanwhile(own, lambda: own.submit([program], AER, project=project), found) as start,
        own.service.db.write() as connection,
    ):
        connection.execute(table.delete().where(table.c.project_id == project))
        start()
    assert found == [NotFound]


def test_lock_order(own: OwnService) -> None:
    """Changes of a project take their locks in one order, so that none waits for another for ever."""
    service = own.service
    circuit = own.upload(Circuit(1, 1).Measure(0, 0))
    job = own.submit([circuit], AER, job_type="compile")
    project = schema.project
    document = schema.document
    ours = project.c.project_id == own.project
    found: list[object] = []

    def delete() -> None:
        service.content.delete_project(own.user, EVERYTHING, own.project)

    def rename() -> object:
        return service.content.update_document(
            own.user, EVERYTHING, DocumentKind.CIRCUIT, circuit, {"name": "new"}
        ).name

    with meanwhile(own, rename, found) as start, service.db.write() as connection:
        connection.execute(project.update().where(ours).values(archived=True))  # as who deletes it
        start()
        connection.execute(sa.select(document.c.document_id).with_for_update(nowait=True)).all()
    with meanwhile(own, delete, found) as start, service.db.write() as connection:
        locked(connection, [job])  # as the executor
        start()
        connection.execute(sa.select(project.c.project_id).where(ours).with_for_update(nowait=True)).all()
    assert found == ["new", None]


def test_one_service_per_database(own: OwnService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services do not work on one database."""
    url = own.service.db.url.render_as_string(hide_password=False)
    monkeypatch.setattr("qjobs.service.service_lock._AFTER_KILL_S", 0.2)
    with pytest.raises(InvalidInput, match="another service works on"):
        OwnService(tmp_path / "second", url=url)
    own.service.close()
    OwnService(tmp_path / "second", url=url).close()


@pytest.mark.slow
def test_lost_lock(own: OwnService) -> None:
    """A service that lost its lock waits until it has it again."""
    lock = own.service.lock
    own.service.executor.start()
    job = own.submit([FLIP], AER, shots=1)
    own.finish(job)
    own.service.executor.stop()
    with own.service.db.write() as connection:
        mine = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        assert connection.execute(sa.text(mine)).all() == [(True,)]
    other: list[sa.Connection] = []
    own.until(lambda: other.extend(filter(None, [own.service.db.hold("qjobs-service")])) or other, 10)
    assert not lock.try_acquire()
    own.service.executor.start()
    job = own.submit([FLIP], AER, shots=1)
    other[0].close()
    assert own.finish(job).status == "COMPLETED"
    assert lock.try_acquire()
