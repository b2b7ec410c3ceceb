"""Ansatz circuits: parametric states for variational minimisation. Builders of the group `qjobs.circuits`.

Their parameters are `theta_0000`, `theta_0001`, ..., in the order in which they act, which is their sorted order too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

__all__ = ["hamiltonian_variational", "hardware_efficient"]

_MOST_QUBITS = 100
_MOST_PARAMETERS = 2_000
_MOST_GATES = 200_000


def hardware_efficient(n_qubits: int, layers: int = 1) -> QuantumCircuit:
    """Layers of Y rotations on every qubit, with a chain of CX between them; nothing is measured.

    Its states have real amplitudes. There are `n_qubits * (layers + 1)` parameters.

    Raises:
        ValueError: No qubit or no layer, or a circuit too large.
    """
    from qiskit import QuantumCircuit

    _check(n_qubits, layers)
    names = _Names(n_qubits * (layers + 1))
    circuit = QuantumCircuit(n_qubits, name=f"hardware-efficient-{layers}")
    _rotate_all(circuit, names)
    for _ in range(layers):
        for qubit in range(n_qubits - 1):
            circuit.cx(qubit, qubit + 1)
        _rotate_all(circuit, names)
    return circuit


def hamiltonian_variational(terms: Mapping[str, float], layers: int = 1) -> QuantumCircuit:
    """A product state, and layers of evolution by groups of a Hamiltonian's own terms; nothing is measured.

    The product state has a Y rotation per qubit. In a layer each group G has one parameter t and acts as
    exp(-i t G/2), G scaled so that its largest coefficient is 1: first the terms on several qubits, then those on one.
    Terms of one letter share a group, and any other term is a group of its own. `terms` has one letter per qubit,
    rightmost on qubit 0. Wecker, Hastings, Troyer, "Progress towards practical quantum variational algorithms", Phys.
    Rev. A 92, 042303 (arXiv:1507.08969), section II.

    Raises:
        ValueError: No layer, strings of different widths, nothing but identities, or a circuit too large.
    """
    from qiskit import QuantumCircuit

    widths = {len(pauli) for pauli in terms}
    if len(widths) != 1:
        raise ValueError("the terms must be Pauli strings of one width, such as ZZI")
    n_qubits = widths.pop()
    _check(n_qubits, layers)
    groups = _groups(terms)
    if not groups:
        raise ValueError("the terms must have a letter X, Y or Z")
    names = _Names(n_qubits + layers * len(groups))
    if layers * len(terms) * n_qubits > _MOST_GATES:
        raise ValueError(f"an ansatz may have {_MOST_GATES} gates")
    circuit = QuantumCircuit(n_qubits, name=f"hamiltonian-variational-{layers}")
    _rotate_all(circuit, names)
    for _ in range(layers):
        for group in groups:
            angle = names.take()
            for pauli, weight in group:
                _rotate(circuit, pauli, angle, weight)
    return circuit


class _Names:
    """Hands out parameters, named in order."""

    def __init__(self, n_parameters: int) -> None:
        if n_parameters > _MOST_PARAMETERS:
            raise ValueError(
                f"an ansatz may have {_MOST_PARAMETERS} parameters, and this one would have {n_parameters}"
            )
        self._taken = 0

    def take(self) -> Parameter:
        from qiskit.circuit import Parameter

        self._taken += 1
        return Parameter(f"theta_{self._taken - 1:04d}")


def _check(n_qubits: int, layers: int) -> None:
    if type(n_qubits) is not int or type(layers) is not int or not 1 <= n_qubits <= _MOST_QUBITS or layers < 1:
        raise ValueError(f"an ansatz has 1 to {_MOST_QUBITS} qubits and at least one layer")


def _rotate_all(circuit: QuantumCircuit, names: _Names) -> None:
    for qubit in range(circuit.num_qubits):
        circuit.ry(names.take(), qubit)


def _groups(terms: Mapping[str, float]) -> list[list[tuple[str, float]]]:
    """The terms in groups, each scaled so that its largest weight is 1; those on several qubits first."""
    bare = {pauli: weight for pauli, weight in terms.items() if set(pauli) != {"I"} and weight != 0}
    if not bare:
        return []
    found: dict[tuple[bool, str], list[tuple[str, float]]] = {}
    for pauli in sorted(bare):
        letters = set(pauli) - {"I"}
        on_one = len(pauli) - pauli.count("I") == 1
        shared = letters.pop() if len(letters) == 1 else pauli
        found.setdefault((on_one, shared), []).append((pauli, bare[pauli]))
    groups = []
    for key in sorted(found):
        largest = max(abs(weight) for _, weight in found[key])
        groups.append([(pauli, weight / largest) for pauli, weight in found[key]])
    return groups


def _rotate(circuit: QuantumCircuit, pauli: str, angle: Parameter, weight: float) -> None:
    """Append exp(-i angle weight P/2)."""
    letters: list[tuple[int, str]] = []
    for qubit, letter in enumerate(reversed(pauli)):
        if letter != "I":
            letters.append((qubit, letter))
    qubits: Sequence[int] = [qubit for qubit, _ in letters]
    _to_z(circuit, letters, back=False)
    if len(qubits) == 2:
        circuit.rzz(weight * angle, *qubits)
    else:
        chain = list(itertools.pairwise(qubits))
        for first, second in chain:
            circuit.cx(first, second)
        circuit.rz(weight * angle, qubits[-1])
        for first, second in reversed(chain):
            circuit.cx(first, second)
    _to_z(circuit, letters, back=True)


def _to_z(circuit: QuantumCircuit, letters: Sequence[tuple[int, str]], *, back: bool) -> None:
    """Change the basis of each letter to Z, or back."""
    for qubit, letter in letters:
        if letter == "X":
            circuit.h(qubit)
        elif letter == "Y":
            if back:
                circuit.h(qubit)
                circuit.s(qubit)
            else:
                circuit.sdg(qubit)
                circuit.h(qubit)
