"""Cancelling, retrying and rerunning jobs by the status of each item; the executor does nothing here."""

from __future__ import annotations

import pytest
from own_service import AER, DEVICES, EVERYTHING, FLIP, SLOW, OwnService, state
from standing_service import fresh_database

from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy as Strategy
from qjobs.service.errors import BadRequest, NotFound

FINAL = ["COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED"]
HANDLE = "5c62cf56-26f4-4d8b-b3a5-ef662a40eb2b"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def still(request, tmp_path_factory):
    """A service whose executor does nothing: tests give items their status themselves."""
    folder = tmp_path_factory.mktemp("still")
    with fresh_database(request.param, folder, request) as url:
        own = OwnService(folder / "data", url=url, devices=DEVICES)
        yield own
        own.close()


@pytest.mark.parametrize(
    ("job_type", "before", "after"),
    [
        *(("execute", word, word) for word in FINAL),
        *(("compile", word, word) for word in FINAL),
        *((kind, word, "CANCELLED") for kind in ("execute", "compile") for word in ("SUBMITTED", "QUEUED", "RETRYING")),
        ("compile", "RUNNING", "RUNNING"),
        ("execute", "RUNNING", "CANCELLING"),
        ("execute", "CANCELLING", "CANCELLING"),
    ],
)
def test_cancel_by_status(still, job_type: str, before: str, after: str) -> None:
    """What a cancellation does to an item depends on its status."""
    job = still.submit([FLIP], SLOW, job_type=job_type)
    (item,) = still.items(job)
    still.set_item(item, status=before, message="as it was", tries=1)
    version = still.service.changes.version(job)
    still.store.cancel(EVERYTHING, job)
    (found,) = still.items(job)
    assert found.status == after
    assert (found.message == "as it was") is (before == after)
    assert still.job(job).status == after
    assert still.service.changes.version(job) > version
    assert (JobStatus(after) in found.times) is (before != after)


def test_cancel_chosen_items(still) -> None:
    """Chosen items are cancelled, and the others go on."""
    job = still.submit([FLIP] * 4, SLOW)
    still.set_item(still.items(job)[0], status="COMPLETED")
    still.store.cancel(EVERYTHING, job, [1, 3])
    assert state(still.items(job)) == ["COMPLETED", "SUBMITTED", "CANCELLED", "SUBMITTED"]
    assert still.job(job).status == "RUNNING"
    assert still.job(job).cancel_requested_at is None
    with pytest.raises(NotFound, match="has no item 5"):
        still.store.cancel(EVERYTHING, job, [2, 5])
    assert state(still.items(job))[1] == "SUBMITTED"


CASES = [
    # (status, handle, result) -> the strategies that run it again
    (("ERROR", None, None), {Strategy.ALLOW_RESUBMIT, Strategy.FORCE_RESUBMIT, Strategy.FULL_RESTART}),
    (("ERROR", HANDLE, None), {Strategy.FORCE_RESUBMIT, Strategy.FULL_RESTART}),
    (("ERROR", HANDLE, "a result"), {Strategy.FULL_RESTART}),
    (("ERROR", None, "a result"), {Strategy.FULL_RESTART}),
    (("COMPLETED", None, "a result"), {Strategy.FULL_RESTART}),
]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_retry_by_strategy(still, strategy: Strategy) -> None:
    """Which items a retry runs again depends on strategy, handle and result."""
    job = still.submit([FLIP] * len(CASES), SLOW)
    for item, ((status, handle, result), _) in zip(still.items(job), CASES, strict=True):
        still.set_item(item, status=status, external_handle=handle, result_id=result, cost=7.0, tries=1)
    before = still.items(job)
    still.store.retry(EVERYTHING, job, strategy, [JobStatus.ERROR, JobStatus.COMPLETED])
    for old, new, (_, strategies) in zip(before, still.items(job), CASES, strict=True):
        if strategy in strategies:
            assert (new.status, new.item_uuid, new.item_id) == ("RETRYING", old.item_uuid, old.item_id)
            assert (new.result_id, new.external_handle, new.cost, new.error_detail) == (None, None, None, None)
            assert list(new.times) == [JobStatus.RETRYING]
        else:
            assert new == old


def test_retry_considers_errors(still) -> None:
    """A retry considers items in ERROR, and a full restart all of them, unless other statuses are named."""
    job = still.submit([FLIP] * 3, SLOW)
    for item, word in zip(still.items(job), ("ERROR", "CANCELLED", "COMPLETED"), strict=True):
        still.set_item(item, status=word, tries=1)
    still.store.retry(EVERYTHING, job, Strategy.ALLOW_RESUBMIT)
    assert state(still.items(job)) == ["RETRYING", "CANCELLED", "COMPLETED"]
    still.store.retry(EVERYTHING, job, Strategy.ALLOW_RESUBMIT, [JobStatus.CANCELLED])
    assert state(still.items(job)) == ["RETRYING", "RETRYING", "COMPLETED"]
    assert still.job(job).status == "RETRYING"
    assert still.job(job).cancel_requested_at is None
    still.store.retry(EVERYTHING, job, Strategy.FULL_RESTART, [JobStatus.ERROR])
    assert state(still.items(job)) == ["RETRYING", "RETRYING", "COMPLETED"]
    still.set_item(still.items(job)[0], status="RUNNING")
    still.store.retry(EVERYTHING, job, Strategy.FULL_RESTART)
    assert state(still.items(job)) == ["RETRYING"] * 3


def test_bad_retry(still) -> None:
    """A retry with a status that no item has is refused."""
    job = still.submit([FLIP], SLOW)
    with pytest.raises(BadRequest, match="no item has the status UNKNOWN"):
        still.store.retry(EVERYTHING, job, Strategy.FULL_RESTART, [JobStatus.ERROR, JobStatus.UNKNOWN])
    assert state(still.items(job)) == ["SUBMITTED"]


@pytest.mark.parametrize("word", ["COMPLETED", "CANCELLED", "ERROR"])
def test_retry_clears_the_end(still, word: str) -> None:
    """A retried job has no moment of its former end."""
    job = still.submit([FLIP], AER, shots=1)
    now = still.service.clock.now()
    still.set_item(still.items(job)[0], status=word, **{f"{word.lower()}_at": now})
    assert still.store.status(EVERYTHING, job)[f"{word.lower()}_time"]
    still.store.retry(EVERYTHING, job, Strategy.FULL_RESTART)
    status = still.store.status(EVERYTHING, job)
    assert status["status"] == "RETRYING"
    assert status[f"{word.lower()}_time"] is None
    assert status["submitted_time"]


@pytest.mark.parametrize("word", ["SUBMITTED", "RUNNING", "ERROR", "COMPLETED"])
def test_rerun_from_any_status(still, word: str) -> None:
    """A rerun is a new job of the same definition, whatever the status of the old one."""
    job = still.submit([FLIP] * 2, SLOW, item={"max_cost": 30.0, "n_qubits": 2}, language="AUTO")
    for item in still.items(job):
        still.set_item(item, status=word)
    again = still.store.rerun(EVERYTHING, job, "another name", still.user)
    old = still.job(job)
    new = still.job(again)
    assert (old.status, new.status, new.name) == (word, "SUBMITTED", "another name")
    assert again != job
    assert new.definition == old.definition
    columns = ("program_id", "n_shots", "max_cost", "n_qubits", "item_id")
    for first, second in zip(still.items(job), still.items(again), strict=True):
        assert [getattr(first, name) for name in columns] == [getattr(second, name) for name in columns]
        assert first.item_uuid != second.item_uuid
