"""The experiments that there are: saved ones with their tags and notes, and those whose jobs are still open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE
from qjobs.results.labels import labels_of
from qjobs.results.store import Results

__all__ = ["Experiment", "experiments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One experiment: its saved runs, the newest of them, its open jobs, its tags and its last note.

    `newest`, `n_rows` and `n_missing` are None where nothing is saved yet.
    """

    name: str
    n_runs: int
    newest: str | None
    n_rows: int | None
    n_missing: int | None
    devices: tuple[str, ...]
    open_jobs: int
    tags: tuple[str, ...]
    note: str


def experiments(results: Results, ledger: Ledger, *, tag: str = "") -> list[Experiment]:
    """All experiments, those that were saved last first, then those that only have open jobs.

    `tag` chooses those that have it.
    """
    open_jobs = Counter(job.experiment for job in ledger.jobs(statuses=LIVE) if job.experiment)
    found = []
    for folder in results.names():
        runs = results.runs(folder)
        if runs:
            newest = results.read(folder, runs[0])
            labels = labels_of(results, folder)
            record = newest.record
            found.append(
                Experiment(
                    name=newest.name,
                    n_runs=len(runs),
                    newest=runs[0],
                    n_rows=record["n_rows"],
                    n_missing=record["n_missing"],
                    devices=_devices(record["devices"]),
                    open_jobs=open_jobs.pop(newest.name, 0),
                    tags=labels.tags,
                    note=labels.notes[-1].text if labels.notes else "",
                )
            )
    found.sort(key=lambda each: each.newest or "", reverse=True)
    for name, count in sorted(open_jobs.items()):
        found.append(_unsaved(name, count))
    return [each for each in found if not tag or tag in each.tags]


def _devices(facts: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each["device"] for each in facts.values()))


def _unsaved(name: str, open_jobs: int) -> Experiment:
    return Experiment(
        name=name,
        n_runs=0,
        newest=None,
        n_rows=None,
        n_missing=None,
        devices=(),
        open_jobs=open_jobs,
        tags=(),
        note="",
    )
