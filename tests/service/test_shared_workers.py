"""Two workers and two users: whatever the first one does, the second one's Bell pair runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import worst_things as worst
from own_service import OwnService
from worst_things import BELL, ENDLESS, Person

from qjobs.lifecycle import JobStatus

pytestmark = pytest.mark.slow
LONG_S = 240.0
"""A worker that was ended is replaced within seconds; on a machine that has much to do, within a minute or two."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnService]:
    with worst.two_workers(tmp_path_factory.mktemp("shared")) as own:
        yield own


def bell_runs(own: OwnService) -> None:
    """A Bell pair of another user ends, and well."""
    assert own.finish(Person(own).submit([BELL], shots=10), LONG_S).status is JobStatus.COMPLETED


@pytest.mark.parametrize("what", [each for each in worst.WORST if each.fills], ids=lambda each: each.name)
def test_bell_beside_long_jobs(own: OwnService, what: worst.Worst) -> None:
    """A user who fills both workers gives one to whoever comes, and loses nothing else."""
    jobs = what.begin(Person(own, "ada"))
    own.until(lambda: worst.both_busy(own))
    bell_runs(own)
    assert not any(own.job(job).status.is_final for job in jobs)
    items = [item for job in jobs for item in own.items(job)]
    assert {item.status for item in items} <= {JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.COMPLETED}
    worst.ends(own, jobs)


def test_hostile_angles(own: OwnService) -> None:
    """An angle that never ended fails at once, and its neighbours run."""
    circuits = [*map(worst.rotation, worst.ANGLES), BELL]
    job = Person(own).submit(circuits, shots=1)
    own.finish(job, LONG_S)
    *hostile, last = own.items(job)
    assert [item.status for item in hostile] == [JobStatus.ERROR] * len(worst.ANGLES)
    assert all("is not read" in (item.message or "") for item in hostile)
    assert last.status is JobStatus.COMPLETED


def test_time_limit(own: OwnService) -> None:
    """An item that takes too long ends with ERROR and says why; its neighbours in the job are COMPLETED."""
    job = Person(own).submit([BELL, ENDLESS, BELL], worst.HASTY, shots=10)
    bell_runs(own)
    own.finish(job, LONG_S)
    items = own.items(job)
    assert [item.status for item in items] == [JobStatus.COMPLETED, JobStatus.ERROR, JobStatus.COMPLETED]
    assert "ran for more than the 1.5 s that hasty gives an item" in (items[1].message or "")


def test_memory_limit(own: OwnService) -> None:
    """An item that needs too much memory ends with ERROR and says why; its neighbours in the job are COMPLETED."""
    job = Person(own).submit([BELL, worst.HUGE, BELL], worst.SMALL, shots=10)
    own.finish(job, LONG_S)
    items = own.items(job)
    assert [item.status for item in items] == [JobStatus.COMPLETED, JobStatus.ERROR, JobStatus.COMPLETED]
    assert "needs more memory than small gives an item" in (items[1].message or "")


def test_death_is_the_culprits(own: OwnService) -> None:
    """A worker that ends again and again ends its own item alone, and the other worker goes on."""
    culprit = Person(own, "ada").submit([ENDLESS], shots=10)
    own.until(lambda: own.job(culprit).status is JobStatus.RUNNING)
    beside = Person(own).submit([ENDLESS], shots=10)
    own.until(lambda: worst.both_busy(own))
    with worst.killed(own, [culprit]):
        own.finish(culprit, LONG_S)
    assert own.job(culprit).status is JobStatus.TERMINATED
    (item,) = own.items(beside)
    assert (item.status, item.tries) == (JobStatus.RUNNING, 1)
    bell_runs(own)
    worst.ends(own, [beside])
