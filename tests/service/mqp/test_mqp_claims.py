"""Claims: which pending jobs a scheduler gets, in which order, how many of a user, and by how many statements."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from mqp_parts import INJECTIONS, START, Parts, a_hamiltonian, a_job, ids, many_users, now_of

from qjobs.errors import InvalidInput
from qjobs.ledger.liveness import lease_owner
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import CircuitJob, MqpStatus, using
from qjobs.service.tables import mqp_job

ALL: list[Callable[[], list[CircuitJob]]] = [
    jobs.fetch_all_pending_jobs,
    lambda: jobs.fetch_all_pending_jobs_from_users(["ada", "bob"]),
    lambda: jobs.fetch_all_pending_jobs_except_for_resources(["Q20"]),
    lambda: jobs.fetch_all_pending_jobs_for_resource_from_users("Q5", ["ada", "bob"]),
    lambda: jobs.fetch_all_pending_jobs_for_resource_not_from_users("Q5", ["eve"]),
    lambda: jobs.fetch_all_pending_jobs_except_for_resource_not_from_users("Q5", ["ada", "bob"]),
    lambda: jobs.filter_queued_if_offline_and_fetch(
        None, jobs.fetch_by_identity("ada") + jobs.fetch_by_identity("bob")
    ),
]
"""Each way to fetch; with the jobs of these tests, all of them mean all jobs for Q5."""


@pytest.fixture(params=range(len(ALL)))
def fetch(request: pytest.FixtureRequest) -> Callable[[], list[CircuitJob]]:
    """One of the ways."""
    return ALL[request.param]


def test_waiting_and_returned(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """A job that is fetched is WAITING, has the moment and its claimant, and is fetched once."""
    job = a_job()
    parts.later(seconds=5)
    (found,) = fetch()
    assert (found.id, found.status) == (job.id, MqpStatus.WAITING)
    assert found.timestamp_scheduled == START + timedelta(seconds=5)
    assert found.claimed_by == lease_owner()
    assert now_of(job) == found
    assert fetch() == []


def test_oldest_first(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """Jobs come in order of arrival, and the limit lets the oldest through."""
    first, second, third = a_job("bob"), a_job("ada"), a_job("bob")
    a_job("bob")
    assert ids(fetch()) == [first.id, second.id, third.id]


def test_two_of_a_user(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """A user has at most two WAITING jobs at a resource; one that ends makes room for the next."""
    made = [a_job() for _ in range(4)]
    assert ids(fetch()) == [made[0].id, made[1].id]
    assert fetch() == []
    jobs.fail_job(made[0].id, "broken")
    assert ids(fetch()) == [made[2].id]


def test_limit_by_resource(parts: Parts) -> None:
    """The limit counts for each resource by itself."""
    made = [a_job(target=target) for target in ("Q5", "Q20", "Q5", "Q20", "Q5", "Q20")]
    assert ids(jobs.fetch_all_pending_jobs()) == ids(made)[:4]


def test_hamiltonians_do_not_count(parts: Parts) -> None:
    """WAITING Hamiltonian jobs leave the limit of circuit jobs alone."""
    for _ in range(3):
        a_hamiltonian()
    assert len(jobs.fetch_all_pending_hamiltonian_jobs()) == 3
    a_job()
    assert len(jobs.fetch_all_pending_jobs()) == 1


def test_queued_is_kept(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """A queued job stays PENDING while its resource is offline, and goes when it is back."""
    job = a_job(queued=True)
    parts.change("Q5", online=False)
    assert fetch() == []
    assert now_of(job).status == MqpStatus.PENDING
    parts.change("Q5", online=True)
    assert ids(fetch()) == [job.id]


def test_not_queued_goes(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """A job that is not queued goes at once, wherever its resource is: the scheduler then says so."""
    job = a_job()
    parts.change("Q5", online=False, maintenance=True)
    assert ids(fetch()) == [job.id]


def test_held_job_takes_no_place(parts: Parts) -> None:
    """Queued jobs that are held do not use up the limit of their owner."""
    for _ in range(3):
        a_job(queued=True)
    free = a_job()
    parts.change("Q5", maintenance=True)
    assert ids(jobs.fetch_all_pending_jobs()) == [free.id]


def test_a_day_at_most(parts: Parts, fetch: Callable[[], list[CircuitJob]]) -> None:
    """A queued job older than a day goes although its resource is away."""
    job = a_job(queued=True)
    parts.change("Q5", maintenance=True)
    parts.later(seconds=jobs.MAX_QUEUING_TIME)
    assert fetch() == []
    parts.later(seconds=1)
    assert ids(fetch()) == [job.id]


@pytest.mark.parametrize(
    ("begin", "end", "held"),
    [(-2, -1, False), (-1, 1, True), (-1, None, True), (0, 1, True), (1, 2, False), (-1, 0, False)],
)
def test_planned_maintenance(parts: Parts, begin: float, end: float | None, held: bool) -> None:
    """A queued job is held inside the planned maintenance of its resource, its begin included and its end not."""
    a_job(queued=True)
    until = None if end is None else START + timedelta(hours=end)
    parts.change("Q5", maintenance_from=START + timedelta(hours=begin), maintenance_until=until)
    assert (jobs.fetch_all_pending_jobs() == []) is held


def test_from_users(parts: Parts) -> None:
    """Only jobs of the listed users are fetched; nobody listed, nothing fetched."""
    mine, theirs = a_job("ada"), a_job("bob")
    assert jobs.fetch_all_pending_jobs_from_users([]) == []
    assert ids(jobs.fetch_all_pending_jobs_from_users(["BOB", "eve"])) == [theirs.id]
    assert now_of(mine).status == MqpStatus.PENDING


def test_except_for_resources(parts: Parts) -> None:
    """Jobs for the listed resources are left; none listed, all fetched."""
    small, large = a_job(target="Q5"), a_job(target="Q20")
    assert ids(jobs.fetch_all_pending_jobs_except_for_resources(["Q5", "Q7"])) == [large.id]
    assert ids(jobs.fetch_all_pending_jobs_except_for_resources([])) == [small.id]


def test_for_resource_from_users(parts: Parts) -> None:
    """Only jobs for the resource and of the listed users are fetched."""
    wanted = a_job("ada", "Q5")
    a_job("bob", "Q5")
    a_job("ada", "Q20")
    assert jobs.fetch_all_pending_jobs_for_resource_from_users("Q5", []) == []
    assert ids(jobs.fetch_all_pending_jobs_for_resource_from_users("Q5", ["ada"])) == [wanted.id]


def test_for_resource_not_from_users(parts: Parts) -> None:
    """Only jobs for the resource and of everybody else are fetched."""
    a_job("ada", "Q5")
    a_job("bob", "Q20")
    wanted = a_job("bob", "Q5")
    assert ids(jobs.fetch_all_pending_jobs_for_resource_not_from_users("Q5", ["ada"])) == [wanted.id]


def test_except_for_resource_not_from_users(parts: Parts) -> None:
    """All jobs are fetched but those for the resource whose owner is not listed."""
    mine = a_job("ada", "Q5")
    left = a_job("bob", "Q5")
    elsewhere = a_job("bob", "Q20")
    found = jobs.fetch_all_pending_jobs_except_for_resource_not_from_users("Q5", ["ada"])
    assert ids(found) == [mine.id, elsewhere.id]
    assert now_of(left).status == MqpStatus.PENDING


def test_among_given_jobs(parts: Parts) -> None:
    """`filter_queued_if_offline_and_fetch` takes those of the given jobs that are still pending and may go."""
    first, second, third = a_job(), a_job(queued=True), a_job(queued=True)
    other = a_job("bob")
    jobs.cancel_job(third.id, "enough")
    parts.change("Q5", online=False)
    assert ids(jobs.filter_queued_if_offline_and_fetch(parts.database, [third, second, first])) == [first.id]
    assert jobs.filter_queued_if_offline_and_fetch(parts.database, []) == []
    assert (now_of(second).status, now_of(other).status) == (MqpStatus.PENDING, MqpStatus.PENDING)


def test_within_limit(parts: Parts) -> None:
    """A job is within the limit while its owner has fewer than two other WAITING jobs at its resource."""
    made = [a_job() for _ in range(3)]
    theirs = a_job("bob")
    elsewhere = a_job(target="Q20")
    assert jobs.is_within_active_job_limit(parts.database, made[2])
    jobs.fetch_all_pending_jobs_for_resource_from_users("Q5", ["ada"])
    assert not jobs.is_within_active_job_limit(parts.database, made[2])
    assert jobs.is_within_active_job_limit(None, made[0])
    assert jobs.is_within_active_job_limit(None, theirs)
    assert jobs.is_within_active_job_limit(None, elsewhere)


def test_all_hamiltonians(parts: Parts) -> None:
    """All pending Hamiltonian jobs are WAITING at once, in order of arrival, without limit or queue."""
    parts.change("Q5", online=False)
    made = [a_hamiltonian() for _ in range(5)]
    circuit = a_job()
    found = jobs.fetch_all_pending_hamiltonian_jobs()
    assert ids(found) == ids(made)
    assert {job.status for job in found} == {MqpStatus.WAITING}
    assert jobs.fetch_all_pending_hamiltonian_jobs() == []
    assert now_of(circuit).status == MqpStatus.PENDING


@pytest.mark.parametrize("number", [1, 60, 600])
def test_few_statements(parts: Parts, number: int) -> None:
    """A claim takes at most three statements, however many jobs are pending and are taken."""
    many_users(parts, number)
    given = [job for name in range(number) for job in jobs.fetch_by_identity(f"user{name}")]
    claims: list[Callable[[], list[CircuitJob]]] = [
        jobs.fetch_all_pending_jobs,
        lambda: jobs.fetch_all_pending_jobs_from_users([f"user{name}" for name in range(number)]),
        lambda: jobs.fetch_all_pending_jobs_except_for_resource_not_from_users("Q20", ["ada"]),
        lambda: jobs.filter_queued_if_offline_and_fetch(parts.database, given),
    ]
    for claim in claims:
        with parts.statements() as asked:
            found = claim()
        assert len(found) == number
        assert 1 <= len(asked) <= 3
        parts.all_pending()


def test_few_statements_for_hamiltonians(parts: Parts) -> None:
    """So does the claim of all Hamiltonian jobs."""
    for _ in range(30):
        a_hamiltonian()
    with parts.statements() as asked:
        assert len(jobs.fetch_all_pending_hamiltonian_jobs()) == 30
    assert 1 <= len(asked) <= 3


@pytest.mark.parametrize("hostile", INJECTIONS)
def test_sql_in_claims(parts: Parts, hostile: str) -> None:
    """SQL in a name of a claim is a name that nobody has."""
    job = a_job()
    assert jobs.fetch_all_pending_jobs_from_users([hostile]) == []
    assert jobs.fetch_all_pending_jobs_for_resource_from_users(hostile, ["ada"]) == []
    assert jobs.fetch_all_pending_jobs_for_resource_not_from_users(hostile, [hostile]) == []
    assert jobs.count_pending_jobs(hostile) == 0
    assert now_of(job) == job
    assert ids(jobs.fetch_all_pending_jobs_except_for_resources([hostile])) == [job.id]


def test_one_text_is_no_list(parts: Parts) -> None:
    """A text where a list belongs is refused: its letters are no users."""
    with pytest.raises(InvalidInput, match="list"):
        jobs.fetch_all_pending_jobs_from_users("ada")  # type: ignore[arg-type]


def test_long_lists(parts: Parts) -> None:
    """Lists longer than a statement has parameters are fine."""
    job = a_job()
    names = [f"user{number}" for number in range(70_000)]
    assert jobs.fetch_all_pending_jobs_from_users(names) == []
    assert ids(jobs.fetch_all_pending_jobs_except_for_resources(names)) == [job.id]


def test_many_claim_at_once(parts: Parts) -> None:
    """Of many threads that claim at once, each job goes to one, and the limit holds."""
    many_users(parts, 30, each=3)
    found: list[int] = []
    start = threading.Barrier(6)

    def work() -> None:
        with using(parts.database):
            start.wait()
            for _ in range(4):
                found.extend(ids(jobs.fetch_all_pending_jobs()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 60


def test_limit_of_claims_at_once(parts: Parts) -> None:
    """Claims that look at different jobs of the same users at once do not exceed the limit together."""
    many_users(parts, 40, each=6)
    given = [job for name in range(40) for job in jobs.fetch_by_identity(f"user{name}")]
    found: list[int] = []
    start = threading.Barrier(3)

    def work(part: int) -> None:
        with using(parts.database):
            mine = [job for place, job in enumerate(given) if place % 3 == part]
            start.wait()
            found.extend(ids(jobs.filter_queued_if_offline_and_fetch(parts.database, mine)))

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(set(found)) == 80
        found.clear()
        parts.all_pending()


def test_locked_row_is_skipped(parts_on_postgresql: Parts) -> None:
    """A job that somebody is just changing is passed over, not waited for; SQLite has one writer anyway."""
    parts = parts_on_postgresql
    parts.begin()
    with using(parts.database):
        busy, free = a_job("ada"), a_job("bob")
    found: list[int] = []

    def work() -> None:
        with using(parts.database):
            found.extend(ids(jobs.fetch_all_pending_jobs()))

    thread = threading.Thread(target=work)
    with parts.database.db.write() as connection:
        connection.execute(sa.select(mqp_job).where(mqp_job.c.id == busy.id).with_for_update())
        thread.start()
        thread.join(20)
        waited = thread.is_alive()
    thread.join()
    assert (waited, found) == (False, [free.id])
    with using(parts.database):
        assert ids(jobs.fetch_all_pending_jobs()) == [busy.id]


def test_pending_counted(parts: Parts) -> None:
    """Pending jobs of both kinds are counted for a resource."""
    a_job()
    a_job(target="Q20")
    a_hamiltonian()
    assert (jobs.count_pending_jobs("Q5"), jobs.count_pending_jobs("Q20")) == (2, 1)
    jobs.fetch_all_pending_jobs()
    assert (jobs.count_pending_jobs("Q5"), jobs.count_pending_jobs("Q20")) == (1, 0)
