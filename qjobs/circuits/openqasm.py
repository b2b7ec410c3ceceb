"""OpenQASM text to qiskit circuits, with bounds on what a hostile text can cost; and circuits to plain OpenQASM 2."""

from __future__ import annotations

import re
from typing import Any, Final

from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit import ControlFlowOp
from qiskit.exceptions import QiskitError

from qjobs.errors import InvalidCircuit
from qjobs.model import ProgramFormat

MAX_BYTES: Final = 10 * 1024 * 1024
"""Largest circuit that is read, in bytes."""
MAX_WIRES: Final = 100_000
"""Most qubits, and most classical bits, of a circuit that is read."""

_MAX_NESTING: Final = 64
_MAX_OPERATORS: Final = 500
_COMMENT: Final = re.compile(r'"[^"\n]*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_HEADER: Final = re.compile(r"\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_INCLUDE: Final = re.compile(r"""\binclude\s*["']([^"'\n]*)["']""")
_SIZE: Final = re.compile(r"\b(?:qubit|bit)\s*\[([^\]]*)\]|\b(?:qreg|creg)\s+\w+\s*\[([^\]]*)\]")
_CONSTANT: Final = re.compile(r"\bconst\s+\w+(?:\s*\[[^\]]*\])?\s+(\w+)\s*=\s*([^;]*);")
_PLACE: Final = re.compile(r"(?:<input>:)?(?P<line>\d+),(?P<column>\d+):\s*(?P<rest>.*)")
_LIBRARIES: Final = frozenset({"qelib1.inc", "stdgates.inc"})


def has_control_flow(circuit: QuantumCircuit) -> bool:
    """Whether anything in a circuit depends on a bit that was measured, or is repeated."""
    return any(isinstance(each.operation, ControlFlowOp) for each in circuit.data)


def flat(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit on one quantum and one classical register, so that nobody orders several ones another way."""
    made = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    made.compose(circuit, made.qubits, made.clbits, inplace=True)
    return made


def write_openqasm2(circuit: QuantumCircuit) -> str:
    """A circuit without free symbols as OpenQASM 2, on one quantum and one classical register.

    Raises:
        InvalidCircuit: OpenQASM 2 cannot hold it: it has control flow, or an instruction without a definition.
    """
    if has_control_flow(circuit):  # Qiskit writes it wrongly in OpenQASM 2
        raise InvalidCircuit("the circuit has control flow, which OpenQASM 2 does not have; unroll it")
    try:
        text: str = qasm2.dumps(flat(circuit))
    except (QiskitError, LookupError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidCircuit(
            f"the circuit cannot be written as OpenQASM 2: {one_line(error)}; compile it for the device"
        ) from error
    return text


def _without_comments(text: str) -> str:
    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else " "

    return _COMMENT.sub(blank, text)


def detect(text: str) -> ProgramFormat:
    r"""Which OpenQASM a text is, by its header.

    Raises:
        InvalidCircuit: It has no header, or one of another version.

    >>> detect("// my circuit\nOPENQASM 2.0; qreg q[1];").value
    'openqasm2'
    """
    header = _HEADER.match(_without_comments(text.lstrip("\ufeff")[:MAX_BYTES]))
    if header is None:
        path = " (to read a file, give a pathlib.Path)" if text.strip().endswith(".qasm") else ""
        raise InvalidCircuit(f"the text is not OpenQASM{path}; it must begin with OPENQASM 3.0; or OPENQASM 2.0;")
    match header[1]:
        case "2":
            return ProgramFormat.OPENQASM2
        case "3":
            return ProgramFormat.OPENQASM3
    raise InvalidCircuit(f"OpenQASM {header[1]} is not known; begin with OPENQASM 3.0; or OPENQASM 2.0;")


def parse_openqasm2(text: str) -> QuantumCircuit:
    """Parse OpenQASM 2, with the gates that qiskit adds to its standard library.

    Raises:
        InvalidCircuit: With the parser's line and words.
    """
    _check_bounds(text)
    try:
        return qasm2.loads(
            text.lstrip("\ufeff"),
            include_path=qasm2.LEGACY_INCLUDE_PATH,
            custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS,
            custom_classical=qasm2.LEGACY_CUSTOM_CLASSICAL,
        )
    except (QiskitError, ValueError, TypeError, ArithmeticError) as error:
        raise InvalidCircuit(f"OpenQASM 2: {_explain(error)}") from error


def parse_openqasm3(text: str) -> QuantumCircuit:
    """Parse OpenQASM 3; `input float` and `input angle` become parameters.

    Raises:
        InvalidCircuit: With the parser's line and words.
    """
    _check_bounds(text)
    try:
        return qasm3.loads(text.lstrip("\ufeff"))
    except RecursionError as error:
        raise InvalidCircuit("OpenQASM 3: the text is nested too deeply; write it flatter") from error
    except Exception as error:  # antlr, openqasm3 and the importer share no base class
        raise InvalidCircuit(f"OpenQASM 3: {_explain(error)}") from error


def _check_bounds(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise InvalidCircuit(f"the text has {len(text):,} characters; at most {MAX_BYTES:,} are read")
    plain = _without_comments(text)
    for found in _INCLUDE.finditer(plain):
        if found[1] not in _LIBRARIES:
            raise InvalidCircuit(f'include "{found[1]}" is not read; put the definitions into the text')
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
    _check_sizes(plain)


def _check_sizes(plain: str) -> None:
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


def one_line(error: BaseException) -> str:
    """What an error of another library says, on one line; its class if it says nothing."""
    return " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__


def _explain(error: BaseException) -> str:
    words = one_line(error).strip("'\"")
    token = _offending_token(error)
    place = _PLACE.match(words)
    if token is not None:
        words = f"line {token.line}, column {token.column}: syntax error at {token.text!r}"
    elif place is not None:
        words = f"line {place['line']}, column {place['column']}: {place['rest']}"
    if "is not defined" in words:
        words += '; is include "stdgates.inc"; (OpenQASM 2: "qelib1.inc") missing, or a definition?'
    if "'FunctionCall'" in words:
        words += " (functions of inputs are not read from text: give the circuit as QPY)"
    return f"{words}; correct the text"


def _offending_token(error: BaseException) -> Any:
    """The token at which antlr stopped, if it is known."""
    for cause in (error, error.__cause__, error.__context__):
        for each in (cause, *getattr(cause, "args", ())):
            token = getattr(each, "offendingToken", None)
            if token is not None:
                return token
    return None
