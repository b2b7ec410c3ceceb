"""Two users, teams, roles, assignments, quotas, credentials."""

from __future__ import annotations

import functools
from typing import Any

import httpx
import qnexus as qnx
from qnexus.exceptions import (
    ResourceCreateFailed,
    ResourceFetchFailed,
    ResourceUpdateFailed,
    ZeroMatches,
)
from qnexus.models.job_status import JobStatusEnum
from session import ADA, BOB, bell, execute, final, fresh, new_project, raw, refused, same, signed_in, upload

ROLES = ["Administrator", "Contributor", "Maintainer", "Reader"]


@functools.cache
def _private() -> dict[str, Any]:
    """A project of Ada's with one of everything."""
    made = new_project("private")
    circuit = upload(bell(), project=made)
    job = execute(circuit, 10, qnx.AerConfig(), "private", project=made)
    compiled = qnx.start_compile_job(
        programs=circuit, backend_config=qnx.AerConfig(), name="private compile", project=made
    )
    final(job)
    final(compiled)
    return {
        "project": made,
        "circuit": circuit,
        "job": job,
        "compiled": compiled,
        "result": qnx.jobs.results(job)[0],
        "compilation": qnx.jobs.results(compiled)[0],
        "qir": qnx.qir.upload(b"BC\xc0\xde", name="private", project=made),
    }


def check_other_users_projects() -> None:
    made = _private()["project"]
    with signed_in(BOB):
        refused(lambda: qnx.projects.get(id=made.id), ZeroMatches)
        refused(lambda: qnx.projects.get(name=made.annotations.name), ZeroMatches)
        same(qnx.projects.get_all(creator_email=[ADA]).count(), 0)


def check_other_users_lists_are_empty() -> None:
    made = _private()["project"]
    with signed_in(BOB):
        same([client.get_all(project=made).count() for client in (qnx.circuits, qnx.jobs, qnx.qir, qnx.hugr)], [0] * 4)


def check_other_users_things() -> None:
    found = _private()
    with signed_in(BOB):
        refused(lambda: qnx.circuits.get(id=found["circuit"].id), ZeroMatches)
        refused(lambda: qnx.qir.get(id=found["qir"].id), ZeroMatches)
        refused(lambda: qnx.jobs.get(id=found["job"].id), ZeroMatches)
        refused(lambda: qnx.results.get(found["result"].id), ZeroMatches)
        refused(lambda: qnx.jobs.status(found["job"]), ResourceFetchFailed)
        refused(lambda: qnx.jobs.cost(found["job"]), ResourceFetchFailed)
        refused(lambda: qnx.jobs.results(found["compiled"]), ZeroMatches)
        same(list(qnx.projects.get_properties(found["project"])), [])
        refused(found["compilation"].get_output, ZeroMatches)


def check_other_users_things_stay_as_they_are() -> None:
    found = _private()
    before = qnx.jobs.status(found["job"])
    with signed_in(BOB):
        refused(lambda: qnx.jobs.cancel(found["job"]), httpx.HTTPStatusError)
        refused(lambda: qnx.jobs.retry_submission(found["job"]), httpx.HTTPStatusError)
        refused(lambda: qnx.jobs.delete(found["job"]), httpx.HTTPStatusError)
        refused(lambda: qnx.circuits.update(found["circuit"], name="mine"), ResourceUpdateFailed)
        refused(lambda: qnx.projects.update(found["project"], name="mine", archive=True), ResourceUpdateFailed)
        refused(lambda: upload(bell(), project=found["project"]), ResourceCreateFailed)
        refused(lambda: qnx.projects.add_property("x", "int", project=found["project"]), ResourceCreateFailed)
        refused(lambda: execute(found["circuit"], 1, qnx.AerConfig(), project=found["project"]), ResourceCreateFailed)
    project = qnx.projects.get(id=found["project"].id)
    same((qnx.jobs.status(found["job"]), project.annotations), (before, found["project"].annotations))
    same(qnx.circuits.get(id=found["circuit"].id).annotations.name, "bell")


def check_other_users_circuit_in_an_own_job() -> None:
    circuit = _private()["circuit"]
    with signed_in(BOB):
        mine = new_project("of Bob")
        error = refused(lambda: execute(circuit, 10, qnx.AerConfig(), project=mine), ResourceCreateFailed)
    same(400 <= error.status_code < 500, True)


def check_same_project_name_of_two_users() -> None:
    name = _private()["project"].annotations.name
    with signed_in(BOB):
        same(qnx.projects.create(name).annotations.name, name)


def check_other_users_assignments() -> None:
    made = _private()["project"]
    with signed_in(BOB):
        refused(lambda: qnx.roles.assignments(made), ResourceFetchFailed)
        refused(lambda: qnx.roles.assign_user(made, BOB, "Administrator"), ResourceUpdateFailed)
    refused_still = qnx.projects.get(id=made.id)
    same(refused_still.id, made.id)


# ---- roles -------------------------------------------------------------------------------------------


def check_roles() -> None:
    same(sorted(role.name for role in qnx.roles.get_all()), ROLES)


def check_role_by_name() -> None:
    found = qnx.roles.get("Reader")
    same((found.name, "READ" in found.permissions.upper()), ("Reader", True))


def check_owner_is_administrator() -> None:
    (found,) = qnx.roles.assignments(new_project("owned"))
    same((found.assignment_type, found.assignee, found.role.name), ("user", qnx.users.get_self(), "Administrator"))


def check_reader_reads() -> None:
    made = new_project("shared for reading")
    circuit = upload(bell(), project=made)
    qnx.roles.assign_user(made, BOB, "Reader")
    with signed_in(BOB):
        found = qnx.circuits.get(project=qnx.projects.get(id=made.id), name="bell").id
        error = refused(lambda: upload(bell(), project=made), ResourceCreateFailed)
    same((found, 400 <= error.status_code < 500), (circuit.id, True))


def check_contributor_writes() -> None:
    made = new_project("shared for writing")
    qnx.roles.assign_user(made, BOB, "Contributor")
    with signed_in(BOB):
        circuit = upload(bell(), name="of Bob", project=made)
        job = execute(circuit, 10, qnx.AerConfig(), project=made)
        status = final(job).status
    same((qnx.circuits.get(id=circuit.id).annotations.name, status), ("of Bob", JobStatusEnum.COMPLETED))
    same(len(qnx.jobs.results(qnx.jobs.get(id=job.id))), 1)


def check_second_role_of_a_user() -> None:
    made = new_project("two roles")
    qnx.roles.assign_user(made, ADA, "Reader")
    same(sorted(found.role.name for found in qnx.roles.assignments(made)), ["Administrator", "Reader"])


# ---- teams -------------------------------------------------------------------------------------------


@functools.cache
def _team() -> Any:
    return qnx.teams.create(fresh("team"), description="words")


def check_team() -> None:
    made = _team()
    same((qnx.teams.get(made.name), made.description), (made, "words"))


def check_teams() -> None:
    same(_team() in qnx.teams.get_all(), True)


def check_unknown_team() -> None:
    refused(lambda: qnx.teams.get("nobody's"), ZeroMatches)


def check_assign_team() -> None:
    made = new_project("of a team")
    qnx.roles.assign_team(made, _team(), "Contributor")
    found = [(a.assignment_type, a.role.name) for a in qnx.roles.assignments(made)]
    same(sorted(found), [("team", "Contributor"), ("user", "Administrator")])


def check_other_users_team() -> None:
    _team()
    with signed_in(BOB):
        refused(lambda: qnx.teams.get(_team().name), ZeroMatches)


# ---- quotas, credentials -----------------------------------------------------------------------------


def check_quotas() -> None:
    found = {quota.name for quota in qnx.quotas.get_all()}
    same(found, {"compilation", "simulation", "jupyterhub", "database_usage"})


def check_one_quota() -> None:
    found = qnx.quotas.get("simulation")
    same((found.name, isinstance(found.usage, (int, float)), found.usage >= 0), ("simulation", True, True))


def check_quota_is_used() -> None:
    _private()
    same([qnx.quotas.get(name).usage > 0 for name in ("simulation", "compilation", "database_usage")], [True] * 3)


def check_quota_guard() -> None:
    same([qnx.quotas.check_quota(name) for name in ("simulation", "compilation", "jupyterhub")], [True] * 3)


def check_quota_guard_of_nothing() -> None:
    same(qnx.quotas.check_quota("nothing"), False)


def check_other_users_quota() -> None:
    me = str(qnx.users.get_self().id)
    with signed_in(BOB), raw() as client:
        answer = client.get("/api/quotas/v1beta", params={"entity_type": "user", "entity_id": me})
    same(400 <= answer.status_code < 500, True)


def check_credentials() -> None:
    same(list(qnx.credentials.get_all()), [])
