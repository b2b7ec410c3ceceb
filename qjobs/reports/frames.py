"""Results as tidy data frames, one row per thing that was asked for, and the best points in them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from qjobs.circuits.counts import has_shots
from qjobs.circuits.observables import Estimator
from qjobs.experiments.objectives import Objective
from qjobs.experiments.sweep import Point, SweepPlan
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, Job

if TYPE_CHECKING:
    import pandas as pd


class ItemFacts(Protocol):
    """What a frame says of an item; `qjobs.model.Item` has it, and `qjobs.ledger.outcomes.ItemOutcome`."""

    @property
    def label(self) -> str:
        """Its name in its job."""

    @property
    def shots(self) -> int:
        """How many were asked for."""

    @property
    def status(self) -> JobStatus:
        """Its status."""

    @property
    def message(self) -> str:
        """Its provider's words."""

    @property
    def error_detail(self) -> str | None:
        """More of them."""

    @property
    def cost(self) -> float | None:
        """What it cost, if its provider tells."""

    @property
    def no_result(self) -> str | None:
        """Why its result will never come."""

    @property
    def submitted_at(self) -> datetime | None:
        """When its provider had it."""

    @property
    def completed_at(self) -> datetime | None:
        """When its result was ready."""


@dataclass(frozen=True, slots=True)
class Found:
    """One item with its job and, if there is one, its result."""

    job: Job
    item: ItemFacts
    result: ItemResult | None

    @property
    def measured(self) -> ItemResult | None:
        """The result; None also where its counts add up to nothing, as those of a syntax checker do."""
        counts = self.result.counts if self.result is not None else None
        return None if counts is not None and not has_shots(counts) else self.result


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
"""Columns that every frame has."""

_Columns = dict[str, list[Any]]


def _frame(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    series = {}
    for name, values in columns.items():
        series[name] = pd.Series(values, dtype=_DTYPES.get(name, "float64"))
    return pd.DataFrame(series)


def circuits_frame(found: Sequence[Found]) -> pd.DataFrame:
    """One row per circuit, in order.

    Columns: label, backend, device, shots, status, message, cost, job_id, submitted_at, completed_at,
    and counts as JSON text (bit 0 rightmost; null where there is no result). Where a job gave exact
    expectation values there is a column expvals, as JSON text too. Status is COMPLETED where there is
    a result, MISSING where it is COMPLETED without one. Counts that add up to nothing are no result.
    """
    columns: _Columns = {name: [] for name in ("label", *_COMMON, "counts")}
    expvals = []
    for one in found:
        columns["label"].append(one.item.label)
        _append_common(columns, [one], _status([one], 1))
        columns["counts"].append(_counts_json(one.measured))
        expvals.append(_json(one.measured.expvals) if one.measured is not None else None)
    if any(expvals):
        columns["expvals"] = expvals
    return _frame(columns)


Row: TypeAlias = tuple[str, int, Point]
"""A row of a sweep's frame: the backend as named in the spec, the repetition, the point."""


def sweep_rows(plan: SweepPlan) -> Iterator[Row]:
    """The rows of a sweep's frame, in order."""
    return itertools.product(plan.spec.backends, range(plan.spec.repetitions), plan.points)


def sweep_frame(
    plan: SweepPlan, found: Mapping[tuple[str, str], Found], rows: Iterable[Row] | None = None
) -> pd.DataFrame:
    """One row per point, repetition and backend, in the sweep's order.

    Columns: point_id, point (index), repetition, one per parameter (radians), then either counts as
    JSON text or, per observable, its expectation value and `NAME_stderr` (0 where it is exact), then
    the common ones (see `circuits_frame`). A point without a result keeps its row, with its status.
    `found` has items by (backend as named in the spec, label). `rows` are those that are wanted; None for all.
    """
    parameters = [name for name, _ in plan.points[0].parameters]
    columns: _Columns = {name: [] for name in ("point_id", "point", "repetition", *parameters)}
    common: _Columns = {name: [] for name in _COMMON}
    results: list[list[ItemResult]] = []
    for backend, repetition, point in sweep_rows(plan) if rows is None else rows:
        columns["point_id"].append(point.point_id)
        columns["point"].append(point.index)
        columns["repetition"].append(repetition)
        for name, value in point.parameters:
            columns[name].append(value)
        items = []
        have = []
        for basis in plan.templates:
            item = found.get((backend, plan.label(point, repetition, basis)))
            if item is not None:
                items.append(item)
                measured = item.measured
                if measured is not None:
                    have.append(measured)
        is_complete = len(have) == len(plan.templates)
        _append_common(common, items, ("COMPLETED", "") if is_complete else _status(items, len(plan.templates)))
        common["backend"][-1] = backend
        results.append(have if is_complete else [])
    return _frame({**columns, **_values(plan, results), **common})


def _append_common(columns: _Columns, found: Sequence[Found], words: tuple[str, str]) -> None:
    """Append a row to the columns that every frame has; several items (measurement bases) make one row.

    `words` are its status and message.
    """
    columns["status"].append(words[0])
    columns["message"].append(words[1])
    if len(found) == 1:
        (one,) = found
        item = one.item
        columns["backend"].append(one.job.backend)
        columns["device"].append(one.job.device)
        columns["shots"].append(item.shots)
        columns["cost"].append(math.nan if item.cost is None else item.cost)
        columns["job_id"].append(one.job.job_id)
        columns["submitted_at"].append(item.submitted_at)
        columns["completed_at"].append(item.completed_at)
        return
    costs = []
    submitted = []
    completed = []
    for one in found:
        if one.item.cost is not None:
            costs.append(one.item.cost)
        if one.item.submitted_at is not None:
            submitted.append(one.item.submitted_at)
        if one.item.completed_at is not None:
            completed.append(one.item.completed_at)
    columns["backend"].append(found[0].job.backend if found else "")
    columns["device"].append(found[0].job.device if found else "")
    columns["shots"].append(sum(one.item.shots for one in found))
    columns["cost"].append(sum(costs) if costs else math.nan)
    columns["job_id"].append(",".join(dict.fromkeys(one.job.job_id for one in found)))
    columns["submitted_at"].append(min(submitted, default=None))
    columns["completed_at"].append(max(completed, default=None))


def _status(found: Sequence[Found], n_wanted: int) -> tuple[str, str]:
    """Status and message of a row: COMPLETED exactly where every result is there."""
    for one in found:
        if one.measured is None and one.item.status is not JobStatus.COMPLETED:
            return one.item.status.value, _words_of(one)
        if one.measured is None and one.result is not None:
            return "MISSING", "its counts add up to nothing"
        if one.measured is None:
            return "MISSING", one.item.no_result or "it is COMPLETED, and its result has not been collected"
    if not found:
        return "MISSING", "it was not run"
    if len(found) < n_wanted:
        return "MISSING", "not all of its measurement bases were run"
    return JobStatus.COMPLETED.value, ""


def _words_of(one: Found) -> str:
    """Why an item has no result, in the provider's words, with their detail."""
    words = one.item.message or one.job.message
    detail = one.item.error_detail
    return f"{words} ({detail})" if detail and detail not in words else words


def _json(values: Mapping[str, float] | None) -> str | None:
    return None if values is None else json.dumps(dict(values), sort_keys=True)


def _counts_json(result: ItemResult | None) -> str | None:
    return None if result is None else _json(result.counts)


def _values(plan: SweepPlan, rows: Sequence[Sequence[ItemResult]]) -> Mapping[str, Sequence[Any] | np.ndarray]:
    """Measured columns; a row is one result per basis, or empty where one is missing."""
    if not plan.observables:
        return {"counts": [_counts_json(row[0]) if row else None for row in rows]}
    if plan.estimator is None:
        return _exact(plan, rows)
    return _sampled(plan.estimator, rows)


def _exact(plan: SweepPlan, rows: Sequence[Sequence[ItemResult]]) -> _Columns:
    columns: _Columns = {}
    for observable in plan.observables:
        values = []
        errors = []
        for row in rows:
            value = (row[0].expvals or {}).get(observable.name) if row else None
            values.append(math.nan if value is None else value)
            errors.append(math.nan if value is None else 0.0)
        columns[observable.name] = values
        columns[f"{observable.name}_stderr"] = errors
    return columns


def _sampled(estimator: Estimator, rows: Sequence[Sequence[ItemResult]]) -> dict[str, np.ndarray]:
    places: list[int] = []
    counts: list[list[Mapping[str, int]]] = [[] for _ in estimator.bases]
    for place, row in enumerate(rows):
        if row and all(result.counts for result in row):
            places.append(place)
            for column, result in zip(counts, row, strict=True):
                column.append(result.counts or {})
    columns = {}
    for name, (values, errors) in estimator.estimate(counts).items():
        columns[name] = np.full(len(rows), math.nan)
        columns[name][places] = values
        columns[f"{name}_stderr"] = np.full(len(rows), math.nan)
        columns[f"{name}_stderr"][places] = errors
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
    bests = []
    for backend, part in measured.groupby("backend", sort=False):
        bests.append(_best(plan, plan.objective, str(backend), part))
    return bests


def _best(plan: SweepPlan, objective: Objective, backend: str, part: pd.DataFrame) -> Best:
    goal = plan.spec.objective.goal if plan.spec.objective else objective.goal
    # Per point, the mean over its repetitions; their errors are independent.
    indices, group = np.unique(part["point"].to_numpy(), return_inverse=True)
    n_repetitions = np.bincount(group)
    values = np.bincount(group, weights=part[objective.name].to_numpy()) / n_repetitions
    variances = np.bincount(group, weights=part[f"{objective.name}_stderr"].to_numpy() ** 2)
    errors = np.sqrt(variances) / n_repetitions
    chosen = int(np.argmax(values) if goal == "maximize" else np.argmin(values))
    points = {point.index: point for point in plan.points}
    reference = None
    deviations = np.empty(0)
    if objective.reference is not None:
        exact = np.array([objective.reference(dict(points[int(index)].parameters)) for index in indices])
        reference = float(exact[chosen])
        has_error = errors > 0
        deviations = (values - exact)[has_error] / errors[has_error]
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
