"""Laws of packing: none lost, order kept, every cap holds, and no batch could have been fuller."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import a_program, an_item

from qjobs.errors import InvalidInput
from qjobs.model import ExecuteOptions, ItemSpec, Limits
from qjobs.operations.batching import batch_key, check_items, pack, size_bytes_of

PROGRAMS = [a_program("x" * size) for size in (1, 2, 3, 5, 8, 13, 21)]
BY_HASH = {program.hash: program for program in PROGRAMS}
SHOTS = st.integers(1, 2) | st.integers(1, 9)
LAWS = settings(max_examples=300)


@st.composite
def items(draw: st.DrawFn) -> list[ItemSpec]:
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(PROGRAMS), SHOTS, st.integers(0, 2)),
            min_size=1,
        )
    )
    return [
        replace(
            an_item(f"i{n}", program=program, shots=shots),
            parameters=tuple((f"p{k}", k / 3) for k in range(n_parameters)),
        )
        for n, (program, shots, n_parameters) in enumerate(drawn)
    ]


def limits() -> st.SearchStrategy[Limits]:
    return st.builds(
        Limits,
        max_items=st.none() | st.integers(1, 6),
        max_shots=st.none() | st.integers(1, 12),
        max_bytes=st.none() | st.integers(1, 200),
        one_n_shots=st.booleans(),
    )


def size(batch: tuple[ItemSpec, ...]) -> int:
    return sum(size_bytes_of(item, BY_HASH[item.program]) for item in batch)


def fits(batch: tuple[ItemSpec, ...], caps: Limits) -> bool:
    if caps.one_n_shots and len({item.shots for item in batch}) > 1:
        return False
    return (caps.max_items is None or len(batch) <= caps.max_items) and (
        caps.max_bytes is None or size(batch) <= caps.max_bytes
    )


def can_be_packed(given_items: list[ItemSpec], caps: Limits) -> bool:
    return all(fits((item,), caps) and (caps.max_shots is None or item.shots <= caps.max_shots) for item in given_items)


@LAWS
@given(items(), limits())
def test_packed(given_items: list[ItemSpec], caps: Limits) -> None:
    """What cannot be packed is refused; else none is lost, the order is kept, and every batch is full within the caps.

    Batches that are as full as the order allows are as few as the caps allow.
    """
    if not can_be_packed(given_items, caps):
        with pytest.raises(InvalidInput):
            pack(given_items, BY_HASH, caps)
        return
    batches = pack(given_items, BY_HASH, caps)
    assert list(itertools.chain.from_iterable(batches)) == given_items
    assert all(batches)
    assert all(fits(batch, caps) for batch in batches)
    for batch, following in itertools.pairwise(batches):
        assert not fits((*batch, following[0]), caps)


@LAWS
@given(items(), limits(), st.integers(0, 100))
def test_label_twice(given_items: list[ItemSpec], caps: Limits, where: int) -> None:
    """A label that is used twice is refused, wherever it is."""
    twice = list(given_items)
    twice.insert(where % (len(twice) + 1), given_items[where % len(given_items)])
    with pytest.raises(InvalidInput):
        check_items(twice, caps)


@LAWS
@given(items(), items(), st.integers(0, 3), st.integers(0, 3))
def test_keys(left: list[ItemSpec], right: list[ItemSpec], number: int, other: int) -> None:
    """Keys are equal exactly when the content is."""

    def key(batch: list[ItemSpec], number: int) -> str:
        return batch_key("run", number, batch, ExecuteOptions(), backend="fake", device="device", ledger="ledger")

    assert (key(left, number) == key(right, other)) == (left == right and number == other)
