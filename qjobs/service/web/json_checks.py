"""Which JSON bodies go no further: too deep, too many values, or characters and numbers that cannot be stored.

Everything here takes time in proportion to the length of the body, and lets other threads run in between.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import numpy as np

from qjobs.heap import collection_paused

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Refused", "check_json", "parsed_json", "weight_of"]

MAX_DEPTH: Final = 100
"""Lists and objects inside each other; each box in a circuit adds about 6."""

MAX_VALUES: Final = 1_000_000
"""Values in one body. To read so many holds other threads up for a quarter of a second."""

_VALUE_BYTES: Final = 120
"""What one value takes in memory when the body is read, with what its keys and its list take."""

_PIECE: Final = 64 * 1024
_OVERLAP: Final = 400
"""Longer than everything that `_SUSPECT` finds."""

# Both match wherever they are tried, also where a string does not end: no piece is gone through twice.
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_REST_OF_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one in, one out
_SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|NaN|Infinity|[eE]\+?[0-9]{3}|(?<![0-9])[0-9]{300}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Refused(Exception):
    """The request goes no further."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message


def check_json(body: bytes) -> int:
    """Refuse what no route can work with; whether it is JSON at all is for the route's parser to say.

    Returns:
        How many values it holds, at most.

    Raises:
        Refused: It is not UTF-8, is nested too deeply, holds too many values, or a character or a number that cannot be
            stored.
    """
    # json.loads also takes UTF-16, UTF-32 and halves of pairs, which hide from the patterns
    if not _is_utf_8(body):
        raise Refused(400, "the body is not UTF-8")
    if b"\x00" in body:
        raise Refused(400, "the body is not JSON")
    n_values = _measured(body)
    if any(_SUSPECT.search(body[at : at + _PIECE + _OVERLAP]) for at in range(0, len(body), _PIECE)):
        try:
            with collection_paused():
                _walk(json.loads(body, parse_constant=_no_number, parse_float=_finite, parse_int=_whole))
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None
    return n_values


def parsed_json(body: bytes) -> Any:
    """What a checked body holds.

    Raises:
        ValueError: It is not JSON.
    """
    with collection_paused():
        return json.loads(body)


def weight_of(body: bytes, n_values: int) -> int:
    """How much memory it takes to work on a body, in bytes, roughly."""
    return 4 * len(body) + _VALUE_BYTES * n_values


def _is_utf_8(body: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(body), _PIECE):
            decoder.decode(body[at : at + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _measured(body: bytes) -> int:
    """How many values there are; what is too deep or too much is refused, also in what is not JSON."""
    n_values = 1
    level = 0
    for text in _outside_strings(body):
        n_values += text.count(b",") + text.count(b"[") + text.count(b"{")
        if n_values > MAX_VALUES:
            raise Refused(413, f"the body holds more than {MAX_VALUES} values")
        steps = text.translate(_STEPS, _NO_BRACKETS)
        if steps:
            levels = level + np.cumsum(np.frombuffer(steps, np.int8), dtype=np.int64)
            if levels.max() > MAX_DEPTH:
                raise Refused(400, f"the body is nested more than {MAX_DEPTH} deep")
            level = int(levels[-1])
    return n_values


def _outside_strings(body: bytes) -> Iterator[bytes]:
    """The body piece by piece, each string in it as one or two quotation marks."""
    is_inside = False
    kept = b""
    for at in range(0, len(body), _PIECE):
        piece = kept + body[at : at + _PIECE]
        kept = b""
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # it belongs to what follows
            kept = b"\\"
            piece = piece[:-1]
        if is_inside:
            rest = _REST_OF_STRING.match(piece)
            assert rest is not None  # noqa: S101 - it matches everywhere
            is_inside = not rest[1]
            piece = piece[rest.end() :]
        text = _STRINGS.sub(rb'"\1', piece)
        is_inside = is_inside or text.count(b'"') % 2 == 1
        yield text


def _no_number(word: str) -> NoReturn:
    raise Refused(422, f"the body holds {word}, which is not a number in JSON")


def _finite(word: str) -> float:
    number = float(word)
    if number in {float("inf"), float("-inf")}:
        raise Refused(422, "the body holds a number that is too large")
    return number


def _whole(word: str) -> int:
    _finite(word)
    return int(word)


def _walk(found: Any) -> None:
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\x00" in value or _SURROGATE.search(value):
                raise Refused(422, "the body holds a character that cannot be stored (NUL, or half of a pair)")
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
