"""Jobs as things: found, filtered, cancelled, retried, deleted."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any
from uuid import uuid4

import qnexus as qnx
from qnexus.client.jobs import PollingStrategy, RemoteRetryStrategy
from qnexus.exceptions import DataGone, NoUniqueMatch, ZeroMatches
from qnexus.models.filters import SortFilterEnum
from qnexus.models.job_status import JobStatusEnum
from qnexus.models.references import ExecutionResultRef, IncompleteJobItemRef, JobType
from qnexus.models.scope import ScopeFilterEnum
from session import ADA, BOB, execute, final, fresh, new_project, project, raw, refused, same, until, uploaded

S = JobStatusEnum
AER = qnx.AerConfig(seed=1)
QUEUED = qnx.QuantinuumConfig(device_name="H1-1")
FAILING = qnx.QuantinuumConfig(device_name="H2-1")


@functools.cache
def _listed() -> Any:
    """A project with five execute jobs, one of them cancelled in a queue, and a compile job."""
    made = new_project("jobs")
    jobs = []
    for number, letter in enumerate("cadbb"):
        properties = OrderedDict(number=number, even=number % 2 == 0)
        config = AER if number else QUEUED
        jobs.append(execute(uploaded("bell"), 10, config, f"{letter} job", project=made, properties=properties))
    compiled = qnx.start_compile_job(
        programs=uploaded("bell"), backend_config=AER, name="x compile job", project=made, description="words"
    )
    qnx.jobs.cancel(jobs[0])
    for job in [*jobs, compiled]:
        final(job)
    return made


def _all(**filters: Any) -> Any:
    return qnx.jobs.get_all(project=_listed(), **filters)


def _counts(name: str, *values: Any) -> list[int]:
    return [_all(**{name: value}).count() for value in values]


def check_names() -> None:
    """Jobs are found by name or a part of it; several may have one name."""
    found = qnx.jobs.get(project=_listed(), name="a job")
    same((type(found).__name__, found.annotations.name, found.last_status), ("ExecuteJobRef", "a job", S.COMPLETED))
    same((_all().count(), len(_all().list()), _counts("name_like", "JOB", "compile")), (6, 6, [6, 1]))
    refused(lambda: qnx.jobs.get(project=_listed(), name="b job"), NoUniqueMatch)
    refused(lambda: qnx.jobs.get(project=_listed(), name="nothing"), ZeroMatches)
    refused(lambda: qnx.jobs.get(id=uuid4()), ZeroMatches)


def check_filters() -> None:
    """Jobs are found by status, type, properties, creator and scope."""
    ended = [[S.COMPLETED], [S.CANCELLED], [S.COMPLETED, S.CANCELLED], [S.ERROR, S.DEPLETED, S.TERMINATED]]
    same(_counts("job_status", *ended), [5, 1, 6, 0])
    same(_counts("job_type", [JobType.EXECUTE], [JobType.COMPILE], list(JobType)), [5, 1, 6])
    values = [OrderedDict(number=3), OrderedDict(even=True), OrderedDict(even=True, number=3), OrderedDict(number="3")]
    same(_counts("properties", *values), [1, 3, 0, 0])
    same(_counts("creator_email", [ADA], [BOB]), [6, 0])
    same(_counts("scope", *ScopeFilterEnum), [6, 0, 0, 6])


def check_by_time() -> None:
    second = qnx.jobs.get(project=_listed(), name="a job").annotations.created
    same((_all(created_before=second).count(), _all(created_after=second).count()), (1, 4))


def check_sort_and_pages() -> None:
    def letters(**values: Any) -> str:
        return "".join(job.annotations.name[0] for job in _all(**values).list())

    up = [letters(sort_filters=[SortFilterEnum.NAME_ASC], page_size=size) for size in (1, 2, 50)]
    same((up, letters(), letters(sort_filters=[SortFilterEnum.CREATED_ASC])), (["abbcdx"] * 3, "xbbdac", "cadbbx"))


def check_tables() -> None:
    """A table has all jobs, and the project sums them up."""
    frame = _all(page_size=3).df()
    counts = frame["last_status"].map(lambda status: status.value).value_counts().to_dict()
    same((counts, {*frame["backend_config"]}), ({"CANCELLED": 1, "COMPLETED": 5}, {"AerConfig", "QuantinuumConfig"}))
    found = qnx.projects.summarize(_listed()).iloc[0].to_dict()
    kinds = ("total_jobs", "pending_jobs", "cancelled_jobs", "errored_jobs", "completed_jobs")
    same([int(found[kind]) for kind in kinds], [6, 0, 1, 0, 5])


def check_system() -> None:
    job = execute(uploaded("slow"), 1, QUEUED)
    qnx.jobs.cancel(job)
    found = qnx.jobs.get(id=job.id).system
    same((found.name, found.provider_name), ("H1-1", "Quantinuum"))


def _cancelled(job: Any) -> Any:
    qnx.jobs.cancel(job)
    return final(job)


def check_cancel_queued() -> None:
    """A job that is cancelled in a queue never ran; its items say that they have no results."""
    job = execute([uploaded("slow"), uploaded("slow")], 10, QUEUED)
    before = until(job, S.QUEUED)
    after = _cancelled(job)
    same((before.status, after.status, after.running_time), (S.QUEUED, S.CANCELLED, None))
    found = qnx.jobs.results(job, allow_incomplete=True)
    same([(type(entry), entry.last_status) for entry in found], [(IncompleteJobItemRef, S.CANCELLED)] * 2)
    strategy = PollingStrategy(S.CANCELLED, initial_interval=0.2)
    same(qnx.jobs.wait_for(job, S.CANCELLED, timeout=20, strategy=strategy).status, S.CANCELLED)


def _items(job: Any) -> list[dict[str, Any]]:
    with raw() as client:
        found = client.get(f"/api/jobs/v1beta3/{job.id}")
    return list(found.json()["data"]["attributes"]["definition"]["items"])


def _retry(job: Any, strategy: str, **values: Any) -> int:
    with raw() as client:
        body = {"remote_retry_strategy": strategy, **values}
        return client.post(f"/api/jobs/v1beta3/{job.id}/rpc/retry", json=body).status_code


def check_retry_cancelled() -> None:
    """Items that were cancelled before they reached the third party have no handle there, so they run."""
    jobs = []
    for _ in range(2):
        jobs.append(execute(uploaded("bell"), 10, AER))
        _cancelled(jobs[-1])
    same(_retry(jobs[0], "ALLOW_RESUBMIT", retry_status=["CANCELLED"]), 202)
    qnx.jobs.retry_submission(jobs[1], retry_status=[S.CANCELLED])
    same([qnx.jobs.wait_for(job, timeout=60).status for job in jobs], [S.COMPLETED] * 2)


def check_retry_force_resubmit() -> None:
    job = execute([uploaded("slow"), uploaded("slow")], 10, FAILING, "failing")
    same(final(job).status, S.ERROR)
    before = [item["external_handle"] for item in _items(job)]
    code = _retry(job, "FORCE_RESUBMIT")
    again = final(job).status
    after = [item["external_handle"] for item in _items(job)]
    same((code, again, None in before, set(before) & set(after)), (202, S.ERROR, False, set()))


def check_retry_of_a_completed_job() -> None:
    """By default only items in ERROR run again; others run again when they are asked for."""
    job = execute(uploaded("bell"), 10, AER)
    final(job)
    (first,) = qnx.jobs.results(job)
    qnx.jobs.retry_submission(job, remote_retry_strategy=RemoteRetryStrategy.FULL_RESTART)
    (same_one,) = qnx.jobs.results(job)
    qnx.jobs.retry_submission(job, retry_status=[S.COMPLETED])
    status = qnx.jobs.wait_for(job, timeout=60)
    (second,) = qnx.jobs.results(job)
    same((first.id == same_one.id, first.id != second.id, type(second)), (True, True, ExecutionResultRef))
    same(status.status, S.COMPLETED)


def check_delete() -> None:
    job = execute(uploaded("bell"), 10, AER, fresh("deleted"))
    final(job)
    (result,) = qnx.jobs.results(job)
    qnx.jobs.delete(job)
    refused(lambda: qnx.jobs.get(id=job.id), ZeroMatches)
    refused(lambda: qnx.results.get(result.id), DataGone)
    same(qnx.jobs.get_all(project=project(), name_exact=[job.annotations.name]).count(), 0)
