"""Projects and definitions of properties over HTTP, on both databases."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from standing_service import Person, Standing, in_project, sample, shape

from qjobs.service import tables as schema

URL = "/api/projects/v1beta2"
DEFINITIONS = "/api/property_definitions/v1beta2"


def create(who: Person, code: int = 201, **attributes: Any) -> Any:
    body = {"data": {"attributes": attributes, "relationships": {}, "type": "project"}}
    return who.post(URL, body, code)


def test_project_shape(ada: Person) -> None:
    """Projects and properties have the keys and types that the real client accepted."""
    made = create(ada, name="one", properties={})
    found = ada.get(URL)
    project = made["data"]["id"]
    assert shape(made) == shape(sample("POST /api/projects/v1beta2 -> 201"))
    assert shape(found) == shape(sample("GET /api/projects/v1beta2 -> 200"))
    changed = ada.patch(f"{URL}/{project}", {"name": None, "description": None, "archived": True})
    assert shape(changed) == shape(sample("PATCH /api/projects/v1beta2/{id} -> 200"))
    ada.patch(f"{URL}/{project}", {"description": "words"})
    assert shape(ada.get(f"{URL}/{project}")) == shape(sample("GET /api/projects/v1beta2/{id} -> 200"))
    attributes = sample("POST /api/property_definitions/v1beta2 -> 201")["data"]["attributes"]
    defined = ada.make(DEFINITIONS, project, {key: attributes[key] for key in attributes if key != "timestamps"})
    assert shape(defined) == shape(sample("POST /api/property_definitions/v1beta2 -> 201"))
    listed = ada.get(DEFINITIONS, ("filter[project][id]", project), ("page[number]", "0"))
    listed["included"][0]["attributes"]["description"] = None
    assert shape(listed) == shape(sample("GET /api/property_definitions/v1beta2 -> 200"))


LONGEST = "".join(chr(0x1F300 + number % 700) for number in range(500))


ODD = 'ünï "quoted" \'; DROP TABLE service_project; --\t\n../../% [x] {y} _'


@pytest.mark.parametrize("name", [ODD, LONGEST], ids=["odd", "longest"])
def test_project_round_trip(ada: Person, name: str) -> None:
    """A project is read back as it was made."""
    given = {
        "name": name,
        "description": "two\nlines",
        "properties": {"a": 1, "b": True, "c": "1", "d": 1.5},
    }
    made = create(ada, **given)["data"]
    read = ada.get(f"{URL}/{made['id']}")["data"]
    assert read == made
    assert {key: read["attributes"][key] for key in given} == given
    assert read["attributes"]["archived"] is False
    assert type(read["attributes"]["properties"]["b"]) is bool
    assert ada.names(URL, ("filter[name_exact]", given["name"])) == [given["name"]]


def test_project_names(ada: Person, bob: Person) -> None:
    """A name is unique for its owner, and free for others."""
    create(ada, name="mine")
    assert "mine" in create(ada, 409, name="mine")["message"]
    create(bob, name="mine")
    other = create(ada, name="other")["data"]["id"]
    ada.patch(f"{URL}/{other}", {"name": "mine"}, 409)
    assert sorted(ada.names(URL)) == ["mine", "other"]


def test_concurrent_creations(ada: Person) -> None:
    """The same project created many times at once is created once."""
    body = {"data": {"attributes": {"name": "raced"}, "type": "project"}}
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda _: ada.http.post(URL, json=body).status_code, range(8)))
    assert sorted(codes) == [201] + [409] * 7
    assert ada.names(URL) == ["raced"]


def test_patch_keeps_the_rest(ada: Person) -> None:
    """A change keeps what is null or absent."""
    made = create(ada, name="before", description="kept")["data"]
    after = ada.patch(f"{URL}/{made['id']}", {"name": "after", "description": None})["data"]["attributes"]
    assert (after["name"], after["description"], after["archived"]) == ("after", "kept", False)
    assert after["timestamps"]["created"] == made["attributes"]["timestamps"]["created"]
    assert after["timestamps"]["modified"] > made["attributes"]["timestamps"]["modified"]
    ada.patch(f"{URL}/{made['id']}", {"archived": True})
    again = ada.patch(f"{URL}/{made['id']}", {"description": "new"})["data"]["attributes"]
    assert (again["archived"], again["description"]) == (True, "new")


def test_archived_filter(ada: Person) -> None:
    """Archived projects can be listed apart."""
    ada.project(name="kept")
    put_away = ada.project(name="put away")
    ada.patch(f"{URL}/{put_away}", {"archived": True})
    assert ada.names(URL, ("filter[archived]", "false")) == ["kept"]
    assert ada.names(URL, ("filter[archived]", "true")) == ["put away"]
    assert sorted(ada.names(URL)) == ["kept", "put away"]


def test_contents_modified(ada: Person) -> None:
    """A change of content changes `contents_modified` alone."""
    project = ada.project()

    def times() -> tuple[str, str]:
        attributes = ada.get(f"{URL}/{project}")["data"]["attributes"]
        return attributes["timestamps"]["modified"], attributes["contents_modified"]

    modified, contents = times()
    circuit = ada.circuit(project)
    steps = [
        lambda: ada.make("/api/qir/v1beta", project, {"name": "q", "contents": "YQ=="}),
        lambda: ada.make(DEFINITIONS, project, {"name": "p", "property_type": "int"}),
        lambda: ada.patch(f"/api/circuits/v1beta2/{circuit}", {"name": "renamed"}),
        lambda: ada.job(project, circuit),
    ]
    before = times()
    assert before[1] > contents
    for step in steps:
        step()
        after = times()
        assert after[0] == modified
        assert after[1] > before[1]
        before = after


def test_delete_project(standing: Standing, ada: Person, bob: Person) -> None:
    """Only an archived project is deleted, with all its content; its owner is told so, and nobody else."""
    project = ada.project()
    other = ada.project(name="other")
    circuit = ada.circuit(project)
    kept = ada.circuit(other)
    job = ada.job(project, circuit)
    ada.make(DEFINITIONS, project, {"name": "p", "property_type": "int"})
    result = standing.store_result(job, {})
    message = ada.delete(f"{URL}/{project}", 409)["message"]
    assert message == "Project must be archived before it can be deleted"
    assert ada.get(f"/api/circuits/v1beta2/{circuit}")["data"]["id"] == circuit
    ada.patch(f"{URL}/{project}", {"archived": True})
    ada.delete(f"{URL}/{project}")
    ada.get(f"{URL}/{project}", code=404)
    ada.delete(f"{URL}/{project}", 404)
    ada.patch(f"{URL}/{project}", {"name": "x"}, 404)
    assert ada.names(URL) == ["other"]
    assert ada.names("/api/circuits/v1beta2") == ["ghz"]
    assert ada.names("/api/jobs/v1beta3") == []
    assert ada.names(DEFINITIONS) == []
    ada.get(f"/api/circuits/v1beta2/{kept}")
    ada.get(f"/api/jobs/v1beta3/{job}", code=404)
    for gone in (f"/api/circuits/v1beta2/{circuit}", f"/api/results/v1beta3/{result}"):
        assert "deleted" in ada.get(gone, code=410)["message"]
        ada.get(gone.replace(circuit, circuit.upper()), code=410)
        bob.get(gone, code=404)
    with standing.service.db.read() as connection:
        for table in (schema.document, schema.job, schema.property_definition):
            held = sa.select(sa.func.count()).select_from(table).where(table.c.project_id == project)
            assert connection.scalar(held) == 0
        rows = sa.select(sa.func.count()).select_from(schema.assignment)
        assert connection.scalar(rows.where(schema.assignment.c.resource_id == project)) == 0


def test_foreign_projects(ada: Person, bob: Person) -> None:
    """Another user's project is listed nowhere, and takes nothing in, as if it did not exist."""
    theirs = ada.project(name="secret name")
    unknown = str(uuid.uuid4())
    for ask in (
        lambda found: bob.make(DEFINITIONS, found, {"name": "p", "property_type": "int"}, 404),
        lambda found: bob.make("/api/wasm/v1beta", found, {"name": "w", "contents": ""}, 404),
    ):
        assert ask(theirs)["message"].replace(theirs, "") == ask(unknown)["message"].replace(unknown, "")
    assert bob.names(URL) == []
    assert bob.names(DEFINITIONS, ("filter[project][id]", theirs)) == []
    assert ada.get(f"{URL}/{theirs}")["data"]["attributes"]["name"] == "secret name"


def test_project_roles(ada: Person, bob: Person) -> None:
    """A reader, a contributor and a maintainer can do what their roles say."""
    project = ada.project(name="shared")
    ada.share(project, bob, "Reader")
    assert bob.names(URL) == ["shared"]
    bob.get(f"{URL}/{project}")
    bob.patch(f"{URL}/{project}", {"archived": True}, 403)
    bob.make("/api/wasm/v1beta", project, {"name": "w", "contents": ""}, 403)
    bob.make(DEFINITIONS, project, {"name": "p", "property_type": "int"}, 403)
    bob.delete(f"{URL}/{project}", 403)
    ada.share(project, bob, "Contributor")
    bob.make(DEFINITIONS, project, {"name": "p", "property_type": "int"})
    bob.patch(f"{URL}/{project}", {"archived": True})
    bob.delete(f"{URL}/{project}", 403)
    ada.share(project, bob, "Maintainer")
    bob.delete(f"{URL}/{project}")
    assert ada.names(URL) == []


def test_property_definitions(ada: Person) -> None:
    """Properties are listed by project; a name is defined once, with a project, a type and a colour that exist."""
    one = ada.project()
    two = ada.project()
    for name in ("a", "b", "c"):
        ada.make(DEFINITIONS, one, {"name": name, "property_type": "float", "required": True, "color": "#00ff00"})
    ada.make(DEFINITIONS, two, {"name": "a", "property_type": "bool"})
    assert ada.names(DEFINITIONS, ("filter[project][id]", one), ("sort", "name")) == ["a", "b", "c"]
    assert ada.make(DEFINITIONS, one, {"name": "a", "property_type": "int"}, 409)["message"]
    page = ada.get(DEFINITIONS, ("filter[project][id]", one), ("page[number]", 1), ("page[size]", 2))
    assert len(page["data"]) == 1
    assert page["meta"] == {"page_number": 1, "page_size": 2, "total_pages": 2, "total_count": 3}
    body = in_project("x", {"name": "p", "property_type": "int"})
    del body["data"]["relationships"]["project"]
    ada.post(DEFINITIONS, body, 422)
    ada.make(DEFINITIONS, one, {"name": "p", "property_type": "complex"}, 422)
    ada.make(DEFINITIONS, one, {"name": "p", "property_type": "int", "color": "red\n"}, 422)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"name": 5},
        {"name": ""},
        {"name": None},
        {"name": "x" * 501},
        {"name": "x", "description": {}},
        {"name": "x", "properties": []},
        {"name": "x", "properties": {"a": None}},
        {"name": "x", "properties": {"a": [1]}},
        {"name": "x", "properties": {"a": 2**63}},
        [],
        None,
        "name",
    ],
)
def test_bad_projects(ada: Person, attributes: Any) -> None:
    """A bad project is refused with the place of the mistake."""
    answer = ada.post(URL, {"data": {"attributes": attributes, "type": "project"}}, 422)
    assert answer["message"].startswith("body.data.attributes")
    assert ada.names(URL) == []


@pytest.mark.parametrize("body", [None, [], {}, {"data": []}, {"data": {"type": "project"}}, "text", 5])
def test_bodies_without_attributes(ada: Person, body: Any) -> None:
    """A body that is not JSON:API is refused."""
    for path in (URL, DEFINITIONS, "/api/circuits/v1beta2", "/api/hugr/v1beta2", "/api/jobs/v1beta3"):
        ada.post(path, body, 422)
