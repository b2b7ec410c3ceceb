"""What is shown of jobs that are under way: how many circuits are done, what they wait for, and the table of jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from qjobs.ledger import Ledger
from qjobs.model import Job, JobId
from qjobs.operations.usual_wait import UsualWaits, duration, expected
from qjobs.reports.markdown import cell, plain
from qjobs.reports.provenance import jobs_table

__all__ = ["Wait", "cut_table", "jobs_shown", "progress_of", "progress_words", "wait_of"]

_MAX_TABLE_ROWS = 300
_MOST_DEVICES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What open jobs wait for, in words, and when they are usually done, where that is known.

    `words` is empty where no job is open.
    """

    words: str
    seen_at: datetime
    ends_at: datetime | None

    @property
    def for_later(self) -> str:
        """The whole in a sentence that is read later, and that nobody changes meanwhile."""
        about = f", about {duration((self.ends_at - self.seen_at).total_seconds())}" if self.ends_at else ""
        return f"{self.words or 'waits for results'}{about} (as of {self.seen_at:%Y-%m-%d %H:%M} UTC)"

    @property
    def current(self) -> str:
        """The whole in words that are kept up to date; they change only when something else is known."""
        end = f"; usually done by {self.ends_at:%Y-%m-%d %H:%M} UTC" if self.ends_at else ""
        return f"{self.words}{end}"


def wait_of(
    ledger: Ledger, job_ids: Sequence[JobId], usual: UsualWaits, now: datetime, *, for_room: bool = False
) -> Wait:
    """What is known of a wait for those of some jobs that are open: devices, places in their queues, the usual end.

    A place is named where the provider tells it, and the end where the ledger knows what is usual on every device.
    With `for_room` the wait is for one of the jobs to leave its place, and nobody knows when.
    """
    open_jobs = [job for job in ledger.jobs(job_ids=job_ids) if not job.status.is_final]
    places = ledger.queue_positions([job.job_id for job in open_jobs])
    unsent = ledger.dispatches.waiting([job.job_id for job in open_jobs])
    by_device: dict[str, list[Job]] = defaultdict(list)
    for job in open_jobs:
        by_device[job.device].append(job)
    named = []
    for device, jobs in sorted(by_device.items()):
        if for_room or all(job.job_id in unsent for job in jobs):
            named.append(f"a place at {device}")
        else:
            named.append(_at_device(device, jobs, places))
    if len(named) > _MOST_DEVICES:
        named = [*named[:_MOST_DEVICES], f"{len(named) - _MOST_DEVICES} other devices"]
    end = None if for_room else expected([(job, usual.of(job)) for job in open_jobs], now)
    return Wait(words=f"waits for {' and '.join(named)}" if named else "", seen_at=now, ends_at=end)


def _at_device(device: str, jobs: Sequence[Job], places: Mapping[JobId, int]) -> str:
    known = [places[job.job_id] for job in jobs if job.job_id in places]
    if len(jobs) == 1:
        return f"{device}, place {known[0]}" if known else device
    foremost = f", the foremost at place {min(known)}" if known else ""
    return f"{len(jobs)} jobs at {device}{foremost}"


def progress_of(ledger: Ledger, job_ids: Sequence[JobId]) -> tuple[float, str]:
    """How much is done, in percent and in words."""
    counts = ledger.item_counts(job_ids)
    total = sum(counts.values())
    done = sum(count for status, count in counts.items() if status.is_final)
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return 100.0 * done / max(total, 1), f"{done} of {total} circuits are done ({words})"


def progress_words(ledger: Ledger, job_ids: Sequence[JobId], usual: UsualWaits, now: datetime) -> tuple[float, str]:
    """How much is done, in percent, and in words that also say what the open jobs wait for."""
    percent, words = progress_of(ledger, job_ids)
    wait = wait_of(ledger, job_ids, usual, now).current
    return percent, f"{words}; {wait}" if wait else words


def jobs_shown(ledger: Ledger, job_ids: Sequence[JobId], name: str) -> tuple[str, str]:
    """The table of jobs of a run, as JSON, and its description in markdown."""
    shown, words = cut_table(ledger, job_ids, name)
    return json.dumps(shown), words


def cut_table(
    ledger: Ledger, job_ids: Sequence[JobId], name: str, pages: Mapping[JobId, str] | None = None
) -> tuple[list[dict[str, object]], str]:
    """The first rows of the table of jobs of a run, as many as Prefect's UI draws well; its description in markdown.

    `pages` are the addresses of the provider's pages of jobs.
    """
    shown = []
    for row in jobs_table(ledger, job_ids[:_MAX_TABLE_ROWS], pages):
        shown.append({column: cell(value) for column, value in row.items()})
    more = "" if len(job_ids) == len(shown) else f", the first {len(shown)} of {len(job_ids)}; the ledger has all"
    return shown, f"Jobs of {plain(name)}{more}"
