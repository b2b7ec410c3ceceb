"""Makes h2.json: the Hamiltonian of the hydrogen molecule on two qubits, from nothing but its geometry.

    python examples/h2/make_h2.py [DISTANCE_IN_ANGSTROM]

The basis set is STO-3G (Hehre, Stewart, Pople, J. Chem. Phys. 51, 2657 (1969)); its numbers for hydrogen are those of
the Basis Set Exchange (https://www.basissetexchange.org). The integrals over s Gaussians are the closed forms of Szabo
and Ostlund, "Modern Quantum Chemistry", appendix A. By symmetry the two molecular orbitals are the sum and the
difference of the atomic ones, so that no self-consistent iteration is needed.

With one electron of each spin the molecule has four states |p q>: the electron with spin up is in orbital p, the one
with spin down in q; 0 is the bonding orbital, 1 the other one. Qubit 0 is p and qubit 1 is q, which leaves nothing out.
Energies are in Hartree and contain the repulsion of the nuclei.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np

BOHR = 0.529177210903
"""Angstrom (CODATA 2018)."""
EXPONENTS = (3.425250914, 0.6239137298, 0.1688554040)
WEIGHTS = (0.1543289673, 0.5353281423, 0.4446345422)
PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def boys(t: float) -> float:
    """The Boys function of order 0."""
    return 1 - t / 3 if t < 1e-8 else 0.5 * math.sqrt(math.pi / t) * math.erf(math.sqrt(t))


class Atomic:
    """Integrals over the atomic orbitals of two hydrogen atoms on a line; lengths in Bohr."""

    def __init__(self, distance: float) -> None:
        self.places = (0.0, distance)
        self.distance = distance
        normed = [weight * (2 * a / math.pi) ** 0.75 for a, weight in zip(EXPONENTS, WEIGHTS, strict=True)]
        self.primitives = list(zip(EXPONENTS, normed, strict=True))

    def pairs(self, first: int, second: int):
        """Products of two primitives: total exponent, centre, factor, reduced exponent and squared distance."""
        x, y = self.places[first], self.places[second]
        for (a, wa), (b, wb) in itertools.product(self.primitives, repeat=2):
            reduced = a * b / (a + b)
            squared = (x - y) ** 2
            yield a + b, (a * x + b * y) / (a + b), wa * wb * math.exp(-reduced * squared), reduced, squared

    def overlap(self, first: int, second: int) -> float:
        """Of two atomic orbitals."""
        return sum(w * (math.pi / p) ** 1.5 for p, _, w, _, _ in self.pairs(first, second))

    def core(self, first: int, second: int) -> float:
        """Kinetic energy, and attraction by both nuclei."""
        total = 0.0
        for p, centre, w, reduced, squared in self.pairs(first, second):
            total += w * reduced * (3 - 2 * reduced * squared) * (math.pi / p) ** 1.5
            total -= sum(w * 2 * math.pi / p * boys(p * (centre - nucleus) ** 2) for nucleus in self.places)
        return total

    def repulsion(self, a: int, b: int, c: int, d: int) -> float:
        """(ab|cd) in the chemists' notation."""
        total = 0.0
        for (p, x, v, _, _), (q, y, w, _, _) in itertools.product(self.pairs(a, b), self.pairs(c, d)):
            factor = 2 * math.pi**2.5 / (p * q * math.sqrt(p + q))
            total += v * w * factor * boys(p * q / (p + q) * (x - y) ** 2)
        return total


def molecular(distance: float) -> tuple[np.ndarray, np.ndarray]:
    """One-electron integrals, and (pq|rs), over the two molecular orbitals."""
    atomic = Atomic(distance)
    s = atomic.overlap(0, 1) / atomic.overlap(0, 0)
    norm = atomic.overlap(0, 0)
    orbitals = np.array([[1, 1], [1, -1]]) / np.sqrt(2 * norm * np.array([[1 + s], [1 - s]]))
    one = np.array([[atomic.core(a, b) for b in range(2)] for a in range(2)])
    two = np.array([atomic.repulsion(*each) for each in itertools.product(range(2), repeat=4)]).reshape(2, 2, 2, 2)
    return orbitals @ one @ orbitals.T, np.einsum("pa,qb,rc,sd,abcd->pqrs", *[orbitals] * 4, two)


def matrix(distance: float) -> np.ndarray:
    """The Hamiltonian over the states |p q>, in the order 00, 10, 01, 11 of (p, q): qubit 0 is p."""
    one, two = molecular(distance)
    same = np.eye(2)
    full = np.einsum("qs,pr->qpsr", same, one) + np.einsum("pr,qs->qpsr", same, one) + np.einsum("prqs->qpsr", two)
    return full.reshape(4, 4) + np.eye(4) / distance


def terms(hamiltonian: np.ndarray) -> dict[str, float]:
    """Pauli strings with their coefficients; the rightmost letter acts on qubit 0."""
    found = {}
    for left, right in itertools.product("IXYZ", repeat=2):
        weight = float(np.real(np.trace(np.kron(PAULIS[left], PAULIS[right]) @ hamiltonian))) / 4
        if abs(weight) > 1e-12:
            found[left + right] = round(weight, 12)
    return found


def main() -> None:
    """Write the file beside this script."""
    angstrom = float(sys.argv[1]) if len(sys.argv) > 1 else 0.735
    hamiltonian = matrix(angstrom / BOHR)
    content = {
        "source": f"H2 at {angstrom:g} Angstrom, STO-3G, one electron of each spin, in Hartree with the repulsion of "
        "the nuclei; made by examples/h2/make_h2.py",
        "terms": terms(hamiltonian),
    }
    path = Path(__file__).with_name("h2.json")
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: lowest energy {np.linalg.eigvalsh(hamiltonian)[0]:.6f} Hartree")  # noqa: T201


if __name__ == "__main__":
    main()
