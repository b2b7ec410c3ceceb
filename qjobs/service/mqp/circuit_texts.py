"""The circuits of a job as the service stores circuits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qjobs.circuits.lookalikes import replace_lookalikes
from qjobs.circuits.openqasm import detect, parse_openqasm2, parse_openqasm3
from qjobs.errors import InvalidCircuit
from qjobs.model import ProgramFormat

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["compiled_texts", "pytket_bodies", "pytket_body"]


def pytket_bodies(texts: Sequence[str]) -> list[bytes]:
    """Each OpenQASM text as the JSON of pytket; qubit i stays qubit i, and bit i bit i, whatever the registers.

    Raises:
        InvalidCircuit: One cannot be run as it is; the message says which and why.
    """
    bodies = []
    for number, text in enumerate(texts, start=1):
        try:
            bodies.append(_body(text))
        except InvalidCircuit as error:
            raise InvalidCircuit(f"circuit {number} of {len(texts)}: {error}") from error
    return bodies


def _body(text: str) -> bytes:
    parse = parse_openqasm2 if detect(text) is ProgramFormat.OPENQASM2 else parse_openqasm3
    circuit = replace_lookalikes(parse(text))
    if circuit.parameters:
        raise InvalidCircuit("it has free parameters; give them values before you send it")
    if "measure" not in circuit.count_ops():
        raise InvalidCircuit("it measures nothing; add measurements")
    return pytket_body(circuit)


def pytket_body(circuit: QuantumCircuit) -> bytes:
    """The JSON of pytket of a circuit.

    Raises:
        InvalidCircuit: pytket cannot hold it (control flow).
    """
    from qjobs.circuits.pytket import dump_pytket, qiskit_to_pytket

    return dump_pytket(qiskit_to_pytket(circuit))


def compiled_texts(bodies: Sequence[bytes]) -> list[str]:
    """Compiled circuits as OpenQASM 3."""
    from qiskit import qasm3

    from qjobs.circuits.pytket import load_pytket, pytket_to_qiskit

    return [str(qasm3.dumps(pytket_to_qiskit(load_pytket(body)))) for body in bodies]
