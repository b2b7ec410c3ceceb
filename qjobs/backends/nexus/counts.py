"""Tables of outcomes, as pytket writes them, as counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qjobs.backends.nexus.wire import member
from qjobs.errors import ProtocolError

_MAX_BITS: Final = 100_000

_Bit = tuple[str, tuple[int, ...]]
"""A register's name and an index in it."""


def counts_of(attributes: object) -> dict[str, int]:
    """Counts of pytket's `BackendResult.to_dict()`, bit 0 rightmost, the first register rightmost.

    A column of the table is the bit of the same position in `bits`; registers are ordered by their names, as
    pytket orders a circuit's bits. A bit that the table leaves out below a register's highest one is 0.

    Raises:
        ProtocolError: It is not a table of outcomes.
    """
    try:
        bits = [(str(name), tuple(index)) for name, index in member(attributes, "bits") or ()]
        width, outcomes = _outcomes_in(attributes)
        if len(set(bits)) != width or len(bits) != width or any(max(index) > _MAX_BITS for _, index in bits):
            raise ProtocolError(f"Nexus answered a result with {len(bits)} bits and {width} columns")
        return _joined(outcomes, _columns_of(bits), width)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ProtocolError(f"Nexus answered a result that is not a table of outcomes: {error!r}") from error


def _outcomes_in(attributes: object) -> tuple[int, Counter[tuple[int, ...]]]:
    """The width of the table, in bits, and how often each row of bytes is in it."""
    outcomes: Counter[tuple[int, ...]] = Counter()
    shots = member(attributes, "shots")
    if shots:
        outcomes.update(map(tuple, shots["array"]))
        return shots["width"], outcomes
    counted: Any = member(attributes, "counts")
    width = counted[0]["outcome"]["width"]
    for entry in counted:
        (row,) = entry["outcome"]["array"]
        if entry["outcome"]["width"] != width or type(entry["count"]) is not int:
            raise ProtocolError("Nexus answered a result whose outcomes have several widths, or no whole counts")
        outcomes[tuple(row)] += entry["count"]
    return width, outcomes


def _columns_of(bits: Sequence[_Bit]) -> list[int | None]:
    """The column of every bit, the highest bit first; None for one that the table leaves out."""
    columns: dict[_Bit, int | None] = {}
    for name, index in bits:
        if len(index) == 1:
            for lower in range(index[0]):
                columns[name, (lower,)] = None
    for column, bit in enumerate(bits):
        columns[bit] = column
    return [column for _, column in sorted(columns.items(), reverse=True)]


def _joined(outcomes: Mapping[tuple[int, ...], int], columns: Sequence[int | None], width: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row, count in outcomes.items():
        if len(row) != (width + 7) // 8 or any(type(byte) is not int or not 0 <= byte < 256 for byte in row):
            raise ProtocolError("Nexus answered a result with an outcome that is not a row of bytes")
        digits = "".join(f"{byte:08b}" for byte in row)
        counts["".join("0" if column is None else digits[column] for column in columns)] += count
    return dict(counts)
