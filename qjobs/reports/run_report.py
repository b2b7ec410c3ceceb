"""What came out of a run: its data frame, its picture and its report, read from the ledger some rows at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.heap import heap_set_aside
from qjobs.ledger import Ledger
from qjobs.ledger.outcomes import Place
from qjobs.model import Job, JobId
from qjobs.operations.calibration import calibration_lines
from qjobs.reports.figures import Look, Parameter, Shown
from qjobs.reports.files import read_parquet, stream_parquet
from qjobs.reports.fits import Fits, fits_frame, fits_json, fits_lines, fits_of
from qjobs.reports.frames import (
    Best,
    Found,
    Row,
    best_points,
    circuits_frame,
    measured_circuits_frame,
    sweep_frame,
    sweep_rows,
)
from qjobs.reports.markdown import plain
from qjobs.reports.pictures import Picture, PictureFormat, picture_of, render
from qjobs.reports.sweep_report import (
    SHOWN_CIRCUITS,
    PictureText,
    axis_of,
    best_lines,
    circuits_markdown,
    measured_by,
    metadata_of,
    observables_of,
    shown_circuits,
    shown_sweep,
    sweep_markdown,
)

if TYPE_CHECKING:
    import pandas as pd

_ROWS_TOGETHER = 2000
"""Rows whose results are in memory at a time; not fewer than the text about a circuit list shows."""


_MOST_COUNTS = 2000
"""Rows whose counts are kept for the picture; of more, every n-th point is drawn."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The results of a run. `lines` name the best points, the fits and recalibrated devices, a sentence each.

    `file` is the Parquet file that has the data frame, a path or a URL; None where it is in memory. `n_missing` of the
    `n_rows` rows have no result. `fits` are by (backend, observable). `devices` says of
    each device whether it was recalibrated between compiling and the results, as far as that was written down.
    """

    plan: SweepPlan | CircuitListPlan = field(repr=False)
    n_rows: int
    n_missing: int
    file: str | None = None
    bests: tuple[Best, ...] = ()
    fits: Fits = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    _shown: Shown = field(repr=False)
    _narrow: pd.DataFrame = field(repr=False)
    _frame: pd.DataFrame = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The data frame, a row a point; where there is a file, all of it is read."""
        return self._frame if self.file is None else read_parquet(self.file)

    @property
    def fits_frame(self) -> pd.DataFrame:
        """The fitted parameters, one a row; see `qjobs.reports.fits.fits_frame`."""
        return fits_frame(self.fits, self._axis)

    @property
    def _axis(self) -> Parameter:
        return axis_of(self.plan) if isinstance(self.plan, SweepPlan) else Parameter(name="point")

    @cached_property
    def _picture(self) -> Picture | str:
        return picture_of(self._shown)

    @cached_property
    def picture(self) -> bytes | None:
        """The picture as PNG, drawn when it is first asked for; None where there is none."""
        return None if isinstance(self._picture, str) else render(self._picture.figure)

    @property
    def why_no_picture(self) -> str:
        """Why there is no picture, in words; empty where there is one."""
        return self._picture if isinstance(self._picture, str) else ""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is not in the picture, a sentence each."""
        return () if isinstance(self._picture, str) else self._picture.left_out

    def drawn(
        self, picture_format: PictureFormat = PictureFormat.PNG, *, dark: bool = False, for_paper: bool = False
    ) -> bytes | None:
        """The picture, in this format and look; None where there is none."""
        picture = picture_of(self._shown, Look(dark=dark, for_paper=for_paper))
        return None if isinstance(picture, str) else render(picture.figure, picture_format)

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows of a report that ends a cell."""
        return self.picture

    @property
    def fits_json(self) -> str | None:
        """The fits as JSON; None where there are none."""
        return fits_json(self.fits, self._axis) if self.fits else None

    def markdown(self, image: str | None, files: Sequence[str]) -> str:
        """The report as text, with the picture at the address `image` and sentences about its files."""
        picture = PictureText(address=image, why_none=self.why_no_picture, left_out=self.left_out)
        files = [*(f"Calibration: {plain(line)}." for line in self.devices), *files]
        if isinstance(self.plan, SweepPlan):
            return sweep_markdown(self.plan, self._narrow, self.bests, picture, files, self.fits)
        return circuits_markdown(
            self.plan.spec.name,
            self._narrow,
            files,
            head=self._frame,
            picture=picture,
            measured=observables_of(self.plan),
            metadata=metadata_of(self.plan),
        )


def report_of(
    ledger: Ledger,
    plan: SweepPlan | CircuitListPlan,
    jobs: Mapping[str, Sequence[JobId]],
    file: Path | str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> RunReport:
    """The report of a run; `jobs` has its job ids by the name of their backend, as in the spec.

    With `file`, a path or a URL, the data frame is written there as Parquet, with the `metadata`, and never held in
    memory as a whole.

    Raises:
        StorageFull: The file cannot be written.
    """
    with heap_set_aside():
        return _report_of(ledger, plan, jobs, None if file is None else str(file), metadata or {})


def _report_of(
    ledger: Ledger,
    plan: SweepPlan | CircuitListPlan,
    jobs: Mapping[str, Sequence[JobId]],
    file: str | None,
    metadata: Mapping[str, str],
) -> RunReport:
    import pandas as pd

    frames = _sweep_frames(ledger, plan, jobs) if isinstance(plan, SweepPlan) else _circuit_frames(ledger, plan, jobs)
    kept = _Kept(plan)
    if file is None:
        frame = pd.concat(list(kept.of(frames)), ignore_index=True)
    else:
        first = next(frames)
        stream_parquet(kept.of(itertools.chain([first], frames)), file, metadata, private=True)
        frame = first.head(SHOWN_CIRCUITS)
    report = kept.report(frame, file)
    drifted, others = calibration_lines(ledger, list(itertools.chain.from_iterable(jobs.values())))
    return replace(report, lines=(*report.lines, *drifted), devices=(*drifted, *others))


def report_again(plan: SweepPlan | CircuitListPlan, frame: pd.DataFrame) -> RunReport:
    """The report of results that were saved: `frame` is the data frame of the same plan, as a report has it."""
    kept = _Kept(plan)
    for _ in kept.of([frame]):
        pass
    return kept.report(frame, None)


class _Kept:
    """What stays in memory of frames that go by: numbers and short words of all rows, and the counts of some."""

    def __init__(self, plan: SweepPlan | CircuitListPlan) -> None:
        self._plan = plan
        self._narrow: list[pd.DataFrame] = []
        self._counts: list[pd.DataFrame] = []
        self._n_rows = 0
        self._measured: list[str] = []
        self._parameters: list[str] = []
        if isinstance(plan, SweepPlan):
            self._measured = measured_by(plan)
            self._parameters = list(plan.parameters)
            n_rows = len(plan.points) * plan.spec.repetitions * len(plan.spec.backends)
        else:
            self._measured = observables_of(plan)
            n_rows = len(plan.spec.circuits)
        self._is_thinned = not self._measured or not isinstance(plan, SweepPlan)
        """Whether the picture is of some rows, with their counts."""
        self._step = math.ceil(n_rows / _MOST_COUNTS)

    def of(self, frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The frames as they come; some of their columns are kept."""
        wanted = {"status", "shots", "backend", "point", *self._parameters, *self._measured}
        wanted.update(f"{name}_stderr" for name in self._measured)
        for frame in frames:
            self._narrow.append(frame[[name for name in frame.columns if name in wanted]])
            if self._is_thinned:
                self._counts.append(self._some_counts(frame))
            self._n_rows += len(frame)
            yield frame

    def report(self, frame: pd.DataFrame, file: str | None) -> RunReport:
        """What is said of all frames; `frame` is the whole, or the first rows of a `file`."""
        narrow = self.narrow()
        bests: tuple[Best, ...] = ()
        fits: Fits = {}
        lines: list[str] = []
        if isinstance(self._plan, SweepPlan):
            bests = tuple(best_points(self._plan, narrow))
            fits = fits_of(self._plan, narrow)
            for best in bests:
                lines += best_lines(self._plan, best)
            lines += fits_lines(fits, axis_of(self._plan))
        return RunReport(
            plan=self._plan,
            n_rows=len(narrow),
            n_missing=int((narrow["status"] != "COMPLETED").sum()),
            file=file,
            bests=bests,
            fits=fits,
            lines=tuple(lines),
            _shown=self.shown(bests, fits),
            _narrow=narrow,
            _frame=frame,
        )

    def _some_counts(self, frame: pd.DataFrame) -> pd.DataFrame:
        if not isinstance(self._plan, SweepPlan):
            frame = frame.assign(point=range(self._n_rows, self._n_rows + len(frame)))
        values = [f"{name}{end}" for name in self._measured for end in ("", "_stderr")]
        columns = ("backend", "point", "label", *self._parameters, *values, "counts")
        names = [name for name in columns if name in frame.columns]
        return frame.loc[frame["point"] % self._step == 0, names]

    def narrow(self) -> pd.DataFrame:
        """The columns that are kept of all rows."""
        import pandas as pd

        return pd.concat(self._narrow, ignore_index=True)

    def shown(self, bests: Sequence[Best], fits: Fits) -> Shown:
        """What the picture shows."""
        import pandas as pd

        frame = pd.concat(self._counts or self._narrow, ignore_index=True)
        what = "point" if isinstance(self._plan, SweepPlan) else "circuit"
        left_out = f"one in {self._step} {what}s is drawn" if self._counts and self._step > 1 else ""
        if isinstance(self._plan, SweepPlan):
            return shown_sweep(self._plan, frame, bests, fits, left_out)
        return shown_circuits(self._plan.spec.name, frame, self._measured, left_out)


def _sweep_frames(ledger: Ledger, plan: SweepPlan, jobs: Mapping[str, Sequence[JobId]]) -> Iterator[pd.DataFrame]:
    """The frame of a sweep in parts."""
    reader = _Reader(ledger, jobs)
    rows = sweep_rows(plan)
    while part := list(itertools.islice(rows, _ROWS_TOGETHER)):
        yield sweep_frame(plan, reader.read(_labels(plan, part)), part)


def _labels(plan: SweepPlan, rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    for backend, repetition, point in rows:
        for basis in plan.bases(point):
            yield backend, plan.label(point, repetition, basis)


def _circuit_frames(
    ledger: Ledger, plan: CircuitListPlan, jobs: Mapping[str, Sequence[JobId]]
) -> Iterator[pd.DataFrame]:
    """The frame of a circuit list in parts, one at the least."""
    reader = _Reader(ledger, jobs)
    if plan.measured or any(entry.metadata for entry in plan.spec.circuits):
        yield from _measured_frames(reader, plan)
        return
    labels = iter(reader.places)
    part = list(itertools.islice(labels, _ROWS_TOGETHER))
    yield circuits_frame(list(reader.read(part).values()))
    while part := list(itertools.islice(labels, _ROWS_TOGETHER)):
        yield circuits_frame(list(reader.read(part).values()))


def _measured_frames(reader: _Reader, plan: CircuitListPlan) -> Iterator[pd.DataFrame]:
    """The frame of a circuit list with observables or metadata, in parts; a type of all parts is that of the whole."""
    backend = plan.spec.backend
    for first in range(0, len(plan.sources), _ROWS_TOGETHER):
        indices = range(first, min(first + _ROWS_TOGETHER, len(plan.sources)))
        labels = [(backend, label) for index in indices for label in plan.labels_of(index).values()]
        found = {label: one for (_, label), one in reader.read(labels).items()}
        yield measured_circuits_frame(plan, found, indices)


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
