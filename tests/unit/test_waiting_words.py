"""What a run says of its wait: the devices, the places that are known, and an end only where one is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import NOW, at, create, observe, sent, whole

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId
from qjobs.operations.usual_wait import UsualWaits
from qjobs.reports.progress import Wait, progress_words, wait_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield ledger


def waits(store: Ledger, *job_ids: JobId, **values: bool) -> Wait:
    return wait_of(store, job_ids, UsualWaits(store), NOW, **values)


def moved(store: Ledger, attempt: Attempt, status: JobStatus, seconds: float = 0.0) -> None:
    observe(store, attempt.job_id, attempt.number, whole(status), now=at(seconds))


def queued(store: Ledger, key: str, place: int | None = None, **values: object) -> JobId:
    job_id, attempt = sent(store, key, f"remote-{key}", **values)
    moved(store, attempt, JobStatus.QUEUED)
    if place is not None:
        store.record_queue_positions({job_id: place})
    return job_id


def some_done(store: Ledger, seconds: float, device: str) -> None:
    """Five jobs of a device that took so long."""
    for number in range(5):
        _, attempt = sent(store, f"{device}-{number}", f"{device}-{number}", device=device)
        moved(store, attempt, JobStatus.COMPLETED, seconds)


def test_nothing_known(store: Ledger) -> None:
    """A device of which nothing is known is named alone; no place and no time are made up."""
    job_id = queued(store, "one", device="H1-1E")
    assert waits(store, job_id).current == "waits for H1-1E"
    assert waits(store, job_id).for_later == "waits for H1-1E (as of 2025-03-01 12:00 UTC)"


def test_place_and_time(store: Ledger) -> None:
    """The place is what the provider said, the time what the ledger has seen on this device."""
    some_done(store, 3 * 3600.0, "H1-1E")
    job_id = queued(store, "one", 1, device="H1-1E")
    wait = waits(store, job_id)
    assert wait.for_later == "waits for H1-1E, place 1, about 3 h (as of 2025-03-01 12:00 UTC)"
    assert wait.current == "waits for H1-1E, place 1; usually done by 2025-03-01 15:00 UTC"
    percent, words = progress_words(store, [job_id], UsualWaits(store), NOW)
    assert (percent, words.partition("; ")[2]) == (0.0, wait.current)


def test_several(store: Ledger) -> None:
    """Several jobs of a device are counted; a device without history takes the time away from all of them."""
    some_done(store, 60.0, "H1-1E")
    here = [queued(store, "one", 7, device="H1-1E"), queued(store, "two", 4, device="H1-1E")]
    assert waits(store, *here).current.startswith("waits for 2 jobs at H1-1E, the foremost at place 4; usually done")
    there = queued(store, "three", device="H2-1")
    assert waits(store, *here, there).current == "waits for 2 jobs at H1-1E, the foremost at place 4 and H2-1"
    assert waits(store, there, for_room=True).current == "waits for a place at H2-1"


def test_overdue(store: Ledger) -> None:
    """What takes longer than usual has no time any more, and what is done is not waited for."""
    some_done(store, 60.0, "H1-1E")
    job_id = queued(store, "one", device="H1-1E")
    assert wait_of(store, [job_id], UsualWaits(store), at(61.0)).current == "waits for H1-1E"
    moved(store, store.attempts(job_id)[-1], JobStatus.COMPLETED)
    assert waits(store, job_id).current == ""
    assert waits(store, job_id).for_later.startswith("waits for results")
    assert waits(store, create(store, "new", device="H1-1E")).words == "waits for H1-1E"
