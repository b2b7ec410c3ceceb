"""The job that a word of the command line means: an id, the beginning of one, or @1 for the newest."""

from __future__ import annotations

import sys
from pathlib import Path

from qjobs.errors import InvalidInput, QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.job_filter import JobFilter
from qjobs.model import Job, JobId
from qjobs.paths import ledger_url

__all__ = ["find_job", "ids_beginning"]

_PREFIX = "job-"
_LEAST = 4
_SHOWN = 5
_COMPLETED = 50
_SQLITE = "sqlite:///"


def find_job(ledger: Ledger, given: str, *, acts: bool = False) -> Job:
    """The job that is meant. Nothing is guessed.

    Args:
        ledger: Where the job is.
        given: Its id, 4 or more letters that no other id begins with (with or without `job-`), or `@1` for the
            newest job, `@2` for the one before, and so on.
        acts: Whether something is sent, cancelled or changed. Then `@1` is asked about on a terminal and refused
            elsewhere: another job may have become the newest since.

    Raises:
        InvalidInput: Several ids begin so, there are not so many jobs, or the job is not confirmed.
        JobNotFound: There is no such job.
    """
    if given.startswith("@"):
        job = _by_age(ledger, given)
        if acts:
            _confirm(given, job)
        return job
    begins = given if given.startswith(_PREFIX) else _PREFIX + given
    if len(begins) < len(_PREFIX) + _LEAST:
        return ledger.job(JobId(given))
    matches = ledger.search(JobFilter(id_begins=begins))
    for job in matches:
        if job.job_id == begins:
            return job
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = "; ".join(f"{job.job_id} ({job.name}, {job.status})" for job in matches[:_SHOWN])
        more = "" if len(matches) <= _SHOWN else "; ..."
        raise InvalidInput(
            f"{given} is the beginning of {len(matches)} job ids; give more of it: {shown}{more}", field="job_id"
        )
    return ledger.job(JobId(given))


def ids_beginning(begins: str, *, ledger: str | None) -> list[tuple[str, str]]:
    """The ids of the newest jobs that begin so, each with what it is; none where there is no ledger."""
    url = ledger_url(ledger)
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        return []  # opening it would make it
    try:
        with Ledger(url) as store:
            jobs = store.search(JobFilter(id_begins=begins, limit=_COMPLETED))
    except QJobsError:
        return []
    return [(job.job_id, f"{job.name} on {job.device}, {job.status}") for job in jobs]


def _by_age(ledger: Ledger, given: str) -> Job:
    digits = given.removeprefix("@")
    if not digits.isdecimal() or int(digits) < 1:
        raise InvalidInput(f"{given} is no job: @1 is the newest, @2 the one before", field="job_id")
    found = ledger.search(JobFilter(limit=1, page=int(digits) - 1))
    if not found:
        raise InvalidInput(
            f"the ledger {ledger.url} has fewer than {digits} jobs; see: qjobs jobs list", field="job_id"
        )
    return found[0]


def _confirm(given: str, job: Job) -> None:
    meant = f"{job.job_id} ({job.name} on {job.device}, {job.status})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            f"{given} may be another job by now, and this command changes it; now it is {meant}: give its id",
            field="job_id",
        )
    import typer

    if not typer.confirm(f"{given} is {meant}. Go on?", err=True):
        raise InvalidInput("nothing was done", field="job_id")
