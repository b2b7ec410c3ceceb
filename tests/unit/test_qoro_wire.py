"""Answers of Qoro as our values: every status of both versions, credits, targets, pages, refusals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjobs.backends.qoro import wire
from qjobs.backends.qoro.results import Results
from qjobs.backends.qoro.targets import as_target, clusters_in, systems_in
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId

S = JobStatus
OLD = {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"}
NEW = OLD | {"SCHEDULED", "PAUSED", "INSUFFICIENT_CREDITS", "TIMED_OUT"}
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "INSUFFICIENT_CREDITS", "TIMED_OUT"}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def test_status_table() -> None:
    """It has the words of both versions of the client and no other; final there is final here."""
    assert set(wire.STATUSES) == NEW
    assert {word for word, status in wire.STATUSES.items() if status.is_final} == FINAL
    assert wire.STATUSES["INSUFFICIENT_CREDITS"] is S.DEPLETED
    assert wire.STATUSES["TIMED_OUT"] is S.TERMINATED
    assert [word for word, status in wire.STATUSES.items() if status is S.SUBMITTED] == ["PENDING"]


@pytest.mark.parametrize("word", ["QUEUED", "pending", "", "COMPLETED "])
def test_unknown_status(word: str) -> None:
    """A word that is not in the table is a ProtocolError."""
    with pytest.raises(ProtocolError, match="unknown status"):
        wire.status_in({"status": word})


@pytest.mark.parametrize(
    ("given", "found"), [("500.00", Decimal("500.00")), (7, Decimal(7)), ("NaN", None), ("", None), (True, None)]
)
def test_credits(given: object, found: Decimal | None) -> None:
    """A balance is a number, however it is written."""
    if found is None:
        with pytest.raises(ProtocolError, match="no balance"):
            wire.credits_in({"balance": given})
    else:
        assert wire.credits_in({"balance": given, "total_used": "0"}).balance == found


def test_targets() -> None:
    """A system is as wide as its widest QPU; expectation values are what a system has to say and a cluster to deny."""
    (system,) = systems_in([{"name": "pair", "qpus": [{"q_bits": 5}, {"q_bits": 20}, {"q_bits": None}, 3]}])
    assert (as_target(system).n_qubits, system.gives_expvals) == (20, False)
    (cluster,) = clusters_in([{"name": "maestro"}])
    assert (as_target(cluster).n_qubits, cluster.gives_expvals) == (None, None)


@pytest.mark.parametrize(
    ("code", "body", "proves", "itself"),
    [
        (400, {"error": "no"}, True, True),
        (422, {"detail": [{"msg": "no"}]}, True, True),
        (409, {"error": "Can only cancel a PENDING or RUNNING job"}, True, True),
        (401, {"detail": "Invalid token."}, False, True),
        (429, {"error": "slow down"}, False, True),
        (400, {"message": "of a gateway"}, False, False),
        (400, [], False, False),
        (500, {"error": "no"}, False, False),
        (400, {"error": ""}, False, False),
    ],
)
def test_refusals(code: int, body: Any, proves: bool, itself: bool) -> None:
    """What gateways answer too proves nothing of the last step; of the others it counts what is said."""
    response = httpx.Response(code, json=body)
    assert wire.says_itself(response) is itself
    assert wire.proves_refusal(response) is proves


def read_results(body: object) -> object:
    rows, _ = wire.page_in(body)
    reading = Results("qoro", RemoteId("r"), None, None)
    found = list(reading.page(rows))
    reading.check()
    return found


ROWS = st.lists(st.fixed_dictionaries({"label": st.just("0:5:3") | ANYTHING}, optional={"results": ANYTHING}))


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (wire.status_in, ["status"]),
        (wire.id_in, ["job_id"]),
        (wire.credits_in, ["balance", "total_used"]),
        (read_results, ["results", "next"]),
        (clusters_in, ["name"]),
        (systems_in, ["name", "qpus"]),
    ],
)
def test_anything(read: Callable[[object], object], names: list[str]) -> None:
    """Nothing that is answered breaks a reader."""
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANYTHING | ROWS))

    @settings(max_examples=150)
    @given(ANYTHING | fields | st.lists(fields, max_size=2))
    def law(body: object) -> None:
        with contextlib.suppress(ProtocolError):
            read(body)

    law()
