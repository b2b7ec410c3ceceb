"""Angles that come as text in pytket's JSON: what they may hold, checked before pytket and sympy read them.

Both compute whole numbers exactly, so that `10**(10**9)` never ends, and end the process at functions that only one of
them knows. Here nothing is computed: sizes are added up.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from qjobs.circuits.text_bounds import MAX_WIRES
from qjobs.errors import InvalidCircuit

__all__ = ["check_angle", "check_json"]

_FUNCTIONS: Final = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "acot",
        "acoth",
        "acsc",
        "asec",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "conjugate",
        "cos",
        "cosh",
        "cot",
        "coth",
        "csc",
        "csch",
        "exp",
        "ln",
        "log",
        "sec",
        "sech",
        "sin",
        "sinh",
        "sqrt",
        "tan",
        "tanh",
    ]
)
"""Functions that pytket writes into angles."""

_LONGEST: Final = 100_000
_MAX_NESTING: Final = 100
_MAX_DIGITS: Final = 18
"""Digits of a whole number, numerator and denominator together: pytket ends the process at larger ones."""
_MAX_TERMS: Final = 10_000
_MAX_POWER: Final = 1_000
_SHOWN: Final = 60
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<mark>\*\*|[-+*/^(),]))"
)
_PLAIN: Final = re.compile(r"-?\d{1,3}(?:\.\d{1,40})?")
_CONSTANTS: Final = {"pi": math.pi, "E": math.e}
_NOT_ANGLES: Final = frozenset({"name", "id", "opgroup", "data", "type"})
_WIRES: Final = frozenset({"qubits", "bits", "created_qubits", "discarded_qubits", "implicit_permutation"})


@dataclass(frozen=True, slots=True)
class _Size:
    """What an expression can grow to.

    Args:
        digits: Those of its whole numbers.
        terms: Its terms, when it is multiplied out.
        value: What it is about, if no symbol is in it.
    """

    digits: float = 0.0
    terms: int = 1
    value: float | None = None


class _TooMuchError(ValueError):
    """It is too large, or cannot be read."""


def check_json(content: Any) -> None:
    """Check what the JSON of a pytket circuit asks for: its angles, and the numbers of wires of its boxes.

    Raises:
        InvalidCircuit: An angle is no expression within bounds, or a box is too wide.
    """
    left = [content]
    while left:
        node = left.pop()
        for key, value in node.items() if isinstance(node, dict) else (("", each) for each in node):
            if isinstance(value, str):
                if key not in _NOT_ANGLES:
                    check_angle(value)
            elif isinstance(value, dict):
                left.append(value)
            elif isinstance(value, list):
                if key == "args":  # of a command its wires, of a gate's definition its symbols
                    left.append([each for each in value if isinstance(each, str)])
                elif key not in _WIRES:
                    left.append(value)
            elif isinstance(value, int) and key.startswith("n_") and value > MAX_WIRES:
                raise InvalidCircuit(f"{key} is {value:,}; at most {MAX_WIRES:,} are read")


def check_angle(text: str) -> None:
    """Check an angle as pytket writes it, such as `2*a/pi`.

    Raises:
        InvalidCircuit: It is no such expression, or stands for too much.
    """
    if (problem := _problem(text)) is not None:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise InvalidCircuit(f"the angle {shown!r} is not read: {problem}")


def _problem(text: str) -> str | None:
    if not text or text.isidentifier() or _PLAIN.fullmatch(text):
        return None
    if len(text) > _LONGEST:
        return f"it has more than {_LONGEST:,} characters; write it as several gates"
    return _reading_problem(text)


@functools.lru_cache(maxsize=4096)
def _reading_problem(text: str) -> str | None:
    try:
        _Reader(text).read()
    except _TooMuchError as error:
        return str(error)
    return None


class _Reader:
    """Reads one expression, from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._depth = 0
        self._kind = ""
        self._word = ""
        self._next()

    def read(self) -> _Size:
        """The size of the whole.

        Raises:
            _TooMuchError: It is too large, or cannot be read.
        """
        size = self._sum()
        if self._kind:
            raise _TooMuchError(f"{self._word!r} is not expected there; write a * for every product")
        return size

    def _next(self) -> None:
        self._kind, self._word = next(self._tokens, ("", ""))

    def _took(self, *marks: str) -> str | None:
        if self._kind == "mark" and self._word in marks:
            mark = self._word
            self._next()
            return mark
        return None

    def _sum(self) -> _Size:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise _TooMuchError("it is nested too deeply")
        size = self._product()
        while (mark := self._took("+", "-")) is not None:
            right = self._product()
            value = None
            digits = max(size.digits, right.digits)
            if size.value is not None and right.value is not None:
                value = size.value + right.value if mark == "+" else size.value - right.value
                digits = size.digits + right.digits
            size = _checked(digits, size.terms + right.terms, value)
        self._depth -= 1
        return size

    def _product(self) -> _Size:
        size = self._signed()
        while (mark := self._took("*", "/")) is not None:
            right = self._signed()
            value = None
            if size.value is not None and right.value is not None:
                by = right.value if mark == "*" else _inverse(right.value)
                value = size.value * by
            size = _checked(size.digits + right.digits, size.terms * right.terms, value)
        return size

    def _signed(self) -> _Size:
        sign = 1
        for _ in range(_MAX_NESTING):
            mark = self._took("+", "-")
            if mark is None:
                break
            sign = -sign if mark == "-" else sign
        size = self._power()
        return size if sign > 0 or size.value is None else _Size(size.digits, size.terms, -size.value)

    def _power(self) -> _Size:
        base = self._atom()
        if self._took("**", "^") is None:
            return base
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise _TooMuchError("it is nested too deeply")
        exponent = self._signed()
        self._depth -= 1
        if exponent.value is None:
            return _checked(base.digits + exponent.digits, 1, None)
        times = abs(exponent.value)
        if not times <= _MAX_POWER:
            raise _TooMuchError(f"a power is at most {_MAX_POWER:,}")
        terms = base.terms if times <= 1 or base.terms == 1 else base.terms ** math.ceil(min(times, 20))
        value = None if base.value is None else _float_power(base.value, exponent.value)
        return _checked(max(base.digits, base.digits * times, exponent.digits), terms, value)

    def _atom(self) -> _Size:
        kind = self._kind
        word = self._word
        self._next()
        if kind == "number":
            return _number(word)
        if kind == "name":
            is_call = self._kind == "mark" and self._word == "("
            return self._call(word) if is_call else _Size(value=_CONSTANTS.get(word))
        if kind == "mark" and word == "(":
            size = self._sum()
            if self._took(")") is None:
                raise _TooMuchError("a bracket is open")
            return size
        raise _TooMuchError(f"{word!r} is not expected there" if word else "it ends too early")

    def _call(self, name: str) -> _Size:
        if name not in _FUNCTIONS:
            raise _TooMuchError(f"{name[:_SHOWN]} is not one of {', '.join(sorted(_FUNCTIONS))}")
        self._next()
        arguments = [self._sum()]
        while self._took(",") is not None:
            arguments.append(self._sum())
        if self._took(")") is None:
            raise _TooMuchError("a bracket is open")
        if len(arguments) != (2 if name == "atan2" else 1):
            raise _TooMuchError(f"{name} has another number of arguments")
        constant = all(each.value is not None for each in arguments)
        # Of a constant nobody needs the value but for a power, and no power of a function's value is exact.
        return _Size(digits=max(each.digits for each in arguments), value=1.0 if constant else None)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    end = len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            raise _TooMuchError(f"{text[place : place + 1]!r} is not expected there")
        place = found.end()
        yield str(found.lastgroup), found[str(found.lastgroup)]


def _number(token: str) -> _Size:
    value = float(token)
    if not math.isfinite(value):
        raise _TooMuchError("a number is too large")
    digits = math.log10(max(value, 1.0)) if token.isdecimal() else 0.0
    return _checked(digits, 1, value)


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf


def _float_power(base: float, exponent: float) -> float:
    try:
        value = base**exponent
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return value if isinstance(value, float) else math.inf


def _checked(digits: float, terms: int, value: float | None) -> _Size:
    if digits > _MAX_DIGITS:
        raise _TooMuchError(
            f"its whole numbers have more than {_MAX_DIGITS} digits; write them with a point, as in 1.0e20"
        )
    if terms > _MAX_TERMS:
        raise _TooMuchError(f"it has more than {_MAX_TERMS:,} terms when it is multiplied out")
    return _Size(digits, terms, value)
