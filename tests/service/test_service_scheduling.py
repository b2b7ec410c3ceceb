"""Laws of the queues: order of arrival, turns between users, nobody starves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qjobs.service.execution.scheduling import QueuedJob, fair_order, fifo_order

START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(second: int) -> datetime:
    return START + timedelta(seconds=second)


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[QueuedJob], dict[str, datetime]]:
    """Jobs in any order, and when some users were served last."""
    owners = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=25))
    gaps = draw(st.lists(st.integers(0, 5), min_size=len(owners), max_size=len(owners)))
    jobs = []
    at = 0
    for number, (owner, gap) in enumerate(zip(owners, gaps, strict=True)):
        at += gap
        jobs.append(QueuedJob(job_id=f"job {number}", owner_id=owner, sequence=number, arrived_at=moment(at)))
    served = draw(st.dictionaries(st.sampled_from("abcde"), st.integers(0, at + 3).map(moment)))
    return draw(st.permutations(jobs)), served


@given(queues())
def test_first_come_first_served(case) -> None:
    """Whatever order the rows come in."""
    jobs, _ = case
    assert [job.sequence for job in fifo_order(jobs)] == sorted(job.sequence for job in jobs)


@given(queues())
def test_fair_queue_loses_nobody(case) -> None:
    """It keeps each user's own order."""
    jobs, served = case
    order = fair_order(jobs, served)
    assert sorted(job.job_id for job in order) == sorted(job.job_id for job in jobs)
    for owner in "abcde":
        mine = [job.sequence for job in order if job.owner_id == owner]
        assert mine == sorted(mine)


@given(queues())
def test_users_take_turns(case) -> None:
    """Nobody is served twice while another user waits for a first turn."""
    jobs, served = case
    order = [job.owner_id for job in fair_order(jobs, served)]
    for owner in set(order):
        others = set(order) - {owner}
        turns = [place for place, each in enumerate(order) if each == owner]
        for first, second in pairwise(turns):
            # Between two turns of one user everybody else who still waits has one.
            for other in others:
                if other in order[second:]:
                    assert other in order[first:second]


@given(queues())
def test_shown_order_is_the_real_one(case) -> None:
    """Jobs are served in the order that is shown."""
    jobs, served = case
    shown = fair_order(jobs, served)
    left = list(jobs)
    last = dict(served)
    now = max(job.arrived_at for job in jobs) + timedelta(seconds=10)
    really = []
    while left:
        job = fair_order(left, last)[0]
        really.append(job.job_id)
        left.remove(job)
        now += timedelta(seconds=1)
        last[job.owner_id] = now
    assert really == [job.job_id for job in shown]


@given(queues(), st.lists(st.sampled_from("abcdefghij"), max_size=40))
def test_nobody_overtakes_the_oldest(case, newcomers) -> None:
    """A user's oldest job is served after at most as many jobs as users wait now, whoever arrives later."""
    jobs, served = case
    order = fair_order(jobs, served)
    heads = {job.owner_id: job for job in reversed(fifo_order(jobs))}
    now = max([job.arrived_at for job in jobs] + list(served.values()))
    late = [
        QueuedJob(job_id=f"late {n}", owner_id=owner, sequence=1000 + n, arrived_at=now + timedelta(seconds=1 + n))
        for n, owner in enumerate(newcomers)
    ]
    crowded = [job.job_id for job in fair_order([*jobs, *late], served)]
    for head in heads.values():
        ahead = crowded[: crowded.index(head.job_id)]
        assert not any(job_id.startswith("late") for job_id in ahead)
        assert len(ahead) < len(heads)
    assert [job_id for job_id in crowded if not job_id.startswith("late")][: len(heads)] == [
        job.job_id for job in order[: len(heads)]
    ]


def test_last_served_waits() -> None:
    """Who was just served waits for those who were not."""
    jobs = [
        QueuedJob(job_id=f"{owner}{n}", owner_id=owner, sequence=number, arrived_at=moment(number))
        for number, (owner, n) in enumerate([("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)])
    ]
    assert [job.job_id for job in fair_order(jobs, {})] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [job.job_id for job in fair_order(jobs, {"a": moment(100)})] == ["b1", "c1", "a1", "b2", "a2", "a3"]
