"""The service's clock."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from own_service import AER, DEVICES, FLIP, OwnService

from qjobs.errors import InvalidInput
from qjobs.lifecycle import JobStatus


def test_clock_goes_on(tmp_path, monkeypatch) -> None:
    """A clock goes on from the moment that it reached, at any positive speed."""
    from qjobs.ledger.database import Database
    from qjobs.service.clock import ServiceClock
    from qjobs.service.tables import SERVICE

    with closing(Database(f"sqlite:///{tmp_path / 'service.db'}", SERVICE)) as db:
        fast = ServiceClock(db, 1e6)
        began = fast.now()
        while fast.now() - began < timedelta(days=1):
            pass
        reached = fast.now()
        again = ServiceClock(db, 1.0)
        assert again.now() >= reached
        assert again.now() - reached < timedelta(days=30)
        assert (fast.real_s(1e6), again.real_s(5.0)) == (1.0, 5.0)
        for wrong in (0.0, -1.0, float("inf"), float("nan")):
            with pytest.raises(InvalidInput, match="positive number"):
                ServiceClock(db, wrong)


def test_queue_time(tmp_path) -> None:
    """A queue of three weeks passes as fast as the clock."""
    with closing(OwnService(tmp_path, devices=DEVICES, clock_speed=2e6)) as own:
        own.service.executor.start()
        job = own.submit([FLIP, FLIP], {"type": "QueuedConfig"})
        times = own.finish(job).times
        waited = times[JobStatus.RUNNING] - times[JobStatus.QUEUED]
        assert timedelta(days=21) <= waited < timedelta(days=200)


def test_submit_delay(tmp_path) -> None:
    """A job stays SUBMITTED for the delay, in real time."""
    with closing(OwnService(tmp_path, devices=DEVICES, submit_delay_s=0.6, clock_speed=100.0)) as own:
        own.service.executor.start()
        job = own.submit([FLIP], AER)
        times = own.finish(job).times
        delay_s = (times[JobStatus.QUEUED] - times[JobStatus.SUBMITTED]).total_seconds() / 100
        assert 0.6 <= delay_s < 5
