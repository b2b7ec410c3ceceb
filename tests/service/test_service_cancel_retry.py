"""Cancelling and retrying by the state of each item, queues with positions, and who may do what."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from own_service import AER, EVERYTHING, OwnService, quantinuum
from pytket.circuit import Circuit
from standing_service import fresh_database

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest, Forbidden, NotFound
from qjobs.service.store.cancel_retry import Strategy
from qjobs.service.store.job_records import ItemRecord
from qjobs.service.store.jobs import JobStore

DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: AerBackend, config: AerConfig, n_qubits: 20}
  - {name: slow, kind: hardware, backend: B, config: QuantinuumConfig, n_qubits: 5, shots_per_s: 1, costs: hqc}
  - {name: queued, kind: hardware, backend: B, config: QueuedConfig, n_qubits: 5, queue_time_s: 1814400}
  - {name: night, kind: nexus-hosted, backend: B, config: NightConfig, n_qubits: 5, state: in maintenance}
"""
SLOW = quantinuum("slow")
FLIP = Circuit(1, 1).X(0).Measure(0, 0)
FINAL = ["COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED"]
HANDLE = "5c62cf56-26f4-4d8b-b3a5-ef662a40eb2b"


@pytest.fixture(params=["sqlite", "postgresql"])
def still(request, tmp_path):
    """A service whose executor stands still: tests put items into their states themselves."""
    with fresh_database(request.param, tmp_path, request) as url:
        own = OwnService(tmp_path / "data", url=url, devices=DEVICES)
        yield own
        own.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A service that works; its clock is a thousand times faster than ours."""
    own = OwnService(tmp_path_factory.mktemp("running"), devices=DEVICES, clock_speed=1000.0)
    own.service.executor.start()
    yield own
    own.close()


def state(items: list[ItemRecord]) -> list[str]:
    return [item.status.value for item in items]


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
def test_what_cancelling_does_to_an_item_depends_on_its_state(still, job_type: str, before: str, after: str) -> None:
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


def test_chosen_items_are_cancelled_and_the_others_go_on(still) -> None:
    job = still.submit([FLIP] * 4, SLOW)
    still.set_item(still.items(job)[0], status="COMPLETED")
    still.store.cancel(EVERYTHING, job, [1, 3])
    assert state(still.items(job)) == ["COMPLETED", "SUBMITTED", "CANCELLED", "SUBMITTED"]
    assert still.job(job).status == "RUNNING"
    assert still.job(job).cancel_requested_at is None
    with pytest.raises(NotFound, match="has no item 5"):
        still.store.cancel(EVERYTHING, job, [2, 5])
    assert state(still.items(job))[1] == "SUBMITTED"


def test_a_job_elsewhere_cannot_be_touched(still) -> None:
    job = still.submit([FLIP], SLOW)
    elsewhere = sa.select(schema.project.c.project_id).where(schema.project.c.owner_id == "eve")
    for touch in (
        lambda: still.store.cancel(elsewhere, job),
        lambda: still.store.retry(elsewhere, job, "FULL_RESTART"),
        lambda: still.store.rerun(elsewhere, job, "mine", still.user),
        lambda: still.store.delete(elsewhere, job),
        lambda: still.store.record(elsewhere, job),
        lambda: still.store.status(elsewhere, job),
    ):
        with pytest.raises(NotFound, match=f"job {job} not found"):
            touch()
    assert state(still.items(job)) == ["SUBMITTED"]


def test_a_running_hardware_item_is_asked_to_stop_and_stops(running: OwnService) -> None:
    job = running.submit([FLIP, FLIP], SLOW, shots=10_000)
    running.until(lambda: state(running.items(job)) == ["RUNNING", "RUNNING"])
    running.store.cancel(EVERYTHING, job)
    assert running.finish(job).status == "CANCELLED"
    for item in running.items(job):
        assert list(item.times)[-2:] == [JobStatus.CANCELLING, JobStatus.CANCELLED]
        assert item.result_id is None
    (after,) = running.run([FLIP], SLOW, shots=1)
    assert after.status == "COMPLETED", "the device is free again"


def test_a_job_that_waits_for_its_device_is_stopped_at_once(running: OwnService) -> None:
    job = running.submit([FLIP], {"type": "NightConfig"})
    running.until(lambda: running.job(job).queue_position == 1)
    running.store.cancel(EVERYTHING, job)
    assert state(running.items(job)) == ["CANCELLED"]
    assert running.job(job).queue_position is None
    running.until(lambda: job not in running.store.positions)


CASES = [
    # (status, handle, result) -> the strategies that run it again
    (("ERROR", None, None), {"ALLOW_RESUBMIT", "FORCE_RESUBMIT", "FULL_RESTART"}),
    (("ERROR", HANDLE, None), {"FORCE_RESUBMIT", "FULL_RESTART"}),
    (("ERROR", HANDLE, "a result"), {"FULL_RESTART"}),
    (("ERROR", None, "a result"), {"FULL_RESTART"}),
]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_which_items_run_again_depends_on_handle_and_result(still, strategy: Strategy) -> None:
    job = still.submit([FLIP] * len(CASES), SLOW)
    for item, ((status, handle, result), _) in zip(still.items(job), CASES, strict=True):
        still.set_item(item, status=status, external_handle=handle, result_id=result, cost=7.0, tries=1)
    before = still.items(job)
    still.store.retry(EVERYTHING, job, strategy.value)
    for old, new, (_, strategies) in zip(before, still.items(job), CASES, strict=True):
        if strategy in strategies:
            assert (new.status, new.item_uuid, new.item_id) == ("RETRYING", old.item_uuid, old.item_id)
            assert (new.result_id, new.external_handle, new.cost, new.error_detail) == (None, None, None, None)
            assert list(new.times) == [JobStatus.RETRYING]
        else:
            assert new == old


def test_only_items_in_error_are_retried_unless_others_are_named(still) -> None:
    job = still.submit([FLIP] * 3, SLOW)
    for item, word in zip(still.items(job), ("ERROR", "CANCELLED", "COMPLETED"), strict=True):
        still.set_item(item, status=word)
    still.store.retry(EVERYTHING, job, "ALLOW_RESUBMIT")
    assert state(still.items(job)) == ["RETRYING", "CANCELLED", "COMPLETED"]
    still.store.retry(EVERYTHING, job, "ALLOW_RESUBMIT", ["CANCELLED"])
    assert state(still.items(job)) == ["RETRYING", "RETRYING", "COMPLETED"]
    assert still.job(job).status == "RETRYING"
    assert still.job(job).cancel_requested_at is None


def test_a_full_restart_takes_everything_unless_statuses_are_named(still) -> None:
    job = still.submit([FLIP] * 3, SLOW)
    for item, word in zip(still.items(job), ("ERROR", "COMPLETED", "RUNNING"), strict=True):
        still.set_item(item, status=word, tries=1)
    still.store.retry(EVERYTHING, job, "FULL_RESTART", ["ERROR"])
    assert state(still.items(job)) == ["RETRYING", "COMPLETED", "RUNNING"]
    still.store.retry(EVERYTHING, job, "FULL_RESTART")
    assert state(still.items(job)) == ["RETRYING"] * 3


def test_a_completed_job_is_left_alone_by_all_but_a_full_restart(still) -> None:
    job = still.submit([FLIP], SLOW)
    still.set_item(still.items(job)[0], status="COMPLETED", result_id="a result")
    for strategy in (None, "DEFAULT", "ALLOW_RESUBMIT", "FORCE_RESUBMIT"):
        still.store.retry(EVERYTHING, job, strategy, ["COMPLETED", "ERROR"])
        assert state(still.items(job)) == ["COMPLETED"]
    still.store.retry(EVERYTHING, job, "FULL_RESTART")
    assert state(still.items(job)) == ["RETRYING"]


def test_words_that_mean_nothing_are_refused(still) -> None:
    job = still.submit([FLIP], SLOW)
    with pytest.raises(BadRequest, match="no retry strategy 'HARDER'"):
        still.store.retry(EVERYTHING, job, "HARDER")
    with pytest.raises(BadRequest, match="no status 'LATE'"):
        still.store.retry(EVERYTHING, job, "FULL_RESTART", ["ERROR", "LATE"])
    with pytest.raises(Forbidden, match="Not a member of any group with name: others"):
        still.store.retry(EVERYTHING, job, "FULL_RESTART", None, "others", user=still.user)
    assert state(still.items(job)) == ["SUBMITTED"]


def test_ordinary_users_may_be_held_to_failed_compile_jobs(still) -> None:
    part = still.service
    strict = JobStore(
        part.db,
        part.clock,
        part.devices,
        part.changes,
        part.settings,
        part.accounts,
        ordinary_users_retry="compile-errors",
    )
    for job_type, word, allowed in (
        ("compile", "ERROR", True),
        ("compile", "COMPLETED", False),
        ("execute", "ERROR", False),
    ):
        job = still.submit([FLIP], SLOW, job_type=job_type)
        still.set_item(still.items(job)[0], status=word)
        if allowed:
            strict.retry(EVERYTHING, job, "ALLOW_RESUBMIT")
            assert state(still.items(job)) == ["RETRYING"]
        else:
            with pytest.raises(Forbidden, match=r"^You can only retry Compile jobs which are in the Error state$"):
                strict.retry(EVERYTHING, job, "FULL_RESTART")
            assert state(still.items(job)) == [word]


def test_a_restarted_item_runs_anew_and_its_old_result_stays_readable(running: OwnService) -> None:
    job = running.submit([FLIP, FLIP], AER)
    running.finish(job)
    old = running.items(job)
    running.store.retry(EVERYTHING, job, "DEFAULT")
    assert running.items(job) == old
    running.store.retry(EVERYTHING, job, "FULL_RESTART")
    running.until(lambda: running.job(job).status == "COMPLETED" and running.items(job)[1].result_id)
    new = running.items(job)
    assert [item.item_uuid for item in new] == [item.item_uuid for item in old]
    assert not {item.result_id for item in new} & {item.result_id for item in old}
    stored = {row.result_id for row in running.rows(schema.result, job_id=job)}
    assert stored == {item.result_id for item in [*old, *new]}


def test_a_result_of_a_try_that_was_given_up_is_not_stored(running: OwnService) -> None:
    """The item is restarted while it runs: what the first try brings comes late and is dropped."""
    job = running.submit([FLIP], SLOW, shots=3000)
    running.until(lambda: state(running.items(job)) == ["RUNNING"])
    running.store.retry(EVERYTHING, job, "FULL_RESTART", ["RUNNING"])
    running.until(lambda: len(running.rows(schema.result, job_id=job)) == 1)
    running.finish(job)
    (item,) = running.items(job)
    assert [row.result_id for row in running.rows(schema.result, job_id=job)] == [item.result_id]
    assert item.tries >= 3
    ran = item.times[JobStatus.COMPLETED] - item.times[JobStatus.RUNNING]
    assert ran >= timedelta(seconds=3000), "it was completed by what the first try brought"


@pytest.mark.parametrize("word", ["SUBMITTED", "RUNNING", "ERROR", "COMPLETED"])
def test_a_rerun_is_a_new_job_of_the_same_definition_from_any_state(still, word: str) -> None:
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


def test_deleting_takes_the_results_along_and_frees_the_device(running: OwnService) -> None:
    done = running.submit([FLIP], AER)
    running.finish(done)
    running.store.delete(EVERYTHING, done)
    for table in (schema.job, schema.job_item, schema.result):
        assert running.rows(table, job_id=done) == []
    job = running.submit([FLIP], SLOW, shots=10_000)
    running.until(lambda: state(running.items(job)) == ["RUNNING"])
    running.store.delete(EVERYTHING, job)
    with pytest.raises(NotFound):
        running.job(job)
    (after,) = running.run([FLIP], SLOW, shots=1)
    assert after.status == "COMPLETED"


def test_hardware_takes_one_job_at_a_time_and_users_take_turns(running: OwnService) -> None:
    bob = running.add_user("bob")
    theirs = running.add_project(bob)
    program = running.upload(FLIP, project=theirs)
    first = running.submit([FLIP], SLOW, shots=5000)
    running.until(lambda: running.job(first).status == "RUNNING")
    mine = [running.submit([FLIP], SLOW, shots=200) for _ in range(3)]
    bobs = [running.submit([program], SLOW, user=bob, project=theirs, shots=200) for _ in range(2)]
    turns = [mine[0], bobs[0], mine[1], bobs[1], mine[2]]
    running.until(lambda: [running.job(job).queue_position for job in turns] == [1, 2, 3, 4, 5])
    assert running.items(bobs[0])[0].queue_position == 2
    assert running.job(first).queue_position is None
    for job in [first, *mine, *bobs]:
        running.finish(job)
    spans = {}
    for job in [first, *mine, *bobs]:
        times = running.job(job).times
        spans[job] = (times[JobStatus.RUNNING], times[JobStatus.COMPLETED])
    order = sorted(spans, key=lambda job: spans[job][0])
    assert order == [first, *turns]
    for earlier, later in pairwise(order):
        assert spans[earlier][1] <= spans[later][0], "two jobs had the device at once"
    assert all(span[1] - span[0] >= timedelta(seconds=200) for span in spans.values()), "shots_per_s was not kept"


def test_a_queue_of_three_weeks_passes_as_fast_as_the_clock(tmp_path) -> None:
    own = OwnService(tmp_path, devices=DEVICES, clock_speed=2e6)
    try:
        own.service.executor.start()
        job = own.submit([FLIP, FLIP], {"type": "QueuedConfig"})
        times = own.finish(job).times
        waited = times[JobStatus.RUNNING] - times[JobStatus.QUEUED]
        assert timedelta(days=21) <= waited < timedelta(days=200)
    finally:
        own.close()


def test_a_job_stays_submitted_for_a_moment_of_real_time(tmp_path) -> None:
    own = OwnService(tmp_path, devices=DEVICES, submit_delay_s=0.6, clock_speed=100.0)
    try:
        own.service.executor.start()
        job = own.submit([FLIP], AER)
        times = own.finish(job).times
        delay_s = (times[JobStatus.QUEUED] - times[JobStatus.SUBMITTED]).total_seconds() / 100
        assert 0.6 <= delay_s < 5
    finally:
        own.close()
