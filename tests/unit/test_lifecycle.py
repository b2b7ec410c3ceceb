"""Statuses, moves and roll-up, against docs/glossary.md, "Statuses", written out by hand."""

from __future__ import annotations

import itertools

import pytest

from qjobs.lifecycle import FINAL, LIVE, REOPENS, JobStatus, can_move, roll_up

OURS = {"CREATED", "SUBMITTING", "UNKNOWN", "LOST"}
OPEN_AT_PROVIDER = {"SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING"}
FINISHED = {"COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED"}


def words(statuses: object) -> set[str]:
    return {status.value for status in statuses}


def test_statuses() -> None:
    """There are fourteen statuses: four of ours, ten of the providers'."""
    assert words(JobStatus) == OURS | OPEN_AT_PROVIDER | FINISHED
    assert all(status.name == status.value for status in JobStatus)


def test_final_and_live() -> None:
    """FINAL and LIVE split all statuses but CREATED and LOST, and COMPLETED alone is never reopened."""
    assert words(FINAL) == FINISHED
    assert words(LIVE) == {"SUBMITTING", "UNKNOWN"} | OPEN_AT_PROVIDER
    assert words(REOPENS) == FINISHED - {"COMPLETED"}
    assert {status for status in JobStatus if status.is_final} == FINAL


def expected_moves(old: str) -> set[str]:
    """Where a report may move a row in `old`."""
    at_provider = OPEN_AT_PROVIDER | FINISHED
    if old == "CREATED":
        return {"SUBMITTING", "CANCELLED"}
    if old == "SUBMITTING":
        return at_provider | {"CREATED", "UNKNOWN"}
    if old == "UNKNOWN":
        return at_provider | {"CREATED", "LOST"}
    if old == "LOST":
        return at_provider | {"CREATED"}
    if old in OPEN_AT_PROVIDER:
        return at_provider - {old} | {"LOST"}
    return {"COMPLETED"} if old == "CANCELLED" else set()


@pytest.mark.parametrize(("old", "new"), list(itertools.product(JobStatus, JobStatus)))
def test_moves(old: JobStatus, new: JobStatus) -> None:
    """A report may make exactly these moves."""
    assert can_move(old, new) == (new.value in expected_moves(old.value))


@pytest.mark.parametrize("status", list(JobStatus))
def test_equal_items(status: JobStatus) -> None:
    """Items of one status give it to the job."""
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
        ("COMPLETED LOST", "LOST"),
        ("SUBMITTED LOST", "SUBMITTED"),
        ("SUBMITTING LOST", "SUBMITTING"),
        ("LOST CREATED", "LOST"),
    ],
)
def test_mixed_items(items: str, job: str) -> None:
    """Mixed items give the job the status listed here, in any order."""
    statuses = [JobStatus(word) for word in items.split()]
    for order in itertools.permutations(statuses):
        assert roll_up(order) is JobStatus(job)


def test_final_job() -> None:
    """A job is final exactly when all its items are, and COMPLETED exactly when every item is."""
    for items in itertools.product(JobStatus, repeat=3):
        assert roll_up(items).is_final == all(status.is_final for status in items)
        assert (roll_up(items) is JobStatus.COMPLETED) == (set(items) == {JobStatus.COMPLETED})


def test_no_items() -> None:
    """A job without items has no status."""
    with pytest.raises(ValueError, match="without items"):
        roll_up([])
