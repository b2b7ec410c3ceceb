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

from qjobs.circuits.counts import has_shots, json_texts
from qjobs.circuits.observables import Estimator
from qjobs.circuits.standard_errors import fractions_json
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.measured import COMMON_COLUMNS
from qjobs.experiments.objectives import Objective
from qjobs.experiments.points import Point
from qjobs.experiments.sweep import SweepPlan
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, Job, Observable

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
    "shots_per_basis": "int64",
    "status": "str",
    "message": "str",
    "cost": "float64",
    "job_id": "str",
    "submitted_at": "datetime64[us, UTC]",
    "completed_at": "datetime64[us, UTC]",
    "counts": "str",
    "fractions_stderr": "str",
    "expvals": "str",
}
"""A column keeps its type when all of it is missing; every other one is float64."""

_Columns = dict[str, list[Any]]


def _frame(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    series = {}
    for name, values in columns.items():
        series[name] = pd.Series(values, dtype=_DTYPES.get(name, "float64"))
    return pd.DataFrame(series)


def circuits_frame(found: Sequence[Found]) -> pd.DataFrame:
    """One row per circuit, in order.

    Columns: label, backend, device, shots, shots_per_basis, status, message, cost, job_id, submitted_at, completed_at,
    and counts as JSON text (bit 0 rightmost; null where there is no result), with fractions_stderr, the standard
    errors of their fractions of the shots. Where a job gave exact expectation values there is a column expvals, as
    JSON text too. Status is COMPLETED where there is a result, MISSING where it is COMPLETED without one. Counts that
    add up to nothing are no result.
    """
    columns: _Columns = {name: [] for name in ("label", *COMMON_COLUMNS, "counts", "fractions_stderr")}
    expvals = []
    for one in found:
        columns["label"].append(one.item.label)
        _append_common(columns, [one], _status([one], 1))
        columns["fractions_stderr"].append(_errors_json(one.measured))
        expvals.append(_json(one.measured.expvals) if one.measured is not None else None)
    columns["counts"] = json_texts([None if one.measured is None else one.measured.counts for one in found])
    if any(expvals):
        columns["expvals"] = expvals
    return _frame(columns)


def measured_circuits_frame(plan: CircuitListPlan, found: Mapping[str, Found], indices: Sequence[int]) -> pd.DataFrame:
    """One row per circuit of a list with observables or metadata, in order.

    Columns: label, one per name in the metadata, expectation values with `NAME_stderr` per observable, and the common
    ones with counts (see `circuits_frame`); a circuit without observables has counts, the others have none. `found`
    has items by label. `indices` are the circuits that are wanted.
    """
    entries = plan.spec.circuits
    columns: _Columns = {"label": []}
    common: _Columns = {name: [] for name in COMMON_COLUMNS}
    counts: list[Mapping[str, int] | None] = []
    rows = []
    for index in indices:
        labels = plan.labels_of(index)
        columns["label"].append(entries[index].label or f"c{index}")
        items = [found[label] for label in labels.values() if label in found]
        have = [one.measured for one in items if one.measured is not None]
        is_complete = len(have) == len(labels)
        _append_common(common, items, ("COMPLETED", "") if is_complete else _status(items, len(labels)))
        is_sampled = bool(plan.measured) and plan.measured[index].estimator is not None
        counts.append(have[0].counts if is_complete and not is_sampled else None)
        rows.append(have if is_complete and is_sampled else [])
    common["counts"] = json_texts(counts)
    values = {name: np.full(len(rows), math.nan) for one in plan.measured for name in _value_names(one.observables)}
    for row, index in enumerate(indices):
        estimator = plan.measured[index].estimator if plan.measured else None
        if rows[row] and estimator is not None:
            for name, value in _sampled(estimator, [rows[row]]).items():
                values[name][row] = value[0]
    import pandas as pd

    said = pd.DataFrame(_metadata(plan, indices))
    return pd.concat([_frame(columns), said, _frame({**values, **common})], axis=1)


def _metadata(plan: CircuitListPlan, indices: Sequence[int]) -> dict[str, pd.Series[Any]]:
    """The metadata of circuits by name. All circuits of the list decide on the type: numbers, yes or no, or text."""
    import pandas as pd

    entries = plan.spec.circuits
    found = {}
    for name in dict.fromkeys(name for entry in entries for name in entry.metadata):
        kinds = {type(entry.metadata.get(name)) for entry in entries}
        values: list[Any] = [entries[index].metadata.get(name) for index in indices]
        if kinds <= {int, float, type(None)}:
            dtype = "int64" if kinds == {int} else "float64"
        elif kinds == {bool}:
            dtype = "bool"
        else:
            dtype = "str"
            values = [None if value is None else str(value) for value in values]
        found[name] = pd.Series(values, dtype=dtype)
    return found


def _value_names(observables: Sequence[Observable]) -> list[str]:
    names = []
    for observable in observables:
        names += [observable.name, f"{observable.name}_stderr"]
    return names


Row: TypeAlias = tuple[str, int, Point]
"""A row of a sweep's frame: the backend as named in the spec, the repetition, the point."""


def sweep_rows(plan: SweepPlan) -> Iterator[Row]:
    """The rows of a sweep's frame, in order."""
    return itertools.product(plan.spec.backends, range(plan.spec.repetitions), plan.points)


def sweep_frame(
    plan: SweepPlan, found: Mapping[tuple[str, str], Found], rows: Iterable[Row] | None = None
) -> pd.DataFrame:
    """One row per point, repetition and backend, in the sweep's order.

    Columns: point_id, point (index), repetition, one per parameter in the order given (as the circuit takes it: angles
    in radians), then per observable its expectation value and `NAME_stderr` (0 where it is exact), counts as JSON text
    (unless values are exact; where there are several measurement bases, one object with the counts of each; without
    observables also fractions_stderr), then the common ones (see `circuits_frame`). A point without a result keeps its
    row, with its status.
    `found` has items by (backend as named in the spec, label). `rows` are those that are wanted; None for all.
    """
    columns: _Columns = {name: [] for name in ("point_id", "point", "repetition", *plan.parameters)}
    common: _Columns = {name: [] for name in COMMON_COLUMNS}
    results: list[list[ItemResult]] = []
    points: list[Point] = []
    for backend, repetition, point in sweep_rows(plan) if rows is None else rows:
        columns["point_id"].append(point.point_id)
        columns["point"].append(point.index)
        columns["repetition"].append(repetition)
        for name, value in point.parameters:
            columns[name].append(value)
        points.append(point)
        items = []
        have = []
        bases = plan.bases(point)
        for basis in bases:
            item = found.get((backend, plan.label(point, repetition, basis)))
            if item is not None:
                items.append(item)
                measured = item.measured
                if measured is not None:
                    have.append(measured)
        is_complete = len(have) == len(bases)
        _append_common(common, items, ("COMPLETED", "") if is_complete else _status(items, len(bases)))
        common["backend"][-1] = backend
        results.append(have if is_complete else [])
    return _frame({**columns, **_values(plan, points, results), **common})


def _append_common(columns: _Columns, found: Sequence[Found], words: tuple[str, str]) -> None:
    """Append a row to the columns that every frame has; several items (measurement bases) make one row.

    `words` are its status and message. Its shots are those of all bases together; `shots_per_basis` are those of one,
    the fewest where they differ.
    """
    columns["shots_per_basis"].append(min((one.item.shots for one in found), default=0))
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
    return None if values is None else json.dumps(dict(values.items()), sort_keys=True)


def _errors_json(result: ItemResult | None) -> str | None:
    """Standard errors of the fractions that counts are of their shots."""
    return None if result is None or result.counts is None else fractions_json(result.counts)


def _values(
    plan: SweepPlan, points: Sequence[Point], rows: Sequence[Sequence[ItemResult]]
) -> Mapping[str, Sequence[Any] | np.ndarray]:
    """Measured columns; a row is one result per basis of its point, or empty where one is missing."""
    if not plan.observables:
        first = [row[0] if row else None for row in rows]
        return {
            "counts": json_texts([None if result is None else result.counts for result in first]),
            "fractions_stderr": [_errors_json(result) for result in first],
        }
    if plan.estimator is None:
        return _exact(plan.observables, rows)
    places: dict[int, list[int]] = {}
    for place, (point, row) in enumerate(zip(points, rows, strict=True)):
        if row and all(result.counts for result in row):
            places.setdefault(point.circuit, []).append(place)
    columns: dict[str, Sequence[Any] | np.ndarray] = {}
    for observable in plan.observables:
        columns[observable.name] = np.full(len(rows), math.nan)
        columns[f"{observable.name}_stderr"] = np.full(len(rows), math.nan)
    for number, here in places.items():
        estimator = plan.circuits[number].estimator
        if estimator is not None:
            for name, values in _sampled(estimator, [rows[place] for place in here]).items():
                columns[name][here] = values  # type: ignore[index]
    columns["counts"] = _counts_by_basis([tuple(plan.bases(point)) for point in points], rows)
    return columns


def _counts_by_basis(bases: Sequence[Sequence[str]], rows: Sequence[Sequence[ItemResult]]) -> list[str | None]:
    """The counts of rows that have a result per basis: of the one basis there is, or of each by its name."""
    texts = iter(json_texts([result.counts for row in rows for result in row]))
    found: list[str | None] = []
    for names, row in zip(bases, rows, strict=True):
        here = list(itertools.islice(texts, len(row)))
        if len(here) > 1:
            parts = [f"{json.dumps(name)}: {text or '{}'}" for name, text in zip(names, here, strict=True)]
            found.append("{" + ", ".join(parts) + "}")
        else:
            found.append(here[0] if here else None)
    return found


def _exact(observables: Sequence[Observable], rows: Sequence[Sequence[ItemResult]]) -> _Columns:
    columns: _Columns = {}
    for observable in observables:
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
    """Values and standard errors of rows that are all there."""
    counts: list[list[Mapping[str, int]]] = [[] for _ in estimator.bases]
    for row in rows:
        for column, result in zip(counts, row, strict=True):
            column.append(result.counts or {})
    columns = {}
    for name, (values, errors) in estimator.estimate(counts).items():
        columns[name] = values
        columns[f"{name}_stderr"] = errors
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
