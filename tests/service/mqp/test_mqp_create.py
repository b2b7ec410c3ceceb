"""Creating jobs: what they begin as, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from mqp_parts import BELL, BELL3, INJECTIONS, START, Parts, a_hamiltonian, a_job, ids, now_of

from qjobs.errors import InvalidInput
from qjobs.service.mqp import jobs
from qjobs.service.mqp.catalogue import add_budget, add_user, budgets_of, resources, save_resource
from qjobs.service.mqp.jobs import KeyReused, MqpStatus, Resource


def test_pending_at_no_cost(parts: Parts) -> None:
    """A new circuit job is PENDING, costs nothing, and has what was asked for."""
    job = jobs.create_job(100, BELL, "ada", "research", "Q5", "qasm", True, True)
    assert (job.status, job.cost, job.timestamp_submitted) == (MqpStatus.PENDING, 0.0, START)
    asked = (job.shots, job.circuit, job.owner, job.budget, job.target_specification, job.circuit_format)
    assert asked == (100, BELL, "ada", "research", "Q5", "qasm")
    assert (job.no_modify, job.queued) == (True, True)
    assert (job.result, job.note, job.timestamp_scheduled, job.timestamp_completed) == (None, "", None, None)
    assert now_of(job) == job


def test_hamiltonian_pending(parts: Parts) -> None:
    """A new Hamiltonian job is PENDING, costs nothing, and is the first of its task."""
    job = a_hamiltonian()
    assert (job.status, job.cost, job.task_id) == (MqpStatus.PENDING, 0.0, job.id)
    assert (job.interaction_str, job.coefficients_str) == ("0 1; 1 2;", "0.5 0.1;")
    assert (job.epochs, job.params, job.parametric_circuit) == (None, None, None)
    assert now_of(job) == job


def test_records_are_frozen(parts: Parts) -> None:
    """What was read cannot be changed by mistake."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_job().note = "changed"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("circuit", "form"),
    [
        (str([BELL, BELL]), "qasm"),
        (json.dumps([BELL, BELL, BELL]), "qasm"),
        (BELL, "qasm"),
        (f"\n{BELL}", "qasm"),
        (BELL3, "qasm3"),
        (str([BELL3]), "qasm3"),
    ],
)
def test_forms_of_circuits(parts: Parts, circuit: str, form: str) -> None:
    """A list as Python or JSON writes it and a bare text are all taken, and kept as they came."""
    assert jobs.create_job(1, circuit, "ada", "research", "Q5", form).circuit == circuit


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner": "nobody"}, "owner"),
        ({"owner": ""}, "owner"),
        ({"budget": "unknown"}, "budget"),
        ({"budget": "bobs-own"}, "budget"),
        ({"target_spec": "Q6"}, "target_spec"),
        ({"target_spec": ""}, "target_spec"),
        ({"shots": 0}, "shots"),
        ({"shots": -1}, "shots"),
        ({"shots": 1001}, "shots"),
        ({"shots": True}, "shots"),
        ({"shots": 1.5}, "shots"),
        ({"shots": "100"}, "shots"),
        ({"circuit": ""}, "circuit"),
        ({"circuit": "[]"}, "circuit"),
        ({"circuit": "[1]"}, "circuit"),
        ({"circuit": "['" + BELL}, "circuit"),
        ({"circuit": str([BELL] * 4)}, "circuit"),
        ({"circuit": "[" * 5000}, "circuit"),
        ({"circuit": "__import__('os')"}, "circuit[0]"),
        ({"circuit": "hello"}, "circuit[0]"),
        ({"circuit": str([BELL, BELL.replace("q[2]", "q[6]")])}, "circuit[1]"),
        ({"circuit": BELL3}, "circuit[0]"),
        ({"circuit_format": "qasm3"}, "circuit[0]"),
        ({"circuit_format": "quil"}, "circuit_format"),
    ],
)
def test_circuit_refused(parts: Parts, changes: dict[str, Any], field: str) -> None:
    """What cannot be run is refused with the field that is wrong, and nothing is stored."""
    good = {"shots": 10, "circuit": BELL, "owner": "ada", "budget": "research", "target_spec": "Q5"}
    with pytest.raises(InvalidInput) as caught:
        jobs.create_job(**{**good, "circuit_format": "qasm", **changes})
    assert caught.value.field == field
    assert parts.rows() == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner": "nobody"}, "owner"),
        ({"budget": "bobs-own"}, "budget"),
        ({"target_spec": "Q6"}, "target_spec"),
        ({"interaction_str": ""}, "interaction_str"),
        ({"interaction_str": "0 1; a;"}, "interaction_str"),
        ({"interaction_str": "0 1;; 1 2;"}, "interaction_str"),
        ({"interaction_str": "0 0; 1 2;"}, "interaction_str"),
        ({"interaction_str": "0 1; 1 5;"}, "interaction_str"),
        ({"interaction_str": "0 1;"}, "coefficients_str"),
        ({"coefficients_str": "0.5"}, "coefficients_str"),
        ({"coefficients_str": "0.5 x;"}, "coefficients_str"),
        ({"coefficients_str": "0.5 nan;"}, "coefficients_str"),
        ({"coefficients_str": "0.5 1j;"}, "coefficients_str"),
        ({"interaction_str": "", "coefficients_str": ""}, "interaction_str"),
    ],
)
def test_hamiltonian_refused(parts: Parts, changes: dict[str, Any], field: str) -> None:
    """Malformed, empty, complex or unequal strings are refused, and nothing is stored."""
    good = {"interaction_str": "0 1; 1 2;", "coefficients_str": "0.5 0.1;", "owner": "ada", "budget": "research"}
    with pytest.raises(InvalidInput) as caught:
        jobs.create_hamiltonian_job(**{**good, "target_spec": "Q5", **changes})
    assert caught.value.field == field
    assert parts.rows() == 0


def test_removed_user(parts: Parts) -> None:
    """A user who was removed creates nothing."""
    from qjobs.service.tables import user

    with parts.database.db.write() as connection:
        connection.execute(user.update().where(user.c.email == "ada").values(password_hash=""))
    with pytest.raises(InvalidInput, match="no user"):
        a_job()


def test_same_key_same_job(parts: Parts) -> None:
    """The same key and body give the same job, however it has moved since."""
    first = jobs.create_job(10, BELL, "ada", "research", "Q5", "qasm", key="k")
    jobs.cancel_job(first.id, "enough")
    again = jobs.create_job(10, BELL, "ada", "research", "Q5", "qasm", key="k")
    assert (again.id, again.status, parts.rows()) == (first.id, MqpStatus.CANCELLED, 1)


@pytest.mark.parametrize("changes", [{"shots": 11}, {"circuit": BELL3, "circuit_format": "qasm3"}, {"queued": True}])
def test_same_key_other_body(parts: Parts, changes: dict[str, Any]) -> None:
    """The same key with another body is refused, and nothing is stored."""
    good = {"shots": 10, "circuit": BELL, "owner": "ada", "budget": "research", "target_spec": "Q5", "key": "k"}
    jobs.create_job(**{**good, "circuit_format": "qasm"})
    with pytest.raises(KeyReused):
        jobs.create_job(**{**good, "circuit_format": "qasm", **changes})
    assert parts.rows() == 1


def test_key_of_another_kind(parts: Parts) -> None:
    """A key of a circuit job is no key of a Hamiltonian job."""
    jobs.create_job(10, BELL, "ada", "research", "Q5", "qasm", key="k")
    with pytest.raises(KeyReused):
        jobs.create_hamiltonian_job("0;", "1;", "ada", "research", "Q5", key="k")


def test_keys_are_of_owners(parts: Parts) -> None:
    """Two owners may use the same key."""
    first = jobs.create_job(10, BELL, "ada", "research", "Q5", "qasm", key="k")
    second = jobs.create_job(10, BELL, "bob", "research", "Q5", "qasm", key="k")
    assert first.id != second.id


def test_task_of_several(parts: Parts) -> None:
    """Jobs that name a task are found by it, the first one first; those of other tasks are not."""
    first = a_hamiltonian()
    second = a_hamiltonian(task_id=first.id)
    third = a_hamiltonian(task_id=second.id)
    a_hamiltonian()
    assert [job.task_id for job in (first, second, third)] == [first.id] * 3
    assert ids(jobs.fetch_hamiltonian_job_by_task_id(first.id)) == [first.id, second.id, third.id]
    assert jobs.fetch_hamiltonian_job_by_task_id(second.id) == []
    assert jobs.fetch_hamiltonian_job_by_task_id(10**30) == []


def test_task_of_another(parts: Parts) -> None:
    """A task of another owner, or none, cannot be joined."""
    theirs = a_hamiltonian("bob")
    circuit = a_job()
    for task_id in (theirs.id, circuit.id, 10**9):
        with pytest.raises(InvalidInput, match="no task"):
            a_hamiltonian(task_id=task_id)


@pytest.mark.parametrize("hostile", INJECTIONS)
@pytest.mark.parametrize("place", ["circuit", "owner", "budget", "target_spec", "circuit_format", "key"])
def test_sql_in_create(parts: Parts, place: str, hostile: str) -> None:
    """SQL in any text of a new job is refused or stored as text; the other jobs stay as they are."""
    kept = a_job("bob")
    good = {"shots": 10, "circuit": BELL, "owner": "ada", "budget": "research", "target_spec": "Q5"}
    try:
        jobs.create_job(**{**good, "circuit_format": "qasm", place: hostile})
    except InvalidInput:
        assert place != "key" or not hostile.isprintable()
    else:
        assert place == "key"
    assert now_of(kept) == kept


@pytest.mark.parametrize("hostile", INJECTIONS)
@pytest.mark.parametrize("place", ["interaction_str", "coefficients_str", "owner", "budget", "target_spec"])
def test_sql_in_hamiltonian(parts: Parts, place: str, hostile: str) -> None:
    """SQL in any text of a new Hamiltonian job is refused."""
    good = {"interaction_str": "0 1;", "coefficients_str": "0.5;", "owner": "ada", "budget": "research"}
    with pytest.raises(InvalidInput):
        jobs.create_hamiltonian_job(**{**good, "target_spec": "Q5", place: hostile})
    assert parts.rows() == 0


def test_names_in_any_case(parts: Parts) -> None:
    """A user is the same in capitals; a second `add_user` or `add_budget` changes nothing."""
    add_user(parts.database, " ADA ")
    add_budget(parts.database, "Ada", "research")
    assert budgets_of(parts.database, "ADA") == ["research"]
    assert a_job("Ada").owner == "ada"


def test_budget_of_nobody(parts: Parts) -> None:
    """A budget belongs to a user, and has a name."""
    with pytest.raises(InvalidInput, match="no user"):
        add_budget(parts.database, "nobody", "research")
    with pytest.raises(InvalidInput, match="name"):
        add_budget(parts.database, "ada", " ")
    with pytest.raises(InvalidInput, match="name"):
        add_user(parts.database, "\x00")


def test_resource_replaced(parts: Parts) -> None:
    """Saving a resource again replaces it; numbers are positive."""
    save_resource(parts.database, Resource(name="Q5", qubits=7, connectivity="[[0, 1]]"))
    assert [(each.name, each.qubits) for each in resources(parts.database)] == [("Q20", 20), ("Q5", 7)]
    with pytest.raises(InvalidInput, match="qubits"):
        save_resource(parts.database, Resource(name="Q5", qubits=0))
