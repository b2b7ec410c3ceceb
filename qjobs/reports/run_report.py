"""What came out of a run: its data frame, its picture and its report, read from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports.frames import Best, Found, best_points, circuits_frame, sweep_frame
from qjobs.reports.sweep_report import best_lines, circuits_markdown, draw_sweep, sweep_markdown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunReport", "report_of", "sweep_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A run's results. `lines` says the best points, a sentence each; `picture` is PNG."""

    frame: pd.DataFrame
    bests: tuple[Best, ...]
    picture: bytes | None
    lines: tuple[str, ...]
    plan: SweepPlan | None
    spec: SweepSpec | CircuitList

    @property
    def n_missing(self) -> int:
        """Rows without a result."""
        return int((self.frame["status"] != "COMPLETED").sum())

    def markdown(self, image: str | None, files: Sequence[str]) -> str:
        """The report, with the picture at the address `image` and sentences about its files."""
        if self.plan is not None:
            return sweep_markdown(self.plan, self.frame, self.bests, image, files)
        return circuits_markdown(self.spec.name, self.frame, files)


@lru_cache(maxsize=4)
def _planned(text: str) -> SweepPlan:
    return expand_sweep(SweepSpec.model_validate_json(text))


def sweep_plan(spec: SweepSpec) -> SweepPlan:
    """`expand_sweep`, remembered: the stages of a run need the same plan again. A circuit file is read anew."""
    return expand_sweep(spec) if spec.circuit.file is not None else _planned(spec.model_dump_json())


def _found(ledger: Ledger, job_ids: Sequence[JobId]) -> list[Found]:
    """Items of jobs in order; where two jobs have the same label, the one with a result counts."""
    found: dict[str, Found] = {}
    for job in ledger.jobs(job_ids=job_ids):
        results = ledger.results(job.job_id, epoch=job.epoch)
        for item in ledger.items(job.job_id):
            result = results.get(item.index)
            if result is not None or item.label not in found:
                found[item.label] = Found(job=job, item=item, result=result)
    return list(found.values())


def report_of(ledger: Ledger, spec: SweepSpec | CircuitList, jobs: Mapping[str, Sequence[JobId]]) -> RunReport:
    """The outcome of a run.

    Args:
        ledger: Where the jobs are.
        spec: What was run.
        jobs: Job ids by the name of their backend, as in the spec.
    """
    return _sweep_outcome(ledger, spec, jobs) if isinstance(spec, SweepSpec) else _circuits_outcome(ledger, spec, jobs)


def _sweep_outcome(ledger: Ledger, spec: SweepSpec, jobs: Mapping[str, Sequence[JobId]]) -> RunReport:
    plan = sweep_plan(spec)
    found = {(name, one.item.label): one for name, ids in jobs.items() for one in _found(ledger, ids)}
    frame = sweep_frame(plan, found)
    bests = tuple(best_points(plan, frame))
    lines = tuple(line for best in bests for line in best_lines(plan, best))
    return RunReport(
        frame=frame, bests=bests, picture=draw_sweep(plan, frame, bests), lines=lines, plan=plan, spec=spec
    )


def _circuits_outcome(ledger: Ledger, spec: CircuitList, jobs: Mapping[str, Sequence[JobId]]) -> RunReport:
    found = [one for ids in jobs.values() for one in _found(ledger, ids)]
    return RunReport(frame=circuits_frame(found), bests=(), picture=None, lines=(), plan=None, spec=spec)
