"""Answers of the Munich Quantum Portal as our values, in every shape that its clients would take."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import httpx
import pytest

from qjobs.backends.http import Refusal
from qjobs.backends.mqp import wire
from qjobs.backends.mqp.resources import literal, resource_in, target_of
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus


def test_status_table() -> None:
    """The words are those of the published clients, and no other one is taken."""
    assert set(wire.STATUSES) == {"PENDING", "WAITING", "FAILED", "COMPLETED", "CANCELLED"}
    assert wire.status_in({"status": "WAITING"}) == (JobStatus.QUEUED, "WAITING")


@pytest.mark.parametrize("body", [None, [], {}, {"status": None}, {"status": 3}, {"status": ["PENDING"]}])
def test_no_status(body: Any) -> None:
    """What has no status is a ProtocolError."""
    with pytest.raises(ProtocolError, match="without a status"):
        wire.status_in(body)


@pytest.mark.parametrize("word", ["RUNNING", "pending", "", "COMPLETED "])
def test_unknown_status(word: str) -> None:
    """A word that is not in the table is a ProtocolError."""
    with pytest.raises(ProtocolError, match="unknown status"):
        wire.status_in({"status": word})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ("None", None),
        ("", None),
        ("null", None),
        (" ", None),
        ('{"00": 3}', [{"00": 3}]),
        ('[{"0": 1}, {"1": 2}]', [{"0": 1}, {"1": 2}]),
        ('[{"0": 1}, null]', [{"0": 1}, None]),
        ({"00": 3}, [{"00": 3}]),
        ([{"00": 3}], [{"00": 3}]),
    ],
)
def test_results(given: object, found: object) -> None:
    """A result is a text of one histogram or of a list of them, or nothing yet."""
    assert wire.results_in({"result": given}) == found


@pytest.mark.parametrize("given", ["{", "7", '"00"', "[]", 7, True, "[" * 100_000])
def test_no_results(given: object) -> None:
    """Anything else is a ProtocolError."""
    with pytest.raises(ProtocolError):
        wire.results_in({"result": given})


def test_result_is_missing() -> None:
    """An answer without the field is a ProtocolError, and not a result that follows."""
    with pytest.raises(ProtocolError):
        wire.results_in({})


def test_counts() -> None:
    """Registers are joined as they stand, and outcomes that nobody saw are left out."""
    assert wire.counts_in({"0 11": 3, "1 00": 0, "100": 2}) == {"011": 3, "100": 2}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        None,
        [],
        {"0x3": 1},
        {"": 1},
        {"2": 1},
        {"01": -1},
        {"01": 1.0},
        {"01": True},
        {"01": "1"},
        {"0": 1, "01": 1},
        {"cafe": 1},
    ],
)
def test_no_counts(entry: object) -> None:
    """What is not a histogram of bit strings of one width is a ProtocolError."""
    with pytest.raises(ProtocolError):
        wire.counts_in(entry)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("2025-03-01 10:00:00.123456", "2025-03-01T10:00:00.123456"),
        ("2025-03-01 10:00:00", "2025-03-01T10:00:00"),
        ("2025-03-01T10:00:00.5", "2025-03-01T10:00:00.500000"),
        ("2025-03-01T10:00:00", "2025-03-01T10:00:00"),
        ("", None),
        ("None", None),
        (None, None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_moments(given: object, found: str | None) -> None:
    """A moment is read in each of its shapes, and is never in the way."""
    moment = wire.moment_in(given)
    assert (moment.isoformat() if moment else None) == found


@pytest.mark.parametrize(("given", "found"), [("7", "7"), (7, "7"), ("a-b", "a-b")])
def test_id(given: object, found: str) -> None:
    """An id is a text, or the number that it is in the database."""
    assert wire.id_in({"uuid": given}) == found


@pytest.mark.parametrize("given", [None, "", True, 1.0, {}])
def test_no_id(given: object) -> None:
    """Anything else is no id."""
    with pytest.raises(ProtocolError):
        wire.id_in({"uuid": given})


def test_body() -> None:
    """Circuits go as the repr of a list, also a single one, whatever quotes are in them."""
    texts = ['include "qelib1.inc";\n// it\'s', "b"]
    made = wire.job_body(resource="r", circuits=texts, circuit_format="qasm", shots=5, no_modify=True, queued=False)
    assert ast.literal_eval(made["circuit"]) == texts
    assert set(made) == {"resource_name", "circuit", "circuit_format", "shots", "no_modify", "queued"}


@pytest.mark.parametrize(
    ("code", "body", "proves"),
    [
        (422, {"detail": "no such gate"}, True),
        (422, {"detail": [{"msg": "field required", "loc": ["body"]}]}, True),
        (404, {"detail": "there is no resource"}, True),
        (404, {"message": "no route"}, False),
        (429, {"detail": "slow down"}, False),
        (429, {"detail": "slow down", "code": "too_many_requests"}, True),
        (401, {"message": "Unauthorized"}, False),
        (401, {"detail": "Unauthorized"}, False),
        (401, {"detail": "Unauthorized", "code": "unauthorized"}, True),
        (408, {"detail": "time-out"}, False),
        (400, {"detail": ""}, False),
        (400, {"detail": []}, False),
        (400, ["detail"], False),
        (500, {"detail": "it broke", "code": "internal_server_error"}, False),
        (200, {"detail": "fine"}, False),
    ],
)
def test_refusals(code: int, body: object, proves: bool) -> None:
    """Only the portal's own form proves a refusal, and more of it where gateways answer by themselves."""
    assert wire.proves_refusal(httpx.Response(code, json=body)) is proves


def test_pages_prove_nothing() -> None:
    """A page, or JSON that is sent as one, proves nothing."""
    assert not wire.proves_refusal(httpx.Response(422, html='{"detail": "no"}'))
    assert not wire.says_itself(httpx.Response(404, html="<html>404</html>"))
    assert not wire.says_itself(httpx.Response(404, json={"message": "no"}))
    assert wire.says_itself(httpx.Response(404, json={"error": "there is no such job"}))


def test_gone() -> None:
    """A job is gone by 404 and 410; words that fit a missing route are told apart."""
    assert Refusal(code=410, words="deleted").says_gone
    assert Refusal(code=404, words="Not Found").says_gone
    assert Refusal(code=404, words="Not Found").lacks_route
    assert not Refusal(code=404, words="there is no job").lacks_route
    assert not Refusal(code=403, words="no").says_gone


@pytest.mark.parametrize(
    "text", ["[[0, 1]", "__import__('os')", "(" * 5_000, "[" * 200 + "]" * 200, "1" * 1_000_001, "None", ""]
)
def test_literals_that_fail(text: str) -> None:
    """A literal that is none is nothing, and never code."""
    assert literal(text) in (None, literal("[" * 200 + "]" * 200))


def resource(**fields: object) -> Any:
    return {"name": "QExa", "qubits": 3, "online": True, **fields}


def test_target() -> None:
    """Gates are those that Qiskit knows, measurements apart; pairs are directed as the portal says."""
    shown = resource(
        connectivity="[[1, 0], [0, 1]]",
        instructions="[('r', {(0,): None}), ('cz', {(0, 1): None}), ('measure', {}), ('warp', {})]",
    )
    target = target_of(resource_in(shown))
    assert (target.name, target.n_qubits) == ("QExa", 3)
    assert target.basis_gates == ("r", "cz")
    assert target.coupling == ((0, 1), (1, 0))


@pytest.mark.parametrize("shape", ["None", None, "", "nonsense(", "[1, 2]", "{}", "[[0, 'a']]", "[[0, -1]]"])
def test_open_target(shape: object) -> None:
    """What cannot be read of a resource is left open."""
    target = target_of(resource_in(resource(connectivity=shape, instructions=shape)))
    assert (target.n_qubits, target.basis_gates, target.coupling) == (3, None, None)
    assert target_of(resource_in(resource(qubits="many"))).n_qubits is None


def test_pairs_of_gates() -> None:
    """Without a connectivity, the pairs are those that gates of two qubits name."""
    shown = resource(instructions="[('cz', {(0, 1): None, (1, 2): None}), ('r', {(0,): None}), ('cx', None)]")
    assert target_of(resource_in(shown)).coupling == ((0, 1), (1, 2))


@pytest.mark.parametrize("shown", [None, {}, {"name": 7}, {"name": "r"}, {"name": "r", "online": "yes"}])
def test_no_resource(shown: object) -> None:
    """A resource without a name, or that does not say whether it is online, is a ProtocolError."""
    with pytest.raises(ProtocolError):
        resource_in(shown)


def test_table_of_clients() -> None:
    """The paths are those of the published clients."""
    assert wire.resource_path("Q/5 a") == "/v1/resources/Q%2F5%20a"
    assert Path(wire.JOB).name == "job"
