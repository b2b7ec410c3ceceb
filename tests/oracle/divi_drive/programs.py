"""Divi's own programs, small and seeded, for any backend of it; the same in both of its versions."""

from __future__ import annotations

from typing import Any

import networkx as nx
from divi.qprog import QAOA, VQE, GenericLayerAnsatz, MonteCarloOptimizer
from divi.qprog.optimizers import ScipyMethod, ScipyOptimizer
from divi.qprog.problems import MaxCutProblem
from qiskit.circuit.library import CXGate, RYGate
from qiskit.quantum_info import SparsePauliOp

H2 = SparsePauliOp.from_list(
    [("II", -1.052373), ("IZ", 0.397937), ("ZI", -0.397937), ("ZZ", -0.011280), ("XX", 0.180931)]
)
"""Electronic energy of hydrogen at 0.735 Angstrom on two qubits, in Hartree; its lowest value is -1.857275."""
EDGES = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 0), (0, 3), (4, 7)]
"""Eight nodes; the largest cut has all 10 edges, because every cycle is even."""


def vqe(backend: Any, iterations: int = 12) -> Any:
    problem: Any = H2
    try:
        from divi.qprog.problems import HamiltonianProblem
    except ImportError:
        given = {"hamiltonian": H2}
    else:
        given = {"problem": HamiltonianProblem(problem)}
    return VQE(
        **given,
        ansatz=GenericLayerAnsatz([RYGate], entangler=CXGate, entangling_layout="linear"),
        n_layers=1,
        optimizer=ScipyOptimizer(method=ScipyMethod.COBYLA),
        max_iterations=iterations,
        backend=backend,
        seed=11,
    )


def qaoa(backend: Any, iterations: int = 3) -> Any:
    return QAOA(
        MaxCutProblem(nx.Graph(EDGES)),
        n_layers=1,
        optimizer=MonteCarloOptimizer(population_size=8, n_best_sets=3),
        max_iterations=iterations,
        backend=backend,
        seed=5,
    )
