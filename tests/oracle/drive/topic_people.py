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


def check_other_users_lists() -> None:
    """Nobody finds another user's project, or lists what is in it."""
    made = _private()["project"]
    with signed_in(BOB):
        refused(lambda: qnx.projects.get(id=made.id), ZeroMatches)
        refused(lambda: qnx.projects.get(name=made.annotations.name), ZeroMatches)
        same(qnx.projects.get_all(creator_email=[ADA]).count(), 0)
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
        refused(lambda: qnx.roles.assignments(found["project"]), ResourceFetchFailed)
        refused(lambda: qnx.roles.assign_user(found["project"], BOB, "Administrator"), ResourceUpdateFailed)
    project = qnx.projects.get(id=found["project"].id)
    same((qnx.jobs.status(found["job"]), project.annotations), (before, found["project"].annotations))
    same(qnx.circuits.get(id=found["circuit"].id).annotations.name, "bell")


def check_own_project_of_another_user() -> None:
    """A project's name is free for others; another user's circuit does not run in it."""
    found = _private()
    name = found["project"].annotations.name
    with signed_in(BOB):
        mine = qnx.projects.create(name)
        error = refused(lambda: execute(found["circuit"], 10, qnx.AerConfig(), project=mine), ResourceCreateFailed)
    same((mine.annotations.name, 400 <= error.status_code < 500), (name, True))


def check_roles() -> None:
    """There are four roles; the maker of a project is its administrator, and may have a second role."""
    same(sorted(role.name for role in qnx.roles.get_all()), ROLES)
    reader = qnx.roles.get("Reader")
    same((reader.name, "READ" in reader.permissions.upper()), ("Reader", True))
    made = new_project("owned")
    (found,) = qnx.roles.assignments(made)
    same((found.assignment_type, found.assignee, found.role.name), ("user", qnx.users.get_self(), "Administrator"))
    qnx.roles.assign_user(made, ADA, "Reader")
    same(sorted(found.role.name for found in qnx.roles.assignments(made)), ["Administrator", "Reader"])


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


def check_teams() -> None:
    """A team is seen by its members, and has a role in a project."""
    team = qnx.teams.create(fresh("team"), description="words")
    same((qnx.teams.get(team.name), team.description, team in qnx.teams.get_all()), (team, "words", True))
    refused(lambda: qnx.teams.get("nobody's"), ZeroMatches)
    with signed_in(BOB):
        refused(lambda: qnx.teams.get(team.name), ZeroMatches)
    made = new_project("of a team")
    qnx.roles.assign_team(made, team, "Contributor")
    found = [(each.assignment_type, each.role.name) for each in qnx.roles.assignments(made)]
    same(sorted(found), [("team", "Contributor"), ("user", "Administrator")])


def check_quotas() -> None:
    """There are four quotas, which jobs use and another user does not see."""
    _private()
    found = {quota.name for quota in qnx.quotas.get_all()}
    same(found, {"compilation", "simulation", "jupyterhub", "database_usage"})
    same(qnx.quotas.get("simulation").name, "simulation")
    same([qnx.quotas.get(name).usage > 0 for name in ("simulation", "compilation", "database_usage")], [True] * 3)
    names = ("simulation", "compilation", "jupyterhub", "nothing")
    same([qnx.quotas.check_quota(name) for name in names], [True, True, True, False])
    me = str(qnx.users.get_self().id)
    with signed_in(BOB), raw() as client:
        answer = client.get("/api/quotas/v1beta", params={"entity_type": "user", "entity_id": me})
    same(400 <= answer.status_code < 500, True)
