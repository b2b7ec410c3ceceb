"""Results as tidy data frames, one row per thing that was asked for, and their files."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.errors import StorageFull
from qjobs.lifecycle import JobStatus
from qjobs.model import Item, ItemResult, Job
from qjobs.sweep import SweepPlan

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Best", "Found", "best_points", "circuits_frame", "sweep_frame", "write_file", "write_parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item with its job and, when there is one, its result."""

    job: Job
    item: Item
    result: ItemResult | None


def _common(found: Sequence[Found]) -> dict[str, Any]:
    """Columns that every frame has; several items (measurement bases) make one row."""
    first = found[0]
    sent = [at for f in found if (at := f.item.times.get(JobStatus.SUBMITTED)) is not None]
    done = [at for f in found if (at := f.item.times.get(JobStatus.COMPLETED)) is not None]
    costs = [f.item.cost for f in found if f.item.cost is not None]
    return {
        "backend": first.job.backend,
        "device": first.job.device,
        "shots": sum(f.item.shots for f in found),
        "status": next((f.item.status for f in found if f.result is None), JobStatus.COMPLETED).value,
        "message": next((f.item.message for f in found if f.result is None), ""),
        "cost": sum(costs) if costs else math.nan,
        "job_id": ",".join(dict.fromkeys(f.job.job_id for f in found)),
        "submitted_at": min(sent, default=None),
        "completed_at": max(done, default=None),
    }


def _counts_json(result: ItemResult | None) -> str | None:
    return None if result is None or result.counts is None else json.dumps(dict(result.counts), sort_keys=True)


def circuits_frame(found: Sequence[Found]) -> pd.DataFrame:
    """One row per circuit, in order.

    Columns: label, backend, device, shots, status, message, cost, job_id, submitted_at, completed_at,
    and counts as JSON text (bit 0 rightmost; null where there is no result).
    """
    import pandas as pd

    rows = [{"label": f.item.label, **_common([f]), "counts": _counts_json(f.result)} for f in found]
    return pd.DataFrame(rows)


def sweep_frame(plan: SweepPlan, found: Mapping[tuple[str, str], Found]) -> pd.DataFrame:
    """One row per point, repetition and backend, in the sweep's order.

    Columns: point_id, point (index), repetition, one per parameter (radians), then either counts as
    JSON text or, per observable, its expectation value and `NAME_stderr` (0 where it is exact), then
    the common ones (see `circuits_frame`). A point without a result keeps its row, with its status.

    Args:
        plan: The sweep.
        found: Items by (backend as named in the spec, label).
    """
    import pandas as pd

    rows = []
    for backend in plan.spec.backends:
        for repetition in range(plan.spec.repetitions):
            for point in plan.points:
                labels = [plan.label(point, repetition, basis) for basis in plan.templates]
                items = [found[backend, label] for label in labels if (backend, label) in found]
                row: dict[str, Any] = {
                    "point_id": point.point_id,
                    "point": point.index,
                    "repetition": repetition,
                    **dict(point.parameters),
                }
                row.update(_values(plan, items if len(items) == len(labels) else []))
                if items:
                    row.update(_common(items), backend=backend)
                else:
                    row.update(backend=backend, status="MISSING", message="it was not run")
                rows.append(row)
    return pd.DataFrame(rows)


def _values(plan: SweepPlan, items: Sequence[Found]) -> dict[str, Any]:
    """Measured columns of one row; missing values where an item has no result."""
    results = [item.result for item in items if item.result is not None]
    complete = bool(items) and len(results) == len(items)
    if not plan.observables:
        return {"counts": _counts_json(results[0]) if complete else None}
    row: dict[str, Any] = {}
    for observable in plan.observables:
        row[observable.name] = row[f"{observable.name}_stderr"] = math.nan
    if not complete:
        return row
    if plan.estimator is None:
        for name, value in (results[0].expvals or {}).items():
            row[name], row[f"{name}_stderr"] = value, 0.0
        return row
    for name, estimate in plan.estimator.estimate([result.counts or {} for result in results]).items():
        row[name], row[f"{name}_stderr"] = estimate.value, estimate.stderr
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best point of a sweep on one backend, averaged over its repetitions.

    `reference` is the objective's exact value there; `deviations` holds, for every point, how many
    standard errors the measured value is away from the exact one (empty without a reference).
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
        if self.reference is None or self.stderr == 0.0:
            return None
        return (self.value - self.reference) / self.stderr


def best_points(plan: SweepPlan, frame: pd.DataFrame) -> list[Best]:
    """The best point per backend; empty without an objective or without any result."""
    if plan.objective is None or plan.spec.objective is None:
        return []
    name, objective = plan.objective.name, plan.objective
    best = []
    points = {p.point_id: dict(p.parameters) for p in plan.points}
    for backend, part in frame.dropna(subset=[name]).groupby("backend", sort=False):
        values: dict[str, float] = {}
        errors: dict[str, float] = {}
        for point_id, rows in part.groupby("point_id", sort=False):
            values[str(point_id)] = float(rows[name].mean())
            errors[str(point_id)] = math.sqrt(float((rows[f"{name}_stderr"] ** 2).sum())) / len(rows)
        pick = max if plan.spec.objective.goal == "maximize" else min
        chosen = pick(values, key=values.__getitem__)
        reference = objective.reference
        deviations: tuple[float, ...] = ()
        if reference is not None:
            deviations = tuple((v - reference(points[p])) / errors[p] for p, v in values.items() if errors[p] > 0)
        best.append(
            Best(
                backend=str(backend),
                point_id=chosen,
                parameters=points[chosen],
                value=values[chosen],
                stderr=errors[chosen],
                best_possible=objective.best_possible,
                reference=reference(points[chosen]) if reference is not None else None,
                deviations=deviations,
            )
        )
    return best


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    Raises:
        StorageFull: There is no room; an older file of that name is still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(
                f"no room to write {path} ({error.strerror}); the results are safe in the ledger: "
                "free some space and run it again"
            ) from error
        raise StorageFull(f"{path} cannot be written: {error.strerror}; the results are safe in the ledger") from error
    return path


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame as Parquet, whole or not at all.

    Raises:
        StorageFull: There is no room; the results are in the ledger.
    """
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return write_file(path, buffer.getvalue())
