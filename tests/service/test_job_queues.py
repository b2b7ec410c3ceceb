"""Jobs in their queues: turns, cancellations and restarts while the executor works."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from own_service import AER, DEVICES, EVERYTHING, FLIP, SLOW, OwnService, state

from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy as Strategy
from qjobs.service import tables as schema
from qjobs.service.errors import NotFound


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A service that works; its clock is a thousand times faster than ours."""
    own = OwnService(tmp_path_factory.mktemp("running"), devices=DEVICES, clock_speed=1000.0)
    own.service.executor.start()
    yield own
    own.close()


def test_cancel_on_hardware(running: OwnService) -> None:
    """A running item on hardware is asked to stop, stops, and frees the device."""
    job = running.submit([FLIP, FLIP], SLOW, shots=10_000)
    running.until(lambda: state(running.items(job)) == ["RUNNING", "RUNNING"])
    running.store.cancel(EVERYTHING, job)
    assert running.finish(job).status == "CANCELLED"
    for item in running.items(job):
        assert list(item.times)[-2:] == [JobStatus.CANCELLING, JobStatus.CANCELLED]
        assert item.result_id is None
    (after,) = running.run([FLIP], SLOW, shots=1)
    assert after.status == "COMPLETED", "the device is free again"


def test_cancel_in_a_queue(running: OwnService) -> None:
    """A job that waits for its device is cancelled at once."""
    job = running.submit([FLIP], {"type": "NightConfig"})
    running.until(lambda: running.job(job).queue_position == 1)
    running.store.cancel(EVERYTHING, job)
    assert state(running.items(job)) == ["CANCELLED"]
    assert running.job(job).queue_position is None
    running.until(lambda: job not in running.store.positions)


def test_restart_keeps_old_results(running: OwnService) -> None:
    """A restarted item runs anew, and its old result stays readable."""
    job = running.submit([FLIP, FLIP], AER)
    running.finish(job)
    old = running.items(job)
    running.store.retry(EVERYTHING, job, Strategy.DEFAULT)
    assert running.items(job) == old
    running.store.retry(EVERYTHING, job, Strategy.FULL_RESTART)
    running.until(lambda: running.job(job).status == "COMPLETED" and running.items(job)[1].result_id)
    new = running.items(job)
    assert [item.item_uuid for item in new] == [item.item_uuid for item in old]
    assert not {item.result_id for item in new} & {item.result_id for item in old}
    stored = {row.result_id for row in running.rows(schema.result, job_id=job)}
    assert stored == {item.result_id for item in [*old, *new]}


def test_result_of_a_former_try(running: OwnService) -> None:
    """A result of a try before the restart is dropped."""
    job = running.submit([FLIP], SLOW, shots=3000)
    running.until(lambda: state(running.items(job)) == ["RUNNING"])
    running.store.retry(EVERYTHING, job, Strategy.FULL_RESTART, [JobStatus.RUNNING])
    running.until(lambda: len(running.rows(schema.result, job_id=job)) == 1)
    running.finish(job)
    (item,) = running.items(job)
    assert [row.result_id for row in running.rows(schema.result, job_id=job)] == [item.result_id]
    assert item.tries >= 3
    ran = item.times[JobStatus.COMPLETED] - item.times[JobStatus.RUNNING]
    assert ran >= timedelta(seconds=3000), "it was completed by what the first try brought"


def test_delete_frees_the_device(running: OwnService) -> None:
    """A deletion takes the results along and frees the device."""
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


def test_users_take_turns(running: OwnService) -> None:
    """Hardware runs one job at a time, and users take turns."""
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
