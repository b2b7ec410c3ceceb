"""Many threads and processes claim the same job at the same moment: one gets it, the others a `StaleJob`."""

from __future__ import annotations

import multiprocessing
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from support import NOW, a_spec, check_history, claim, create, observe, report, sent, whole

from qjobs.errors import Busy, StaleJob
from qjobs.ledger import Ledger, Seen
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import Attempt, Confirmation, JobId, RemoteId

N_THREADS = 16
N_PROCESSES = 4
ROUNDS = 8
N_OF_ACCOUNT = 7
FINAL_WORDS = [JobStatus.COMPLETED, JobStatus.ERROR]
JOIN_TIMEOUT_S = 90.0
T = TypeVar("T")

pytestmark = pytest.mark.timeout(120)


def keep(_ledger: Ledger, _attempt: Attempt) -> None:
    """The winner goes on submitting: the others meet a live attempt."""


def reject(ledger: Ledger, attempt: Attempt) -> None:
    """The winner is refused at once: the others meet a job that has moved on, and no live attempt."""
    ledger.submissions.reject(attempt, "no", now=NOW)


def mark_unknown_and_accept(ledger: Ledger, attempt: Attempt) -> None:
    """The winner goes through every status of a submission."""
    ledger.submissions.mark_unknown(attempt, "no reply", now=NOW)
    ledger.submissions.accept(attempt, RemoteId(f"remote-{attempt.job_id}"), now=NOW)


def reserve(ledger: Ledger, attempt: Attempt) -> None:
    """The winner has an id before anything runs."""
    ledger.submissions.reserve(attempt, RemoteId(f"remote-{attempt.job_id}"), now=NOW)


ENDINGS = {"keep": keep, "reserve": reserve, "reject": reject, "mark unknown and accept": mark_unknown_and_accept}


def try_claim(ledger: Ledger, job_id: JobId, after: Callable[[Ledger, Attempt], None]) -> str:
    """What became of one try."""
    try:
        attempt = claim(ledger, job_id)
    except (StaleJob, Busy) as error:
        return type(error).__name__ if error.job_id == job_id else f"about {error.job_id}"
    after(ledger, attempt)
    return "won"


def at_once(act: Callable[[Any], T], values: Iterable[Any]) -> list[T]:
    """What threads get that act at the same moment, one for each of `N_THREADS` values."""
    barrier = threading.Barrier(N_THREADS, timeout=30)

    def race(value: Any) -> T:
        barrier.wait()
        return act(value)

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(race, values))


def check_round(ledger: Ledger, job_id: JobId, outcomes: Counter[str], tries: int) -> None:
    assert outcomes == {"won": 1, "StaleJob": tries - 1}
    assert len(ledger.attempts(job_id)) == 1
    claims = [event for event in ledger.events(job_id) if event.new is JobStatus.SUBMITTING is not event.old]
    assert len(claims) == 1
    check_history(ledger, job_id)


@pytest.mark.parametrize("ending", ENDINGS)
def test_threads(ledger: Ledger, ending: str) -> None:
    """Of many threads one claims a job."""
    ids = ledger.create([a_spec(f"k{n}") for n in range(ROUNDS)], now=NOW)
    for job_id in ids:
        outcomes = at_once(lambda each: try_claim(ledger, each, ENDINGS[ending]), [job_id] * N_THREADS)
        check_round(ledger, job_id, Counter(outcomes), N_THREADS)


def race_all(url: str, rounds: list[tuple[JobId, str]], barrier: object, replies: object) -> None:
    """What each process does; `rounds` are jobs and what their winner does next."""
    try:
        with Ledger(url) as ledger:
            for job_id, ending in rounds:
                barrier.wait(60)
                replies.put((job_id, try_claim(ledger, job_id, ENDINGS[ending])))
    except BaseException:
        replies.put(("failed", traceback.format_exc()))
        barrier.abort()
        raise


def test_processes(ledger_url: str) -> None:
    """Of many processes one claims a job."""
    context = multiprocessing.get_context("spawn")
    with Ledger(ledger_url) as ledger:
        rounds: list[tuple[JobId, str]] = []
        for ending in ENDINGS:
            ids = ledger.create([a_spec(f"{ending} {n}") for n in range(ROUNDS)], now=NOW)
            rounds += [(job_id, ending) for job_id in ids]
        barrier = context.Barrier(N_PROCESSES)
        replies = context.Queue()
        given = (ledger_url, rounds, barrier, replies)
        workers = [context.Process(target=race_all, args=given) for _ in range(N_PROCESSES)]
        for worker in workers:
            worker.start()
        outcomes: dict[str, Counter[str]] = {job_id: Counter() for job_id, _ in rounds}
        for _ in range(N_PROCESSES * len(rounds)):
            job_id, outcome = replies.get(timeout=JOIN_TIMEOUT_S)
            assert job_id in outcomes, outcome
            outcomes[job_id][outcome] += 1
        for worker in workers:
            worker.join(JOIN_TIMEOUT_S)
            assert worker.exitcode == 0
        for job_id, _ in rounds:
            check_round(ledger, job_id, outcomes[job_id], N_PROCESSES)


def test_device_limit(ledger: Ledger) -> None:
    """Of sixteen jobs for a device that takes three, three are live and the others are `Busy`."""
    ids = ledger.create([a_spec(f"k{n}") for n in range(N_THREADS)], now=NOW)

    def race(job_id: JobId) -> str:
        try:
            claim(ledger, job_id, max_live_jobs=3)
        except Busy:
            return "busy"
        return "won"

    assert Counter(at_once(race, ids)) == {"won": 3, "busy": N_THREADS - 3}
    assert len(ledger.open_jobs()) == 3
    for job_id in ids:
        check_history(ledger, job_id)


def claim_all(url: str, ids: list[JobId], barrier: object, replies: object) -> None:
    """What each process does: it sends what it can get through, and says when it has a reply for each."""
    try:
        with Ledger(url) as ledger:
            barrier.wait(60)
            for job_id in ids:
                try:
                    claim(ledger, job_id, max_live_jobs=2, max_account_jobs=N_OF_ACCOUNT)
                except Busy:
                    replies.put("busy")
                else:
                    replies.put("won")
    except BaseException:
        replies.put(traceback.format_exc())
        barrier.abort()
        raise


def test_account_limit(ledger_url: str) -> None:
    """Of processes that send at once to many devices of one account, no more get through than the account may have."""
    context = multiprocessing.get_context("spawn")
    with Ledger(ledger_url) as ledger:
        specs = [a_spec(f"k{n}", device=f"device-{n % 5}") for n in range(5 * N_PROCESSES)]
        ids = ledger.create(specs, now=NOW)
        barrier = context.Barrier(N_PROCESSES)
        replies = context.Queue()
        shares = [ids[start::N_PROCESSES] for start in range(N_PROCESSES)]
        workers = [context.Process(target=claim_all, args=(ledger_url, each, barrier, replies)) for each in shares]
        for worker in workers:
            worker.start()
        outcomes = Counter(replies.get(timeout=JOIN_TIMEOUT_S) for _ in ids)
        for worker in workers:
            worker.join(JOIN_TIMEOUT_S)
            assert worker.exitcode == 0
        assert outcomes == {"won": N_OF_ACCOUNT, "busy": len(ids) - N_OF_ACCOUNT}
        live = Counter(job.device for job in ledger.open_jobs())
        assert live.total() == N_OF_ACCOUNT
        assert max(live.values()) <= 2
        for job_id in ids:
            check_history(ledger, job_id)


def test_create(ledger: Ledger) -> None:
    """Of many threads that create one job, one does."""
    ids = set(at_once(lambda _: create(ledger, "the same"), range(N_THREADS)))
    assert len(ids) == 1
    assert len(ledger.jobs()) == 1
    check_history(ledger, ids.pop())


def test_pollers(ledger: Ledger) -> None:
    """Reports of many pollers follow one another: none is refused, and no item's chain of events has a gap."""
    open_words = [JobStatus.SUBMITTED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING]
    job_id, attempt = sent(ledger, n_items=3)

    def race(number: int) -> None:
        for step in range(6):
            words = [open_words[(number + step * index) % 4] for index in range(3)]
            observe(ledger, job_id, attempt.number, report(*words), now=NOW)
        observe(ledger, job_id, attempt.number, report(*[FINAL_WORDS[number % 2]] * 3), now=NOW)

    at_once(race, range(N_THREADS))
    check_history(ledger, job_id)
    assert ledger.job(job_id).status in FINAL_WORDS
    for item in ledger.items(job_id):
        last = JobStatus.SUBMITTED
        for event in ledger.events(job_id):
            if event.index == item.index:
                assert event.old is last
                last = event.new
        assert last is item.status


def lost(ledger: Ledger) -> tuple[JobId, Attempt]:
    """A job that its provider does not know any more."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, None, now=NOW, confirm=Confirmation(absent_times=1))
    return job_id, attempt


def test_lost(ledger: Ledger) -> None:
    """Of many that send a LOST job again one does, also while its provider tells of it once more."""
    job_id, attempt = lost(ledger)

    def race(number: int) -> str:
        if number % 2:
            observe(ledger, job_id, attempt.number, whole(JobStatus.RUNNING), now=NOW)
            return "told"
        return try_claim_of(ledger, job_id, JobStatus.LOST)

    outcomes = Counter(at_once(race, range(N_THREADS)))
    assert outcomes["won"] <= 1
    first, *others = ledger.attempts(job_id)
    assert (first.status is JobStatus.LOST) == bool(others) == bool(outcomes["won"])
    check_history(ledger, job_id)


def test_alive_again(ledger: Ledger) -> None:
    """A job is sent again or is alive again at its provider, never both."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(JobStatus.ERROR), now=NOW)

    def race(number: int) -> str:
        if number % 2:
            return observe(ledger, job_id, attempt.number, whole(JobStatus.RUNNING), now=NOW, asked_again=True)
        return try_claim_of(ledger, job_id, JobStatus.ERROR)

    won = at_once(race, range(N_THREADS)).count("won")
    live = [each.number for each in ledger.attempts(job_id) if each.status in LIVE]
    assert live == [2 if won else 1]
    assert won <= 1
    check_history(ledger, job_id)


def try_claim_of(ledger: Ledger, job_id: JobId, expected: JobStatus) -> str:
    try:
        claim(ledger, job_id, expected)
    except StaleJob:
        return "stale"
    return "won"


def test_take_over(ledger: Ledger) -> None:
    """Of many that go on with what was reserved one does."""
    job_id = create(ledger)
    attempt = claim(ledger, job_id)
    ledger.submissions.reserve(attempt, RemoteId("r"), now=NOW)
    ledger.submissions.mark_unknown(attempt, "stopped", now=NOW)

    def race(number: int) -> str:
        try:
            ledger.submissions.take_over(attempt, owner=f"host:{number}", lease_s=60.0, now=NOW)
        except StaleJob:
            return "stale"
        return "won"

    assert Counter(at_once(race, range(N_THREADS))) == {"won": 1, "stale": N_THREADS - 1}
    check_history(ledger, job_id)


def test_seen(ledger: Ledger) -> None:
    """Of many sweeps that plan the same points at once, with keys of their own, one does."""
    seen = Seen(experiment="e", backend="fake", device="device", definition="", n_jobs=0)

    def race(number: int) -> str:
        try:
            ledger.create([a_spec(f"k{number}", experiment="e")], now=NOW, seen=seen)
        except StaleJob:
            return "stale"
        return "won"

    assert Counter(at_once(race, range(N_THREADS))) == {"won": 1, "stale": N_THREADS - 1}
    assert len(ledger.jobs()) == 1
