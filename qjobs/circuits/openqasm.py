"""OpenQASM text to qiskit circuits, within the bounds of `text_bounds`; and circuits to plain OpenQASM 2."""

from __future__ import annotations

import re
from typing import Any, Final

from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit import ControlFlowOp
from qiskit.exceptions import QiskitError

from qjobs.circuits.text_bounds import MAX_BYTES, check_bounds, without_comments
from qjobs.errors import InvalidCircuit
from qjobs.model import ProgramFormat

_HEADER: Final = re.compile(r"\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;")
_PLACE: Final = re.compile(r"(?:<input>:)?(?P<line>\d+),(?P<column>\d+):\s*(?P<rest>.*)")


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


def detect(text: str) -> ProgramFormat:
    r"""Which OpenQASM a text is, by its header.

    Raises:
        InvalidCircuit: It has no header, or one of another version.

    >>> detect("// my circuit\nOPENQASM 2.0; qreg q[1];").value
    'openqasm2'
    """
    header = _HEADER.match(without_comments(text.lstrip("\ufeff")[:MAX_BYTES]))
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
    check_bounds(text)
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
    check_bounds(text)
    try:
        return qasm3.loads(text.lstrip("\ufeff"))
    except RecursionError as error:
        raise InvalidCircuit("OpenQASM 3: the text is nested too deeply; write it flatter") from error
    except Exception as error:  # antlr, openqasm3 and the importer share no base class
        raise InvalidCircuit(f"OpenQASM 3: {_explain(error)}") from error


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
