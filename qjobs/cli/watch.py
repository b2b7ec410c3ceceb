"""`qjobs watch`: what waits, where, in which place of the queue, and how long that usually takes; from the ledger."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from qjobs.cli.jobs import waiting_words
from qjobs.cli.naming import find_job
from qjobs.cli.options import Shared
from qjobs.cli.tables import is_terminal, short
from qjobs.errors import LedgerAway
from qjobs.ledger import Ledger
from qjobs.ledger.job_filter import JobFilter
from qjobs.lifecycle import LIVE, NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.poll import utc_now
from qjobs.operations.usual_wait import UsualWaits, duration

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Seen", "seen", "watch"]

_SHOWN = 20
"""Jobs in the table of a terminal; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One job as it is now.

    `place` is its place in the provider's queue, from 1, where that is known. `usually_s` is how long jobs of its
    device take, in the middle, from being made to their end. `waits_for_place` says that it is not sent yet, and goes
    out when its device has room.
    """

    job_id: JobId
    name: str
    device: str
    status: JobStatus
    results: int
    n_items: int
    place: int | None
    waits_for_place: bool
    since: datetime
    usually_s: float | None
    trouble: str

    @property
    def moves(self) -> bool:
        """Whether it is worth waiting for it."""
        return self.waits_for_place or (not self.status.is_final and self.status not in NOT_MOVED_BY_WAITING)

    @property
    def words(self) -> str:
        """Its status, its place, and what is wrong."""
        words = "waits for a place at its device" if self.waits_for_place else str(self.status)
        if self.place is not None and not self.status.is_final:
            words += f", place {self.place}"
        return f"{words}; {self.trouble}" if self.trouble else words


def watch(
    words: Sequence[str],
    chosen: JobFilter,
    shared: Shared,
    *,
    every_s: float,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Show jobs until none of them moves any more. Nothing is asked of a provider, and nothing is changed.

    Args:
        words: The jobs, as a person names them; if there are none, those that the filter means.
        chosen: Which jobs, where none is named.
        shared: Which ledger; JSON prints an object a change.
        every_s: Between two looks at the ledger, in seconds.
        sleep: Called between two looks.
    """
    with Ledger(shared.url) as ledger:
        job_ids = [find_job(ledger, word).job_id for word in words]
        jobs = _chosen(ledger, job_ids, chosen)
        if not jobs:
            print("no job is under way; see: qjobs jobs list", file=sys.stderr)
            return 0
        if hint := waiting_words(ledger):
            print(hint, file=sys.stderr)
        looks = _looks(ledger, [job.job_id for job in jobs], job_ids, chosen, every_s, sleep)
        draws = is_terminal() and not shared.as_json
        last = _draw(looks) if draws else _print_changes(looks, as_json=shared.as_json)
    unclear = [job for job in last if job.status in {JobStatus.UNKNOWN, JobStatus.LOST}]
    if unclear:
        print(f"{len(unclear)} jobs are not moved by waiting; settle them with: qjobs reconcile", file=sys.stderr)
    return 0


def _chosen(ledger: Ledger, job_ids: Sequence[JobId], chosen: JobFilter) -> list[Job]:
    """The jobs that are named; else those of the filter, and where it names no status those that are not final."""
    if job_ids:
        return ledger.jobs(job_ids=job_ids)
    return ledger.search(chosen if chosen.statuses else replace(chosen, statuses=tuple(LIVE)))


def _looks(
    ledger: Ledger,
    watched: list[JobId],
    named: Sequence[JobId],
    chosen: JobFilter,
    every_s: float,
    sleep: Callable[[float], object],
) -> Iterator[list[Seen]]:
    """What is seen of the jobs, look after look; those that come to be meant join them."""
    usual = UsualWaits(ledger)
    while True:
        try:
            for job in _chosen(ledger, named, chosen):
                if job.job_id not in watched:
                    watched.append(job.job_id)
            found = seen(ledger, watched, usual)
        except LedgerAway:  # its server restarts
            sleep(every_s)
            continue
        yield found
        if not any(job.moves for job in found):
            return
        sleep(every_s)


def seen(ledger: Ledger, job_ids: Sequence[JobId], usual: UsualWaits) -> list[Seen]:
    """What the ledger has of jobs, in their order."""
    results = ledger.result_counts(job_ids)
    places = ledger.queue_positions(job_ids)
    to_be_sent = ledger.dispatches.waiting(job_ids)
    found = []
    for job in ledger.jobs(job_ids=job_ids):
        known = usual.of(job)
        found.append(
            Seen(
                job_id=job.job_id,
                name=job.name,
                device=job.device,
                status=job.status,
                results=results[job.job_id],
                n_items=job.n_items,
                place=places.get(job.job_id),
                waits_for_place=job.job_id in to_be_sent,
                since=job.created_at,
                usually_s=None if known is None else known.median_s,
                trouble="" if job.status.is_final else " ".join((job.trouble or "").split()),
            )
        )
    return found


def _print_changes(looks: Iterator[list[Seen]], *, as_json: bool) -> list[Seen]:
    """A line for each job that has changed, the first look included."""
    before: dict[JobId, Seen] = {}
    last: list[Seen] = []
    for last in looks:
        for job in last:
            if before.get(job.job_id) == job:
                continue
            before[job.job_id] = job
            if as_json:
                print(json.dumps({**asdict(job), "since": job.since.isoformat()}), flush=True)
                continue
            usually = "" if job.usually_s is None else f"usually {duration(job.usually_s)}"
            cells = [job.job_id, job.name, job.device, job.words, f"{job.results}/{job.n_items}", usually]
            print("\t".join(cells), flush=True)
    return last


def _draw(looks: Iterator[list[Seen]]) -> list[Seen]:
    from rich.console import Console
    from rich.live import Live

    last: list[Seen] = []
    with Live(console=Console(markup=False, emoji=False, highlight=False), auto_refresh=False) as live:
        for last in looks:
            live.update(_table(last), refresh=True)
    return last


def _table(jobs: Sequence[Seen]) -> Table:
    from rich import box
    from rich.table import Table

    now = utc_now()
    moving = [job for job in jobs if job.moves]
    shown = [*moving, *(job for job in jobs if not job.moves)][:_SHOWN]
    left_out = len(jobs) - len(shown)
    caption = f"{len(moving)} of {len(jobs)} are under way" + (f"; {left_out} are not shown" if left_out else "")
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, caption=f"{caption}; Ctrl-C ends the watch alone"
    )
    for column in ("job", "name", "device", "status", "results", "for", "usually"):
        table.add_column(column, overflow="fold", no_wrap=column == "job")
    for job in shown:
        waited = duration((now - job.since).total_seconds()) if job.moves else ""
        usually = "" if job.usually_s is None else duration(job.usually_s)
        done = f"{job.results}/{job.n_items}"
        table.add_row(short(job.job_id), job.name, job.device, job.words, done, waited, usually)
    return table
