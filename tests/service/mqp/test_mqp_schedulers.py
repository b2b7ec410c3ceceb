"""Schedulers side by side over 5,000 pending jobs, half of them killed on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from mqp_parts import ROOT, Parts, many_users

from qjobs.ledger.liveness import is_alive
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE, using
from qjobs.service.tables import mqp_job

USERS = 50
EACH = 100
"""Jobs of each user: 5,000 in all."""
TIMEOUT_S = 400.0
SCRIPT = Path(__file__).with_name("mqp_scheduler.py")


@pytest.fixture
def crowded(ledger_url: str) -> Iterator[tuple[str, Parts]]:
    """A database with 5,000 pending jobs, half of them for each of two resources."""
    parts = Parts(ledger_url)
    parts.begin()
    many_users(parts, USERS, each=EACH)
    with parts.database.db.write() as connection:
        connection.execute(mqp_job.update().where(mqp_job.c.id % 2 == 0).values(target_specification="Q20"))
    with using(parts.database):
        yield ledger_url, parts
    parts.close()


class Watch(threading.Thread):
    """Looks, as often as it can, how many jobs of a user wait at a resource."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(daemon=True)
        self._parts = parts
        self.ended = threading.Event()
        self.most = 0
        self.looks = 0

    def run(self) -> None:
        number = sa.func.count()
        query = (
            sa.select(number)
            .where(mqp_job.c.status == "WAITING")
            .group_by(mqp_job.c.owner, mqp_job.c.target_specification)
            .order_by(number.desc())
            .limit(1)
        )
        while not self.ended.wait(0.01):
            with self._parts.database.db.read() as connection:
                self.most = max(self.most, connection.scalar(query) or 0)
            self.looks += 1


def _unsent(parts: Parts, pid: int) -> int:
    """How many jobs a process has and has not sent."""
    theirs = mqp_job.c.claimed_by.like(f"%:{pid}:%") & (mqp_job.c.status == "WAITING")
    with parts.database.db.read() as connection:
        found = connection.scalar(sa.select(sa.func.count()).where(theirs, mqp_job.c.dispatched_at.is_(None)))
    return found or 0


def _kill_at_work(parts: Parts, running: list[subprocess.Popen[bytes]], deadline: float) -> int:
    """Kill one of the processes while it has jobs that it has not sent; which one."""
    while time.monotonic() < deadline:
        for process in running:
            if process.poll() is None and _unsent(parts, process.pid) > 3:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return process.pid
        time.sleep(0.01)
    raise AssertionError("no scheduler has jobs that it has not sent")


@pytest.mark.slow
@pytest.mark.parametrize(("ledger_url", "number"), [("sqlite", 2), ("postgresql", 8)], indirect=["ledger_url"])
def test_killed_schedulers(crowded: tuple[str, Parts], number: int, tmp_path: Path) -> None:
    """Nothing is claimed twice or sent twice, nothing waits for the dead, and the limit holds at every moment."""
    url, parts = crowded
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rng = random.Random(number)
    watch = Watch(parts)
    running: list[subprocess.Popen[bytes]] = []
    deadline = time.monotonic() + TIMEOUT_S
    try:
        for place in range(number):
            words = [sys.executable, str(SCRIPT), url, f"{log}-{place}", str(place), str(USERS)]
            running.append(subprocess.Popen(words, env=environment, cwd=ROOT))
        watch.start()
        killed = set()
        for _ in range(number // 2):
            killed.add(_kill_at_work(parts, running, deadline))
            time.sleep(rng.uniform(0.1, 1.0))
        for process in running:
            process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        watch.ended.set()
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    watch.join()
    assert [process.returncode for process in running if process.pid not in killed] == [0] * (number - number // 2)
    claims: defaultdict[int, list[int]] = defaultdict(list)
    events: defaultdict[str, list[int]] = defaultdict(list)
    for file in sorted(tmp_path.glob("log-*")):
        for line in file.read_text().splitlines():
            what, job_id, pid = line.split()
            events[what].append(int(job_id))
            if what == "claimed":
                claims[int(job_id)].append(int(pid))
    assert len(events["sent"]) == len(set(events["sent"]))
    for pids in claims.values():
        assert len(set(pids)) == len(pids)
        assert sum(pid not in killed for pid in pids) <= 1
    assert len(events["requeued"]) > 3
    _nothing_left(parts)
    assert watch.most == MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE
    assert watch.looks > 20


def _nothing_left(parts: Parts) -> None:
    """Every job is completed, each by its own result, and no living process has one."""
    assert jobs.fetch_all_waiting_jobs() == []
    reaped = jobs.reap()
    assert (reaped.requeued, reaped.dispatched, reaped.unproved) == ([], [], [])
    with parts.database.db.read() as connection:
        rows = connection.execute(
            sa.select(mqp_job.c.status, mqp_job.c.claimed_by, mqp_job.c.remote, mqp_job.c.id)
        ).all()
    assert len(rows) == USERS * EACH
    assert {row.status for row in rows} == {"COMPLETED"}
    assert all(row.remote == f"remote-{row.id}" for row in rows)
    assert not any(is_alive(owner) for owner in {row.claimed_by for row in rows})
