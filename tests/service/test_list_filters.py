"""Filters and scopes of the lists, on both databases."""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
from standing_service import Person, Standing

from qjobs.service.errors import BadRequest
from qjobs.service.store.queries import DOCUMENTS, JOBS, PROJECTS, listing_of

CIRCUITS = "/api/circuits/v1beta2"
JOBS_URL = "/api/jobs/v1beta3"
PROJECTS_URL = "/api/projects/v1beta2"
TEAMS = "/api/teams/v1beta2"


def test_names(ada: Person) -> None:
    """Names are matched exactly or in part."""
    project = ada.project()
    for name in ("ghz", "ghz 2", "GHZ", "a%b", "a_b", "axb", "back\\slash"):
        ada.circuit(project, name=name)
    assert ada.names(CIRCUITS, ("filter[name_exact]", "ghz")) == ["ghz"]
    assert ada.names(CIRCUITS, ("filter[name]", "ghz")) == ["ghz"]
    several = [("filter[name_exact]", name) for name in ("ghz", "a%b", "nothing")]
    assert sorted(ada.names(CIRCUITS, *several)) == ["a%b", "ghz"]
    assert sorted(ada.names(CIRCUITS, ("filter[name_fuzzy]", "hz"))) == ["GHZ", "ghz", "ghz 2"]
    assert ada.names(CIRCUITS, ("filter[name_fuzzy]", "%")) == ["a%b"]
    assert ada.names(CIRCUITS, ("filter[name_fuzzy]", "a_")) == ["a_b"]
    assert ada.names(CIRCUITS, ("filter[name_fuzzy]", "\\")) == ["back\\slash"]
    assert len(ada.names(CIRCUITS, ("filter[name_fuzzy]", ""))) == 7
    assert ada.names(CIRCUITS, ("filter[name_exact]", "")) == []


def test_filters_combine(ada: Person) -> None:
    """Filters are all fulfilled at once."""
    one = ada.project()
    two = ada.project()
    ada.circuit(one, name="x", properties={"a": 1})
    ada.circuit(one, name="y", properties={"a": 1})
    ada.circuit(two, name="x", properties={"a": 1})
    ada.circuit(one, name="x", properties={"a": 2})
    asked = [("filter[name_exact]", "x"), ("filter[project][id]", one), ("filter[properties]", "(a,1)")]
    for number in range(len(asked)):
        assert len(ada.names(CIRCUITS, *(asked[:number] + asked[number + 1 :]))) == 2
    assert len(ada.names(CIRCUITS, *asked)) == 1


@pytest.mark.parametrize(
    "words",
    [
        "'; DROP TABLE service_job; --",
        "' OR '1'='1",
        '" OR ""="',
        "x') OR 1=1 --",
        "\\",
        "\u2028",
        "%27",
        "🦆",
        "${7*7}",
    ],
)
def test_sql_is_only_text(ada: Person, words: str) -> None:
    """SQL in a text is only a text."""
    project = ada.project(name=words)
    ada.circuit(project, name=words, properties={words: words})
    ada.circuit(project, name="other", properties={words: "other"})
    assert ada.names(CIRCUITS, ("filter[name_exact]", words)) == [words]
    assert ada.names(CIRCUITS, ("filter[name_fuzzy]", words)) == [words]
    assert ada.names(CIRCUITS, ("filter[properties]", f'({words},"{words}")')) == [words]
    assert ada.names(CIRCUITS, ("filter[creator][email]", words)) == []
    assert ada.names(PROJECTS_URL, ("filter[name]", words)) == [words]
    for name in ("filter[project][id]", "filter[timestamps][created][after]", "sort", "scope", "page[size]"):
        assert ada.get(CIRCUITS, (name, words), code=400)["message"]
    ada.get(f"{CIRCUITS}/{quote(words, safe='')}", code=404)
    assert len(ada.names(CIRCUITS)) == 2


def test_times(ada: Person) -> None:
    """Times are UTC, in the client's form and in ISO's."""
    project = ada.project()
    first = ada.circuit(project, name="first")
    second = ada.circuit(project, name="second")
    ada.patch(f"{CIRCUITS}/{first}", {"description": "changed"})

    def moment(circuit: str, what: str) -> datetime:
        stamp = ada.get(f"{CIRCUITS}/{circuit}")["data"]["attributes"]["timestamps"][what]
        return datetime.fromisoformat(stamp)

    between = moment(second, "created") - timedelta(microseconds=1)
    naive = between.strftime("%Y-%m-%d %H:%M:%S.%f")
    aware = between.astimezone().isoformat()
    for form in (naive, aware, between.isoformat()):
        assert ada.names(CIRCUITS, ("filter[timestamps][created][after]", form)) == ["second"]
        assert ada.names(CIRCUITS, ("filter[timestamps][created][before]", form)) == ["first"]
        assert ada.names(CIRCUITS, ("filter[timestamps][modified][after]", form)) == ["second", "first"]
        assert ada.names(CIRCUITS, ("filter[timestamps][modified][before]", form)) == []
    assert len(ada.names(CIRCUITS, ("filter[timestamps][created][after]", "2023-01-01 00:00:00"))) == 2
    assert ada.names(CIRCUITS, ("filter[timestamps][created][before]", "2023-01-01 00:00:00")) == []


@pytest.mark.parametrize(
    "words",
    ["", "now", "2023-13-01", "2023-01-01T25:00", "1e9", "0001-01-01 00:00:00+14:00", "9999-12-31T23:59:59-12:00"],
)
def test_bad_times(ada: Person, words: str) -> None:
    """What is not a time is refused."""
    for side, what in itertools.product(("before", "after"), ("created", "modified")):
        assert ada.get(CIRCUITS, (f"filter[timestamps][{what}][{side}]", words), code=400)["message"]


def test_creator(ada: Person, bob: Person) -> None:
    """In a shared project things are found by their creator."""
    project = ada.project(name="shared")
    ada.share(project, bob, "Contributor")
    ada.circuit(project, name="ada's")
    bob.circuit(project, name="bob's")
    for who in (ada, bob):
        assert who.names(CIRCUITS, ("filter[creator][email]", ada.email)) == ["ada's"]
        assert who.names(CIRCUITS, ("filter[creator][email]", bob.email.upper())) == ["bob's"]
        both = [("filter[creator][email]", found.email) for found in (ada, bob)]
        assert who.names(CIRCUITS, *both, ("sort", "name")) == ["ada's", "bob's"]
    assert bob.names(PROJECTS_URL, ("filter[creator][email]", ada.email)) == ["shared"]


def test_strangers_find_nothing(standing: Standing, ada: Person) -> None:
    """No filter shows a stranger anything."""
    eve = standing.user("eve")
    project = ada.project(name="secret")
    circuit = ada.circuit(project, name="secret", properties={"k": 1})
    ada.job(project, circuit, name="secret")
    for path in (CIRCUITS, JOBS_URL):
        for asked in (
            ("filter[project][id]", project),
            ("filter[name_exact]", "secret"),
            ("filter[properties]", "(k,1)"),
            ("filter[creator][email]", ada.email),
            ("scope", "highest"),
            ("scope", "global_admin"),
        ):
            assert eve.names(path, asked) == []


def test_status_and_type(standing: Standing, ada: Person) -> None:
    """Jobs are found by status and type."""
    project = ada.project()
    circuit = ada.circuit(project)
    for status in ("SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING", "COMPLETED", "ERROR", "TERMINATED"):
        standing.move(ada.job(project, circuit, name=status), status)
    definition = {"backend_config": {"type": "AerConfig"}, "items": [{"program_id": circuit}]}
    compile_job = {"name": "compiles", "job_type": "compile", "definition": definition}
    ada.make(JOBS_URL, project, compile_job, 202)
    assert ada.names(JOBS_URL, ("filter[status][status]", "RETRYING")) == ["RETRYING"]
    two = [("filter[status][status]", word) for word in ("COMPLETED", "ERROR")]
    assert ada.names(JOBS_URL, *two, ("sort", "name")) == ["COMPLETED", "ERROR"]
    assert ada.names(JOBS_URL, ("filter[job_type]", "compile")) == ["compiles"]
    assert len(ada.names(JOBS_URL, ("filter[job_type]", "compile"), ("filter[job_type]", "execute"))) == 9
    for name, word in {"filter[status][status]": "DONE", "filter[job_type]": "hamiltonian"}.items():
        assert word in ada.get(JOBS_URL, (name, word), code=400)["message"]
    assert ada.get(PROJECTS_URL, ("filter[archived]", "True"), code=400)["message"]


@pytest.mark.parametrize(
    "name",
    [
        "filter[nothing]",
        "filter[]",
        "filter[",
        "filter",
        "filter[name_exact",
        "filter[body]",
        "filter[owner_id]",
        "page[offset]",
        "filter[name][exact]",
        "filter[timestamps][created]",
        "name",
        "status",
        "page_size",
        "order",
        "{}",
    ],
)
def test_unknown_filter(ada: Person, name: str) -> None:
    """An unknown filter is refused, not ignored."""
    for path in (CIRCUITS, f"{CIRCUITS}/meta/count", JOBS_URL, PROJECTS_URL, TEAMS):
        assert repr(name) in ada.get(path, (name, "x"), code=400)["message"]


def test_filters_of_each_list(ada: Person) -> None:
    """Each list has its own filters."""
    ada.get(CIRCUITS, ("filter[status][status]", "ERROR"), code=400)
    ada.get(JOBS_URL, ("filter[archived]", "true"), code=400)
    ada.get(PROJECTS_URL, ("filter[project][id]", str(uuid.uuid4())), code=400)
    ada.get(CIRCUITS, ("filter[name_exact]", "x" * 5000), code=400)
    ada.get(PROJECTS_URL, ("filter[archived]", "true"), ("filter[archived]", "false"), code=400)


@pytest.mark.parametrize("scope", ["", "admin", "USER", "user,org_admin"])
def test_scopes(ada: Person, scope: str) -> None:
    """A scope is one of four, given once."""
    for path in (CIRCUITS, PROJECTS_URL, f"{JOBS_URL}/{uuid.uuid4()}"):
        assert "scope" in ada.get(path, ("scope", scope), code=400)["message"]
    ada.get(CIRCUITS, ("scope", "user"), ("scope", "org_admin"), code=400)


@pytest.mark.parametrize("scope", ["org_admin", "global_admin"])
def test_scopes_of_administrators(ada: Person, scope: str) -> None:
    """In the scopes of administrators there is nothing, and nothing is made or deleted."""
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, circuit)
    team = ada.post(TEAMS, {"data": {"attributes": {"name": project}}})["data"]["id"]
    for path, found in {PROJECTS_URL: project, CIRCUITS: circuit, JOBS_URL: job, TEAMS: team}.items():
        assert ada.get(path, ("scope", scope))["data"] == []
        ada.get(f"{path}/{found}", ("scope", scope), code=404)
        for same in ("user", "highest"):
            assert len(ada.get(path, ("scope", same))["data"]) == 1
            ada.get(f"{path}/{found}", ("scope", same))
    ada.get(f"/api/resources/v1beta2/{project}/assignments", ("scope", scope), code=404)
    ada.delete(f"{PROJECTS_URL}/{project}?scope={scope}", 404)
    definition = {"backend_config": {"type": "AerConfig"}, "items": [{"program_id": circuit, "n_shots": 1}]}
    given = {"name": "j", "job_type": "execute", "definition": definition}
    ada.make(f"{JOBS_URL}?scope={scope}", project, given, 404)
    assert ada.get(f"{JOBS_URL}/meta/count") == {"count": 1}
    ada.make(f"{JOBS_URL}?scope=highest", project, given, 202)


def test_filters_of_the_client() -> None:
    """Every filter of the real client is known (`qnexus.models.filters` 0.51.1)."""
    common = ["name_fuzzy", "name_exact", "creator][email"]
    common += [f"timestamps][{what}][{side}" for what in ("created", "modified") for side in ("before", "after")]
    for resource, more in {
        PROJECTS: ["archived", "name"],
        DOCUMENTS: ["properties", "project][id"],
        JOBS: ["properties", "project][id", "status][status", "job_type"],
    }.items():
        assert {f"[{name}]" for name in common + more} <= resource.filters
        with pytest.raises(BadRequest):
            listing_of([("filter[x]", "")], resource, sqlite=True)
