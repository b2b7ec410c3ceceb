"""Reading: waiting jobs, jobs of a user, pages, results."""

from __future__ import annotations

import itertools

import pytest
from mqp_parts import HISTOGRAM, INJECTIONS, START, Parts, a_hamiltonian, a_job, ids, many_users

from qjobs.errors import InvalidInput
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import CircuitJob, MqpStatus
from qjobs.service.tables import mqp_job

COLUMNS = [
    "id",
    "status",
    "budget",
    "target_specification",
    "circuit_format",
    "shots",
    "cost",
    "executed_resource",
    "timestamp_submitted",
    "timestamp_scheduled",
    "timestamp_completed",
]


def mixed(parts: Parts) -> list[CircuitJob]:
    """Eleven jobs of Ada's in several statuses, some at the same moment; and some of others."""
    a_job("bob")
    a_hamiltonian()
    for number in range(11):
        a_job(target=("Q5", "Q20")[number % 2])
        if number % 3:
            parts.later(minutes=1)
    first, second, *_ = jobs.fetch_all_pending_jobs_from_users(["ada"])
    jobs.complete_job_with_result(second.id, HISTOGRAM, "Q20", "")
    parts.later(minutes=1)
    jobs.fail_job(first.id, "broken")
    jobs.fetch_all_pending_jobs_from_users(["ada"])
    jobs.cancel_job(jobs.fetch_by_identity("ada")[-1].id, "enough")
    return jobs.fetch_by_identity("ada")


def page_of(page: int, size: int = 4, order: str = "asc", by: str = "id", only: str = "") -> list[CircuitJob]:
    found = jobs.fetch_by_identity_pages("ada", page, size, order, by, only)["jobs"]
    assert isinstance(found, list)
    return found


def total_of(only: str, identity: str = "ada") -> int:
    found = jobs.fetch_by_identity_pages(identity, 0, 1, "asc", "id", only)["totaljob_nr"]
    assert isinstance(found, int)
    return found


def test_waiting(parts: Parts) -> None:
    """All waiting jobs of a kind are told in order of arrival, whoever has them, and stay as they are."""
    made = [a_job(), a_job("bob"), a_job()]
    a_job()
    energies = [a_hamiltonian(), a_hamiltonian("bob")]
    assert (jobs.fetch_all_waiting_jobs(), jobs.fetch_all_waiting_hamiltonian_jobs()) == ([], [])
    parts.owner = "elsewhere:1:1"
    jobs.fetch_all_pending_jobs()
    jobs.fetch_all_pending_hamiltonian_jobs()
    for _ in range(2):
        assert ids(jobs.fetch_all_waiting_jobs()) == ids(made)
        assert ids(jobs.fetch_all_waiting_hamiltonian_jobs()) == ids(energies)
    jobs.cancel_job(made[0].id, "enough")
    assert ids(jobs.fetch_all_waiting_jobs()) == ids(made)[1:]


def test_by_identity(parts: Parts) -> None:
    """A user's circuit jobs are told in order of arrival, in every status; those of others are not."""
    first, _, second = a_job(), a_job("bob"), a_job()
    a_hamiltonian()
    jobs.cancel_job(first.id, "enough")
    assert ids(jobs.fetch_by_identity("ADA")) == [first.id, second.id]
    assert jobs.fetch_by_identity("nobody") == jobs.fetch_by_identity("") == []


def test_hamiltonians_by_identity(parts: Parts) -> None:
    """So are a user's Hamiltonian jobs."""
    first, _, second = a_hamiltonian(), a_hamiltonian("bob"), a_hamiltonian()
    a_job()
    assert ids(jobs.fetch_hamiltonian_job_by_identity("ada")) == [first.id, second.id]
    assert jobs.fetch_hamiltonian_job_by_identity("nobody") == []


def test_result(parts: Parts) -> None:
    """A job is told to its owner alone, by an id that is a number; else there is none."""
    job, theirs, energy = a_job(), a_job("bob"), a_hamiltonian()
    assert jobs.fetch_result_by_job_id_and_identity(str(job.id), "ada") == job
    for job_id, identity in [
        ("", "ada"),
        (str(job.id), ""),
        (str(job.id), "bob"),
        (str(theirs.id), "ada"),
        (str(energy.id), "ada"),
        ("999999", "ada"),
        ("9" * 40, "ada"),
        ("x", "ada"),
        (f" {job.id}", "ada"),
        ("-1", "ada"),
    ]:
        assert jobs.fetch_result_by_job_id_and_identity(job_id, identity) is None
    assert jobs.fetch_hamiltonian_result_by_job_id_and_identity(str(energy.id), "ada") == energy
    assert jobs.fetch_hamiltonian_result_by_job_id_and_identity(str(energy.id), "bob") is None
    assert jobs.fetch_hamiltonian_result_by_job_id_and_identity(str(job.id), "ada") is None


@pytest.mark.parametrize("by", COLUMNS)
def test_pages_are_a_list(parts: Parts, by: str) -> None:
    """Page after page gives each job once, in order, ties by id; descending is the exact reverse."""
    made = mixed(parts)
    up = list(itertools.chain.from_iterable(page_of(page, by=by) for page in range(4)))
    down = list(itertools.chain.from_iterable(page_of(page, order="DESC", by=by) for page in range(4)))
    assert [len(page_of(page, by=by)) for page in range(4)] == [4, 4, 3, 0]
    assert sorted(ids(up)) == ids(made)
    assert down == up[::-1]
    keys = [(getattr(job, by) is None, "" if getattr(job, by) is None else str(getattr(job, by))) for job in up]
    if by not in {"id", "shots"}:
        assert keys == sorted(keys)
    ties = [(first, second) for first, second in itertools.pairwise(zip(keys, ids(up), strict=True))]
    assert all(first[1] < second[1] for first, second in ties if first[0] == second[0])


def test_total_obeys_the_filter(parts: Parts) -> None:
    """The total is that of the filter, on each page and behind the last one."""
    made = mixed(parts)
    for status in MqpStatus:
        wanted = [job.id for job in made if job.status is status]
        assert total_of(status) == total_of(status.lower()) == len(wanted) > 0
        assert ids(page_of(0, 100, only=status)) == wanted
        behind = jobs.fetch_by_identity_pages("ada", 50, 5, "asc", "id", status)
        assert behind == {"jobs": [], "totaljob_nr": len(wanted)}
    assert total_of("") == total_of("all") == len(made)
    assert total_of("pending, WAITING") == total_of("PENDING") + total_of("WAITING")
    assert total_of("", "nobody") == 0


def test_page_keeps_to_its_owner(parts: Parts) -> None:
    """A page has jobs of its owner alone, and circuit jobs alone."""
    mixed(parts)
    assert {job.owner for job in page_of(0, 100)} == {"ada"}
    assert total_of("", "bob") == 1


def test_pages_while_jobs_arrive(parts: Parts) -> None:
    """Jobs that arrive meanwhile shift no page that is ordered by id."""
    made = [a_job() for _ in range(8)]
    first = page_of(0)
    a_job()
    assert ids(first + page_of(1)) == ids(made)


def test_page_asks_twice(parts: Parts) -> None:
    """A page of a thousand jobs takes as many statements as one of two."""
    many_users(parts, 1, each=1500)
    with parts.statements() as asked:
        found = jobs.fetch_by_identity_pages("user0", 0, 1000, "desc", "timestamp_submitted", "")
    assert (found["totaljob_nr"], len(asked) <= 3) == (1500, True)


@pytest.mark.parametrize(
    ("page", "size", "order", "by", "only"),
    [
        (-1, 5, "asc", "id", ""),
        (0, 0, "asc", "id", ""),
        (0, 1001, "asc", "id", ""),
        (True, 5, "asc", "id", ""),
        ("0", 5, "asc", "id", ""),
        (10**12, 5, "asc", "id", ""),
        (0, 5, "", "id", ""),
        (0, 5, "up", "id", ""),
        (0, 5, "asc", "", ""),
        (0, 5, "asc", "claimed_by", ""),
        (0, 5, "asc", "ID", ""),
        (0, 5, "asc", "id", "RUNNING"),
        (0, 5, "asc", "id", "PENDING,"),
    ],
)
def test_page_refused(parts: Parts, page: int, size: int, order: str, by: str, only: str) -> None:
    """What is no page, order, column or status is refused."""
    with pytest.raises(InvalidInput):
        jobs.fetch_by_identity_pages("ada", page, size, order, by, only)


@pytest.mark.parametrize("hostile", INJECTIONS)
def test_sql_in_reads(parts: Parts, hostile: str) -> None:
    """SQL in any text of a question is refused or finds nothing, and the jobs stay as they are."""
    job, energy = a_job(), a_hamiltonian()
    for order, by, only in ((hostile, "id", ""), ("asc", hostile, ""), ("asc", "id", hostile)):
        with pytest.raises(InvalidInput):
            jobs.fetch_by_identity_pages("ada", 0, 5, order, by, only)
    assert jobs.fetch_by_identity_pages(hostile, 0, 5, "asc", "id", "") == {"jobs": [], "totaljob_nr": 0}
    assert jobs.fetch_by_identity(hostile) == []
    assert jobs.fetch_hamiltonian_job_by_identity(hostile) == []
    assert jobs.fetch_hamiltonian_job_by_task_id(hostile) == []  # type: ignore[arg-type]
    assert jobs.fetch_result_by_job_id_and_identity(hostile, "ada") is None
    assert jobs.fetch_result_by_job_id_and_identity(str(job.id), hostile) is None
    assert (ids(jobs.fetch_by_identity("ada")), ids(jobs.fetch_hamiltonian_job_by_identity("ada"))) == (
        [job.id],
        [energy.id],
    )


def test_aware_utc(parts: Parts) -> None:
    """Every moment that is read is aware and in UTC."""
    for job in mixed(parts):
        moments = (job.timestamp_submitted, job.timestamp_scheduled, job.timestamp_completed)
        assert {moment.tzinfo for moment in moments if moment is not None} == {START.tzinfo}


def test_columns_are_all(parts: Parts) -> None:
    """The whitelist is what the refusal names, and each is a column."""
    with pytest.raises(InvalidInput) as caught:
        jobs.fetch_by_identity_pages("ada", 0, 5, "asc", "nothing", "")
    assert ", ".join(COLUMNS) in str(caught.value)
    assert set(COLUMNS) <= set(mqp_job.c.keys())
