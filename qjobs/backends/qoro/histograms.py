"""Histograms as Qoro packs them: the encodings `qh1` and `qh2`, both ways.

The two differ in how they write the width, one byte or a ULEB, and in nothing else. A ULEB is an unsigned LEB128
number.

```text
"QH1" width:1 byte  |  "QH2" width:ULEB
ULEB unique, ULEB total_shots, ULEB number_of_gaps
the gaps, each a ULEB              indices ascending; the first gap is the first index
ULEB number_of_bytes, then in them: ULEB number_of_runs, [first_value:1 byte, the runs, each a ULEB]
ULEB number_of_extras, the extras, each a ULEB
```

An index is a bit string read as a number in base 2. The runs say, in the order of the indices, which counts are 1: the
first run has the first value (1: they are), and the values alternate. Each extra is a count that is not 1, less 2.

What a damaged payload can hide: the format has no checksum. A histogram is written in one way alone, and reading
demands that way; together with the number of shots, the number of bit strings and all lengths it finds every cut and
most flipped bits. It cannot find a flip that makes another histogram of the same width and the same number of shots: a
gap that leads to other bit strings, or the first value of runs that change places. Nothing but TLS protects from those.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

from qjobs.errors import InvalidInput, ProtocolError

__all__ = ["MAX_BITS", "decode", "encode", "from_bytes", "is_encoded", "to_bytes"]

MAX_BITS: Final = 1 << 20
"""The widest histogram that is written or read; Qoro's own client has the same bound."""
_WIDEST_QH1: Final = 255
_MAX_CHARACTERS: Final = 1 << 30
"""The most that a histogram may hold when it is unpacked: a byte of a gap can stand for a million characters."""
_MAX_NUMBER: Final = (1 << 63) - 1
"""Of the numbers that are no gaps: Qoro's own client counts in signed words of 64 bits."""
_MAGIC: Final = {"qh1": b"QH1", "qh2": b"QH2"}


def encode(counts: Mapping[str, int], n_bits: int) -> dict[str, Any]:
    """A histogram as a result has it: `{"encoding", "n_bits", "payload"}`; `qh2` where it is wider than 255 bits.

    Args:
        counts: Bit strings of `n_bits` characters to numbers of shots; what has none is left out.
        n_bits: The width, from 0 to `MAX_BITS`.

    Raises:
        InvalidInput: A key is no bit string of this width, a count is negative, or the width is out of bounds.
    """
    encoding = "qh1" if n_bits <= _WIDEST_QH1 else "qh2"
    payload = to_bytes(counts, n_bits, encoding)
    return {"encoding": encoding, "n_bits": n_bits, "payload": base64.b64encode(payload).decode()}


def to_bytes(counts: Mapping[str, int], n_bits: int, encoding: str) -> bytes:
    """A histogram in the given encoding, `qh1` or `qh2`, before base64; else as `encode`."""
    if encoding not in _MAGIC:
        raise InvalidInput(f"{encoding!r} is no encoding of histograms; qh1 and qh2 are")
    widest = _WIDEST_QH1 if encoding == "qh1" else MAX_BITS
    if not 0 <= n_bits <= widest:
        raise InvalidInput(f"a histogram of {n_bits} bits cannot be written as {encoding}: from 0 to {widest} can")
    rows = _rows_of(counts, n_bits)
    total = sum(number for _, number in rows)
    if total > _MAX_NUMBER:
        raise InvalidInput(f"a histogram of {total} shots cannot be written; {_MAX_NUMBER} can")
    out = bytearray(_MAGIC[encoding])
    if encoding == "qh1":
        out.append(n_bits)
    else:
        _put(out, n_bits)
    for number in (len(rows), total, len(rows)):
        _put(out, number)
    last = 0
    for index, _ in rows:
        _put(out, index - last)
        last = index
    runs = _runs_of([number == 1 for _, number in rows])
    _put(out, len(runs))
    out += runs
    extras = [number - 2 for _, number in rows if number != 1]
    _put(out, len(extras))
    for extra in extras:
        _put(out, extra)
    return bytes(out)


def _rows_of(counts: Mapping[str, int], n_bits: int) -> list[tuple[int, int]]:
    """Index and count of what was seen, by ascending index."""
    rows: list[tuple[int, int]] = []
    for word, number in counts.items():
        if len(word) != n_bits or not set(word) <= {"0", "1"}:
            raise InvalidInput(f"{word[:80]!r} is no bit string of {n_bits} bits")
        if number < 0:
            raise InvalidInput(f"{word[:80]!r} has {number} shots")
        if number:
            rows.append((int(word or "0", 2), number))
    return sorted(rows)


def _runs_of(values: list[bool]) -> bytes:
    lengths = [len(list(run)) for _, run in groupby(values)]
    out = bytearray()
    _put(out, len(lengths))
    if lengths:
        out.append(values[0])
        for length in lengths:
            _put(out, length)
    return bytes(out)


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def is_encoded(entry: object) -> bool:
    """Whether a result is a packed histogram; one without a payload is what it says, for example values of terms."""
    return isinstance(entry, Mapping) and "payload" in entry


def decode(entry: Mapping[str, Any], *, n_bits: int | None = None, shots: int | None = None) -> dict[str, int]:
    """Read a histogram as a result has it: bit strings, ascending, to numbers of shots.

    Args:
        entry: `{"encoding", "n_bits", "payload"}`.
        n_bits: The width that the circuit has; any is taken if None.
        shots: The number of shots that were asked for; any is taken if None.

    Raises:
        ProtocolError: It is not such a histogram, or not in the one way in which that is written.
    """
    encoding = entry.get("encoding")
    if not isinstance(encoding, str) or encoding not in _MAGIC:
        raise ProtocolError(f"a histogram has the unknown encoding {str(encoding)[:40]!r}")
    width = entry.get("n_bits")
    if type(width) is not int:
        raise ProtocolError("a histogram does not say how many bits it has")
    if n_bits is not None and width != n_bits:
        raise ProtocolError(f"a histogram has {width} bits, and its circuit {n_bits}")
    payload = entry.get("payload")
    try:
        data = base64.b64decode(payload if isinstance(payload, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("the payload of a histogram is not base64") from error
    if base64.b64encode(data).decode() != payload:
        raise ProtocolError("the payload of a histogram ends in bits that base64 has no use for")
    return from_bytes(data, encoding, n_bits=width, shots=shots)


def from_bytes(data: bytes, encoding: str, *, n_bits: int | None = None, shots: int | None = None) -> dict[str, int]:
    """The inverse of `to_bytes`; else as `decode`."""
    reader = _Reader(data)
    if reader.take(3) != _MAGIC[encoding]:
        raise ProtocolError(f"the payload of a histogram does not begin as {encoding} does")
    width = reader.take(1)[0] if encoding == "qh1" else reader.number(MAX_BITS, "width")
    if n_bits is not None and width != n_bits:
        raise ProtocolError(f"a histogram has {width} bits, and {n_bits} were expected")
    unique = reader.number(_MAX_NUMBER, "number of bit strings")
    total = reader.number(_MAX_NUMBER, "number of shots")
    if shots is not None and total != shots:
        raise ProtocolError(f"a histogram has {total} shots, and {shots} were expected")
    if unique > total:
        raise ProtocolError(f"a histogram has {unique} bit strings of {total} shots")
    if unique * max(1, width) > _MAX_CHARACTERS:
        raise ProtocolError(f"a histogram of {unique} bit strings of {width} bits is longer than anybody can read")
    if reader.number(_MAX_NUMBER, "number of gaps") != unique:
        raise ProtocolError("a histogram has not as many gaps as bit strings")
    indices = _indices_in(reader, unique, width)
    numbers = _numbers_in(reader, unique)
    reader.end("histogram")
    if sum(numbers) != total:
        raise ProtocolError(f"the counts of a histogram are {sum(numbers)} shots, and it says {total}")
    counts: dict[str, int] = {}
    for index, number in zip(indices, numbers, strict=True):
        counts[format(index, f"0{width}b") if width else ""] = number
    if to_bytes(counts, width, encoding) != data:
        raise ProtocolError("a histogram is written in another way than it has to be")
    return counts


def _indices_in(reader: _Reader, unique: int, width: int) -> list[int]:
    largest = (1 << width) - 1
    indices: list[int] = []
    last = 0
    for position in range(unique):
        gap = reader.number(largest, "gap")
        if not gap and position:
            raise ProtocolError("a histogram has one bit string twice")
        last += gap
        if last > largest:
            raise ProtocolError(f"a histogram has a bit string of more than {width} bits")
        indices.append(last)
    return indices


def _numbers_in(reader: _Reader, unique: int) -> list[int]:
    n_bytes = reader.number(_MAX_NUMBER, "number of bytes of runs")
    runs = _Reader(reader.take(n_bytes))
    are_one: list[bool] = []
    n_runs = runs.number(unique, "number of runs")
    value = False
    if n_runs:
        first = runs.take(1)[0]
        if first > 1:
            raise ProtocolError("the runs of a histogram begin with neither 0 nor 1")
        value = first == 1
    for _ in range(n_runs):
        length = runs.number(unique - len(are_one), "run")
        if not length:
            raise ProtocolError("a histogram has an empty run")
        are_one += [value] * length
        value = not value
    runs.end("runs of a histogram")
    if len(are_one) != unique:
        raise ProtocolError("the runs of a histogram are not as long as its bit strings are many")
    if reader.number(unique, "number of extras") != are_one.count(False):
        raise ProtocolError("a histogram has not as many extras as counts that are not 1")
    numbers: list[int] = []
    for is_one in are_one:
        numbers.append(1 if is_one else reader.number(_MAX_NUMBER - 2, "extra") + 2)
    return numbers


class _Reader:
    """Bytes that are read from front to back; what is not there is a ProtocolError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, n_bytes: int) -> bytes:
        found = self._data[self._at : self._at + n_bytes]
        if len(found) < n_bytes:
            raise ProtocolError("a histogram is cut off")
        self._at += n_bytes
        return found

    def number(self, largest: int, name: str) -> int:
        """A ULEB of at most `largest`, in the fewest bytes."""
        number = 0
        shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if number > largest:
                raise ProtocolError(f"a histogram has a {name} of more than {_shown(largest)}")
            if byte < 0x80:
                break
            shift += 7
            if shift > largest.bit_length():
                raise ProtocolError(f"a histogram has a {name} in more bytes than it needs")
        if shift and not byte:
            raise ProtocolError(f"a histogram has a {name} in more bytes than it needs")
        return number

    def end(self, name: str) -> None:
        """See that nothing follows."""
        left = len(self._data) - self._at
        if left:
            raise ProtocolError(f"{left} bytes follow the {name}")


def _shown(largest: int) -> str:
    return str(largest) if largest <= _MAX_NUMBER else f"{largest.bit_length()} bits"
