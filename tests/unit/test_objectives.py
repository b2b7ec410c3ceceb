"""Objectives: MaxCut's optimum and its p=1 formula against independent calculations; what is refused."""

from __future__ import annotations

import itertools
import math
import sys
import time

import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector

from qjobs.circuits.builders import qaoa_maxcut
from qjobs.circuits.observables import parse_observable
from qjobs.errors import InvalidInput
from qjobs.experiments.objectives import OBJECTIVES, load_objective, maxcut

GRAPHS = {
    "edge": [(0, 1)],
    "triangle": [(0, 1), (1, 2), (0, 2)],
    "square": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "star": [(0, 1), (0, 2), (0, 3), (0, 4)],
    "complete 5": list(itertools.combinations(range(5), 2)),
    "two triangles on an edge": [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3)],
    "wagner": [(i, (i + 1) % 8) for i in range(8)] + [(i, i + 4) for i in range(4)],
    "with an isolated vertex": [(0, 1), (1, 3), (0, 3)],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_optimum(name: str) -> None:
    """The best possible cut is the largest eigenvalue of the observable."""
    objective = maxcut(GRAPHS[name])
    n_vertices = 1 + max(itertools.chain.from_iterable(GRAPHS[name]))
    observable = parse_observable("cut", objective.observable, n_vertices)
    diagonal = np.diag(SparsePauliOp.from_list(list(observable.terms)).to_matrix()).real
    assert objective.best_possible == pytest.approx(diagonal.max())
    sides = list(itertools.product((0, 1), repeat=n_vertices))
    assert objective.best_possible == max(sum(s[u] != s[v] for u, v in GRAPHS[name]) for s in sides)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_p1_formula(name: str) -> None:
    """The formula of the p=1 ansatz agrees with its state vector."""
    edges = GRAPHS[name]
    objective = maxcut(edges, reference="qaoa-p1")
    ansatz = qaoa_maxcut(edges)
    operator = SparsePauliOp.from_list(list(parse_observable("c", objective.observable, ansatz.num_qubits).terms))
    bare = ansatz.remove_final_measurements(inplace=False)
    assert objective.reference is not None
    for gamma, beta in [(0.0, 0.0), (0.3, 0.2), (0.7, 0.4), (-1.9, 2.2), (math.pi / 2, math.pi / 4), (4.0, -0.9)]:
        bound = bare.assign_parameters({"gamma": gamma, "beta": beta})
        value = Statevector(bound).expectation_value(operator).real
        assert objective.reference({"gamma": gamma, "beta": beta}) == pytest.approx(value, abs=1e-9)


def test_brute_force() -> None:
    """The optimum of twenty vertices is found quickly; with more it is not looked for."""
    start = time.perf_counter()
    complete = maxcut(list(itertools.combinations(range(20), 2)))
    assert time.perf_counter() - start < 5
    assert complete.best_possible == 100
    ring = maxcut([(i, (i + 1) % 21) for i in range(21)])
    assert (ring.best_possible, ring.best_possible_from) == (None, "")


@pytest.mark.parametrize(
    "edges",
    [
        [],
        [[0, 0]],
        [[0, 1], [1, 0]],
        [[0, 1, 2]],
        [[0]],
        [[0, -1]],
        [[0, 1.5]],
        [[0, 1.0]],
        [[0, True]],
        [["0", "1"]],
        "ab",
        5,
        None,
        [[0, None]],
        {"0": 1},
    ],
)
def test_bad_edges(edges: object) -> None:
    """Edges that are no simple graph are refused."""
    with pytest.raises(InvalidInput, match="does not take these arguments") as caught:
        load_objective("maxcut", {"edges": edges})
    assert caught.value.field == "objective.arguments"
    assert "unpack" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{}, {"edges": [[0, 1]], "reference": "p2"}, {"edges": [[0, 1]], "weight": 1}])
def test_bad_arguments(arguments: dict[str, object]) -> None:
    """Arguments that MaxCut does not have are refused."""
    with pytest.raises(InvalidInput, match="'maxcut' does not take these arguments"):
        load_objective("maxcut", arguments)


def test_registered_names() -> None:
    """The project's own objective is registered."""
    assert "maxcut" in OBJECTIVES.names()
    assert load_objective("maxcut", {"edges": [[0, 1]]}).name == "cut"


@pytest.mark.parametrize(
    "name",
    ["nothing", "", "qjobs.experiments.objectives:maxcut", "qjobs.experiments.objectives", "antigravity:geohash"],
)
def test_unregistered_names(name: str) -> None:
    """A name that is not registered is refused and never imported."""
    with pytest.raises(InvalidInput, match=r"there is no objective .* registered are: .*maxcut") as caught:
        load_objective(name, {"edges": [[0, 1]]})
    assert caught.value.field == "objective.name"
    assert "antigravity" not in sys.modules
