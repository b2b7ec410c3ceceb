"""Which flow runs wait for which jobs, and when their wait is over."""

from __future__ import annotations

import pytest
from support import NOW, at, claim, counts, create, observe, sent, unsettled, whole

from qjobs.ledger import Ledger
from qjobs.ledger.suspended_runs import AtDeadline
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId, RemoteId

S = JobStatus


@pytest.fixture
def jobs(ledger: Ledger) -> list[tuple[JobId, Attempt]]:
    """Two jobs that the provider has."""
    return [sent(ledger, f"key-{n}", f"remote-{n}") for n in range(2)]


def is_over(ledger: Ledger) -> dict[str, bool]:
    return {run.flow_run_id: run.is_over for run in ledger.waits.runs()}


def end(ledger: Ledger, job: tuple[JobId, Attempt]) -> None:
    """The job ends, and its results are fetched."""
    job_id, attempt = job
    observe(ledger, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    ledger.schedule.set_next({job_id: None})


def test_all_or_any(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A run waits until all of its jobs are done, or any of them."""
    ids = [job_id for job_id, _ in jobs]
    ledger.waits.register("all", ids, until="all", now=NOW)
    ledger.waits.register("any", ids, until="any", now=at(1))
    assert is_over(ledger) == {"all": False, "any": False}
    end(ledger, jobs[0])
    assert is_over(ledger) == {"all": False, "any": True}
    assert [run.open_ids for run in ledger.waits.runs()] == [(ids[1],), (ids[1],)]
    end(ledger, jobs[1])
    assert is_over(ledger) == {"all": True, "any": True}


def test_results_to_fetch(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A final job whose results are still to be fetched is waited for."""
    job_id, attempt = jobs[0]
    ledger.waits.register("run", [job_id], until="all", now=NOW)
    observe(ledger, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    assert is_over(ledger) == {"run": False}
    ledger.schedule.set_next({job_id: None})
    assert is_over(ledger) == {"run": True}


def test_results_of_an_older_epoch(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """Results from before all began anew are not those that a run waits for, whatever other jobs there are."""
    job_id, attempt = jobs[0]
    ledger.waits.register("run", [job_id], until="all", now=NOW)
    observe(ledger, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    ledger.store_results(job_id, attempt, {0: counts(b00=1), 1: counts(b00=1)}, now=NOW)
    assert is_over(ledger) == {"run": True}
    again = claim(ledger, job_id, S.COMPLETED, new_epoch=True)
    ledger.submissions.accept(again, RemoteId("remote-again"), now=NOW)
    observe(ledger, job_id, again.number, whole(S.COMPLETED), now=NOW)
    assert is_over(ledger) == {"run": False}
    ledger.store_results(job_id, again, {0: counts(b00=2), 1: counts(b00=2)}, now=NOW)
    assert is_over(ledger) == {"run": True}


def test_not_moved_by_waiting(ledger: Ledger) -> None:
    """A job that waiting cannot move is not waited for: nothing was sent, or its reply was lost."""
    unsent = create(ledger, "unsent")
    unknown, _ = unsettled(ledger, S.UNKNOWN, key="unknown")
    ledger.waits.register("run", [unsent, unknown], until="all", now=NOW)
    assert is_over(ledger) == {"run": True}


def test_register_again(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A run has one wait: a second one replaces the first."""
    ids = [job_id for job_id, _ in jobs]
    ledger.waits.register("run", ids, until="all", now=NOW, server="http://one.test/api")
    ledger.waits.register("other", ids, until="all", now=NOW)
    ledger.waits.register(
        "run", [*ids[:1], *ids[:1]], until="any", now=at(1), deadline_at=at(9), at_deadline=AtDeadline.CANCEL
    )
    (run,) = ledger.waits.runs(flow_run_id="run")
    assert (run.job_ids, run.until, run.server, run.registered_at) == ((ids[0],), "any", "", at(1))
    assert (run.deadline_at, run.at_deadline) == (at(9), AtDeadline.CANCEL)
    assert [each.flow_run_id for each in ledger.waits.runs()] == ["other", "run"], "the longest waiting comes first"


def test_end(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A wait that has ended is gone, and to end it again does no harm."""
    for name in ("run", "other"):
        ledger.waits.register(name, [jobs[0][0]], until="all", now=NOW)
    for _ in range(2):
        ledger.waits.end("run")
    assert list(is_over(ledger)) == ["other"]


def test_room(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A wait for room is over when one of the jobs leaves its place; a lost reply keeps it, results to fetch do not."""
    unknown, attempt = unsettled(ledger, S.UNKNOWN, key="unknown")
    ledger.waits.register("run", [unknown, jobs[0][0]], until="room", now=NOW)
    assert is_over(ledger) == {"run": False}
    observe(ledger, *_named(jobs[0]), whole(S.COMPLETED), now=NOW)
    assert is_over(ledger) == {"run": True}
    ledger.waits.register("run", [unknown], until="room", now=NOW)
    assert is_over(ledger) == {"run": False}
    ledger.submissions.release(attempt, "not found", now=NOW)
    assert is_over(ledger) == {"run": True}


def _named(job: tuple[JobId, Attempt]) -> tuple[JobId, int]:
    return job[0], job[1].number


def test_end_of_an_older_wait(ledger: Ledger, jobs: list[tuple[JobId, Attempt]]) -> None:
    """A wait that was registered again meanwhile goes on, and so does one of another process."""
    ledger.waits.register("run", [jobs[0][0]], until="all", now=at(5), held_by="host:1:1")
    ledger.waits.end("run", registered_before=at(4))
    ledger.waits.end("run", held_by="host:2:2")
    assert ledger.waits.jobs_of_others([jobs[0][0]], "mine") == {jobs[0][0]}
    ledger.waits.end("run", registered_before=at(5), held_by="host:1:1")
    assert ledger.waits.jobs_of_others([jobs[0][0]], "mine") == set()
