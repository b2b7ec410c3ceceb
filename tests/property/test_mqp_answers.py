"""Laws of reading the portal: whatever it answers, it is a value of ours or a `ProtocolError`; and keys come back."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qjobs.backends.mqp import wire
from qjobs.backends.mqp.circuits import key_in, with_key
from qjobs.backends.mqp.portal import _rows_in
from qjobs.backends.mqp.resources import resource_in, target_of
from qjobs.errors import ProtocolError
from qjobs.model import Key

LAWS = settings(max_examples=150)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
LITERALS = st.text(alphabet="[](){},: 012'rczNone", max_size=30)
KEYS = st.text(alphabet=string.ascii_letters + string.digits + "-.", min_size=1, max_size=64)


def of_fields(*names: str) -> st.SearchStrategy[Any]:
    """An answer with these fields, or anything else."""
    return ANYTHING | st.fixed_dictionaries({}, optional=dict.fromkeys(names, ANYTHING | LITERALS))


def read_results(body: object) -> object:
    return [wire.counts_in(entry) for entry in wire.results_in(body) or []]


def read_target(body: object) -> object:
    return target_of(resource_in(body))


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (wire.status_in, ["status"]),
        (wire.id_in, ["uuid"]),
        (wire.reason_in, ["cancel_reason"]),
        (read_results, ["result"]),
        (read_target, ["name", "online", "qubits", "connectivity", "instructions"]),
        (_rows_in, ["jobs"]),
    ],
)
def test_anything(read: Callable[[object], object], names: list[str]) -> None:
    """Nothing that is answered breaks a reader."""

    @LAWS
    @given(of_fields(*names))
    def law(body: object) -> None:
        try:
            read(body)
        except ProtocolError:
            return

    law()


@LAWS
@given(st.booleans(), LITERALS, LITERALS)
def test_resources(online: bool, connectivity: str, instructions: str) -> None:
    """A target is read of whatever text stands for the inside of a resource."""
    body = {"name": "r", "online": online, "connectivity": connectivity, "instructions": instructions}
    target = target_of(resource_in(body))
    assert all(min(pair) >= 0 for pair in target.coupling or ())


@LAWS
@given(
    st.lists(
        st.dictionaries(st.text(alphabet="01", min_size=3, max_size=3), st.integers(1, 99), min_size=1), min_size=1
    )
)
def test_histograms(sent: list[dict[str, int]]) -> None:
    """Histograms come back as they were sent, in their order, as text and as they are."""
    for result in (json.dumps(sent), sent, json.dumps(sent[0]), sent[0]):
        found = [wire.counts_in(entry) for entry in wire.results_in({"result": result}) or []]
        assert found == (sent if len(found) > 1 or len(sent) == 1 else sent[:1])


@LAWS
@given(KEYS, st.sampled_from(["OPENQASM 2.0;\nqreg q[1];", "OPENQASM 3.0;\nqubit q;", "  OPENQASM 3;qubit q;"]))
def test_keys(key: str, text: str) -> None:
    """A key is found again in the text, in a repr of many, and in JSON; never another one."""
    commented = with_key(text, Key(key))
    for shown in (commented, str([commented, text]), json.dumps([commented, text])):
        assert key_in(shown) == key
    assert key_in(text) is None
