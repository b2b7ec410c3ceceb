"""Circuits as the portal takes them: OpenQASM texts of one version, without free symbols.

One job has one `circuit_format`, so all of its circuits are written in OpenQASM 2, or all in OpenQASM 3 where one of
them needs that (control flow).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, ItemSpec, Key, ProgramHash

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_VERSION: Final = re.compile(r"\s*OPENQASM\s+[\d.]+\s*;")
_KEY: Final = re.compile(r"//\s*qjobs-([A-Za-z0-9.-]{1,64})(?![A-Za-z0-9.-])")

_Circuit = tuple[ProgramHash, tuple[tuple[str, float], ...]]


def written(batch: Batch, key: Key | None) -> tuple[str, list[str]]:
    """The `circuit_format` of a batch and the texts of its items, in their order; `key` is put into the first one.

    Without control flow each has one quantum and one classical register, bit by bit in the order of our circuit.

    Raises:
        InvalidCircuit: A circuit cannot be written as OpenQASM.
    """
    form = "qasm"
    texts = _openqasm2(batch)
    if texts is None:
        form = "qasm3"
        texts = _openqasm3(batch)
    found = [texts[_circuit_of(item)] for item in batch.items]
    if key is not None:
        found[0] = with_key(found[0], key)
    return form, found


def with_key(text: str, key: Key) -> str:
    r"""The text with a key of ours in a comment behind its version, where OpenQASM 2 and 3 allow one.

    >>> with_key("OPENQASM 2.0;\nqreg q[1];", Key("k-1"))
    'OPENQASM 2.0;\n// qjobs-k-1\nqreg q[1];'
    """
    version = _VERSION.match(text)
    if version is None:
        raise InvalidCircuit("the text has no version of OpenQASM")
    return f"{version[0]}\n// qjobs-{key}\n{text[version.end() :].lstrip()}"


def key_in(text: str) -> Key | None:
    r"""The key of ours in a text, also in one that is a repr or JSON; None if there is none.

    >>> key_in("['OPENQASM 2.0;\\n// qjobs-k-1\\nqreg q[1];']")
    'k-1'
    """
    found = _KEY.search(text)
    return Key(found[1]) if found else None


def _circuit_of(item: ItemSpec) -> _Circuit:
    return item.program, tuple(sorted(item.parameters))


def _openqasm2(batch: Batch) -> dict[_Circuit, str] | None:
    """Every circuit in OpenQASM 2; None if one of them cannot be written so."""
    from qjobs.circuits.templates import written_openqasm2

    found: dict[_Circuit, str] = {}
    for item in batch.items:
        name = _circuit_of(item)
        if name not in found:
            try:
                found[name] = written_openqasm2(batch.programs[item.program], dict(item.parameters))
            except InvalidCircuit:
                return None
    return found


def _openqasm3(batch: Batch) -> dict[_Circuit, str]:
    """Every circuit in OpenQASM 3.

    Raises:
        InvalidCircuit: One of them cannot be bound or written.
    """
    from qiskit import qasm3
    from qiskit.exceptions import QiskitError

    found: dict[_Circuit, str] = {}
    for item in batch.items:
        name = _circuit_of(item)
        if name not in found:
            circuit = _bound(batch, item)
            try:
                found[name] = qasm3.dumps(circuit)
            except (QiskitError, LookupError, ValueError, TypeError, NotImplementedError) as error:
                raise InvalidCircuit(
                    "a circuit of the job cannot be written as OpenQASM 2 or 3; compile it for the device"
                ) from error
    return found


def _bound(batch: Batch, item: ItemSpec) -> QuantumCircuit:
    from qjobs.circuits.openqasm import flat
    from qjobs.circuits.programs import bind

    circuit = bind(batch.programs[item.program], dict(item.parameters))
    return circuit if _has_registers_of_its_own(circuit) else flat(circuit)


def _has_registers_of_its_own(circuit: QuantumCircuit) -> bool:
    """Whether a circuit must keep its registers, which control flow names, and can: all bits are in order."""
    from qjobs.circuits.openqasm import has_control_flow

    if not has_control_flow(circuit):
        return False
    bits = [bit for register in circuit.cregs for bit in register]
    qubits = [qubit for register in circuit.qregs for qubit in register]
    return bool(bits == circuit.clbits and qubits == circuit.qubits)
