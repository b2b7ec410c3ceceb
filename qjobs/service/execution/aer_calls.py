"""Calls of Aer, and how circuits and noise are given to it. In a worker process only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qjobs.backends.aer.worker import BASIS_1Q, BASIS_2Q, BASIS_3Q
from qjobs.errors import InvalidInput
from qjobs.service.execution.programs import Machine

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["is_exact", "method_of", "noise_of", "run_aer", "split_measurements", "to_qiskit"]

_METHODS = (
    "automatic",
    "statevector",
    "density_matrix",
    "stabilizer",
    "extended_stabilizer",
    "matrix_product_state",
)
_FREE = {"id", "rz", "p", "u1"}
"""Gates that an ion trap does in software, or not at all: without noise."""

_ALWAYS = {*BASIS_1Q, *BASIS_2Q, "measure", "reset", "if_else", "barrier"}
_IDEAL = {*BASIS_3Q, "unitary"}


def method_of(config: Mapping[str, Any]) -> str:
    """Aer's method that a backend configuration asks for.

    Raises:
        InvalidInput: There is no such method.
    """
    method = config.get("simulation_method") or "automatic"
    if config.get("simulator") == "stabilizer":
        method = "stabilizer"
    if method not in _METHODS:
        raise InvalidInput(f"simulation_method: there is no {method!r}; there are {', '.join(_METHODS)}")
    return str(method)


def split_measurements(circuit: QuantumCircuit) -> list[tuple[int, int]] | None:
    """Take the measurements off, if they are all at the end: (qubit, bit) of each; None if they are not."""
    operations = circuit.count_ops()
    left = operations.get("measure", 0)
    if not left or not operations.keys().isdisjoint({"reset", "initialize", "if_else"}):
        return None
    measured: dict[int, int] = {}
    places: list[int] = []
    later: set[int] = set()
    for place in range(len(circuit.data) - 1, -1, -1):
        instruction = circuit.data[place]
        qubits = {circuit.find_bit(qubit).index for qubit in instruction.qubits}
        if instruction.name == "measure":
            bit = circuit.find_bit(instruction.clbits[0]).index
            if bit in measured.values() or not qubits.isdisjoint(later | measured.keys()):
                return None
            measured[qubits.pop()] = bit
            places.append(place)
        elif instruction.name != "barrier":
            later |= qubits
        if len(places) == left:
            break
    for place in places:  # from the end: the others keep their places
        del circuit.data[place]
    return sorted(measured.items())


def is_exact(machine: Machine, config: Mapping[str, Any]) -> bool:
    """Whether small circuits are drawn from exact probabilities."""
    return noise_of(machine, config) is None and method_of(config) in {"automatic", "statevector"}


def to_qiskit(circuit: Any, *, keep_outputs: bool, noisy: bool = False) -> QuantumCircuit:
    """A pytket circuit in gates that Aer knows.

    Args:
        circuit: It is not changed.
        keep_outputs: Make pytket's implicit wire swaps into swaps; measurements need none.
        noisy: Open gates on more than two qubits, to which no noise belongs.

    Raises:
        InvalidCircuit: Qiskit has no form of it.
    """
    from qiskit import transpile

    from qjobs.circuits.pytket import pytket_to_qiskit

    converted = pytket_to_qiskit(_with_zzphase(circuit, keep_outputs=keep_outputs), keep_outputs=keep_outputs)
    known = _ALWAYS if noisy else _ALWAYS | _IDEAL
    if converted.count_ops().keys() <= known:
        return converted
    return transpile(converted, basis_gates=sorted(known - {"barrier"}), optimization_level=0)


def _with_zzphase(circuit: Any, *, keep_outputs: bool) -> Any:
    """ZZMax is ZZPhase(1/2), for which qiskit has a gate; so each is one gate to the noise model."""
    from pytket.circuit import Circuit, OpType

    if not circuit.n_gates_of_type(OpType.ZZMax):
        return circuit
    if keep_outputs:
        circuit = circuit.copy()
        circuit.replace_implicit_wire_swaps()
    result = Circuit()
    for qubit in circuit.qubits:
        result.add_qubit(qubit)
    for bit in circuit.bits:
        result.add_bit(bit)
    result.add_phase(circuit.phase)
    for command in circuit.get_commands():
        if command.op.type == OpType.ZZMax:
            result.add_gate(OpType.ZZPhase, [0.5], command.args)
        else:
            result.add_gate(command.op, command.args)
    return result


def noise_of(machine: Machine, config: Mapping[str, Any]) -> Any:
    """The device's noise, or what AerConfig brings along; None for none."""
    given = config.get("noise_model")
    if isinstance(given, Mapping) and given:
        return _own_noise(json.dumps(given, sort_keys=True))
    values = (machine.depolarizing_1q, machine.depolarizing_2q, machine.readout)
    if config.get("noisy_simulation") is False or not any(values):
        return None
    return _device_noise(*values)


@lru_cache(maxsize=8)
def _own_noise(text: str) -> Any:
    from qiskit_aer.noise import NoiseModel

    try:
        return NoiseModel.from_dict(json.loads(text))
    except Exception as error:  # whatever it meets in a dict that is none of its own
        raise InvalidInput(f"noise_model: Aer cannot read it: {error}") from error


@lru_cache(maxsize=8)
def _device_noise(one_qubit: float, two_qubit: float, readout: float) -> Any:
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    model = NoiseModel()
    if one_qubit:
        noisy = [name for name in BASIS_1Q if name not in _FREE]
        model.add_all_qubit_quantum_error(depolarizing_error(one_qubit, 1), noisy)
    if two_qubit:
        model.add_all_qubit_quantum_error(depolarizing_error(two_qubit, 2), list(BASIS_2Q))
    if readout:
        model.add_all_qubit_readout_error(ReadoutError([[1 - readout, readout], [readout, 1 - readout]]))
    return model


def run_aer(circuits: Sequence[QuantumCircuit], **options: Any) -> list[Any]:
    """One call of Aer; one entry for each circuit."""
    from qiskit_aer import AerSimulator

    result = AerSimulator(max_parallel_threads=1).run(list(circuits), **options).result()
    if not result.success:
        words = "; ".join(str(entry.status) for entry in result.results if not entry.success) or str(result.status)
        raise RuntimeError(words)
    return list(result.results)
