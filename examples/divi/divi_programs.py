"""Two programs of Divi, as functions of a backend, a seed and arguments of their own."""

from __future__ import annotations

from typing import Any

import networkx as nx
from divi.qprog import QAOA, VQE, GenericLayerAnsatz, MonteCarloOptimizer
from divi.qprog.optimizers import ScipyMethod, ScipyOptimizer
from divi.qprog.problems import HamiltonianProblem, MaxCutProblem
from qiskit.circuit.library import CXGate, RYGate
from qiskit.quantum_info import SparsePauliOp

H2 = [("II", -1.052373), ("IZ", 0.397937), ("ZI", -0.397937), ("ZZ", -0.011280), ("XX", 0.180931)]
"""Electronic energy of hydrogen at 0.735 Angstrom on two qubits, in Hartree; its lowest value is -1.857275."""


def h2_vqe(backend: Any, seed: int, iterations: int = 12) -> VQE:
    """The energy of the hydrogen molecule, minimised."""
    return VQE(
        HamiltonianProblem(SparsePauliOp.from_list(H2)),
        ansatz=GenericLayerAnsatz([RYGate], entangler=CXGate, entangling_layout="linear"),
        optimizer=ScipyOptimizer(method=ScipyMethod.COBYLA),
        max_iterations=iterations,
        backend=backend,
        seed=seed,
    )


def maxcut_qaoa(backend: Any, seed: int, edges: list[tuple[int, int]], iterations: int = 3) -> QAOA:
    """A large cut of a graph, searched for."""
    return QAOA(
        MaxCutProblem(nx.Graph(edges)),
        optimizer=MonteCarloOptimizer(population_size=8, n_best_sets=3),
        max_iterations=iterations,
        backend=backend,
        seed=seed,
    )
