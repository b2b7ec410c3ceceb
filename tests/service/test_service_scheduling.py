"""Laws of the queues: order of arrival, turns between users, nobody starves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qjobs.service.execution.scheduling import Waiting, fair_order, fifo_order, positions

START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(second: int) -> datetime:
    return START + timedelta(seconds=second)


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[Waiting], dict[str, datetime]]:
    """Jobs in any order, and when some users were served last."""
    owners = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=25))
    gaps = draw(st.lists(st.integers(0, 5), min_size=len(owners), max_size=len(owners)))
    jobs, at = [], 0
    for number, (owner, gap) in enumerate(zip(owners, gaps, strict=True)):
        at += gap
        jobs.append(Waiting(job_id=f"job {number}", owner_id=owner, sequence=number, arrived_at=moment(at)))
    served = draw(st.dictionaries(st.sampled_from("abcde"), st.integers(0, at + 3).map(moment)))
    return draw(st.permutations(jobs)), served


@given(queues())
def test_first_come_first_served_whatever_order_the_rows_come_in(case) -> None:
    jobs, _ = case
    assert [job.sequence for job in fifo_order(jobs)] == sorted(job.sequence for job in jobs)


@given(queues())
def test_a_fair_queue_loses_nobody_and_keeps_each_users_order(case) -> None:
    jobs, served = case
    order = fair_order(jobs, served)
    assert sorted(job.job_id for job in order) == sorted(job.job_id for job in jobs)
    for owner in "abcde":
        mine = [job.sequence for job in order if job.owner_id == owner]
        assert mine == sorted(mine)


@given(queues())
def test_nobody_is_served_twice_while_another_user_waits_for_a_first_turn(case) -> None:
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
def test_the_order_that_is_shown_is_the_order_in_which_jobs_are_served(case) -> None:
    jobs, served = case
    shown = fair_order(jobs, served)
    left, last = list(jobs), dict(served)
    now = max(job.arrived_at for job in jobs) + timedelta(seconds=10)
    really = []
    while left:
        job = fair_order(left, last)[0]
        really.append(job.job_id)
        left.remove(job)
        now += timedelta(seconds=1)
        last[job.owner_id] = now
    assert really == [job.job_id for job in shown]
    assert positions(shown) == {job_id: place for place, job_id in enumerate(really, start=1)}


@given(queues(), st.lists(st.sampled_from("abcdefghij"), max_size=40))
def test_a_users_oldest_job_is_overtaken_by_nobody_who_comes_later(case, newcomers) -> None:
    """So it is served after at most as many jobs as there are users who wait now, whoever else arrives."""
    jobs, served = case
    order = fair_order(jobs, served)
    heads = {job.owner_id: job for job in reversed(fifo_order(jobs))}
    now = max([job.arrived_at for job in jobs] + list(served.values()))
    late = [
        Waiting(job_id=f"late {n}", owner_id=owner, sequence=1000 + n, arrived_at=now + timedelta(seconds=1 + n))
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


def test_who_was_just_served_waits_for_those_who_were_not() -> None:
    jobs = [
        Waiting(job_id=f"{owner}{n}", owner_id=owner, sequence=number, arrived_at=moment(number))
        for number, (owner, n) in enumerate([("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)])
    ]
    assert [job.job_id for job in fair_order(jobs, {})] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [job.job_id for job in fair_order(jobs, {"a": moment(100)})] == ["b1", "c1", "a1", "b2", "a2", "a3"]
