"""What came out of a run: its data frame, its picture and its report, read from the ledger some rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.heap import heap_set_aside
from qjobs.ledger import Ledger
from qjobs.ledger.outcomes import Place
from qjobs.model import Job, JobId
from qjobs.reports.files import stream_parquet
from qjobs.reports.frames import Best, Found, Row, best_points, circuits_frame, sweep_frame, sweep_rows
from qjobs.reports.sweep_report import (
    SHOWN_CIRCUITS,
    best_lines,
    circuits_markdown,
    draw_sweep,
    sweep_markdown,
)

if TYPE_CHECKING:
    import pandas as pd

_ROWS_TOGETHER = 2000
"""Rows whose results are in memory at a time; not fewer than the text about a circuit list shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The results of a run. `picture` is PNG; `lines` name the best points, a sentence each.

    `file` is the Parquet file that has the data frame, None where it is in memory. `n_missing` of the `n_rows` rows
    have no result.
    """

    plan: SweepPlan | CircuitListPlan
    n_rows: int
    n_missing: int
    file: Path | None = None
    bests: tuple[Best, ...] = ()
    picture: bytes | None = None
    lines: tuple[str, ...] = ()
    _narrow: pd.DataFrame = field(repr=False)
    _frame: pd.DataFrame = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The data frame, a row a point; where there is a file, all of it is read."""
        import pandas as pd

        return self._frame if self.file is None else pd.read_parquet(self.file)

    def markdown(self, image: str | None, files: Sequence[str]) -> str:
        """The report as text, with the picture at the address `image` and sentences about its files."""
        if isinstance(self.plan, SweepPlan):
            return sweep_markdown(self.plan, self._narrow, self.bests, image, files)
        return circuits_markdown(self.plan.spec.name, self._narrow, files, head=self._frame)


def report_of(
    ledger: Ledger,
    plan: SweepPlan | CircuitListPlan,
    jobs: Mapping[str, Sequence[JobId]],
    file: Path | None = None,
) -> RunReport:
    """The report of a run; `jobs` has its job ids by the name of their backend, as in the spec.

    With `file` the data frame is written there, as Parquet, and never held in memory as a whole.

    Raises:
        StorageFull: The file cannot be written.
    """
    with heap_set_aside():
        return _report_of(ledger, plan, jobs, file)


def _report_of(
    ledger: Ledger,
    plan: SweepPlan | CircuitListPlan,
    jobs: Mapping[str, Sequence[JobId]],
    file: Path | None,
) -> RunReport:
    import pandas as pd

    frames = _sweep_frames(ledger, plan, jobs) if isinstance(plan, SweepPlan) else _circuit_frames(ledger, jobs)
    if file is None:
        frame = pd.concat(list(frames), ignore_index=True)
        narrow = frame
    else:
        first = next(frames)
        kept: list[pd.DataFrame] = []
        columns = _columns_looked_at(plan, first)
        stream_parquet(_kept(itertools.chain([first], frames), columns, kept), file)
        frame = first.head(SHOWN_CIRCUITS)
        narrow = pd.concat(kept, ignore_index=True)  # not from the file: another run may have taken its place by now
    n_missing = int((narrow["status"] != "COMPLETED").sum())
    if not isinstance(plan, SweepPlan):
        return RunReport(plan=plan, n_rows=len(narrow), n_missing=n_missing, file=file, _narrow=narrow, _frame=frame)
    bests = tuple(best_points(plan, narrow))
    lines: list[str] = []
    for best in bests:
        lines += best_lines(plan, best)
    return RunReport(
        plan=plan,
        n_rows=len(narrow),
        n_missing=n_missing,
        file=file,
        bests=bests,
        picture=draw_sweep(plan, narrow, bests),
        lines=tuple(lines),
        _narrow=narrow,
        _frame=frame,
    )


def _kept(frames: Iterable[pd.DataFrame], columns: list[str], kept: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The frames as they come; some of their columns are kept."""
    for frame in frames:
        kept.append(frame[columns])
        yield frame


def _columns_looked_at(plan: SweepPlan | CircuitListPlan, frame: pd.DataFrame) -> list[str]:
    """The columns that a picture and a text are made of: numbers, and words that are the same in many rows."""
    wanted = {"status", "shots", "backend", "point"}
    if isinstance(plan, SweepPlan):
        wanted.update(name for name, _ in plan.points[0].parameters)
        names = [observable.name for observable in plan.observables]
        if plan.objective is not None:
            names.append(plan.objective.name)
        for name in names:
            wanted |= {name, f"{name}_stderr"}
    return [name for name in frame.columns if name in wanted]


def _sweep_frames(ledger: Ledger, plan: SweepPlan, jobs: Mapping[str, Sequence[JobId]]) -> Iterator[pd.DataFrame]:
    """The frame of a sweep in parts."""
    reader = _Reader(ledger, jobs)
    rows = sweep_rows(plan)
    while part := list(itertools.islice(rows, _ROWS_TOGETHER)):
        yield sweep_frame(plan, reader.read(_labels(plan, part)), part)


def _labels(plan: SweepPlan, rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    for backend, repetition, point in rows:
        for basis in plan.templates:
            yield backend, plan.label(point, repetition, basis)


def _circuit_frames(ledger: Ledger, jobs: Mapping[str, Sequence[JobId]]) -> Iterator[pd.DataFrame]:
    """The frame of a circuit list in parts, one at the least."""
    reader = _Reader(ledger, jobs)
    labels = iter(reader.places)
    part = list(itertools.islice(labels, _ROWS_TOGETHER))
    yield circuits_frame(list(reader.read(part).values()))
    while part := list(itertools.islice(labels, _ROWS_TOGETHER)):
        yield circuits_frame(list(reader.read(part).values()))


class _Reader:
    """Reads items of jobs by (name of the backend, label)."""

    def __init__(self, ledger: Ledger, jobs: Mapping[str, Sequence[JobId]]) -> None:
        self._ledger = ledger
        self._jobs: dict[JobId, Job] = {}
        self.places: dict[tuple[str, str], Place] = {}
        for name, job_ids in jobs.items():
            self._jobs.update({job.job_id: job for job in ledger.jobs(job_ids=job_ids)})
            for label, place in ledger.outcomes.places(job_ids).items():
                self.places[name, label] = place

    def read(self, labels: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Found]:
        """The items that there are, in the order of their labels."""
        wanted = {label: self.places[label] for label in labels if label in self.places}
        outcomes = self._ledger.outcomes.read(wanted.values())
        found = {}
        for label, place in wanted.items():
            outcome = outcomes[place]
            found[label] = Found(self._jobs[place.job_id], outcome, outcome.result)
        return found
