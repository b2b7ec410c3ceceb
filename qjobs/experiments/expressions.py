"""Numbers as people write them: `pi/2`, `2*pi*f`, `1e6`. Evaluated by asteval; sums and functions of numbers only."""

from __future__ import annotations

import ast
import contextlib
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

__all__ = [
    "KNOWN_NAMES",
    "check_name",
    "constants",
    "evaluate",
    "evaluate_all",
    "names_in",
    "read_number",
    "read_whole",
]

_FUNCTIONS: Final = {
    "abs": abs,
    "acos": math.acos,
    "asin": math.asin,
    "atan": math.atan,
    "atan2": math.atan2,
    "cos": math.cos,
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
_KNOWN: Final = {"pi": math.pi, "π": math.pi}
KNOWN_NAMES: Final = frozenset({*_FUNCTIONS, *_KNOWN})
"""Names that an expression may use without anybody having given them a value."""
_LONGEST = 200
_SHOWN = 40
_ALLOWED = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Pow,
    ast.UAdd,
    ast.USub,
)
_given: ContextVar[Mapping[str, float]] = ContextVar("_given", default=MappingProxyType({}))
"""The constants of the form that is being read."""


@contextlib.contextmanager
def constants(values: Mapping[str, float]) -> Iterator[None]:
    """While this is entered, expressions may use these names, besides the functions and pi."""
    token = _given.set(values)
    try:
        yield
    finally:
        _given.reset(token)


def check_name(name: str) -> str:
    """Refuse what an expression cannot use as a name of its own.

    Raises:
        ValueError: It is no identifier, or has a meaning already.
    """
    if not name.isidentifier():
        raise ValueError(f"{name!r} cannot be a name; use letters, digits and _, and begin with a letter")
    if name in KNOWN_NAMES:
        raise ValueError(f"{name!r} has a meaning already; take another name")
    return name


def evaluate(text: str, names: Mapping[str, float] | None = None) -> float:
    """The value of an expression, as Python's floats have it: `pi/2` is `math.pi / 2` to the last bit.

    It may use + - * / **, brackets, pi, the usual functions (angles in radians), the constants of the form, and
    `names`. Whole numbers in it count as floats, so that no power takes long.

    Raises:
        ValueError: It cannot be read, uses an unknown name, or has no finite value; the message says what to write.

    >>> evaluate("pi/2") == math.pi / 2
    True
    >>> evaluate("2*pi*f", {"f": 3.0}) == 2 * math.pi * 3.0
    True
    """
    return evaluate_all(text, [names or {}])[0]


def evaluate_all(text: str, rows: Sequence[Mapping[str, float]]) -> list[float]:
    """The values of an expression in rows of names with their values, all of the same names.

    Raises:
        ValueError: As for `evaluate`.
    """
    constants_here = _given.get()
    tree = _read(text)
    _check_names(text, tree, [*_KNOWN, *constants_here, *rows[0]])
    interpreter = _interpreter()
    found = []
    for row in rows:
        interpreter.symtable = {**_FUNCTIONS, **_KNOWN, **constants_here, **row}
        found.append(_value(interpreter, text, tree))
    return found


def _value(interpreter: Any, text: str, tree: ast.Expression) -> float:
    try:
        value = interpreter.run(tree.body, expr=text, with_raise=True)
    except Exception as error:  # asteval passes on whatever it met, as an exception of its own choice
        raise ValueError(f"{_shown(text)} has no value: {_why(error)}") from None
    if isinstance(value, complex):
        raise ValueError(f"{_shown(text)} is a complex number; a real one is needed")  # noqa: TRY004
    if not isinstance(value, int | float):
        raise ValueError(f"{_shown(text)} is not a number; call the function with a value, as in sqrt(2)")  # noqa: TRY004
    if not math.isfinite(value):
        raise ValueError(f"{_shown(text)} is not finite; give a finite number")
    return float(value)


def names_in(text: str) -> set[str]:
    """The names that an expression uses, without those that have a meaning already.

    Raises:
        ValueError: It cannot be read.
    """
    names = {node.id for node in ast.walk(_read(text)) if isinstance(node, ast.Name)}
    return names - KNOWN_NAMES


def read_number(value: object) -> Any:
    """A number from what stands in a form; what is no text is handed on as it is.

    Raises:
        ValueError: It is true or false, or a text that is no number.
    """
    if isinstance(value, bool):
        raise ValueError(f"it must be a number, not {_yaml(value)}")  # noqa: TRY004 - pydantic passes a TypeError on
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return evaluate(value)


def read_whole(value: object) -> Any:
    """A whole number from what stands in a form, such as `1e4` or `2**5`; what is no text is handed on as it is.

    Raises:
        ValueError: It is true or false, or a text that is no number.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return int(value)
    return read_number(value)


def _read(text: str) -> ast.Expression:
    """The tree of an expression, with nothing in it but numbers, names, sums and calls."""
    if len(text) > _LONGEST:
        raise ValueError(f"{_shown(text)} has more than {_LONGEST} characters; give the number itself")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{_shown(text)} is not a number{_hint(text)}") from None
    for node in ast.walk(tree):
        if (problem := _problem(node)) is not None:
            raise ValueError(f"{_shown(text)} {problem or 'is not a number' + _hint(text)}")
        if isinstance(node, ast.Constant):
            try:
                node.value = float(node.value)  # type: ignore[arg-type]  # a number, as _problem has seen
            except OverflowError:
                raise ValueError(f"{_shown(text)} is too large for a number") from None
    return tree


def _problem(node: ast.AST) -> str | None:
    """Why a part of an expression cannot be there, empty where it is no part of a number; None if it can."""
    match node:
        case ast.BitXor():
            return "is not a number; write ** for a power, as in 2**3"
        case ast.Constant(value=bool()):
            return ""
        case ast.Constant(value=int() | float()):
            return None
        case ast.Constant():
            return ""
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            return None
        case ast.Call():
            return f"calls something else than {', '.join(sorted(_FUNCTIONS))}"
        case ast.operator() | ast.unaryop() if not isinstance(node, _ALLOWED):
            return "uses an operator that is not one of + - * / **"
    return None if isinstance(node, _ALLOWED) else ""


def _check_names(text: str, tree: ast.AST, known: Sequence[str]) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or node.id in known or node.id in _FUNCTIONS:
            continue
        if node.id == text.strip():
            words = f"{_shown(text)} is not a number"
        else:
            words = f"{_shown(text)} uses the unknown name {node.id[:_SHOWN]!r}"
        near = difflib.get_close_matches(node.id, [*known, *_FUNCTIONS], n=1)
        meant = f"did you mean {near[0]}?" if near else "write the number, or give the name a value under constants:"
        raise ValueError(f"{words}; {meant}")


def _interpreter() -> Any:
    from asteval import Interpreter  # takes a while, and most forms have plain numbers

    return Interpreter(symtable={}, minimal=True, use_numpy=False)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _hint(text: str) -> str:
    if "," in text:
        return "; a decimal point is a dot, and a list stands in square brackets"
    return "; write for example 0.5, 1e-3, pi/2 or 2*pi*f, with a * for every product"


def _why(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "it divides by zero"
    words = " ".join(str(error).split()).rpartition("kwargs {}: ")[2]  # behind asteval's own words
    if "domain error" in words:
        return "a function is not defined there"
    if isinstance(error, OverflowError) or not words or "exponent" in words:
        return "it is too large for a number"
    return words


def _yaml(value: bool) -> str:
    """True and false as a YAML file has them; yes, no, on and off are read as these."""
    return "true (which is also what yes and on are read as)" if value else "false (which is also no and off)"
