"""What a review of the service found: each of these was wrong once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from own_service import AER, EVERYTHING, OwnService
from pytket.circuit import Circuit
from standing_service import GHZ, Standing, fresh_database, in_project, standing_service

from qjobs.errors import InvalidInput, LedgerUnavailable
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.passwords import Passwords
from qjobs.service.errors import NotFound
from qjobs.service.execution.executor import Executor
from qjobs.service.running import RunningService
from qjobs.service.store.job_moves import locked
from qjobs.service.store.records import DocumentKind
from qjobs.service.web.guard import Refused, check_json

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing_service(tmp_path_factory.mktemp("standing")) as standing:
        yield standing


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnService]:
    own = OwnService(tmp_path)
    yield own
    own.close()


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\u0000"', '"\\ud800"'])
@pytest.mark.parametrize("types", [[f"{FORM}+json"], [JSON, FORM], [FORM, JSON], [JSON]])
def test_no_content_type_and_no_encoding_passes_the_guard(standing: Standing, value: str, types: list[str]) -> None:
    """NaN was stored through each of these, and then every list with it failed, also for those who share it."""
    ada = standing.user("ada")
    text = f'{{"data": {{"type": "project", "attributes": {{"name": "p", "properties": {{"a": {value}}}}}}}}}'
    headers = [("content-type", each) for each in types]
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-32"):
        answer = ada.http.post("/api/projects/v1beta2", content=text.encode(encoding), headers=headers)
        assert answer.status_code in {400, 422}, answer.text
    assert ada.get("/api/projects/v1beta2/meta/count") == {"count": 0}


@pytest.mark.parametrize("body", [b'{"a": "\xed\xa0\x80"}', b'{"a": "\xff"}', '{"a": "\x00"}'.encode("utf-16")])
def test_what_is_no_utf_8_is_no_json(standing: Standing, body: bytes) -> None:
    with pytest.raises(Refused):
        check_json(body)
    ada = standing.user("ada")
    project = ada.project()
    answer = ada.http.post(
        "/api/circuits/v1beta2",
        content=json.dumps(in_project(project, {**GHZ, "odd": "?"})).encode().replace(b'"?"', body),
        headers={"content-type": JSON},
    )
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["message"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_signs_nobody_in_and_changes_nothing(standing: Standing, site: str) -> None:
    """A browser sent to our sign-in by another page was signed in as its author, who then saw the person's jobs."""
    ada = standing.user("ada")
    job = ada.job(ada.project(), ada.circuit(ada.project()))
    for path in (f"/api/jobs/v1beta3/{job}/rpc/cancel", "/auth/signin", "/auth/device/device_authorization"):
        answer = ada.http.post(path, headers={"sec-fetch-site": site})
        assert answer.status_code == 403, answer.text
    assert ada.get(f"/api/jobs/v1beta3/{job}/attributes/status")["status"] == "SUBMITTED"
    assert ada.http.get("/", headers={"sec-fetch-site": site}).status_code == 200
    for ours in ("same-origin", "none"):
        assert ada.http.post(f"/api/jobs/v1beta3/{job}/rpc/cancel", headers={"sec-fetch-site": ours}).status_code == 202


@pytest.mark.parametrize("scope", ["org_admin", "global_admin"])
def test_a_job_in_a_scope_that_holds_nothing_is_not_stored(standing: Standing, scope: str) -> None:
    """It was stored and answered with 404: a client would have sent it again."""
    ada = standing.user("ada")
    project = ada.project()
    items = [{"program_id": ada.circuit(project), "n_shots": 1}]
    given = {"name": "j", "job_type": "execute", "definition": {"backend_config": AER, "items": items}}
    ada.make(f"/api/jobs/v1beta3?scope={scope}", project, given, 404)
    assert ada.get("/api/jobs/v1beta3/meta/count") == {"count": 0}
    ada.make("/api/jobs/v1beta3?scope=highest", project, given, 202)


def test_a_session_that_begins_while_its_user_is_removed_is_nobodys(standing: Standing) -> None:
    zoe = standing.user("zoe")
    service = standing.service
    service.accounts.remove_user(zoe.email)
    tokens = service.sessions._begin(zoe.user)  # the password was right a moment ago
    for cookies in ({"myqos_id": tokens.access}, {"myqos_oat": tokens.refresh}):
        assert httpx.get(f"{standing.url}/api/users/v1beta2/me", cookies=cookies).status_code == 401


def test_a_new_password_ends_the_sessions_of_the_old_one(standing: Standing) -> None:
    ada = standing.user("ada")
    bob = standing.user("bob")
    accounts = standing.service.accounts
    table = schema.user
    with standing.service.db.write() as connection:
        mine = table.update().where(table.c.email.in_([ada.email, bob.email]))
        connection.execute(mine.values(password_hash=Passwords().hash("old")))
    accounts.set_password(ada.email, "old")
    ada.get("/api/users/v1beta2/me")
    accounts.set_password(ada.email, "new")
    ada.get("/api/users/v1beta2/me", code=401)
    bob.get("/api/users/v1beta2/me")


def test_a_job_is_buried_in_the_transaction_that_deletes_it(own: OwnService) -> None:
    own.service.executor.start()
    job = own.submit([Circuit(1, 1).X(0).Measure(0, 0)], AER, shots=1)
    own.finish(job)
    (item,) = own.items(job)
    own.store.delete(EVERYTHING, job)
    assert [row.resource_id for row in own.rows(schema.deleted)] == [item.result_id]


@pytest.mark.parametrize("word", ["COMPLETED", "CANCELLED", "ERROR"])
def test_a_job_that_is_retried_is_not_over(own: OwnService, word: str) -> None:
    """Its status kept the moment at which its former life had ended."""
    job = own.submit([Circuit(1, 1).Measure(0, 0)], AER, shots=1)
    now = own.service.clock.now()
    own.set_item(own.items(job)[0], status=word, **{f"{word.lower()}_at": now})
    assert own.store.status(EVERYTHING, job)[f"{word.lower()}_time"]
    own.store.retry(EVERYTHING, job, "FULL_RESTART")
    status = own.store.status(EVERYTHING, job)
    assert status["status"] == "RETRYING"
    assert status[f"{word.lower()}_time"] is None
    assert status["submitted_time"]


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
        service.content,
        service.settings,
        service.lock,
    )


@pytest.mark.parametrize("shift", [0, 1])
def test_no_item_is_lost_with_the_reply_to_a_commit(
    own: OwnService, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    """Items were RUNNING for ever that the executor had started without learning of it."""
    fates = itertools.islice(itertools.cycle(["reply lost", "not reached", "ok"]), shift, 40)
    db = _LosesReplies(own.service.db, itertools.chain(["ok"], fates, itertools.repeat("ok")))
    executor = executor_with(own, db, monkeypatch)
    job = own.submit([own.upload(Circuit(1, 1).X(0).Measure(0, 0))] * 12, AER, shots=1)
    compiling = own.submit([own.upload(Circuit(1, 1).X(0).Measure(0, 0))] * 3, AER, job_type="compile")
    executor.start()
    try:
        own.finish(job, 15)
        own.finish(compiling, 15)
    finally:
        executor.stop()
    assert db.counts["reply lost"] > 1
    assert {item.status for item in own.items(job) + own.items(compiling)} == {JobStatus.COMPLETED}
    stored = [row.result_id for row in own.rows(schema.result, job_id=job)]
    assert sorted(stored) == sorted(item.result_id or "" for item in own.items(job))
    assert len(own.rows(schema.compilation, job_id=compiling)) == 3


def test_a_cancelled_circuit_that_takes_hours_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its item was CANCELLED, and its worker computed on."""
    monkeypatch.setattr("qjobs.service.execution.abandoned._GRACE_S", 0.2)
    monkeypatch.setattr("qjobs.service.execution.abandoned._LOOK_S", 0.1)
    own = OwnService(tmp_path, workers=1)
    flip = Circuit(1, 1).X(0).Measure(0, 0)
    endless = Circuit(24)
    for layer in range(100):
        for qubit in range(24):
            endless.Rx(0.1 * (qubit + 1), qubit).CX(qubit, (qubit + 1 + layer % 3) % 24)
    try:
        own.service.executor.start()
        own.finish(own.submit([flip], AER, shots=1))
        job = own.submit([endless.measure_all()], AER, shots=10)
        own.until(lambda: own.job(job).status == "RUNNING")
        waiting = own.submit([flip], AER, shots=1)
        own.store.cancel(EVERYTHING, job)
        assert own.finish(waiting, 15).status == "COMPLETED"
        assert own.job(job).status == "CANCELLED"
        assert len(own.rows(schema.result, job_id=waiting)) == 1
    finally:
        own.close()


@pytest.fixture
def on_postgresql(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OwnService]:
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


def test_a_job_for_a_project_that_is_being_deleted_is_refused(on_postgresql: OwnService) -> None:
    """It was a failure of the service: the project went between the look at it and the row of the job."""
    own = on_postgresql
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


def test_who_changes_a_project_takes_its_locks_in_one_order(on_postgresql: OwnService) -> None:
    """Deleting a project, a compilation that ends and a change of a circuit each waited for the other for ever."""
    own = on_postgresql
    service = on_postgresql.service
    circuit = own.upload(Circuit(1, 1).Measure(0, 0))
    job = own.submit([circuit], AER, job_type="compile")
    project = schema.project
    document = schema.document
    ours = project.c.project_id == own.project
    found: list[object] = []

    def delete() -> None:
        service.content.delete_project(own.user, EVERYTHING, own.project)

    def rename() -> object:
        return service.content.update_document(own.user, EVERYTHING, DocumentKind.CIRCUIT, circuit, name="new").name

    with meanwhile(own, rename, found) as start, service.db.write() as connection:
        connection.execute(project.update().where(ours).values(archived=True))  # as who deletes it
        start()
        connection.execute(sa.select(document.c.document_id).with_for_update(nowait=True)).all()
    with meanwhile(own, delete, found) as start, service.db.write() as connection:
        locked(connection, [job])  # as the executor
        start()
        connection.execute(sa.select(project.c.project_id).where(ours).with_for_update(nowait=True)).all()
    assert found == ["new", None]


def test_two_services_do_not_work_on_one_database(
    on_postgresql: OwnService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = on_postgresql
    url = own.service.db.url.render_as_string(hide_password=False)
    monkeypatch.setattr("qjobs.service.service_lock._AFTER_KILL_S", 0.2)
    with pytest.raises(InvalidInput, match="another service works on"):
        OwnService(tmp_path / "second", url=url)
    own.service.close()
    OwnService(tmp_path / "second", url=url).close()


def test_a_service_that_lost_its_lock_waits_until_it_has_it_again(on_postgresql: OwnService) -> None:
    own = on_postgresql
    lock = on_postgresql.service.lock
    own.service.executor.start()
    job = own.submit([Circuit(1, 1).X(0).Measure(0, 0)], AER, shots=1)
    own.finish(job)
    own.service.executor.stop()
    with own.service.db.write() as connection:
        mine = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert connection.execute(sa.text(mine)).all() == [(True,)]
    other: list[sa.Connection] = []
    own.until(lambda: other.extend(filter(None, [own.service.db.hold("qjobs-service")])) or other, 10)
    assert not lock.try_acquire()
    own.service.executor.start()
    job = own.submit([Circuit(1, 1).X(0).Measure(0, 0)], AER, shots=1)
    other[0].close()
    assert own.finish(job).status == "COMPLETED"
    assert lock.try_acquire()


def test_nobody_else_reads_the_database_and_two_folders_do_not_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    options = ("--database", f"sqlite:///{tmp_path / 'jobs.db'}")
    folder.mkdir()
    folder.chmod(0o755)  # made by its owner before
    mask = os.umask(0o022)
    try:
        with RunningService(folder, options=options):
            files = [*folder.iterdir(), *tmp_path.glob("jobs.db*")]
            open_to_all = {path.name for path in files if path.stat().st_mode & 0o077 and path.is_file()}
            assert open_to_all == {"cert.pem"}
            with pytest.raises(RuntimeError, match="another service runs in"):
                RunningService(tmp_path / "other", options=options).start()
    finally:
        os.umask(mask)
