"""Counts, packed: two columns of numbers instead of one string for each outcome."""

from __future__ import annotations

import json
import struct
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAX_BITS", "PackedCounts", "has_shots", "json_texts", "packed"]

MAX_BITS = 63
"""Wider bit strings are not packed: a word of 64 bits does not hold them as a number."""
_WORDS_KEPT_BITS = 12
"""The bit strings of so many bits are made once."""
_HEAD = struct.Struct("<BBBBI")
_SIZES = (1, 2, 4, 8)
"""Bytes of a number."""


class PackedCounts(Mapping[str, int]):
    """Counts of one item: a mapping from bit string to number of shots, like any other, in a tenth of its memory.

    The bit strings have one width, at most `MAX_BITS`. Their order is that in which they were given.

    Args:
        n_bits: Width of the bit strings.
        outcomes: One number for each bit string, bit 0 the lowest; little-endian, unsigned.
        numbers: How often each was seen; little-endian, unsigned.
        length: How many there are.
    """

    __slots__ = ("_length", "_numbers", "_outcomes", "_plain", "n_bits")

    def __init__(self, n_bits: int, outcomes: bytes, numbers: bytes, length: int) -> None:
        self.n_bits = n_bits
        self._outcomes = outcomes
        self._numbers = numbers
        self._length = length
        self._plain: dict[str, int] | None = None

    @classmethod
    def of(cls, n_bits: int, outcomes: np.ndarray, numbers: np.ndarray) -> PackedCounts:
        """Pack two columns: bit strings as numbers, and how often each was seen."""
        return cls(n_bits, _narrow(outcomes), _narrow(numbers), len(outcomes))

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """The bit strings as numbers, and how often each was seen; not to be changed."""
        return _wide(self._outcomes, self._length), _wide(self._numbers, self._length)

    @property
    def has_shots(self) -> bool:
        """Whether the counts add up to more than nothing."""
        return bool(self._numbers.strip(b"\0"))

    def to_bytes(self) -> bytes:
        """Its bytes; `from_bytes` is the inverse."""
        n = max(self._length, 1)
        head = _HEAD.pack(self.n_bits, len(self._outcomes) // n, len(self._numbers) // n, 0, self._length)
        return head + self._outcomes + self._numbers

    @classmethod
    def from_bytes(cls, data: bytes) -> PackedCounts:
        """The inverse of `to_bytes`."""
        n_bits, outcome_bytes, _, _, length = _HEAD.unpack_from(data)
        middle = _HEAD.size + outcome_bytes * length
        return cls(n_bits, data[_HEAD.size : middle], data[middle:], length)

    def _as_dict(self) -> dict[str, int]:
        if self._plain is None:
            outcomes, numbers = self.columns()
            if self.n_bits <= _WORDS_KEPT_BITS:
                words = _words(self.n_bits)
                self._plain = {words[one]: n for one, n in zip(outcomes.tolist(), numbers.tolist(), strict=True)}
            else:
                width = f"0{self.n_bits}b"
                pairs = zip(outcomes.tolist(), numbers.tolist(), strict=True)
                self._plain = {format(one, width): n for one, n in pairs}
        return self._plain

    def items(self) -> ItemsView[str, int]:
        """Bit strings with their numbers, without a look-up for each."""
        return self._as_dict().items()

    def values(self) -> ValuesView[int]:
        """How often each was seen, without a look-up for each."""
        return self._as_dict().values()

    def __getitem__(self, bits: str) -> int:
        return self._as_dict()[bits]

    def __iter__(self) -> Iterator[str]:
        return iter(self._as_dict())

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return repr(self._as_dict())

    def __reduce__(self) -> tuple[type[PackedCounts], tuple[int, bytes, bytes, int]]:
        return PackedCounts, (self.n_bits, self._outcomes, self._numbers, self._length)


def has_shots(counts: Mapping[str, int]) -> bool:
    """Whether counts add up to more than nothing: those of a syntax checker do not.

    >>> has_shots({"0": 0, "1": 0}), has_shots({"0": 3})
    (False, True)
    """
    return counts.has_shots if isinstance(counts, PackedCounts) else any(counts.values())


def json_texts(rows: Sequence[Mapping[str, int] | None]) -> list[str | None]:
    """Counts as JSON text, in the order of their bit strings; all that are packed together.

    >>> json_texts([{"11": 5, "00": 3}, None])
    ['{"00": 3, "11": 5}', None]
    """
    texts: list[str | None] = [None] * len(rows)
    together: dict[int, list[int]] = {}
    for place, counts in enumerate(rows):
        if isinstance(counts, PackedCounts) and len(counts):
            together.setdefault(counts.n_bits, []).append(place)
        elif counts is not None:
            texts[place] = json.dumps(dict(counts.items()), sort_keys=True)
    for n_bits, places in together.items():
        columns = [rows[place].columns() for place in places]  # type: ignore[union-attr]
        for place, text in zip(places, _packed_texts(n_bits, columns), strict=True):
            texts[place] = text
    return texts


def _packed_texts(n_bits: int, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """JSON texts of counts by their columns."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = [len(outcomes) for outcomes, _ in columns]
    outcomes = np.concatenate([each for each, _ in columns])
    numbers = np.concatenate([each for _, each in columns])
    order = np.lexsort((outcomes, np.repeat(np.arange(len(columns)), lengths)))
    seen, places = np.unique(outcomes[order], return_inverse=True)
    words = pa.array([f'"{one:0{n_bits}b}": ' for one in seen.tolist()]).take(pa.array(places))
    entries = pc.binary_join_element_wise(words, pa.array(numbers[order]).cast(pa.string()), "")
    starts = pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int64())
    lists = pa.LargeListArray.from_arrays(starts, entries)
    bodies = pc.binary_join(lists, ", ")
    texts: list[str] = pc.binary_join_element_wise("{", bodies, "}", "").to_pylist()
    return texts


def packed(counts: Mapping[str, int]) -> PackedCounts | None:
    """Counts, packed; None where they cannot be: bit strings of several widths, or wider than `MAX_BITS`.

    >>> packed({"010": 3, "111": 5})
    {'010': 3, '111': 5}
    >>> packed({"0": 1, "11": 1}) is None
    True
    """
    import numpy as np

    if isinstance(counts, PackedCounts):
        return counts
    keys = list(counts)
    n_bits = len(keys[0]) if keys else 0
    text = "".join(keys)
    if n_bits == 0 or n_bits > MAX_BITS or len(text) != n_bits * len(keys) or set(map(len, keys)) != {n_bits}:
        return None
    try:
        letters = np.frombuffer(text.encode("ascii"), dtype=np.uint8).reshape(len(keys), n_bits)
        numbers = np.array(list(counts.values()))
    except (UnicodeEncodeError, OverflowError):
        return None
    if ((letters & 0xFE) != ord("0")).any() or numbers.dtype != np.int64 or (numbers < 0).any():
        return None
    places = np.left_shift(1, np.arange(n_bits - 1, -1, -1, dtype=np.int64))
    return PackedCounts.of(n_bits, (letters & 1) @ places, numbers)


def _narrow(column: np.ndarray) -> bytes:
    """A column of numbers in the smallest words that hold it."""
    largest = int(column.max()) if len(column) else 0
    size = next(size for size in _SIZES if largest < 1 << 8 * size)
    data: bytes = column.astype(f"<u{size}").tobytes()
    return data


def _wide(data: bytes, length: int) -> np.ndarray:
    import numpy as np

    return np.frombuffer(data, dtype=f"<u{len(data) // max(length, 1) or 1}").astype(np.int64)


@lru_cache(maxsize=16)
def _words(n_bits: int) -> tuple[str, ...]:
    return tuple(format(outcome, f"0{n_bits}b") for outcome in range(1 << n_bits))
