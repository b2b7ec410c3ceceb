"""A scheduler as somebody else would write it, in a process of its own: python mqp_scheduler.py URL LOG SEED

It claims, marks, "sends" and completes; it gives back and looks up what dead ones had. Each step is a line of its log,
written before the next one begins, so that a kill loses none.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

from qjobs.errors import StaleJob
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import CircuitJob, JobDatabase, bind

RESULT = json.dumps({"00": 100})


class Log:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, job_id: int) -> None:
        os.write(self._file, f"{what} {job_id} {os.getpid()}\n".encode())


def work(log: Log, rng: random.Random, users: list[str]) -> None:
    """Until every job is final."""
    while True:
        if rng.random() < 0.5:
            found = jobs.fetch_all_pending_jobs_from_users(rng.sample(users, len(users) // 4))
        else:
            found = jobs.fetch_all_pending_jobs_for_resource_not_from_users(
                rng.choice(["Q5", "Q20"]), rng.sample(users, 5)
            )
        for job in found:
            log.write("claimed", job.id)
        for job in found:
            jobs.mark_dispatched(job.id, f"remote-{job.id}")
            log.write("sent", job.id)
            jobs.complete_job_with_result(job.id, RESULT, "Q5", "")
        look_after(log)
        if not found:
            waiting = jobs.fetch_all_waiting_jobs()
            if not waiting and jobs.count_pending_jobs("Q5") + jobs.count_pending_jobs("Q20") == 0:
                return
            time.sleep(0.05)


def look_after(log: Log) -> None:
    """Give back and look up what dead schedulers had."""
    reaped = jobs.reap()
    for job in reaped.requeued:
        log.write("requeued", job.id)
    for job in reaped.dispatched:
        assert isinstance(job, CircuitJob)
        try:
            jobs.adopt_job(job.id)
        except StaleJob:  # another was first
            continue
        log.write("adopted", job.id)
        jobs.complete_job_with_result(job.id, RESULT, "Q5", "", "looked up")


if __name__ == "__main__":
    with JobDatabase.open(sys.argv[1]) as database:
        bind(database)
        names = [f"user{number}" for number in range(int(sys.argv[4]))]
        work(Log(sys.argv[2]), random.Random(int(sys.argv[3])), names)
