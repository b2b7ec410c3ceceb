"""Circuits, QIR, WASM, HUGR and decoder configurations over HTTP."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from pytket.circuit import CircBox, Circuit
from standing_service import GHZ, Person, Standing, sample, shape
from sympy import Symbol

CIRCUITS = "/api/circuits/v1beta2"
FILES = {
    "qir": "/api/qir/v1beta",
    "wasm": "/api/wasm/v1beta",
    "hugr": "/api/hugr/v1beta",
    "gpu_decoder_config": "/api/gpu_decoder_configs/v1beta",
}
ALL = {"circuit": CIRCUITS, **FILES}


def new(kind: str, **attributes: Any) -> dict[str, Any]:
    """Attributes of a new document."""
    return {**(GHZ if kind == "circuit" else {"contents": "YWJj"}), "name": f"a {kind}", **attributes}


def test_circuit_shape(ada: Person) -> None:
    """Circuits have the keys and types that the real client accepted."""
    project = ada.project()
    made = ada.make(CIRCUITS, project, {**GHZ, "properties": {}})
    expected = sample("POST /api/circuits/v1beta2 -> 201")
    expected["data"]["attributes"]["commands"] = made["data"]["attributes"]["commands"]  # another circuit
    assert shape(made) == shape(expected)
    circuit = made["data"]["id"]
    whole = shape(sample("GET /api/circuits/v1beta2/{id} -> 200"))
    assert shape(ada.get(f"{CIRCUITS}/{circuit}")) == whole
    assert shape(ada.get(CIRCUITS)) == shape(sample("GET /api/circuits/v1beta2 -> 200"))
    changed = ada.patch(f"{CIRCUITS}/{circuit}", {"properties": {"a": "foo"}})
    assert shape(changed) == whole
    words = ada.patch(f"{CIRCUITS}/{circuit}", {"name": "other", "commands": [{"args": []}]}, 422)["message"]
    assert words == "body.data.attributes: there is no 'commands' here; there are name, description, properties"
    assert ada.get(f"{CIRCUITS}/{circuit}")["data"]["attributes"]["name"] == GHZ["name"]
    ada.patch(f"{CIRCUITS}/{circuit}", {"name": "other", "timestamps": {"created": "2026-11-20"}, "properties": {}})


@pytest.mark.parametrize("kind", list(FILES))
def test_file_shape(ada: Person, kind: str) -> None:
    """Files have the keys and types that the real client accepted."""
    project = ada.project()
    url = FILES[kind]
    posted = f"{url}2" if kind == "hugr" else url
    made = ada.make(posted, project, new(kind, properties={}))
    assert shape(made) == shape(sample(f"POST {posted} -> 201"))
    read = ada.get(f"{url}/{made['data']['id']}")
    expected = sample(f"GET {url}/{{id}} -> 200")
    expected["included"][0]["attributes"]["description"] = None
    assert shape(read) == shape(expected)
    if kind != "gpu_decoder_config":  # of these no list was recorded
        expected = sample(f"GET {url} -> 200")
        expected["included"][0]["attributes"]["description"] = None
        assert shape(ada.get(url)) == shape(expected)
    assert read["data"]["type"] == kind


def test_circuit_round_trip(standing: Standing, ada: Person) -> None:
    """The client downloads the circuit that it uploaded; pytket's own dictionary of it is stored, unannotated."""
    circuit = Circuit(3, 2, name="inner name").H(0).CX(0, 1).Rz(0.25, 2).Measure(0, 0).Measure(1, 1)
    circuit.add_phase(0.5).add_gate(CircBox(Circuit(2).CX(0, 1).Rx(Symbol("a"), 0)), [0, 2])
    posted = {**circuit.to_dict(), "name": "outer name", "description": "d", "properties": {"a": True}}
    made = ada.make(CIRCUITS, ada.project(), posted)["data"]
    attributes = ada.get(f"{CIRCUITS}/{made['id']}")["data"]["attributes"]
    assert attributes["name"] == "outer name"
    read = Circuit.from_dict({key: value for key, value in attributes.items() if value is not None})
    circuit.name = "outer name"
    assert read == circuit
    assert {key: attributes[key] for key in posted} == posted
    body = json.loads(standing.service.content.document_body(made["id"]))
    assert Circuit.from_dict(body).get_commands() == circuit.get_commands()
    assert set(body).isdisjoint({"name", "properties", "description", "timestamps"})


@pytest.mark.parametrize("kind", list(FILES))
def test_files_keep_every_byte(standing: Standing, ada: Person, kind: str) -> None:
    """Files keep every byte, and lists leave contents out."""
    raw = os.urandom(100_000) + bytes(range(256))
    project = ada.project()
    made = ada.make(FILES[kind], project, new(kind, contents=base64.b64encode(raw).decode()))["data"]["id"]
    read = ada.get(f"{FILES[kind]}/{made}")["data"]["attributes"]["contents"]
    assert base64.b64decode(read) == raw
    assert standing.service.content.document_body(made) == raw
    listed = ada.get(FILES[kind])
    assert "contents" not in listed["data"][0]["attributes"]
    assert len(json.dumps(listed)) < 5000


@pytest.mark.parametrize("kind", list(ALL))
def test_change_merges_properties(ada: Person, kind: str) -> None:
    """A change merges properties and keeps what it does not name."""
    url = ALL[kind]
    made = ada.make(url, ada.project(), new(kind, properties={"a": 1, "b": True}, description="kept"))["data"]
    changed = ada.patch(f"{url}/{made['id']}", {"name": "new", "properties": {"b": "1", "c": 0.5}})["data"]
    expected = {**made["attributes"], "name": "new", "properties": {"a": 1, "b": "1", "c": 0.5}}
    for attributes in (changed["attributes"], ada.get(f"{url}/{made['id']}")["data"]["attributes"]):
        times = attributes.pop("timestamps")
        assert times["modified"] > times["created"] == expected["timestamps"]["created"]
        assert attributes == {key: value for key, value in expected.items() if key != "timestamps"}
    untouched = ada.patch(f"{url}/{made['id']}", {"name": None, "description": None, "properties": {}})["data"]
    assert untouched["attributes"]["name"] == "new"
    assert untouched["attributes"]["properties"] == {"a": 1, "b": "1", "c": 0.5}


def test_same_names(ada: Person) -> None:
    """Names may repeat, and each kind of document is apart."""
    project = ada.project()
    made = {
        kind: [ada.make(url, project, new(kind, name="same"))["data"]["id"] for _ in "ab"] for kind, url in ALL.items()
    }
    for kind, url in ALL.items():
        assert ada.names(url, ("filter[name_exact]", "same")) == ["same", "same"]
        assert {entry["id"] for entry in ada.get(url)["data"]} == set(made[kind])
        for other, ids in made.items():
            ada.get(f"{url}/{ids[0]}", code=200 if kind == other else 404)


def test_paths_of_old_clients(ada: Person) -> None:
    """Old paths and slashes at the end of a path work."""
    project = ada.project()
    for path in ("/api/hugr/v1beta", "/api/hugr/v1beta2", "/api/hugr/v1beta/", "/api/hugr/v1beta2/"):
        ada.make(path, project, new("hugr"))
    ada.make("/api/qir/v1beta/", project, new("qir"))
    ada.make("/api/circuits/v1beta2/", project, new("circuit"))
    assert ada.get("/api/hugr/v1beta/meta/count") == {"count": 4}


@pytest.mark.parametrize("kind", list(ALL))
def test_document_roles(ada: Person, bob: Person, kind: str) -> None:
    """A reader reads documents, and a contributor changes them."""
    url = ALL[kind]
    project = ada.project()
    document = ada.make(url, project, new(kind))["data"]["id"]
    ada.share(project, bob, "Reader")
    assert bob.get(f"{url}/{document}")["included"][0]["id"] == project
    bob.patch(f"{url}/{document}", {"name": "x"}, 403)
    bob.make(url, project, new(kind), 403)
    ada.share(project, bob, "Contributor")
    bob.patch(f"{url}/{document}", {"name": "bob's"})
    bob.make(url, project, new(kind))
    assert ada.get(f"{url}/{document}")["data"]["attributes"]["name"] == "bob's"


@pytest.mark.parametrize(
    "change",
    [
        {"commands": None},
        {"qubits": {}},
        {"bits": "c"},
        {"phase": 0.5},
        {"name": None},
        {"name": ["x"]},
        {"properties": {"a": {}}},
        {"description": 5},
    ],
)
def test_bad_circuits(ada: Person, change: dict[str, Any]) -> None:
    """A body that is not a circuit is refused with the place of the mistake."""
    message = ada.make(CIRCUITS, ada.project(), {**GHZ, **change}, 422)["message"]
    assert message.startswith(f"body.data.attributes.{next(iter(change))}")
    assert ada.names(CIRCUITS) == []


@pytest.mark.parametrize("contents", [None, 5, "ab*c", "abc", "YQ==\n", "ä", ["YQ=="]])
def test_bad_base64(ada: Person, contents: Any) -> None:
    """Contents that are not base64 are refused."""
    for url in FILES.values():
        message = ada.make(url, ada.project(), {"name": "x", "contents": contents}, 422)["message"]
        assert message.startswith("body.data.attributes.contents")
