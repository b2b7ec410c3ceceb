"""`qjobs jobs list`, `show` and `results`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.table import Table

from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.poll import utc_now
from qjobs.paths import ledger_url

if TYPE_CHECKING:
    from qjobs.reports.frames import Found

_Choice = TypeVar("_Choice", bound=StrEnum)

_PIPE_WIDTH = 10_000


def _default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_json(value: object) -> None:
    """Print a value as JSON; datetimes in ISO form."""
    print(json.dumps(value, indent=1, default=_default))


def print_table(columns: list[str], rows: list[list[object]], title: str = "") -> None:
    """Print a table that loses nothing: folded in a terminal, one line a row in a pipe."""
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else _default(cell) for cell in row))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(soft_wrap=True, width=width, markup=False, emoji=False, highlight=False).print(table)


def list_jobs(options: argparse.Namespace) -> int:
    """List jobs, newest first."""
    statuses = [chosen(JobStatus, word, field="status") for word in options.status] if options.status else None
    with Ledger(ledger_url(options.ledger)) as ledger:
        jobs = ledger.jobs(
            statuses=statuses, experiment=options.experiment, backend=options.backend, limit=options.limit
        )
        counts = ledger.result_counts([job.job_id for job in jobs])
        to_be_sent = ledger.dispatches.waiting([job.job_id for job in jobs])
        words = waiting_words(ledger)
    if options.json:
        shown = []
        for job in jobs:
            more = {"results": counts[job.job_id], "waits_for_place": job.job_id in to_be_sent}
            shown.append({**asdict(job), **more})
        print_json(shown)
        return 0
    rows: list[list[object]] = [
        [j.job_id, j.name, j.device, j.status, f"{counts[j.job_id]}/{j.n_items}", f"{j.created_at:%Y-%m-%d %H:%M:%S}"]
        for j in jobs
    ]
    print_table(["job", "name", "device", "status", "results", "created (UTC)"], rows)
    if words:
        print(words)
    return 0


def waiting_words(ledger: Ledger) -> str:
    """How many jobs wait for a place at their device, and whether anybody sends them; empty if none waits."""
    counts = ledger.dispatches.counts()
    if not counts:
        return ""
    places = ", ".join(f"{count} for {device}" for device, count in counts.items())
    words = f"waiting for a place at their device: {places}; the sensor sends them as places become free"
    present = utc_now()
    runners = [runner for runner in ledger.heartbeats.runners() if runner.flow == "sensor"]
    if not any(runner.is_at_work(present, runner.server) for runner in runners):
        words += ". No sensor is at work now: start a worker, or: qjobs sensor"
    return words


def chosen(choices: type[_Choice], word: str, *, field: str) -> _Choice:
    """The member that a word names, in upper or lower case."""
    try:
        return choices(word.upper())
    except ValueError as error:
        raise InvalidInput(f"{error}; use one of {', '.join(choices)}", field=field) from error


def find_job(ledger: Ledger, given: str) -> Job:
    """A job by its id or by an unambiguous beginning of it."""
    matches = [job for job in ledger.jobs() if job.job_id.startswith(given)] if len(given) >= 8 else []
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        raise InvalidInput(f"{given} is the beginning of {len(matches)} job ids; give more of it", field="job_id")
    return ledger.job(JobId(given))


def show_job(options: argparse.Namespace) -> int:
    """A job with its attempts, items and history."""
    with Ledger(ledger_url(options.ledger)) as ledger:
        job = find_job(ledger, options.job_id)
        attempts = ledger.attempts(job.job_id)
        items = ledger.items(job.job_id)
        events = ledger.events(job.job_id, of_items=options.json)
    if options.json:
        print_json(
            {
                "job": asdict(job),
                "attempts": [asdict(attempt) for attempt in attempts],
                "items": [asdict(item) for item in items],
                "events": [asdict(event) for event in events],
            }
        )
        return 0
    print_table(
        ["field", "value"], [[name, value] for name, value in asdict(job).items() if value not in (None, "", {})]
    )
    rows: list[list[object]] = [
        [a.number, a.strategy, a.status, a.remote_id, a.sent_at, a.finished_at, a.message] for a in attempts
    ]
    print_table(["attempt", "strategy", "status", "remote id", "sent", "finished", "message"], rows, "attempts")
    shown = items[: options.items]
    more = f"items (the first {len(shown)} of {len(items)})" if len(shown) < len(items) else "items"
    rows = [[i.index, i.label, i.status, i.shots, i.queue_position, i.message] for i in shown]
    print_table(["item", "label", "status", "shots", "queue", "message"], rows, more)
    rows = [[e.at, e.old, e.new, e.cause, e.detail] for e in events]
    print_table(["at", "from", "to", "cause", "detail"], rows, "history")
    return 0


def show_results(options: argparse.Namespace) -> int:
    """Results of a job that are in the ledger."""
    from qjobs.operations.collect import collect
    from qjobs.reports.files import write_parquet
    from qjobs.reports.frames import Found, circuits_frame

    with Ledger(ledger_url(options.ledger)) as ledger:
        job = find_job(ledger, options.job_id)
        collected = collect(ledger, None, job.job_id, partial=True)
        results = collected.results
        found = [Found(job=job, item=item, result=results.get(item.index)) for item in collected.items]
    if options.parquet is not None:
        print(write_parquet(circuits_frame(found), options.parquet))
        return 0
    if options.json:
        print_json([_plain(one) for one in found])
        return 0
    rows: list[list[object]] = [[f.item.label, f.item.status, f.item.shots, _shown(f)] for f in found]
    print_table(["label", "status", "shots", "result"], rows, f"{job.name} ({job.job_id})")
    return 0


def _plain(found: Found) -> dict[str, Any]:
    result = None
    if found.result is not None:
        counts = found.result.counts
        result = {**asdict(replace(found.result, counts=None)), "counts": None if counts is None else dict(counts)}
    return {"label": found.item.label, "status": found.item.status, "shots": found.item.shots, "result": result}


def _shown(found: Found, most: int = 6) -> str:
    if found.result is None:
        return found.item.message or "none"
    if found.result.expvals is not None:
        return ", ".join(f"{name} = {value:.6g}" for name, value in found.result.expvals.items())
    counts = found.result.counts or {}
    frequent = sorted(sorted(counts), key=counts.__getitem__, reverse=True)
    more = ", ..." if len(counts) > most else ""
    return ", ".join(f"{bits}: {counts[bits]}" for bits in frequent[:most]) + more
