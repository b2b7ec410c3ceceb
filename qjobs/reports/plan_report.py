"""What a plan says: the same for the command, its JSON and the artifact of a run that only plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qjobs.experiments.sweep import SweepPlan
from qjobs.operations.check import Checked, DeviceOutlook, DevicePlan
from qjobs.operations.plan import ExperimentPlan
from qjobs.operations.usual_wait import UsualWait, duration
from qjobs.reports.markdown import plain, table

__all__ = [
    "cost_words",
    "device_rows",
    "outlook_as_json",
    "outlook_rows",
    "plan_as_json",
    "plan_markdown",
    "summary_of",
]


def summary_of(experiment: ExperimentPlan, found: Checked) -> dict[str, Any]:
    """What holds for all devices together, by its name."""
    shown: dict[str, Any] = {
        "name": experiment.spec.name,
        "backend": ", ".join(each.name for each in found.devices),
        "device": ", ".join(each.device for each in found.devices),
        "rows": found.rows,
        "circuits": found.circuits,
        "jobs": found.jobs,
        "shots": found.shots,
        "qubits": found.qubits,
        "templates": found.templates,
        "cost": found.cost,
    }
    if isinstance(experiment, SweepPlan):
        shown["points"] = len(experiment.points)
        shown["observables"] = [observable.name for observable in experiment.observables]
    return shown


def plan_as_json(experiment: ExperimentPlan, found: Checked) -> dict[str, Any]:
    """The whole plan; times in seconds."""
    return {**summary_of(experiment, found), "devices": [_as_json(each) for each in found.devices]}


def _as_json(plan: DevicePlan) -> dict[str, Any]:
    return {
        "backend": plan.name,
        "device": plan.device,
        "circuits": plan.circuits,
        "reused": plan.reused,
        "jobs": plan.jobs,
        "shots": plan.shots,
        "bytes": plan.size_bytes,
        "cost": plan.cost,
        **outlook_as_json(plan.outlook),
    }


def outlook_as_json(seen: DeviceOutlook) -> dict[str, Any]:
    """What can be expected of a device; times in seconds."""
    wait = None
    if seen.wait is not None:
        wait = {
            "jobs": seen.wait.n_jobs,
            "first quartile s": seen.wait.first_quartile_s,
            "median s": seen.wait.median_s,
            "third quartile s": seen.wait.third_quartile_s,
        }
    return {
        "cost unit": seen.pricing.unit,
        "cost formula": seen.pricing.words,
        "free slots": seen.free,
        "usual wait": wait,
    }


def device_rows(devices: Sequence[DevicePlan]) -> list[list[str]]:
    """A table with a column for each device: what is told, and what it is there; the first row has their names."""
    rows = [
        ["", *(each.name for each in devices)],
        ["circuits", *(f"{each.circuits:,}" for each in devices)],
        ["reused", *(f"{each.reused:,}" for each in devices)],
        ["jobs to send", *(f"{each.jobs:,}" for each in devices)],
        ["shots", *(f"{each.shots:,}" for each in devices)],
        ["bytes", *(f"{each.size_bytes:,}" for each in devices)],
        ["cost", *(cost_words(each.cost, each.outlook.pricing.unit) for each in devices)],
    ]
    return [*rows, *outlook_rows([each.outlook for each in devices])]


def outlook_rows(seen: Sequence[DeviceOutlook]) -> list[list[str]]:
    """The lines of such a table that hold for a device whatever is sent to it."""
    return [
        ["how it counts", *(each.pricing.words for each in seen)],
        ["free slots", *("any number" if each.free is None else f"{each.free:,}" for each in seen)],
        ["usual wait", *(_wait_words(each.wait) for each in seen)],
    ]


def cost_words(cost: float | None, unit: str) -> str:
    """A cost with its unit; what nobody can tell is never 0.

    >>> cost_words(12.5, "HQC"), cost_words(None, "HQC")
    ('12.5 HQC', 'nobody can tell')
    """
    return "nobody can tell" if cost is None else f"{cost:,.10g} {unit}".strip()


def _wait_words(wait: UsualWait | None) -> str:
    """How long jobs usually took, with the spread, and on how many jobs it rests."""
    if wait is None:
        return "no history"
    between = f"half of them {duration(wait.first_quartile_s)} to {duration(wait.third_quartile_s)}"
    return f"{duration(wait.median_s)} ({between}; the last {wait.n_jobs} jobs)"


def plan_markdown(experiment: ExperimentPlan, found: Checked) -> str:
    """The plan as a page."""
    head, *rows = [[plain(cell) for cell in row] for row in device_rows(found.devices)]
    lines = [
        f"# Plan of {plain(experiment.spec.name)}",
        "",
        "Nothing was sent.",
        "",
        *table(head, rows),
        "",
        f"Rows of results: {found.rows:,}. Qubits of the widest circuit: {found.qubits}.",
    ]
    return "\n".join(lines)
