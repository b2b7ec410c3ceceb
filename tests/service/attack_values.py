"""Good values of fields and parameters for made-up requests: the attacker's own things, and another user's."""

from __future__ import annotations

from typing import Any

from attack_people import Person
from fuzzing import SQL
from qoro_person import BELL, observables, packed
from standing_service import GHZ

__all__ = ["values_of"]


def values_of(mallory: Person, victim: Person) -> dict[str, list[Any]]:
    """By name; `DELETE job_id` is for that method alone."""
    return {name: [value] for name, value in GHZ.items()} | {
        "project_id": [mallory.project] * 3 + [victim.project],
        "document_id": [mallory.circuit, mallory.qir, *mallory.files, victim.circuit, victim.qir],
        # What is deleted, archived or run again is not what the other requests need.
        "DELETE project_id": [mallory.spare_projects[0], mallory.project, victim.project],
        "PATCH project_id": [mallory.spare_projects[1], victim.project],
        "DELETE job_id": [mallory.spare_jobs[0], *victim.jobs],
        "POST job_id": [*mallory.spare_jobs[1:], *victim.jobs],
        "job_id": [*mallory.jobs, *victim.jobs],
        "result_id": [mallory.result, victim.result],
        "compilation_id": [mallory.compilation, victim.compilation],
        "filter[compilation][id]": [mallory.compilation, victim.compilation],
        "team_id": [mallory.team, victim.team],
        "resource_id": [mallory.project, victim.project],
        "for_user_id": [mallory.user, victim.user],
        "entity_id": [mallory.user, victim.user],
        "user_id": [mallory.user, victim.user],
        "name": ["a name", *SQL, mallory.user, victim.user, "simulation", "ada@localhost.test"],
        "device_name": ["H1-1", "H2-1SC", "Aer"],
        "id": [mallory.project] * 5 + [victim.project, mallory.circuit],
        "definition": [mallory.definition("execute"), mallory.definition("compile"), victim.definition("execute")],
        "job_type": ["execute", "execute", "compile", "EXECUTE", "EXPECTATION"],
        "simulator_cluster": ["Aer", "qoro_maestro"],
        "qpu_system_name": [None, None, "H1-1"],
        "DELETE qoro_id": [*mallory.qoro_jobs[:5], victim.qoro_done, victim.qoro_jobs[0]],
        "POST qoro_id": [*mallory.qoro_jobs[5:], victim.qoro_done, victim.qoro_jobs[0]],
        "qoro_id": [mallory.qoro_done, *mallory.qoro_jobs[-3:], victim.qoro_done, victim.qoro_jobs[0]],
        "circuits": [{"a": packed(BELL)}, {"a": packed(BELL)}, {"a": "QUJD"}, {}],
        "circuit_template": [None, None, packed(BELL), "QUJD"],
        "shots": [10, 10**9],
        "shot_groups": [None, None, [[0, 1, 5]], [[1, 0, 5]]],
        "observables": [None, None, "@gzs2:QUJD", observables("Z0;X1")],
        "circuit_ham_map": [None, None, [[0, 1]]],
        "finalized": ["true", "false"],
        "backend_config": [{"type": "AerConfig"}, {"type": "QuantinuumConfig", "device_name": "H1-1"}],
        "property": ["supports_shots", "supports_nothing"],
        "contents": ["QUJD", "not base64!"],
        "color": ["#0072b2", "red"],
        "kind": ["job", "job", "hamiltonian_job"],
        "DELETE uuid": [mallory.cancelled, mallory.portal_jobs[0], *victim.portal_jobs],
        "uuid": [*mallory.portal_jobs, *victim.portal_jobs],
        "resource_name": ["Aer", "H1-1"],
        "circuit": [mallory.portal_circuit, str([mallory.portal_circuit]), "['x'", "[[[["],
        "interaction_str": ["0 1;", "0 1; 1;", "x"],
        "coefficients_str": ["0.5;", "1e3 2;", "nan"],
        "properties": [{"a": 1}, {"b": True, "c": "text", "d": 1.5}],
    }
