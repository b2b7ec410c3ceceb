"""What an OpenQASM text may ask for, checked before a parser sees it: includes, nesting, registers, repetition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from qjobs.errors import InvalidCircuit

__all__ = ["MAX_BYTES", "MAX_WIRES", "check_bounds", "without_comments"]

MAX_BYTES: Final = 10 * 1024 * 1024
"""Largest circuit that is read, in bytes."""
MAX_WIRES: Final = 100_000
"""Most qubits, and most classical bits, of a circuit that is read."""

_MAX_NESTING: Final = 64
_MAX_OPERATORS: Final = 500
_MAX_EXTRA: Final = 200_000
"""Most operations that definitions, powers and whole registers may add to those that are written down."""

_COMMENT: Final = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_INCLUDE: Final = re.compile(r"""\binclude\b(?:\s*(["'])([^"'\n]*)\1)?""")
_SIZE: Final = re.compile(r"\b(?:qubit|bit)\s*\[([^\]]*)\]|\b(?:qreg|creg)\s+\w+\s*\[([^\]]*)\]")
_REGISTER: Final = re.compile(
    r"\b(?:qubit|bit)\s*\[\s*([\d_]+)\s*\]\s*(\w+)|\b(?:qreg|creg)\s+(\w+)\s*\[\s*([\d_]+)\s*\]"
)
_CONSTANT: Final = re.compile(r"\bconst\s+\w+(?:\s*\[[^\]]{0,80}\])?\s+(\w+)\s*=\s*([^;]{0,80});")
_GATE: Final = re.compile(r"\bgate\s+(\w+)")
_BRACE: Final = re.compile(r"[{}]")
_NAME: Final = re.compile(r"[^\W\d]\w*")
_WHOLE: Final = re.compile(r"\b([^\W\d]\w*+)(?!\s*[\[(])")
_MODIFIER: Final = re.compile(r"\b(pow|ctrl|negctrl)\s*\(([^()]*)\)\s*@")
_MOST_POWER: Final = 10_000
_MOST_CONTROLS: Final = 64


def without_comments(text: str) -> str:
    """The text with a blank in place of each comment.

    Raises:
        InvalidCircuit: A comment does not end.
    """

    def blank(found: re.Match[str]) -> str:
        words = found[0]
        if words.startswith("/*") and not words.endswith("*/"):
            raise InvalidCircuit("a comment begins with /* and does not end; end it with */")
        return words if words[0] in "\"'" else " "

    return _COMMENT.sub(blank, text)


def check_bounds(text: str) -> None:
    """Check what OpenQASM, of either version, would cost before it is read.

    Raises:
        InvalidCircuit: It is too long, includes a file of somebody's, is nested too deeply, or its registers and
            definitions stand for too much.
    """
    if len(text) > MAX_BYTES:
        raise InvalidCircuit(f"the text has {len(text):,} characters; at most {MAX_BYTES:,} are read")
    plain = without_comments(text)
    _check_includes(plain)
    depth = 0
    operators = 0
    for character in re.findall(r"[()\[\]{};+\-*/^!~]", plain):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == ";":
            operators = 0
        else:
            operators += 1
        if depth > _MAX_NESTING or operators > _MAX_OPERATORS:
            raise InvalidCircuit("the text is nested too deeply; split its expressions and blocks")
    _check_repetition(plain, _check_sizes(plain))


def _check_includes(plain: str) -> None:
    """Every include names a library that comes with the parser: a text must not open files of this machine."""
    for found in _INCLUDE.finditer(plain):
        if found[2] not in {"qelib1.inc", "stdgates.inc"}:
            named = f' "{found[2][:80]}"' if found[2] is not None else ""
            raise InvalidCircuit(
                f"include{named} is not read, only qelib1.inc and stdgates.inc; put the definitions into the text"
            )


def _check_sizes(plain: str) -> int:
    """The bits of all registers."""
    constants = dict(_CONSTANT.findall(plain))
    total = 0
    for modern, old in _SIZE.findall(plain):
        size = (modern or old).strip()
        size = constants.get(size, size).strip().replace("_", "")
        if not size.isdecimal():
            raise InvalidCircuit(f"register size [{modern or old}]: write it as a number")
        total += int(size) if len(size) < 10 else MAX_WIRES * 2 + 1
        if total > 2 * MAX_WIRES:
            raise InvalidCircuit(f"the registers hold more than {MAX_WIRES:,} bits; make them smaller")
    return total


def _check_repetition(plain: str, n_bits: int) -> None:
    """Gates of gates double with each level, and a gate on a whole register is one gate for each of its qubits."""
    for kind, number in _MODIFIER.findall(plain):
        most = _MOST_POWER if kind == "pow" else _MOST_CONTROLS
        if not _is_at_most(number, most):
            raise InvalidCircuit(f"{kind}({number.strip()[:40]}) @: write a number of at most {most:,}")
    has_gates = _GATE.search(plain) is not None
    if not has_gates and plain.count(";") * max(n_bits, 1) <= _MAX_EXTRA:
        return
    sizes: dict[str, int] = {}
    rest = _without_gates(plain, sizes) if has_gates else plain
    registers: dict[str, int] = {}
    for modern_size, modern, old, old_size in _REGISTER.findall(rest):
        registers[modern or old] = int((modern_size or old_size).replace("_", ""))
    extra = _cost(rest, sizes, registers) - plain.count(";")
    if extra > _MAX_EXTRA:
        raise InvalidCircuit(
            f"the gate definitions and whole registers stand for more than {_MAX_EXTRA:,} operations; "
            "write a smaller circuit, or split it"
        )


def _without_gates(plain: str, sizes: dict[str, int]) -> str:
    """The text without its gate definitions, whose sizes are put into `sizes`, by name."""
    kept: list[str] = []
    start = 0
    gate: str | None = None
    for brace in _BRACE.finditer(plain):
        before = plain[start : brace.start()]
        start = brace.end()
        if gate is not None:
            if brace[0] == "{":
                raise InvalidCircuit(f"the gate {gate[:40]} has a block in its definition; write it as calls of gates")
            sizes[gate] = max(1, _cost(before, sizes, {}))
            gate = None
            continue
        head, _, last = before.rpartition(";")
        found = _GATE.search(last) if brace[0] == "{" else None
        if found is not None:
            gate = found[1]
            before = head
        kept.append(before)
    kept.append(plain[start:])
    return ";".join(kept)


def _is_at_most(number: str, most: int) -> bool:
    try:
        return abs(float(number)) <= most
    except ValueError:
        return False


def _cost(text: str, sizes: Mapping[str, int], registers: Mapping[str, int]) -> int:
    """How many operations statements stand for, at most."""
    total = 0
    for statement in text.split(";"):
        calls = 0
        for name in _NAME.findall(statement):
            calls += sizes.get(name, 0)
        wide = 1
        if registers:
            for name in _WHOLE.findall(statement):
                wide = max(wide, registers.get(name, 1))
        for kind, number in _MODIFIER.findall(statement):
            if kind == "pow":
                wide *= max(1, round(abs(float(number))))
        total += max(1, calls) * wide
    return min(total, 1 << 60)
