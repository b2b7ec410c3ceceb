"""Lengths of delays in QPY, which keeps the number alone and reads it back as samples of a device (`dt`).

So it is up to version 17 of the format: https://github.com/Qiskit/qiskit/issues/10662. Here the delays of a circuit are
written as places in a list, and the list stands in the metadata of the circuit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp, Delay
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.exceptions import QiskitError

from qjobs.circuits.content_hash import plain_number
from qjobs.errors import InvalidCircuit

__all__ = ["lengths_aside", "lengths_back"]

_KEY: Final = "qjobs_delays"
_SAMPLES: Final = "dt"
_DELAY: Final = "delay"


def lengths_aside(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit as QPY can keep it, its blocks too; itself where no delay is in seconds.

    Raises:
        InvalidCircuit: The length of a delay is a symbol, or a gate of the user's own has a delay in seconds inside.
    """
    lengths: list[list[Any]] = []

    def put_aside(delay: Any) -> Delay:
        lengths.append([_number(delay.duration), delay.unit])
        return Delay(len(lengths) - 1, _SAMPLES)

    found = _with_delays(circuit, put_aside)
    if all(unit == _SAMPLES for _, unit in lengths):
        return circuit
    found.metadata = {**(circuit.metadata or {}), _KEY: lengths}
    return found


def lengths_back(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit as it was before `lengths_aside`; itself where nothing was changed.

    Raises:
        InvalidCircuit: The list in the metadata is none that `lengths_aside` writes.
    """
    if _KEY not in (circuit.metadata or {}):
        return circuit
    metadata = dict(circuit.metadata)
    lengths = metadata.pop(_KEY)

    def put_back(delay: Any) -> Delay:
        try:
            length, unit = lengths[delay.duration]
            return Delay(length, unit)
        except (TypeError, ValueError, LookupError, QiskitError) as error:
            raise InvalidCircuit(
                f"the metadata {_KEY} of the circuit does not say how long its delays are; write its QPY again"
            ) from error

    found = _with_delays(circuit, put_back)
    found.metadata = metadata
    return found


def _with_delays(circuit: QuantumCircuit, change: Callable[[Any], Delay]) -> QuantumCircuit:
    """The circuit with other delays, in blocks too; itself where it can have none."""
    if circuit.count_ops().keys() <= _without_delays():
        return circuit
    found = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, ControlFlowOp):
            operation = operation.replace_blocks([_with_delays(block, change) for block in operation.blocks])
        elif operation.name == _DELAY:
            operation = change(operation)
        elif _is_in_seconds(operation):
            raise InvalidCircuit(
                f"the gate {operation.name!r} has a delay in seconds inside, and its unit would be lost; decompose it"
            )
        found.append(instruction.replace(operation=operation))
    return found


@functools.cache
def _without_delays() -> frozenset[str]:
    """Operations that have no delay inside."""
    return frozenset(get_standard_gate_name_mapping()) - {_DELAY} | {"barrier", "unitary"}


def _number(length: Any) -> float | int:
    number = plain_number(length)
    if number is None or isinstance(number, complex):
        raise InvalidCircuit(
            f"the length of a delay is the symbol {length}, which cannot be kept; make it an argument of the circuit's "
            "builder, which a sweep can have as an axis"
        )
    return number


def _is_in_seconds(operation: Any) -> bool:
    """Whether the definition of a gate has a delay that is not in samples."""
    definition = getattr(operation, "definition", None)
    if definition is None or operation.name in _without_delays():
        return False
    for each in definition.data:
        if each.name == _DELAY and each.operation.unit != _SAMPLES:
            return True
        if _is_in_seconds(each.operation):
            return True
    return False
