"""Two users, teams, roles, assignments, quotas, credentials."""

from __future__ import annotations

import qnexus as qnx
from qnexus.exceptions import ResourceFetchFailed, ZeroMatches
from qnexus.models.job_status import JobStatusEnum
from session import ADA, BOB, bell, execute, final, fresh, new_project, refused, same, signed_in, upload

ROLES = ["Administrator", "Contributor", "Maintainer", "Reader"]


def check_other_users_things() -> None:
    """What another user may not see is for the client what does not exist."""
    made = new_project("private")
    circuit = upload(bell(), project=made)
    job = execute(circuit, 10, qnx.AerConfig(), project=made)
    final(job)
    (result,) = qnx.jobs.results(job)
    with signed_in(BOB):
        refused(lambda: qnx.projects.get(id=made.id), ZeroMatches)
        refused(lambda: qnx.circuits.get(id=circuit.id), ZeroMatches)
        refused(lambda: qnx.jobs.get(id=job.id), ZeroMatches)
        refused(lambda: qnx.results.get(result.id), ZeroMatches)
        refused(lambda: qnx.jobs.status(job), ResourceFetchFailed)


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
    """There are four quotas, which jobs use."""
    made = new_project("used")
    circuit = upload(bell(), project=made)
    final(execute(circuit, 10, qnx.AerConfig(), project=made))
    final(qnx.start_compile_job(programs=circuit, backend_config=qnx.AerConfig(), name="used", project=made))
    found = {quota.name for quota in qnx.quotas.get_all()}
    same(found, {"compilation", "simulation", "jupyterhub", "database_usage"})
    same(qnx.quotas.get("simulation").name, "simulation")
    same([qnx.quotas.get(name).usage > 0 for name in ("simulation", "compilation", "database_usage")], [True] * 3)
    names = ("simulation", "compilation", "jupyterhub", "nothing")
    same([qnx.quotas.check_quota(name) for name in names], [True, True, True, False])
