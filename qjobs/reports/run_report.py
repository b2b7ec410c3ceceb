"""What came out of a run: its data frame, its picture and its report, read from the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports.frames import Best, Found, best_points, circuits_frame, sweep_frame
from qjobs.reports.sweep_report import best_lines, circuits_markdown, draw_sweep, sweep_markdown

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The results of a run. `picture` is PNG; `lines` name the best points, a sentence each."""

    plan: SweepPlan | CircuitListPlan
    frame: pd.DataFrame
    bests: tuple[Best, ...] = ()
    picture: bytes | None = None
    lines: tuple[str, ...] = ()

    @property
    def n_missing(self) -> int:
        """Rows without a result."""
        return int((self.frame["status"] != "COMPLETED").sum())

    def markdown(self, image: str | None, files: Sequence[str]) -> str:
        """The report as text, with the picture at the address `image` and sentences about its files."""
        if isinstance(self.plan, SweepPlan):
            return sweep_markdown(self.plan, self.frame, self.bests, image, files)
        return circuits_markdown(self.plan.spec.name, self.frame, files)


def report_of(ledger: Ledger, plan: SweepPlan | CircuitListPlan, jobs: Mapping[str, Sequence[JobId]]) -> RunReport:
    """The report of a run; `jobs` has its job ids by the name of their backend, as in the spec."""
    if isinstance(plan, SweepPlan):
        return _sweep_report(ledger, plan, jobs)
    found: list[Found] = []
    for job_ids in jobs.values():
        found += _found(ledger, job_ids).values()
    return RunReport(plan=plan, frame=circuits_frame(found))


def _sweep_report(ledger: Ledger, plan: SweepPlan, jobs: Mapping[str, Sequence[JobId]]) -> RunReport:
    found: dict[tuple[str, str], Found] = {}
    for backend, job_ids in jobs.items():
        for label, one in _found(ledger, job_ids).items():
            found[backend, label] = one
    frame = sweep_frame(plan, found)
    bests = tuple(best_points(plan, frame))
    lines: list[str] = []
    for best in bests:
        lines += best_lines(plan, best)
    return RunReport(plan=plan, frame=frame, bests=bests, picture=draw_sweep(plan, frame, bests), lines=tuple(lines))


def _found(ledger: Ledger, job_ids: Sequence[JobId]) -> dict[str, Found]:
    """Items of jobs by label, in order; where two jobs have the same label, the one with a result counts."""
    found: dict[str, Found] = {}
    for job in ledger.jobs(job_ids=job_ids):
        results = ledger.results(job.job_id, epoch=job.epoch)
        for item in ledger.items(job.job_id):
            result = results.get(item.index)
            if result is not None or item.label not in found:
                found[item.label] = Found(job=job, item=item, result=result)
    return found
