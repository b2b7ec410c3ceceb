"""Filters of properties, on both databases."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from standing_service import Person, Standing

from qjobs.service import tables as schema
from qjobs.service.store.queries import DOCUMENTS, MAX_PAGE_SIZE, listing_of

CIRCUITS = "/api/circuits/v1beta2"
JOBS_URL = "/api/jobs/v1beta3"
PROJECTS_URL = "/api/projects/v1beta2"


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
def test_property_and_type(library: tuple[Person, str], name: str) -> None:
    """A property is matched with its type."""
    who, _ = library
    found = who.names(CIRCUITS, ("filter[properties]", as_the_client_sends("k", VALUES[name])))
    assert found == [name]


def test_property_filters_combine(library: tuple[Person, str]) -> None:
    """Filters of properties are all fulfilled at once."""
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
def test_property_keys(ada: Person, key: str) -> None:
    """The key of a property may hold any character."""
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
def test_bad_property_filter(ada: Person, words: str) -> None:
    """A malformed filter of properties is refused."""
    for path in (CIRCUITS, f"{CIRCUITS}/meta/count", JOBS_URL, PROJECTS_URL):
        assert "filter[properties]" in ada.get(path, ("filter[properties]", words), code=400)["message"]


texts = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=12)
values = st.one_of(
    texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=40)
@given(wanted=st.tuples(texts, values), other=st.tuples(texts, values))
def test_any_property(standing: Standing, wanted: Any, other: Any) -> None:
    """A filter finds the properties that Python finds equal, of the same type, and no other."""
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
