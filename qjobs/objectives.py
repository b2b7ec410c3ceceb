"""Objectives: what a sweep optimises, with what is known about it. Entry-point group `qjobs.objectives`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from qjobs.errors import InvalidInput
from qjobs.model import JsonValue

__all__ = ["Objective", "load_objective", "maxcut", "registered"]

GROUP = "qjobs.objectives"
_MAX_BRUTE_FORCE_VERTICES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """An observable that is to be made large (or small), and what there is to compare with.

    Args:
        name: Column of the results.
        observable: As text, see `qjobs.observables.parse_observable`.
        best_possible: The true optimum, if it is known.
        best_possible_from: Where that is from.
        reference: Exact value at a point (parameters by name), if there is a formula.
        reference_from: The formula's source.
    """

    name: str
    observable: str
    best_possible: float | None = None
    best_possible_from: str = ""
    reference: Callable[[Mapping[str, float]], float] | None = None
    reference_from: str = ""


def registered() -> dict[str, str]:
    """Names of the registered objectives, with where each is from."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def load_objective(name: str, arguments: Mapping[str, JsonValue]) -> Objective:
    """Build a registered objective.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise InvalidInput(f"there is no objective {name!r}; registered are: {known}", field="objective.name")
    try:
        objective: Objective = found[name].load()(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInput(
            f"the objective {name!r} does not take these arguments: {error}", field="objective"
        ) from error
    return objective


def maxcut(edges: Sequence[Sequence[int]], reference: str | None = None) -> Objective:
    """The cut of an unweighted graph: half of (1 - Z_u Z_v), summed over the edges.

    Args:
        edges: Pairs of vertices; vertex i is qubit i.
        reference: "qaoa-p1" adds the exact value of the p=1 ansatz with the parameters `gamma`, `beta`.

    Raises:
        ValueError: An edge is not a pair of two vertices, or stands there twice.
    """
    pairs = [(int(u), int(v)) for u, v in edges]
    unique = {frozenset(pair) for pair in pairs}
    if not pairs or len(unique) != len(pairs) or any(len(pair) != 2 or min(pair) < 0 for pair in unique):
        raise ValueError("edges must be pairs of different vertices, numbered from 0, each pair once")
    if reference not in {None, "qaoa-p1"}:
        raise ValueError(f"there is no reference {reference!r}; use qaoa-p1 or leave it out")
    small = 1 + max(itertools.chain.from_iterable(pairs)) <= _MAX_BRUTE_FORCE_VERTICES
    return Objective(
        name="cut",
        observable=f"{len(pairs) / 2!r}" + "".join(f" - 0.5*Z{u} Z{v}" for u, v in pairs),
        best_possible=float(_brute_force(pairs)) if small else None,
        best_possible_from="brute force over all cuts" if small else "",
        reference=(lambda point: _qaoa_p1(pairs, point["gamma"], point["beta"])) if reference else None,
        reference_from="exact p=1 expectation value, arXiv:1706.02998, theorem 1" if reference else "",
    )


def _brute_force(edges: Sequence[tuple[int, int]]) -> int:
    """The largest cut. The last vertex stays on one side: a cut and its complement are the same."""
    n_vertices = 1 + max(itertools.chain.from_iterable(edges))
    masks = [(1 << u, 1 << v) for u, v in edges]
    return max(sum(bool(side & u) != bool(side & v) for u, v in masks) for side in range(1 << (n_vertices - 1)))


def _qaoa_p1(edges: Sequence[tuple[int, int]], gamma: float, beta: float) -> float:
    """Expected cut of p=1 QAOA with phases exp(-i gamma C) and mixer exp(-i beta sum X).

    Wang, Hadfield, Jiang, Rieffel, "The quantum approximate optimization algorithm for MaxCut: a
    fermionic view", Phys. Rev. A 97, 022304 (arXiv:1706.02998), theorem 1.
    """
    neighbours: dict[int, set[int]] = {}
    for u, v in edges:
        neighbours.setdefault(u, set()).add(v)
        neighbours.setdefault(v, set()).add(u)
    total = 0.0
    for u, v in edges:
        d, e = len(neighbours[u]) - 1, len(neighbours[v]) - 1
        triangles = len(neighbours[u] & neighbours[v])
        total += (
            0.5
            + 0.25 * math.sin(4 * beta) * math.sin(gamma) * (math.cos(gamma) ** d + math.cos(gamma) ** e)
            - 0.25
            * math.sin(2 * beta) ** 2
            * math.cos(gamma) ** (d + e - 2 * triangles)
            * (1 - math.cos(2 * gamma) ** triangles)
        )
    return total
