"""Packing and keys, by example; the laws are in tests/property/test_batching_laws.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import a_program, an_item

from qjobs.errors import InvalidInput
from qjobs.model import ExecuteOptions, Fingerprint, ItemSpec, JobKind, Key, Limits, Observable
from qjobs.operations.batching import PARAMETER_BYTES, base_key, batch_key, check_items, pack, size_bytes_of

PROGRAM = a_program("x" * 10)
PROGRAMS = {PROGRAM.hash: PROGRAM}


def items(n: int) -> list[ItemSpec]:
    return [an_item(f"i{number}", program=PROGRAM) for number in range(n)]


def test_too_large() -> None:
    """One item above `max_bytes` is refused."""
    with pytest.raises(InvalidInput, match=r"i0.*10 bytes.*takes 9 a job") as caught:
        pack(items(1), PROGRAMS, Limits(max_bytes=9))
    assert caught.value.field == "circuits"


def test_one_number_of_shots() -> None:
    """A job of one number of shots ends before an item of another number, and the order is kept."""
    given = [an_item(f"i{n}", program=PROGRAM, shots=shots) for n, shots in enumerate([5, 5, 7, 5, 5, 5])]
    numbers = [[item.shots for item in batch] for batch in pack(given, PROGRAMS, Limits(max_items=2, one_n_shots=True))]
    assert numbers == [[5, 5], [7], [5, 5], [5]]
    assert len(pack(given, PROGRAMS, Limits())) == 1


def test_size() -> None:
    """The size of an item counts its parameters."""
    item = replace(an_item(program=PROGRAM), parameters=(("theta", 0.1), ("p", 0.2)))
    assert size_bytes_of(item, PROGRAM) == 10 + 5 + 1 + 2 * PARAMETER_BYTES


def test_size_of_a_float() -> None:
    """`PARAMETER_BYTES` holds for the longest float."""
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
def test_refused(given: list[ItemSpec], limits: Limits, field: str, words: str) -> None:
    """What no batch can hold is refused, with its field."""
    for call in (lambda: check_items(given, limits), lambda: pack(given, {a_program().hash: a_program()}, limits)):
        with pytest.raises(InvalidInput, match=words) as caught:
            call()
        assert caught.value.field == field


def test_at_the_limits() -> None:
    """The limits themselves are allowed."""
    check_items([an_item("a", shots=10), an_item("b", shots=1)], Limits(max_shots=10))


def key(run: str = "run", number: int = 0, given: list[ItemSpec] | None = None, **values: object) -> str:
    options = values.pop("options", ExecuteOptions())
    where = {"backend": "fake", "device": "device", "ledger": "12345678", **values}
    return batch_key(run, number, given if given is not None else items(2), options, **where)


def test_same_key() -> None:
    """The same content has the same key."""
    assert key() == key()
    assert len(key()) == 41


def test_other_key() -> None:
    """Everything that makes another job makes another key."""
    item = an_item("i0", program=PROGRAM)
    zz = Observable(name="zz", terms=(("ZZ", 1.0),))
    keys = [
        key(),
        key("other"),
        key(number=1),
        key(backend="other"),
        key(device="other"),
        key(ledger="87654321"),
        key(fingerprint=Fingerprint(place="here", settings="noise off")),
        key(fingerprint=Fingerprint(place="here", settings="noise on")),
        key(fingerprint=Fingerprint(place="there", settings="noise on")),
        key(kind=JobKind.COMPILE),
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


@pytest.mark.parametrize("of_attempt", ["", "-2", "-12", ".0123abcd", "-2.0123abcd"])
@pytest.mark.parametrize("whole", [key(), key()[9:]])
def test_base_key(whole: str, of_attempt: str) -> None:
    """What an attempt adds to a key comes off again, of keys without a ledger too."""
    assert base_key(Key(whole + of_attempt)) == whole


def test_whole_number() -> None:
    """A whole number and its float are one parameter."""
    item = an_item("i0", program=PROGRAM)
    assert key(given=[replace(item, parameters=(("a", 1),))]) == key(given=[replace(item, parameters=(("a", 1.0),))])


def test_neighbours() -> None:
    """Neighbouring words do not run together in a key."""
    assert key("ab", backend="c") != key("a", backend="bc")
    assert key(given=[an_item("a,b", program=PROGRAM)]) != key(given=[an_item("a", program=PROGRAM)])
