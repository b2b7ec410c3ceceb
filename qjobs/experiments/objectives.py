"""Objectives: what a sweep optimises, with what is known about it. Entry-point group `qjobs.objectives`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from qjobs.circuits.builders import read_edges
from qjobs.model import JsonValue
from qjobs.plugins import Registry

OBJECTIVES: Final = Registry(
    group="qjobs.objectives",
    what="objective",
    name_field="objective.name",
    arguments_field="objective.arguments",
)

_MAX_BRUTE_FORCE_VERTICES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An observable that is to be made large (or small), and what there is to compare with.

    Args:
        name: Column of the results.
        observable: As text, see `qjobs.circuits.observables.parse_observable`.
        best_possible: The true optimum in that direction, if it is known.
        reference: Exact value at a point (parameters by name), if there is a formula.
    """

    name: str
    observable: str
    goal: Literal["maximize", "minimize"] = "maximize"
    best_possible: float | None = None
    best_possible_from: str = ""
    reference: Callable[[Mapping[str, float]], float] | None = None
    reference_from: str = ""


def load_objective(name: str, arguments: Mapping[str, JsonValue]) -> Objective:
    """Build a registered objective.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    objective: Objective = OBJECTIVES.build(name, arguments)
    return objective


def maxcut(edges: Sequence[Sequence[int]], reference: str | None = None) -> Objective:
    """The cut of an unweighted graph: half of (1 - Z_u Z_v), summed over the edges.

    Vertex i is qubit i; the reference "qaoa-p1" is the exact value of the p=1 ansatz with parameters `gamma`, `beta`.

    Raises:
        ValueError: An edge is no pair of different vertices, or is given twice.
    """
    pairs = read_edges(edges)
    if reference not in {None, "qaoa-p1"}:
        raise ValueError(f"there is no reference {reference!r}; use qaoa-p1 or leave it out")
    objective = Objective(name="cut", observable=f"{len(pairs) / 2!r}" + "".join(f" - 0.5*Z{u} Z{v}" for u, v in pairs))
    n_vertices = 1 + max(max(pair) for pair in pairs)
    if n_vertices <= _MAX_BRUTE_FORCE_VERTICES:
        best = float(_brute_force(pairs, n_vertices))
        objective = replace(objective, best_possible=best, best_possible_from="brute force over all cuts")
    if reference is not None:
        source = "exact p=1 expectation value, arXiv:1706.02998, theorem 1"
        objective = replace(objective, reference=_qaoa_p1(pairs), reference_from=source)
    return objective


def _brute_force(edges: Sequence[tuple[int, int]], n_vertices: int) -> int:
    """The largest cut. The last vertex stays on one side: a cut and its complement are the same."""
    sides = np.arange(1 << (n_vertices - 1), dtype=np.uint32)
    cut = np.zeros(sides.shape, dtype=np.uint32)
    for u, v in edges:
        cut += (sides >> u ^ sides >> v) & 1
    return int(cut.max())


def _qaoa_p1(edges: Sequence[tuple[int, int]]) -> Callable[[Mapping[str, float]], float]:
    """Expected cut of p=1 QAOA with phases exp(-i gamma C) and mixer exp(-i beta sum X) at a point.

    Wang, Hadfield, Jiang, Rieffel, "The quantum approximate optimization algorithm for MaxCut: a
    fermionic view", Phys. Rev. A 97, 022304 (arXiv:1706.02998), theorem 1.
    """
    neighbours: dict[int, set[int]] = {}
    for u, v in edges:
        neighbours.setdefault(u, set()).add(v)
        neighbours.setdefault(v, set()).add(u)
    # An edge counts by its neighbourhood alone: other neighbours of either end, and triangles.
    kinds: Counter[tuple[int, int, int]] = Counter()
    for u, v in edges:
        kinds[len(neighbours[u]) - 1, len(neighbours[v]) - 1, len(neighbours[u] & neighbours[v])] += 1

    def expected(point: Mapping[str, float]) -> float:
        gamma = point["gamma"]
        beta = point["beta"]
        once = 0.25 * math.sin(4 * beta) * math.sin(gamma)
        twice = 0.25 * math.sin(2 * beta) ** 2
        cosine = math.cos(gamma)
        double = math.cos(2 * gamma)
        total = 0.0
        for (d, e, f), count in kinds.items():
            cut = 0.5 + once * (cosine**d + cosine**e) - twice * cosine ** (d + e - 2 * f) * (1 - double**f)
            total += count * cut
        return total

    return expected
