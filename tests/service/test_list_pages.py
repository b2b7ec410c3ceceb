"""The order and the pages of the lists, on both databases."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from standing_service import Person, Standing

from qjobs.service import tables as schema
from qjobs.service.store.queries import MAX_PAGE_SIZE

CIRCUITS = "/api/circuits/v1beta2"
JOBS_URL = "/api/jobs/v1beta3"
PROJECTS_URL = "/api/projects/v1beta2"


def test_orders(ada: Person) -> None:
    """Lists are sorted by name, creation or change, up or down."""
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
def test_pages_of_equal_rows(standing: Standing, ada: Person, key: str) -> None:
    """Pages hold every row once, even if all are equal."""
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


def test_page_size(standing: Standing, ada: Person) -> None:
    """A page has 50 rows, or as many as are asked for, which are 100 at most."""
    project = ada.project()
    circuit = ada.circuit(project)
    with standing.service.db.write() as connection:
        table = schema.document
        row = dict(connection.execute(sa.select(table).where(table.c.document_id == circuit)).mappings().one())
        copies = [{**row, "document_id": str(uuid.uuid4())} for _ in range(100)]
        connection.execute(table.insert(), copies)
    assert len(ada.get(CIRCUITS)["data"]) == 50
    largest = ada.get(CIRCUITS, ("page[size]", 100))
    assert len(largest["data"]) == largest["meta"]["page_size"] == MAX_PAGE_SIZE == 100
    assert largest["meta"]["total_pages"] == 2
    assert "from 1 to 100" in ada.get(CIRCUITS, ("page[size]", 101), code=400)["message"]
    assert ada.get(f"{CIRCUITS}/meta/count") == {"count": 101}
    assert len(ada.get(CIRCUITS, ("page[number]", 2))["data"]) == 1
    past = ada.get(CIRCUITS, ("page[number]", 2**31 - 1))
    assert (past["data"], past["included"], past["meta"]["total_count"]) == ([], [], 101)


@pytest.mark.parametrize("words", ["-1", "", "x", "1.5", "1e3", str(2**31), "9" * 400, "٣", " 1", "+1", "0x1", "None"])
def test_bad_pages(ada: Person, words: str) -> None:
    """What is not a page is refused."""
    for path in (CIRCUITS, JOBS_URL, PROJECTS_URL):
        assert "page[number]" in ada.get(path, ("page[number]", words), code=400)["message"]
        assert "page[size]" in ada.get(path, ("page[size]", words), code=400)["message"]
    ada.get(CIRCUITS, ("page[size]", "0"), code=400)
