"""Filters, sorting, pages, counts and scopes of the lists, on both databases."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from standing_service import Person, Standing, fresh_database, standing_service

from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest
from qjobs.service.store.queries import DOCUMENTS, JOBS, MAX_PAGE_SIZE, PROJECTS, listing_of

CIRCUITS = "/api/circuits/v1beta2"
JOBS_URL = "/api/jobs/v1beta3"
PROJECTS_URL = "/api/projects/v1beta2"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("standing")
    with fresh_database(request.param, folder, request) as url, standing_service(folder, url) as standing:
        yield standing


@pytest.fixture
def ada(standing: Standing) -> Person:
    return standing.user("ada")


def test_names_are_matched_exactly_or_in_part(ada: Person) -> None:
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


def test_filters_are_all_fulfilled_at_once(ada: Person) -> None:
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
def test_sql_in_a_string_is_a_string(ada: Person, words: str) -> None:
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


VALUES: dict[str, Any] = {
    "text 1": "1",
    "text true": "true",
    "true": True,
    "false": False,
    "one": 1,
    "zero": 0,
    "half": 0.5,
    "small": 1e-05,
    "large": 2**62 + 1,
    "larger": 2**62 + 2,
    "minus": -3.25,
    "empty": "",
    "quote": 'a"b',
    "comma": 'x,"y',
    "unicode": "ünï🦆",
}


def as_the_client_sends(key: str, value: Any) -> str:
    """`_format_property` of qnexus 0.51.1."""
    if isinstance(value, str):
        return f'({key},"{value}")'
    if isinstance(value, bool):
        return f"({key},{str(value).lower()})"
    return f"({key},{value})"


@pytest.fixture(scope="module")
def library(standing: Standing) -> tuple[Person, str]:
    """A user with a circuit for each value, at the key k."""
    who = standing.user("librarian")
    project = who.project()
    for name, value in VALUES.items():
        who.circuit(project, name=name, properties={"k": value, "n": 7})
    who.circuit(project, name="without", properties={"n": 7})
    return who, project


@pytest.mark.parametrize("name", list(VALUES))
def test_a_property_is_matched_with_its_type(library: tuple[Person, str], name: str) -> None:
    who, _ = library
    found = who.names(CIRCUITS, ("filter[properties]", as_the_client_sends("k", VALUES[name])))
    assert found == [name]


def test_properties_are_all_fulfilled_at_once(library: tuple[Person, str]) -> None:
    who, _ = library
    both = [("filter[properties]", "(k,1)"), ("filter[properties]", "(n,7)")]
    assert who.names(CIRCUITS, *both) == ["one"]
    assert who.names(CIRCUITS, both[0], ("filter[properties]", "(n,8)")) == []
    assert who.names(CIRCUITS, ("filter[properties]", "(k,1.0)")) == ["one"]
    assert who.names(CIRCUITS, ("filter[properties]", '(k,"7")')) == []
    assert who.names(CIRCUITS, ("filter[properties]", "(nothing,7)")) == []
    found = who.names(CIRCUITS, ("filter[properties]", "(n,7)"), ("page[size]", str(MAX_PAGE_SIZE)))
    assert len(found) == len(VALUES) + 1


@pytest.mark.parametrize(
    "key",
    [
        "a,b",
        "a:b",
        "[a]",
        "(a)",
        'a"b',
        'a,"b',
        "a.b",
        "$",
        "$.k",
        "",
        " ",
        "it's",
        "a\\b",
        "ä",
        "0",
        "-1",
        "%",
        "true",
    ],
)
def test_a_key_may_hold_anything(ada: Person, key: str) -> None:
    project = ada.project()
    for name, value in {"text": "v", "number": 3.15, "whole": 42, "bool": True}.items():
        ada.circuit(project, name=name, properties={key: value, f"{key}x": "v", f"x{key}": 42})
    for name, value in {"text": "v", "number": 3.15, "whole": 42, "bool": True}.items():
        assert ada.names(CIRCUITS, ("filter[properties]", as_the_client_sends(key, value))) == [name]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "()",
        "(",
        "k,1",
        "(k)",
        "(k,)",
        "(k,nan)",
        "(k,inf)",
        "(k,1e999)",
        "(k,True)",
        "(k,null)",
        '(k"v")',
        "(k,0x1)",
        "(k,1_0)",
        "(k,٣)",
        "(k,[1])",
        f"(k,{10**30})",
        '("',
        "(k,--1)",
    ],
)
def test_a_malformed_property_is_refused(ada: Person, words: str) -> None:
    for path in (CIRCUITS, f"{CIRCUITS}/meta/count", JOBS_URL, PROJECTS_URL):
        assert "filter[properties]" in ada.get(path, ("filter[properties]", words), code=400)["message"]


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=12)
values = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=40)
@given(wanted=st.tuples(texts, values), other=st.tuples(texts, values))
def test_any_property_is_found_and_no_other(standing: Standing, wanted: Any, other: Any) -> None:
    """Against what Python finds equal, of the same type; straight at the database, for speed."""
    rows = [{wanted[0]: wanted[1]}, {other[0]: other[1]}]
    text = as_the_client_sends(*wanted)
    listing = listing_of([("filter[properties]", text)], DOCUMENTS, sqlite=standing.service.db.is_sqlite)
    # A few texts can be read in two ways, e.g. (a,"b,"c"): both are right.
    ways = [(text[1:end], text[end + 2 : -2]) for end in range(len(text) - 2) if text[end : end + 2] == ',"']
    keys = dict(ways) if isinstance(wanted[1], str) else {wanted[0]: wanted[1]}
    expected = [
        number for number, row in enumerate(rows) if any(_same(keys[key], row[key]) for key in row if key in keys)
    ]
    with standing.service.db.write() as connection:
        for number, properties in enumerate(rows):
            connection.execute(schema.document.insert().values(**_row(connection, number, properties)))
        query = sa.select(schema.document.c.name).where(listing.clause, schema.document.c.kind == "test")
        found = sorted(int(name) for name in connection.scalars(query))
        connection.execute(schema.document.delete().where(schema.document.c.kind == "test"))
    assert found == expected


def _same(one: Any, other: Any) -> bool:
    kinds = [str if isinstance(value, str) else bool if isinstance(value, bool) else float for value in (one, other)]
    return kinds[0] is kinds[1] and bool(one == other)


def _row(connection: sa.Connection, number: int, properties: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    project = connection.execute(sa.select(schema.project).limit(1)).one()
    return {
        "document_id": str(uuid.uuid4()),
        "kind": "test",
        "project_id": project.project_id,
        "owner_id": project.owner_id,
        "name": str(number),
        "properties": properties,
        "created_at": now,
        "modified_at": now,
        "body": b"",
    }


def test_times_are_utc_in_the_form_of_the_client(ada: Person) -> None:
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
def test_what_is_no_time_is_refused(ada: Person, words: str) -> None:
    for side, what in itertools.product(("before", "after"), ("created", "modified")):
        assert ada.get(CIRCUITS, (f"filter[timestamps][{what}][{side}]", words), code=400)["message"]


def test_things_of_a_creator_in_a_shared_project(standing: Standing, ada: Person) -> None:
    bob = standing.user("bob")
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


def test_a_stranger_finds_nothing_by_any_filter(standing: Standing, ada: Person) -> None:
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


def test_jobs_by_status_and_type(standing: Standing, ada: Person) -> None:
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


def test_orders(ada: Person) -> None:
    project = ada.project()
    ids = {name: ada.circuit(project, name=name) for name in ("b", "c", "a")}
    ada.patch(f"{CIRCUITS}/{ids['b']}", {"description": "changed"})
    orders = {
        "timestamps.created": "bca",
        "-timestamps.created": "acb",
        "timestamps.modified": "cab",
        "-timestamps.modified": "bac",
        "name": "abc",
        "-name": "cba",
    }
    for key, expected in orders.items():
        assert "".join(ada.names(CIRCUITS, ("sort", key))) == expected
    assert "".join(ada.names(CIRCUITS)) == "acb"
    ada.circuit(project, name="b")
    twice = [found["id"] for found in ada.get(CIRCUITS, ("sort", "name"), ("sort", "-timestamps.created"))["data"]]
    assert twice[2] == ids["b"]
    for wrong in ("created", "-", "name;", "properties", "body", "Name", "name,name"):
        assert "sort" in ada.get(CIRCUITS, ("sort", wrong), code=400)["message"]


@pytest.mark.parametrize("key", ["name", "-name", "timestamps.created", "-timestamps.modified"])
def test_pages_have_every_row_once_even_if_all_are_equal(standing: Standing, ada: Person, key: str) -> None:
    project = ada.project()
    ids = {ada.circuit(project, name="same") for _ in range(11)}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with standing.service.db.write() as connection:
        table = schema.document
        connection.execute(
            table.update().where(table.c.project_id == project).values(created_at=moment, modified_at=moment)
        )
    seen: list[str] = []
    for number in itertools.count():
        page = ada.get(CIRCUITS, ("sort", key), ("page[number]", number), ("page[size]", 3))
        assert page["meta"] == {"page_number": number, "page_size": 3, "total_pages": 4, "total_count": 11}
        if not page["data"]:
            break
        seen += [entry["id"] for entry in page["data"]]
    assert number == 4
    assert seen == sorted(ids, reverse=key.startswith("-"))


def test_pages_have_fifty_rows_and_a_hundred_at_most(standing: Standing, ada: Person) -> None:
    project = ada.project()
    circuit = ada.circuit(project)
    with standing.service.db.write() as connection:
        table = schema.document
        row = dict(connection.execute(sa.select(table).where(table.c.document_id == circuit)).mappings().one())
        copies = [{**row, "document_id": str(uuid.uuid4())} for _ in range(100)]
        connection.execute(table.insert(), copies)
    assert len(ada.get(CIRCUITS)["data"]) == 50
    largest = ada.get(CIRCUITS, ("page[size]", 5000))
    assert len(largest["data"]) == largest["meta"]["page_size"] == MAX_PAGE_SIZE == 100
    assert largest["meta"]["total_pages"] == 2
    assert ada.get(f"{CIRCUITS}/meta/count") == {"count": 101}
    assert len(ada.get(CIRCUITS, ("page[number]", 2))["data"]) == 1
    past = ada.get(CIRCUITS, ("page[number]", 2**31 - 1))
    assert (past["data"], past["included"], past["meta"]["total_count"]) == ([], [], 101)


@pytest.mark.parametrize("words", ["-1", "", "x", "1.5", "1e3", str(2**31), "9" * 400, "٣", " 1", "+1", "0x1", "None"])
def test_what_is_no_page_is_refused(ada: Person, words: str) -> None:
    for path in (CIRCUITS, JOBS_URL, PROJECTS_URL):
        assert "page[number]" in ada.get(path, ("page[number]", words), code=400)["message"]
        assert "page[size]" in ada.get(path, ("page[size]", words), code=400)["message"]
    ada.get(CIRCUITS, ("page[size]", "0"), code=400)


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
    ],
)
def test_a_filter_that_is_not_known_is_refused_and_not_passed_over(ada: Person, name: str) -> None:
    for path in (CIRCUITS, f"{CIRCUITS}/meta/count", JOBS_URL, PROJECTS_URL):
        assert ada.get(path, (name, "x"), code=400)["message"]


def test_filters_are_those_of_the_resource(ada: Person) -> None:
    ada.get(CIRCUITS, ("filter[status][status]", "ERROR"), code=400)
    ada.get(JOBS_URL, ("filter[archived]", "true"), code=400)
    ada.get(PROJECTS_URL, ("filter[project][id]", str(uuid.uuid4())), code=400)
    ada.get(CIRCUITS, ("filter[name_exact]", "x" * 5000), code=400)
    ada.get(PROJECTS_URL, ("filter[archived]", "true"), ("filter[archived]", "false"), code=400)
    ada.get(CIRCUITS, ("unknown", "word"), ("{}", ""))


@pytest.mark.parametrize("scope", ["", "admin", "USER", "user,org_admin"])
def test_a_scope_is_one_of_four(ada: Person, scope: str) -> None:
    for path in (CIRCUITS, PROJECTS_URL, f"{JOBS_URL}/{uuid.uuid4()}"):
        assert "scope" in ada.get(path, ("scope", scope), code=400)["message"]
    ada.get(CIRCUITS, ("scope", "user"), ("scope", "org_admin"), code=400)


def test_every_filter_of_the_real_client_is_known() -> None:
    """Aliases of the models in `qnexus.models.filters` 0.51.1, by the routes that use them."""
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
