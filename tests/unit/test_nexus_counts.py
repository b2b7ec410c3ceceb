"""Nexus's tables of outcomes as counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytket.backends.backendresult import BackendResult
from pytket.circuit import Bit
from pytket.utils.outcomearray import OutcomeArray

from qjobs.backends.nexus.counts import counts_of
from qjobs.errors import ProtocolError

bits = st.lists(
    st.builds(Bit, st.sampled_from(["a", "b", "c", "c_10", "C"]), st.integers(0, 12)),
    min_size=1,
    max_size=14,
    unique=True,
)


@given(st.data(), bits, st.booleans())
def test_counts(data: st.DataObject, order: list[Bit], as_shots: bool) -> None:
    """Counts are pytket's, with bit 0 rightmost."""
    rows = data.draw(
        st.lists(st.lists(st.integers(0, 1), min_size=len(order), max_size=len(order)), min_size=1, max_size=9)
    )
    table = OutcomeArray.from_readouts(rows)
    result = (
        BackendResult(shots=table, c_bits=order) if as_shots else BackendResult(counts=table.counts(), c_bits=order)
    )
    body = json.loads(json.dumps(result.to_dict(), default=int))
    highest = {bit.reg_name: max(b.index[0] for b in order if b.reg_name == bit.reg_name) for bit in order}
    everything = []
    for name in sorted(highest):
        everything += [Bit(name, n) for n in range(highest[name] + 1)]
    expected: dict[str, int] = {}
    for row in rows:
        value = dict(zip(order, row, strict=True))
        word = "".join(str(value.get(bit, 0)) for bit in reversed(everything))
        expected[word] = expected.get(word, 0) + 1
    assert counts_of(body) == expected


@pytest.mark.parametrize(
    "attributes",
    [
        None,
        {},
        {"bits": [], "shots": {"width": 1, "array": [[128]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [["x"]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": ["... 4 more"]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [[128, 0]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [[256]]}},
        {"bits": [["c", [0]], ["c", [0]]], "shots": {"width": 2, "array": [[128]]}},
        {"bits": [["c", [10**9]]], "shots": {"width": 1, "array": [[128]]}},
        {"bits": [["c", [0]]], "counts": [{"outcome": {"width": 1, "array": [[128]]}, "count": 0.5}]},
        {"bits": 3, "counts": [{"outcome": {"width": 1, "array": [[128]]}, "count": 1}]},
    ],
)
def test_not_a_table(attributes: Any) -> None:
    """Whatever is not a table of outcomes is a ProtocolError."""
    with pytest.raises(ProtocolError):
        counts_of(attributes)
