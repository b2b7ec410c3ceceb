"""Objectives: what a sweep optimises, with what is known about it. Entry-point group `qjobs.objectives`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qjobs import plugins as registry
from qjobs.model import JsonValue

__all__ = ["Objective", "load_objective", "maxcut", "registered"]

GROUP = "qjobs.objectives"
_MAX_BRUTE_FORCE_VERTICES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An observable that is to be made large (or small), and what there is to compare with.

    Args:
        name: Column of the results.
        observable: As text, see `qjobs.circuits.observables.parse_observable`.
        goal: Which way is better.
        best_possible: The true optimum in that direction, if it is known.
        best_possible_from: Where that is from.
        reference: Exact value at a point (parameters by name), if there is a formula.
        reference_from: The formula's source.
    """

    name: str
    observable: str
    goal: Literal["maximize", "minimize"] = "maximize"
    best_possible: float | None = None
    best_possible_from: str = ""
    reference: Callable[[Mapping[str, float]], float] | None = None
    reference_from: str = ""


def registered() -> dict[str, str]:
    """Names of the registered objectives, with where each is from."""
    return registry.registered(GROUP)


def load_objective(name: str, arguments: Mapping[str, JsonValue]) -> Objective:
    """Build a registered objective.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    objective: Objective = registry.build_registered(
        GROUP,
        name,
        arguments,
        what="objective",
        name_field="objective.name",
        arguments_field="objective.arguments",
    )
    return objective


def maxcut(edges: Sequence[Sequence[int]], reference: str | None = None) -> Objective:
    """The cut of an unweighted graph: half of (1 - Z_u Z_v), summed over the edges.

    Args:
        edges: Pairs of vertices; vertex i is qubit i.
        reference: "qaoa-p1" adds the exact value of the p=1 ansatz with the parameters `gamma`, `beta`.

    Raises:
        ValueError: An edge is not a pair of two vertices, or stands there twice.
    """
    pairs = _pairs(edges)
    if reference not in {None, "qaoa-p1"}:
        raise ValueError(f"there is no reference {reference!r}; use qaoa-p1 or leave it out")
    small = 1 + max(itertools.chain.from_iterable(pairs)) <= _MAX_BRUTE_FORCE_VERTICES
    exact = _qaoa_p1(pairs)
    return Objective(
        name="cut",
        observable=f"{len(pairs) / 2!r}" + "".join(f" - 0.5*Z{u} Z{v}" for u, v in pairs),
        best_possible=float(_brute_force(pairs)) if small else None,
        best_possible_from="brute force over all cuts" if small else "",
        reference=(lambda point: exact(point["gamma"], point["beta"])) if reference else None,
        reference_from="exact p=1 expectation value, arXiv:1706.02998, theorem 1" if reference else "",
    )


def _pairs(edges: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    if not isinstance(edges, Sequence) or not edges or not all(_is_pair(edge) for edge in edges):
        raise ValueError("edges must be pairs of different vertices, numbered from 0, such as [[0, 1], [1, 2]]")
    if len({frozenset(edge) for edge in edges}) != len(edges):
        raise ValueError("an edge stands there twice; give each pair of vertices once")
    return [(u, v) for u, v in edges]


def _is_pair(edge: object) -> bool:
    if not isinstance(edge, Sequence) or len(edge) != 2 or edge[0] == edge[1]:
        return False
    return all(type(vertex) is int and vertex >= 0 for vertex in edge)


def _brute_force(edges: Sequence[tuple[int, int]]) -> int:
    """The largest cut. The last vertex stays on one side: a cut and its complement are the same."""
    n_vertices = 1 + max(itertools.chain.from_iterable(edges))
    sides = np.arange(1 << (n_vertices - 1), dtype=np.uint32)
    cut = np.zeros(sides.shape, dtype=np.uint32)
    for u, v in edges:
        cut += (sides >> u ^ sides >> v) & 1
    return int(cut.max())


def _qaoa_p1(edges: Sequence[tuple[int, int]]) -> Callable[[float, float], float]:
    """Expected cut of p=1 QAOA with phases exp(-i gamma C) and mixer exp(-i beta sum X), as f(gamma, beta).

    Wang, Hadfield, Jiang, Rieffel, "The quantum approximate optimization algorithm for MaxCut: a
    fermionic view", Phys. Rev. A 97, 022304 (arXiv:1706.02998), theorem 1.
    """
    neighbours: dict[int, set[int]] = {}
    for u, v in edges:
        neighbours.setdefault(u, set()).add(v)
        neighbours.setdefault(v, set()).add(u)
    # An edge counts by its neighbourhood alone: other neighbours of either end, and triangles.
    kinds = Counter(
        (len(neighbours[u]) - 1, len(neighbours[v]) - 1, len(neighbours[u] & neighbours[v])) for u, v in edges
    )

    def expected(gamma: float, beta: float) -> float:
        once = 0.25 * math.sin(4 * beta) * math.sin(gamma)
        twice = 0.25 * math.sin(2 * beta) ** 2
        cosine, double = math.cos(gamma), math.cos(2 * gamma)
        return sum(
            count * (0.5 + once * (cosine**d + cosine**e) - twice * cosine ** (d + e - 2 * f) * (1 - double**f))
            for (d, e, f), count in kinds.items()
        )

    return expected
