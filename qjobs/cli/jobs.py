"""`qjobs jobs list`, `show` and `results`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.naming import find_job
from qjobs.cli.options import JobFilters, Shared
from qjobs.cli.tables import print_json, print_table, short, time_shown
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.ledger.job_filter import JobFilter, JobOrder, Scalar
from qjobs.ledger.nearby import other_ledgers
from qjobs.model import Attempt
from qjobs.operations.calibration import calibration_lines
from qjobs.operations.poll import utc_now

if TYPE_CHECKING:
    from qjobs.reports.frames import Found


def chosen(filters: JobFilters, *, order: str = "newest", limit: int | None = None, page: int = 1) -> JobFilter:
    """What the options mean."""
    return JobFilter(
        statuses=tuple(filters.status or ()),
        kind=filters.kind,
        name_like=filters.name,
        experiment=filters.experiment,
        run=filters.run,
        backend=filters.backend,
        device=filters.device,
        owner=filters.owner,
        project=filters.project,
        label=filters.label,
        properties=dict(_property(text) for text in filters.properties or ()),
        since=filters.since,
        until=filters.until,
        changed_since=filters.changed_since,
        changed_until=filters.changed_until,
        order=JobOrder(order),
        limit=limit,
        page=page - 1,
    )


def _property(text: str) -> tuple[str, Scalar]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--property needs NAME=VALUE, not {text!r}", field="property")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, read if isinstance(read, str | int | float | bool) else value


def list_jobs(chosen: JobFilter, shared: Shared) -> int:
    """List the jobs that are meant."""
    url = shared.url
    with Ledger(url) as ledger:
        shown_url = ledger.url
        jobs = ledger.search(chosen)
        job_ids = [job.job_id for job in jobs]
        counts = ledger.result_counts(job_ids)
        to_be_sent = ledger.dispatches.waiting(job_ids)
        words = waiting_words(ledger)
    if shared.as_json:
        shown = []
        for job in jobs:
            more = {"results": counts[job.job_id], "waits_for_place": job.job_id in to_be_sent}
            shown.append({**asdict(job), **more})
        print_json(shown)
        return 0
    rows: list[list[object]] = []
    for job in jobs:
        done = f"{counts[job.job_id]}/{job.n_items}"
        rows.append([short(job.job_id), job.name, job.device, job.status, done, time_shown(job.created_at)])
    if not rows:
        print(no_jobs_words(url, shown_url, filtered=chosen.is_narrow))
        return 0
    print_table(["job", "name", "device", "status", "results", "created (UTC)"], rows)
    if words:
        print(words, file=sys.stderr)
    return 0


def no_jobs_words(url: str, shown_url: str, *, filtered: bool = False) -> str:
    """That a ledger has no jobs, and which others do.

    `url` opens it, and `shown_url` has no password; `filtered` says that only some of its jobs were asked for.
    """
    words = f"no {'such ' if filtered else ''}jobs in {shown_url}"
    return " ".join([f"{words}.", *(each.words for each in other_ledgers(url))])


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


def show_job(given: str, shared: Shared, *, most_items: int) -> int:
    """A job with its attempts, items and history."""
    with Ledger(shared.url) as ledger:
        job = find_job(ledger, given)
        attempts = ledger.attempts(job.job_id)
        items = ledger.items(job.job_id)
        events = ledger.events(job.job_id, of_items=shared.as_json)
        drifted, others = calibration_lines(ledger, [job.job_id])
    if shared.as_json:
        print_json(
            {
                "job": asdict(job),
                "attempts": [asdict(attempt) for attempt in attempts],
                "items": [asdict(item) for item in items],
                "events": [asdict(event) for event in events],
            }
        )
        return 0
    fields = [[name, value] for name, value in asdict(job).items() if value not in (None, "", {})]
    print_table(["field", "value"], [*fields, *(["calibration", line] for line in (*drifted, *others))])
    rows: list[list[object]] = [
        [a.number, a.strategy, a.status, a.remote_id, a.sent_at, a.finished_at, _cost(a), a.message] for a in attempts
    ]
    columns = ["attempt", "strategy", "status", "remote id", "sent", "finished", "cost", "message"]
    print_table(columns, rows, "attempts")
    shown = items[:most_items]
    more = f"items (the first {len(shown)} of {len(items)})" if len(shown) < len(items) else "items"
    rows = [[i.index, i.label, i.status, i.shots, i.queue_position, i.message] for i in shown]
    print_table(["item", "label", "status", "shots", "queue", "message"], rows, more)
    rows = [[e.at, e.old, e.new, e.cause, e.detail] for e in events]
    print_table(["at", "from", "to", "cause", "detail"], rows, "history")
    return 0


def _cost(attempt: Attempt) -> str:
    """What an attempt cost; the estimate stands, marked as one, where its provider told nothing, or not yet all."""
    if attempt.held is None:
        return ""
    words = f"{attempt.held:,.2f} {attempt.cost_unit}".rstrip()
    return words if attempt.status.is_final and attempt.cost is not None else f"{words} estimated"


def show_results(given: str, shared: Shared, *, parquet: Path | None) -> int:
    """Results of a job that are in the ledger."""
    from qjobs.operations.collect import collect
    from qjobs.reports.files import write_parquet
    from qjobs.reports.frames import Found, circuits_frame

    with Ledger(shared.url) as ledger:
        job = find_job(ledger, given)
        collected = collect(ledger, None, job.job_id, partial=True)
        results = collected.results
        found = [Found(job=job, item=item, result=results.get(item.index)) for item in collected.items]
    if parquet is not None:
        print(write_parquet(circuits_frame(found), parquet))
        return 0
    if shared.as_json:
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
