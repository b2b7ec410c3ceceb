"""Statuses, moves and roll-up, against docs/glossary.md, "Statuses", written out by hand."""

from __future__ import annotations

import itertools

import pytest

from qjobs.lifecycle import FINAL, LIVE, TRANSITIONS, JobStatus, can_move, roll_up

OURS = {"CREATED", "SUBMITTING", "UNKNOWN"}
OPEN_AT_PROVIDER = {"SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING"}
FINISHED = {"COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED"}


def words(statuses: object) -> set[str]:
    return {status.value for status in statuses}


def test_the_statuses_are_the_thirteen_of_the_design() -> None:
    assert words(JobStatus) == OURS | OPEN_AT_PROVIDER | FINISHED
    assert all(status.name == status.value for status in JobStatus)


def test_final_and_live_split_all_but_created() -> None:
    assert words(FINAL) == FINISHED
    assert words(LIVE) == (OURS - {"CREATED"}) | OPEN_AT_PROVIDER
    assert {status for status in JobStatus if status.is_final} == FINAL


def expected_moves(old: str) -> set[str]:
    """Where a report may move a row in `old`."""
    at_provider = OPEN_AT_PROVIDER | FINISHED
    if old == "CREATED":
        return {"SUBMITTING", "CANCELLED"}
    if old == "SUBMITTING":
        return at_provider | {"CREATED", "UNKNOWN"}
    if old == "UNKNOWN":
        return at_provider | {"CREATED"}
    if old in OPEN_AT_PROVIDER:
        return at_provider - {old}
    return {"COMPLETED"} if old == "CANCELLED" else set()


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobStatus, JobStatus)))
def test_every_pair_of_statuses(old: JobStatus, new: JobStatus) -> None:
    assert can_move(old, new) == (new.value in expected_moves(old.value))


def test_every_status_has_a_row_of_moves() -> None:
    assert set(TRANSITIONS) == set(JobStatus)


def test_final_is_final_but_for_a_cancellation_that_lost_the_race() -> None:
    moves = {(old, new) for old in FINAL for new in JobStatus if can_move(old, new)}
    assert moves == {(JobStatus.CANCELLED, JobStatus.COMPLETED)}


def test_no_report_puts_a_row_back_before_its_submission() -> None:
    for old in JobStatus:
        if old.value in OPEN_AT_PROVIDER | FINISHED:
            assert not words(TRANSITIONS[old]) & OURS


@pytest.mark.parametrize("status", list(JobStatus))
def test_items_of_one_status_give_it_to_the_job(status: JobStatus) -> None:
    assert roll_up([status]) is status
    assert roll_up([status] * 3) is status


@pytest.mark.parametrize(
    ("items", "job"),
    [
        ("COMPLETED ERROR", "ERROR"),
        ("COMPLETED CANCELLED", "CANCELLED"),
        ("COMPLETED DEPLETED", "DEPLETED"),
        ("COMPLETED TERMINATED", "TERMINATED"),
        ("CANCELLED TERMINATED", "TERMINATED"),
        ("TERMINATED DEPLETED", "DEPLETED"),
        ("DEPLETED ERROR CANCELLED", "ERROR"),
        ("COMPLETED QUEUED", "RUNNING"),
        ("ERROR SUBMITTED", "RUNNING"),
        ("COMPLETED RUNNING", "RUNNING"),
        ("COMPLETED RETRYING", "RETRYING"),
        ("COMPLETED CANCELLING", "CANCELLING"),
        ("COMPLETED CREATED", "CREATED"),
        ("QUEUED SUBMITTED", "QUEUED"),
        ("RUNNING QUEUED SUBMITTED", "RUNNING"),
        ("RETRYING QUEUED", "RETRYING"),
        ("RUNNING RETRYING", "RUNNING"),
        ("CANCELLING RUNNING", "CANCELLING"),
        ("SUBMITTED UNKNOWN", "SUBMITTED"),
        ("UNKNOWN CREATED", "UNKNOWN"),
        ("SUBMITTING CREATED", "SUBMITTING"),
    ],
)
def test_mixed_items(items: str, job: str) -> None:
    statuses = [JobStatus(word) for word in items.split()]
    for order in itertools.permutations(statuses):
        assert roll_up(order) is JobStatus(job)


def test_a_job_is_final_exactly_when_all_its_items_are() -> None:
    for pair in itertools.product(JobStatus, repeat=3):
        assert roll_up(pair).is_final == all(status.is_final for status in pair)


def test_completed_means_every_item_completed() -> None:
    for pair in itertools.product(JobStatus, repeat=3):
        assert (roll_up(pair) is JobStatus.COMPLETED) == (set(pair) == {JobStatus.COMPLETED})


def test_a_job_without_items_has_no_status() -> None:
    with pytest.raises(ValueError, match="without items"):
        roll_up([])
