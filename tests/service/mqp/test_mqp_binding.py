"""Binding: the names and signatures of the portal's functions, which database they mean, and older databases."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from mqp_parts import BELL, ROOT, a_job, ids

from qjobs.errors import InvalidInput, LedgerSchemaMismatch
from qjobs.ledger.database import Database
from qjobs.service.mqp import jobs
from qjobs.service.mqp.catalogue import add_budget, add_user, save_resource
from qjobs.service.mqp.jobs import JobDatabase, Resource, bind, using
from qjobs.service.tables import (
    SERVICE,
    mqp_budget,
    mqp_job,
    mqp_resource,
    qoro_circuit,
    qoro_job,
    retired_token,
    service_meta,
)

SIGNATURES = {
    "cancel_hamiltonian_job": "job_id, note",
    "cancel_job": "job_id, note",
    "complete_hamiltonian_job_with_result": "job_id, result, executed_resource, executed_circuit, note=''",
    "complete_job_with_result": "job_id, result, executed_resource, executed_circuit, note=''",
    "create_hamiltonian_job": "interaction_str, coefficients_str, owner, budget, target_spec",
    "create_job": "shots, circuit, owner, budget, target_spec, circuit_format, no_modify=False, queued=False",
    "fetch_all_pending_hamiltonian_jobs": "",
    "fetch_all_pending_jobs": "",
    "fetch_all_pending_jobs_except_for_resource_not_from_users": "resource, userids",
    "fetch_all_pending_jobs_except_for_resources": "resources",
    "fetch_all_pending_jobs_for_resource_from_users": "resource, userids",
    "fetch_all_pending_jobs_for_resource_not_from_users": "resource, userids",
    "fetch_all_pending_jobs_from_users": "userids",
    "fetch_all_waiting_hamiltonian_jobs": "",
    "fetch_all_waiting_jobs": "",
    "fetch_by_identity": "identity",
    "fetch_by_identity_pages": "identity, page, jobs_per_page, order, order_by, filter_query",
    "fetch_hamiltonian_job_by_identity": "identity",
    "fetch_hamiltonian_job_by_task_id": "task_id",
    "fetch_result_by_job_id_and_identity": "job_id, identity",
    "filter_queued_if_offline_and_fetch": "qdb, jobs",
    "is_within_active_job_limit": "qdb, job",
    "update_hybrid_job": "job_id, epochs, params, parametric_circuit, note",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    """Each function of the portal has its name, and its parameters in their order; ours come by keyword alone."""
    found = inspect.signature(getattr(jobs, name))
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    theirs = [each for each in plain if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert ", ".join(map(str, theirs)) == SIGNATURES[name]
    assert all(each.default is not inspect.Parameter.empty for each in plain if each not in theirs)
    assert name in jobs.__all__


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[JobDatabase, JobDatabase]]:
    """Two databases, each with a user, a budget and a resource."""
    with (
        JobDatabase.open(f"sqlite:///{tmp_path / 'one.db'}") as one,
        JobDatabase.open(f"sqlite:///{tmp_path / 'two.db'}") as other,
    ):
        for each in (one, other):
            add_user(each, "ada")
            add_budget(each, "ada", "research")
            save_resource(each, Resource(name="Q5", qubits=5))
        yield one, other


def test_nothing_bound() -> None:
    """Without a database a function says how to bind one."""
    with pytest.raises(InvalidInput, match="bind"):
        jobs.fetch_all_pending_jobs()


def test_bound_in_all_threads(two: tuple[JobDatabase, JobDatabase]) -> None:
    """`bind` counts for all threads, until another is bound."""
    one, other = two
    bind(one)
    try:
        job = a_job()
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.extend(ids(jobs.fetch_by_identity("ada"))))
        thread.start()
        thread.join()
        assert found == [job.id]
        bind(other)
        assert jobs.fetch_by_identity("ada") == []
    finally:
        bind(None)


def test_using_counts_here(two: tuple[JobDatabase, JobDatabase]) -> None:
    """`using` counts inside its block and thread alone, and goes before `bind`; `qdb` goes before both."""
    one, other = two
    bind(one)
    try:
        with using(other):
            job = a_job()
            seen: list[int] = []
            thread = threading.Thread(target=lambda: seen.extend(ids(jobs.fetch_by_identity("ada"))))
            thread.start()
            thread.join()
            assert (ids(jobs.fetch_by_identity("ada")), seen) == ([job.id], [])
        assert jobs.fetch_by_identity("ada") == []
        assert jobs.is_within_active_job_limit(one, job)
        assert ids(jobs.filter_queued_if_offline_and_fetch(other, [job])) == [job.id]
    finally:
        bind(None)


def test_page_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of the page runs as it is printed."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "mqp.md").read_text(), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "1 ada WAITING\n"


def _as_version(url: str, version: int) -> None:
    """Make the database as an older version left it: 1 had no portal, 1 and 2 no Qoro, and none of them rotation."""
    db = Database(url, SERVICE)
    newer = [retired_token]
    if version < 3:
        newer += [qoro_circuit, qoro_job]
    if version < 2:
        newer += [mqp_job, mqp_resource, mqp_budget]
    with db.write() as connection:
        for table in newer:
            table.drop(connection)
        connection.execute(sa.text("ALTER TABLE service_session DROP COLUMN rotates"))
        row = service_meta.update().where(service_meta.c.name == "schema_version")
        connection.execute(row.values(value=str(version)))
    db.close()


def _shape(url: str) -> dict[str, object]:
    engine = sa.create_engine(url)
    try:
        look = sa.inspect(engine)
        return {
            name: (
                [str(column["name"]) for column in look.get_columns(name)],
                sorted(str(index["name"]) for index in look.get_indexes(name)),
                sorted(str(check["sqltext"]) for check in look.get_check_constraints(name)),
                sorted(str(key["constrained_columns"]) for key in look.get_foreign_keys(name)),
            )
            for name in look.get_table_names()
        }
    finally:
        engine.dispose()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_upgraded_is_fresh(ledger_url: str, version: int) -> None:
    """A service's database of an older schema gets what it lacks, keeps its users, and is as a new one."""
    Database(ledger_url, SERVICE).close()
    fresh = _shape(ledger_url)
    with JobDatabase.open(ledger_url) as database:
        add_user(database, "ada")
    _as_version(ledger_url, version)
    older = _shape(ledger_url)
    assert ("mqp_job" in older, "qoro_job" in older) == (version >= 2, version >= 3)
    with JobDatabase.open(ledger_url) as database, using(database):
        assert _shape(ledger_url) == fresh
        add_budget(database, "ada", "research")
        save_resource(database, Resource(name="Q5", qubits=5))
        assert jobs.create_job(1, BELL, "ada", "research", "Q5", "qasm").id > 0


def test_newer_is_refused(ledger_url: str) -> None:
    """A database of a newer version is left alone."""
    Database(ledger_url, SERVICE).close()
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(service_meta.update().where(service_meta.c.name == "schema_version").values(value="99"))
    engine.dispose()
    with pytest.raises(LedgerSchemaMismatch):
        Database(ledger_url, SERVICE)
