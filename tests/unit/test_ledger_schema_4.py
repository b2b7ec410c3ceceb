"""A ledger that the code of schema 4 wrote opens on each kind of database, with all that it holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import check_history

from qjobs.ledger import Ledger
from qjobs.model import Job

FOLDER = Path(__file__).parents[1] / "ledgers"
STATUSES = {
    "CREATED",
    "SUBMITTING",
    "UNKNOWN",
    "SUBMITTED",
    "QUEUED",
    "RUNNING",
    "RETRYING",
    "CANCELLING",
    "COMPLETED",
    "CANCELLED",
    "ERROR",
    "DEPLETED",
    "TERMINATED",
}


@pytest.fixture
def old(ledger_url: str) -> Iterator[Ledger]:
    """A copy of the ledger."""
    url = sa.make_url(ledger_url)
    if url.get_backend_name() == "sqlite":
        shutil.copy(FOLDER / "ledger_schema_4.db", str(url.database))
    else:
        import psycopg

        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain) as connection:
            connection.execute((FOLDER / "ledger_schema_4.sql").read_text(encoding="utf-8"))
    with Ledger(ledger_url) as ledger:
        yield ledger


def by_name(ledger: Ledger) -> dict[str, Job]:
    return {job.name: job for job in ledger.jobs()}


def test_every_status(old: Ledger) -> None:
    """There is a job in each of the statuses of its time."""
    assert {str(job.status) for job in old.jobs()} == STATUSES


def test_histories(old: Ledger) -> None:
    """Every job's history is unbroken, and every circuit that it sends is there."""
    for job in old.jobs():
        check_history(old, job.job_id)
        hashes = {item.program for item in old.items(job.job_id)}
        assert set(old.programs(hashes)) == hashes


def test_open_jobs(old: Ledger) -> None:
    """An open job has its items and one open attempt; places, troubles and requests to cancel are kept."""
    opened = old.open_jobs()
    assert len(opened) == 14
    for job in opened:
        assert not old.last_attempts([job.job_id])[job.job_id].status.is_final
    jobs = by_name(old)
    assert old.queue_positions([jobs["rabi 3/3"].job_id]) == {jobs["rabi 3/3"].job_id: 12}
    assert "401" in str(jobs["parked"].trouble)
    assert jobs["to be cancelled"].cancel_requested_at is not None
    in_part = jobs["to be cancelled in part"].job_id
    assert old.items_to_cancel([in_part]) == {in_part: (2,)}


def test_results(old: Ledger) -> None:
    """Counts, expectation values, compiled circuits and the results of an older epoch are read."""
    jobs = by_name(old)
    assert old.results(jobs["rabi 1/3"].job_id)[2].counts == {"0": 97, "1": 3}
    assert old.results(jobs["energy"].job_id)[0].expvals == {"zz": 1.0, "mixed": -1.3296}
    assert old.results(jobs["compile pairs"].job_id)[0].program is not None
    assert set(old.results(jobs["pairs"].job_id)) == {0, 2}
    assert old.results(jobs["restarted"].job_id) == {}
    assert set(old.results(jobs["restarted"].job_id, epoch=1)) == {0}


def test_waits(old: Ledger) -> None:
    """Two runs wait, one of them with a deadline."""
    first, second = old.waits.runs()
    assert (len(first.open_ids), first.until, first.deadline_at) == (2, "all", None)
    assert (len(second.open_ids), second.until, second.at_deadline) == (3, "any", "cancel")


def test_heartbeats(old: Ledger) -> None:
    """A flow run and a long-lived sensor were at work."""
    assert {runner.flow for runner in old.heartbeats.runners()} == {"run-circuits", "sensor"}


def test_schedule(old: Ledger) -> None:
    """A pass of the sensor holds two jobs; they are free again once its time is over."""
    jobs = by_name(old)
    held = {jobs["rabi 2/3"].job_id, jobs["restarted"].job_id}
    until = min(job.next_poll_at for job in jobs.values() if job.job_id in held)
    now = until - timedelta(seconds=1)
    due = old.schedule.claim_due(now=now, lease_s=60.0, limit=99, owner="another")
    assert not held & {job.job_id for job in due}
    later = old.schedule.claim_due(now=until + timedelta(seconds=1), lease_s=60.0, limit=99, owner="a third")
    assert held <= {job.job_id for job in later}


def test_outbox(old: Ledger) -> None:
    """The newest events are still to be sent."""
    newest = max(old.events(job.job_id)[-1].at for job in old.jobs())
    assert 0 < len(old.outbox.pending(before=newest)) < 20
