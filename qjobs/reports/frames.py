"""Results as tidy data frames, one row per thing that was asked for, and the best points in them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qjobs.experiments.objectives import Objective
from qjobs.experiments.sweep import SweepPlan
from qjobs.lifecycle import JobStatus
from qjobs.model import Item, ItemResult, Job

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Best", "Found", "best_points", "circuits_frame", "sweep_frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item with its job and, when there is one, its result."""

    job: Job
    item: Item
    result: ItemResult | None


_DTYPES = {
    "point_id": "str",
    "point": "int64",
    "repetition": "int64",
    "label": "str",
    "backend": "str",
    "device": "str",
    "shots": "int64",
    "status": "str",
    "message": "str",
    "cost": "float64",
    "job_id": "str",
    "submitted_at": "datetime64[us, UTC]",
    "completed_at": "datetime64[us, UTC]",
    "counts": "str",
    "expvals": "str",
}
"""A column keeps its type when all of it is missing; every other one is float64."""

_COMMON = ("backend", "device", "shots", "status", "message", "cost", "job_id", "submitted_at", "completed_at")


def _frame(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(v, dtype=_DTYPES.get(name, "float64")) for name, v in columns.items()})


def _status(found: Sequence[Found], n_wanted: int) -> tuple[str, str]:
    """Status and message of a row: COMPLETED exactly where every result is there."""
    lacking = next((f for f in found if f.result is None), None)
    if lacking is not None and lacking.item.status is not JobStatus.COMPLETED:
        return lacking.item.status.value, lacking.item.message or lacking.job.message
    if lacking is not None:
        return "MISSING", "it is COMPLETED, and its result has not been fetched"
    if len(found) < n_wanted:
        return "MISSING", "not all of its measurement bases were run" if found else "it was not run"
    return JobStatus.COMPLETED.value, ""


def _common(found: Sequence[Found], n_wanted: int = 1) -> tuple[Any, ...]:
    """The columns `_COMMON`, which every frame has; several items (measurement bases) make one row."""
    sent = [at for f in found if (at := f.item.times.get(JobStatus.SUBMITTED)) is not None]
    done = [at for f in found if (at := f.item.times.get(JobStatus.COMPLETED)) is not None]
    costs = [f.item.cost for f in found if f.item.cost is not None]
    return (
        found[0].job.backend if found else "",
        found[0].job.device if found else "",
        sum(f.item.shots for f in found),
        *_status(found, n_wanted),
        sum(costs) if costs else math.nan,
        ",".join(dict.fromkeys(f.job.job_id for f in found)),
        min(sent, default=None),
        max(done, default=None),
    )


def _common_columns(rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    return {name: [row[n] for row in rows] for n, name in enumerate(_COMMON)}


def _counts_json(result: ItemResult | None) -> str | None:
    return None if result is None or result.counts is None else json.dumps(dict(result.counts), sort_keys=True)


def circuits_frame(found: Sequence[Found]) -> pd.DataFrame:
    """One row per circuit, in order.

    Columns: label, backend, device, shots, status, message, cost, job_id, submitted_at, completed_at,
    and counts as JSON text (bit 0 rightmost; null where there is no result). Where a job gave exact
    expectation values there is a column expvals, as JSON text too. Status is COMPLETED where there is
    a result, MISSING where one ought to be.
    """
    columns: dict[str, Sequence[Any]] = {"label": [f.item.label for f in found]}
    columns.update(_common_columns([_common([f]) for f in found]))
    columns["counts"] = [_counts_json(f.result) for f in found]
    exact = [f.result.expvals if f.result is not None else None for f in found]
    if any(one is not None for one in exact):
        columns["expvals"] = [None if one is None else json.dumps(dict(one), sort_keys=True) for one in exact]
    return _frame(columns)


def sweep_frame(plan: SweepPlan, found: Mapping[tuple[str, str], Found]) -> pd.DataFrame:
    """One row per point, repetition and backend, in the sweep's order.

    Columns: point_id, point (index), repetition, one per parameter (radians), then either counts as
    JSON text or, per observable, its expectation value and `NAME_stderr` (0 where it is exact), then
    the common ones (see `circuits_frame`). A point without a result keeps its row, with its status.

    Args:
        plan: The sweep.
        found: Items by (backend as named in the spec, label).
    """
    keys = list(itertools.product(plan.spec.backends, range(plan.spec.repetitions), plan.points))
    rows = [
        [
            one
            for basis in plan.templates
            if (one := found.get((backend, plan.label(point, repetition, basis)))) is not None
        ]
        for backend, repetition, point in keys
    ]
    columns: dict[str, Sequence[Any] | np.ndarray] = {
        "point_id": [point.point_id for _, _, point in keys],
        "point": [point.index for _, _, point in keys],
        "repetition": [repetition for _, repetition, _ in keys],
    }
    for n, (name, _) in enumerate(plan.points[0].parameters):
        columns[name] = [point.parameters[n][1] for _, _, point in keys]
    results = [[f.result for f in row if f.result is not None] for row in rows]
    columns.update(_values(plan, [row if len(row) == len(plan.templates) else [] for row in results]))
    columns.update(_common_columns([_common(row, len(plan.templates)) for row in rows]))
    columns["backend"] = [backend for backend, _, _ in keys]
    return _frame(columns)


def _values(plan: SweepPlan, rows: Sequence[Sequence[ItemResult]]) -> dict[str, Sequence[Any] | np.ndarray]:
    """Measured columns; a row is one result per basis, or empty where one is missing."""
    if not plan.observables:
        return {"counts": [_counts_json(row[0]) if row else None for row in rows]}
    columns: dict[str, Sequence[Any] | np.ndarray] = {}
    if plan.estimator is None:
        exact = [(row[0].expvals if row else None) or {} for row in rows]
        for observable in plan.observables:
            columns[observable.name] = [one.get(observable.name, math.nan) for one in exact]
            columns[f"{observable.name}_stderr"] = [0.0 if observable.name in one else math.nan for one in exact]
        return columns
    complete = [n for n, row in enumerate(rows) if row and all(result.counts for result in row)]
    counts = [[rows[n][basis].counts or {} for n in complete] for basis in range(len(plan.templates))]
    for name, measured in plan.estimator.estimate(counts).items():
        for column, values in zip((name, f"{name}_stderr"), measured, strict=True):
            full = np.full(len(rows), math.nan)
            full[complete] = values
            columns[column] = full
    return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best point of a sweep on one backend, averaged over its repetitions.

    `reference` is the objective's exact value there; `deviations` holds, for every point with a standard
    error, how many of these the measured value is away from the exact one (empty without a reference).
    `best_possible` is None where the sweep's goal is not the objective's own.
    """

    backend: str
    point_id: str
    parameters: Mapping[str, float]
    value: float
    stderr: float
    best_possible: float | None
    reference: float | None
    deviations: tuple[float, ...]

    @property
    def deviation(self) -> float | None:
        """Distance from the reference in standard errors."""
        if self.reference is None or not self.stderr > 0.0:
            return None
        return (self.value - self.reference) / self.stderr


def best_points(plan: SweepPlan, frame: pd.DataFrame) -> list[Best]:
    """The best point per backend; empty without an objective or without any result."""
    if plan.objective is None or plan.spec.objective is None:
        return []
    measured = frame[frame[plan.objective.name].notna()]
    return [_best(plan, plan.objective, str(name), part) for name, part in measured.groupby("backend", sort=False)]


def _best(plan: SweepPlan, objective: Objective, backend: str, part: pd.DataFrame) -> Best:
    goal = plan.spec.objective.goal if plan.spec.objective else objective.goal
    indices, places = np.unique(part["point"].to_numpy(), return_inverse=True)
    points = {point.index: point for point in plan.points}
    times = np.bincount(places)
    values = np.bincount(places, weights=part[objective.name].to_numpy()) / times
    errors = np.sqrt(np.bincount(places, weights=part[f"{objective.name}_stderr"].to_numpy() ** 2)) / times
    chosen = int(np.argmax(values) if goal == "maximize" else np.argmin(values))
    reference, deviations = None, np.empty(0)
    if objective.reference is not None:
        exact = np.array([objective.reference(dict(points[int(index)].parameters)) for index in indices])
        reference = float(exact[chosen])
        deviations = (values - exact)[errors > 0] / errors[errors > 0]
    point = points[int(indices[chosen])]
    return Best(
        backend=backend,
        point_id=point.point_id,
        parameters=dict(point.parameters),
        value=float(values[chosen]),
        stderr=float(errors[chosen]),
        best_possible=objective.best_possible if goal == objective.goal else None,
        reference=reference,
        deviations=tuple(deviations.tolist()),
    )
