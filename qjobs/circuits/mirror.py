"""Random mirror circuits: circuits that run a random circuit and undo it, so that one bit string is right.

After T. Proctor, K. Rudinger, K. Young, E. Nielsen and R. Blume-Kohout, "Measuring the capabilities of
quantum computers", Nature Physics 18, 75 (2022), arXiv:2008.11294. A circuit of n qubits and even depth d is

1. a uniformly random one-qubit Clifford gate on every qubit;
2. d/2 random layers: a uniformly random one-qubit Clifford gate on every qubit, then CX on neighbours;
3. a uniformly random Pauli gate on every qubit;
4. the inverses of the layers of 2 in reverse order, each followed by a uniformly random Pauli gate on every
   qubit (the paper's quasi-inverse);
5. the inverse of 1; then every qubit is measured.

Without the Pauli gates it is the identity, and Clifford gates turn Pauli gates into Pauli gates: an ideal
device gives one bit string, which is found without simulating the state. The paper leaves the distribution of
layers open. Here qubits stand in a line, and layers couple (0, 1), (2, 3), ... and (1, 2), (3, 4), ... in turn,
with control and target at random: circuits of one size and depth have the same number of CX gates, so that
their results can be compared, and a device that couples a line of qubits needs no routing. Barriers between
layers keep compilers from undoing the circuit instead of the device.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_MOST_QUBITS = 1000
_MOST_GATES = 100_000
_UP_TO_PAULIS = ((), ("h",), ("s",), ("h", "s"), ("s", "h"), ("h", "s", "h"))
"""One-qubit Clifford gates, one of each class modulo the Pauli group; 6 classes times 4 Paulis are the 24 gates."""
_PAULIS = ("id", "x", "y", "z")


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorCircuit:
    """A mirror circuit, measured, and the bit string that is right (bit 0 rightmost)."""

    circuit: QuantumCircuit
    expected: str


def mirror_circuit(n_qubits: int, depth: int, rng: random.Random) -> MirrorCircuit:
    """A random mirror circuit; the definition is the module's.

    `n_qubits` is at least 1. `depth` counts the layers in both halves together and is even; each layer has floor(n/2)
    or floor((n - 1)/2) CX gates. Equal states of `rng` give equal circuits.

    Raises:
        ValueError: The depth is odd or negative, or the circuit would be too large.
    """
    from qiskit.quantum_info import Clifford

    if not 1 <= n_qubits <= _MOST_QUBITS or n_qubits * (depth + 2) > _MOST_GATES:
        raise ValueError(f"a mirror circuit has 1 to {_MOST_QUBITS} qubits and n_qubits x depth below {_MOST_GATES}")
    if depth < 0 or depth % 2:
        raise ValueError("the depth of a mirror circuit is even: one half is the inverse of the other")
    layers = [_cliffords(n_qubits, rng), *(_layer(n_qubits, number, rng) for number in range(depth // 2))]
    circuit = layers[0].copy(name=f"mirror-{n_qubits}-{depth}")
    for layer in layers[1:]:
        circuit.barrier()
        circuit.compose(layer, inplace=True)
    circuit.barrier()
    circuit.compose(_paulis(n_qubits, rng), inplace=True)
    for layer in reversed(layers[1:]):
        circuit.barrier()
        circuit.compose(layer.inverse(), inplace=True)
        circuit.compose(_paulis(n_qubits, rng), inplace=True)
    circuit.barrier()
    circuit.compose(layers[0].inverse(), inplace=True)
    flipped = Clifford(circuit).stab_phase  # it is a Pauli string, which turns Z of qubit i into Z or into -Z
    circuit.measure_all()
    return MirrorCircuit(circuit=circuit, expected="".join("1" if flip else "0" for flip in reversed(flipped)))


def mirror(n_qubits: int, depth: int, seed: int = 0) -> QuantumCircuit:
    """Registered builder: the mirror circuit of a seed; `mirror_circuit` also says what its bit string is.

    Raises:
        ValueError: As `mirror_circuit`.
    """
    return mirror_circuit(n_qubits, depth, random.Random(seed)).circuit  # noqa: S311


def _cliffords(n_qubits: int, rng: random.Random) -> QuantumCircuit:
    circuit = _paulis(n_qubits, rng)
    for qubit in range(n_qubits):
        for gate in rng.choice(_UP_TO_PAULIS):
            getattr(circuit, gate)(qubit)
    return circuit


def _layer(n_qubits: int, number: int, rng: random.Random) -> QuantumCircuit:
    circuit = _cliffords(n_qubits, rng)
    for qubit in range(number % 2 if n_qubits > 2 else 0, n_qubits - 1, 2):
        circuit.cx(*rng.sample((qubit, qubit + 1), 2))
    return circuit


def _paulis(n_qubits: int, rng: random.Random) -> QuantumCircuit:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(n_qubits)
    for qubit in range(n_qubits):
        gate = rng.choice(_PAULIS)
        if gate != "id":
            getattr(circuit, gate)(qubit)
    return circuit
