"""Gates that carry a standard gate's name without being it.

OpenQASM lets everyone define `gate rzz`, and qiskit's exporter does so for gates that the standard
library lacks. Compilers and devices go by the name, so that a definition of another meaning would
be run as the standard gate. A definition that is the standard one becomes the standard gate; any
other is replaced by its content.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError

from qjobs.circuits.content_hash import content_hash, is_standard

_ALSO_RESERVED: Final = frozenset({"unitary", "u1", "u2", "u3", "cu1", "cu3", "mcx", "global_phase"})


def replace_lookalikes(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit without look-alikes, in blocks and definitions too; itself if it has none."""
    replacements: dict[int, Any] = {}
    for place, instruction in enumerate(circuit.data):
        if instruction.is_standard_gate():
            continue
        operation = instruction.operation
        replacement = _replacement(operation)
        if replacement is not operation:
            replacements[place] = replacement
    if not replacements:
        return circuit
    result = circuit.copy_empty_like()
    for place, instruction in enumerate(circuit.data):
        replacement = replacements.get(place)
        if isinstance(replacement, QuantumCircuit):
            result.compose(replacement, instruction.qubits, instruction.clbits, inplace=True, copy=False)
        else:
            result.append(instruction if replacement is None else instruction.replace(operation=replacement))
    return result


def _replacement(operation: Any) -> Any:
    """The operation itself, another in its place, or a circuit to put there."""
    if isinstance(operation, ControlFlowOp):
        blocks = [replace_lookalikes(block) for block in operation.blocks]
        same = all(new is old for new, old in zip(blocks, operation.blocks, strict=True))
        return operation if same else operation.replace_blocks(blocks)
    if is_standard(operation) or not hasattr(operation, "definition"):
        return operation
    definition = operation.definition
    if definition is None:
        return operation
    if operation.name in _standard_gates() or operation.name in _ALSO_RESERVED:
        return _standard_twin(operation) or replace_lookalikes(definition)
    content = replace_lookalikes(definition)
    return operation if content is definition else content


@functools.cache
def _standard_gates() -> dict[str, Any]:
    return dict(get_standard_gate_name_mapping())


def _standard_twin(operation: Any) -> Any:
    standard = _standard_gates().get(operation.name)
    if standard is None or standard.num_qubits != operation.num_qubits:
        return None
    try:
        twin = standard.base_class(*operation.params)
        alike = content_hash(replace_lookalikes(operation.definition)) == content_hash(twin.definition)
    except (QiskitError, TypeError, AttributeError):
        return None
    return twin if alike else None
