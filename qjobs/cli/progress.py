"""How far a run is: a bar with an estimate on a terminal, a line a change in a pipe; both go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from qjobs.errors import LedgerAway
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job
from qjobs.operations.poll import utc_now
from qjobs.operations.usual_wait import UsualWaits, duration, expected
from qjobs.operations.wait import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["RunProgress"]


class RunProgress:
    """Shows the progress of one run. Close it when the run is over.

    Args:
        ledger: Where the run's jobs are; it stays open.
        say: Gets a line a change where there is no terminal.
        monotonic: The clock of the estimate.
    """

    def __init__(
        self,
        ledger: Ledger,
        say: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._say = say
        self._monotonic = monotonic
        self._usual = UsualWaits(ledger, monotonic)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._began: tuple[float, int] | None = None
        self._last = ""

    def report(self, progress: Progress) -> None:
        """Show what a wait says; it is called after every pass that changed something."""
        try:
            self._report(progress)
        except LedgerAway:
            return  # the wait says so, and goes on

    def _report(self, progress: Progress) -> None:
        jobs = self._jobs(progress)
        counts = self._ledger.item_counts([job.job_id for job in jobs])
        total = sum(counts.values())
        done = 0
        for status, count in counts.items():
            done += count if status.is_final else 0
        words = [_counted(counts)]
        words += [f"{name} cannot be asked: {' '.join(why.split())}" for name, why in progress.trouble.items()]
        if done < total:
            words.append(self._estimate(jobs, done, total))
        self._show(done, total, "; ".join(word for word in words if word))

    def _jobs(self, progress: Progress) -> list[Job]:
        """Every job of the run that is waited for, those that are not sent yet too."""
        first = self._ledger.jobs(job_ids=list(progress.statuses)[:1])
        found = self._ledger.jobs(run=first[0].run) if first else []
        own = {job.job_id for job in found}
        others = [job_id for job_id in progress.statuses if job_id not in own]
        return [*found, *self._ledger.jobs(job_ids=others)]

    def _estimate(self, jobs: list[Job], done: int, total: int) -> str:
        """How long it takes from now: by the pace of this run, or else by what is usual on its devices."""
        present = self._monotonic()
        if self._began is None:
            self._began = present, done
        began, done_then = self._began
        if done > done_then:
            return f"about {duration((present - began) * (total - done) / (done - done_then))} left"
        live = [job for job in jobs if not job.status.is_final]
        now = utc_now()
        ends = expected([(job, self._usual.of(job)) for job in live], now)
        return "" if ends is None else f"usually done in {duration((ends - now).total_seconds())}"

    def _show(self, done: int, total: int, words: str) -> None:
        if not sys.stderr.isatty():
            line = f"{done} of {total} circuits are done ({words})"
            if line != self._last:
                self._last = line
                self._say(line)
            return
        if self._bar is None or self._task is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Bar(*columns, TextColumn("{task.description}", markup=False), console=Console(stderr=True))
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, description=words)

    def close(self) -> None:
        """Leave the bar as it is. Idempotent."""
        if self._bar is not None:
            self._bar.stop()


def _counted(counts: Mapping[JobStatus, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
