"""Packed counts are the counts that they were made of, wherever they go."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qjobs.circuits.counts import MAX_BITS, PackedCounts, has_shots, packed
from qjobs.circuits.observables import Estimator, parse_observable
from qjobs.ledger.rows import decode_result, encode_result
from qjobs.model import ItemResult


def counts(widths: st.SearchStrategy[int], *, least: int = 0) -> st.SearchStrategy[dict[str, int]]:
    """Counts of one width."""
    numbers = st.integers(least, 2**40)
    return widths.flatmap(
        lambda width: st.dictionaries(st.text("01", min_size=width, max_size=width), numbers, min_size=1, max_size=20)
    )


@given(counts(st.integers(1, MAX_BITS)))
def test_same(given_counts: dict[str, int]) -> None:
    """Packed counts are equal to what was packed, in the same order, and through bytes and pickle."""
    each = packed(given_counts)
    assert each is not None
    for one in (each, PackedCounts.from_bytes(each.to_bytes()), pickle.loads(pickle.dumps(each))):
        assert list(one.items()) == list(given_counts.items())
        assert one == given_counts
        assert len(one) == len(given_counts)
        assert has_shots(one) is has_shots(given_counts) is any(given_counts.values())


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"": 3},
        {"0": 1, "11": 2},
        {"0b1": 1},
        {"1_0": 1},
        {"2": 1},
        {"0": 1.5},
        {"0": -1},
        {"0": 2**70},
        {"1" * 64: 1},
    ],
)
def test_not_packed(odd: dict[str, int]) -> None:
    """What cannot be packed is stored as it is."""
    assert packed(odd) is None
    assert decode_result(encode_result(ItemResult(counts=odd, duration_s=0.5))) == ItemResult(
        counts=odd, duration_s=0.5
    )


@given(counts(st.integers(1, 70)), st.none() | st.floats(0, 1e6))
def test_stored(given_counts: dict[str, int], duration_s: float | None) -> None:
    """A result comes out of the ledger's bytes as it went in, however wide."""
    value = ItemResult(counts=given_counts, duration_s=duration_s)
    assert decode_result(encode_result(value)) == value


@given(counts(st.integers(1, 70)))
def test_json(given_counts: dict[str, int]) -> None:
    """As JSON they are what any mapping of them is."""
    kept = packed(given_counts)
    if kept is not None:
        assert json.dumps(dict(kept.items()), sort_keys=True) == json.dumps(given_counts, sort_keys=True)
        assert sorted(kept.values()) == sorted(given_counts.values())


@given(
    st.sampled_from([3, 16, 63, 70]).flatmap(
        lambda width: st.lists(counts(st.just(width), least=1), min_size=1, max_size=4)
    )
)
def test_estimated(points: list[dict[str, int]]) -> None:
    """Expectation values are those of the definition, point by point, for narrow and for wide bit strings."""
    width = len(next(iter(points[0])))
    estimator = Estimator([parse_observable("h", f"2 - 0.5*Z0 Z{width - 1} + Z1", width)])
    values, errors = estimator.estimate([points])["h"]
    for one, value, error in zip(points, values, errors, strict=True):
        signs = {bits: [1 - 2 * int(bit) for bit in reversed(bits)] for bits in one}
        each = {bits: 2 - 0.5 * sign[0] * sign[width - 1] + sign[1] for bits, sign in signs.items()}
        shots = sum(one.values())
        mean = sum(each[bits] * n for bits, n in one.items()) / shots
        assert value == pytest.approx(mean, abs=1e-9)
        variance = sum(n * (each[bits] - mean) ** 2 for bits, n in one.items()) / shots
        assert error > 0.0
        assert error == pytest.approx(np.sqrt(variance / shots), abs=3.0 / shots)  # the prior is worth one shot
