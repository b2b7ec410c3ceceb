"""Packing and keys, by example; the laws are in tests/property/test_batching_laws.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import a_program, an_item

from qjobs.errors import InvalidInput
from qjobs.model import ExecuteOptions, ItemSpec, Limits, Observable
from qjobs.operations.batching import PARAMETER_BYTES, batch_key, check_items, pack, size_bytes_of

PROGRAM = a_program("x" * 10)
PROGRAMS = {PROGRAM.hash: PROGRAM}


def items(n: int) -> list[ItemSpec]:
    return [an_item(f"i{number}", program=PROGRAM) for number in range(n)]


def sizes(batches: list[tuple[ItemSpec, ...]]) -> list[int]:
    return [len(batch) for batch in batches]


def test_without_limits_all_is_one_batch() -> None:
    assert pack(items(7), PROGRAMS, Limits()) == [tuple(items(7))]


@pytest.mark.parametrize(("n", "expected"), [(1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])])
def test_max_items(n: int, expected: list[int]) -> None:
    assert sizes(pack(items(n), PROGRAMS, Limits(max_items=3))) == expected


@pytest.mark.parametrize(("max_bytes", "expected"), [(10, [1, 1, 1]), (19, [1, 1, 1]), (20, [2, 1]), (30, [3])])
def test_max_bytes(max_bytes: int, expected: list[int]) -> None:
    assert sizes(pack(items(3), PROGRAMS, Limits(max_bytes=max_bytes))) == expected


def test_one_item_above_max_bytes_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"i0.*10 bytes.*takes 9 a job") as caught:
        pack(items(1), PROGRAMS, Limits(max_bytes=9))
    assert caught.value.field == "circuits"


def test_parameters_have_a_size() -> None:
    item = replace(an_item(program=PROGRAM), parameters=(("theta", 0.1), ("p", 0.2)))
    assert size_bytes_of(item, PROGRAM) == 10 + 5 + 1 + 2 * PARAMETER_BYTES


def test_the_size_of_a_parameter_holds_for_every_float() -> None:
    longest = -2.2250738585072014e-308
    assert len(f"{longest!r}, ") <= PARAMETER_BYTES + 2
    assert len(f"{longest!r}") <= PARAMETER_BYTES


@pytest.mark.parametrize(
    ("given", "limits", "field", "words"),
    [
        ([], Limits(), "circuits", "nothing to run"),
        ([an_item("a"), an_item("a")], Limits(), "label", "'a' is used twice"),
        ([an_item("a", shots=0)], Limits(), "shots", "a: shots must be 1 or more"),
        ([an_item("a", shots=-5)], Limits(), "shots", "-5 were asked for"),
        ([an_item("a", shots=11)], Limits(max_shots=10), "shots", "11 shots.*runs 10 an item"),
    ],
)
def test_what_no_batch_can_hold_is_refused(given: list[ItemSpec], limits: Limits, field: str, words: str) -> None:
    for call in (lambda: check_items(given, limits), lambda: pack(given, {a_program().hash: a_program()}, limits)):
        with pytest.raises(InvalidInput, match=words) as caught:
            call()
        assert caught.value.field == field


def test_the_limits_themselves_are_allowed() -> None:
    check_items([an_item("a", shots=10), an_item("b", shots=1)], Limits(max_shots=10))


def key(run: str = "run", number: int = 0, given: list[ItemSpec] | None = None, **values: object) -> str:
    options = values.pop("options", ExecuteOptions())
    where = {"backend": "fake", "device": "device", **values}
    return batch_key(run, number, given if given is not None else items(2), options, **where)


def test_the_same_content_has_the_same_key() -> None:
    assert key() == key()
    assert len(key()) == 40


def test_everything_that_makes_another_job_makes_another_key() -> None:
    item = an_item("i0", program=PROGRAM)
    zz = Observable(name="zz", terms=(("ZZ", 1.0),))
    keys = [
        key(),
        key("other"),
        key(number=1),
        key(backend="other"),
        key(device="other"),
        key(given=items(3)),
        key(given=list(reversed(items(2)))),
        key(given=[item]),
        key(given=[replace(item, shots=101)]),
        key(given=[replace(item, label="j")]),
        key(given=[replace(item, program=a_program("y").hash)]),
        key(given=[replace(item, parameters=(("a", 0.1),))]),
        key(given=[replace(item, parameters=(("a", 0.1 + 2**-55),))]),
        key(given=[replace(item, parameters=(("b", 0.1),))]),
        key(options=ExecuteOptions(seed=1)),
        key(options=ExecuteOptions(seed=2)),
        key(options=ExecuteOptions(observables=(zz,))),
        key(options=ExecuteOptions(observables=(replace(zz, name="z"),))),
        key(options=ExecuteOptions(observables=(replace(zz, terms=(("ZZ", 2.0),)),))),
    ]
    assert len(set(keys)) == len(keys)


def test_a_whole_number_is_a_parameter_too() -> None:
    item = an_item("i0", program=PROGRAM)
    assert key(given=[replace(item, parameters=(("a", 1),))]) == key(given=[replace(item, parameters=(("a", 1.0),))])


def test_neighbouring_words_do_not_run_together() -> None:
    assert key("ab", backend="c") != key("a", backend="bc")
    assert key(given=[an_item("a,b", program=PROGRAM)]) != key(given=[an_item("a", program=PROGRAM)])
