"""Execute: one road from a plan to its results, on backends that do as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from launching import Stages, circuits, points, run, to_submit
from scripted import Fault, ScriptedBackend
from support import NOW, claim, create

import qjobs
from qjobs.backends.base import Capability, Limits, Lookup
from qjobs.errors import (
    BackendUnavailable,
    InvalidInput,
    JobFailed,
    LedgerUnavailable,
    NotSent,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.submissions import Submissions
from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind
from qjobs.operations.execute import ExperimentPlan, finish
from qjobs.operations.poll import utc_now

S = JobStatus
ONE_EACH = Limits(max_items=1)


def n_missing(store: Ledger) -> int:
    return sum(job.n_items - store.result_counts([job.job_id])[job.job_id] for job in store.jobs())


def test_to_the_results(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Every circuit has a result at the end, from one remote job a batch."""
    backend = ScriptedBackend(limits=Limits(max_items=2))
    done = run(stages(backend), circuits(5))
    assert (done.problems, len(done.jobs["fake"]), len(backend.jobs), n_missing(store)) == ({}, 3, 3, 0)
    assert done.summaries == ("fake: 0 of 5 circuits are there from earlier runs, 3 jobs for the others",)


@pytest.mark.parametrize("plan", [circuits(2), points()], ids=["list", "sweep"])
def test_entered_again(store: Ledger, stages: Callable[..., Stages], plan: ExperimentPlan) -> None:
    """The same run entered again sends nothing, and neither submits, waits for nor collects what has its results."""
    staged = stages()
    first = run(staged, plan)
    waits = len(staged.waits)
    staged.opened["fake"].troubles.append(AssertionError("it was asked again"))
    assert run(staged, plan).jobs == first.jobs
    assert (len(staged.opened["fake"].jobs), len(staged.waits)) == (1, waits)


@pytest.mark.parametrize("make", [circuits, points], ids=["list", "sweep"])
def test_vendor_batch(stages: Callable[..., Stages], make: Callable[..., ExperimentPlan]) -> None:
    """All jobs of a logical run are one batch at the provider, whoever plans them; those of another are another one."""
    backend = ScriptedBackend(limits=ONE_EACH)
    backend.capabilities |= {Capability.BATCHES}
    backend.faults.extend([None, Fault(NotSent("no network"))])
    staged = stages(backend)
    plan = make(3, vendor_batch=True) if make is circuits else make(0.1, 0.2, 0.3, vendor_batch=True)
    run(staged, plan, "one", identity="wish")
    run(staged, plan, "two", identity="wish")
    (batch_id,) = {job.batch.options.batch_id for job in backend.jobs.values()}
    assert len(backend.jobs) == 3
    assert str(UUID(batch_id)) == batch_id
    other = make(2, vendor_batch=True, name="other") if make is circuits else make(1.0, vendor_batch=True, name="other")
    run(staged, other, "three")
    assert len({job.batch.options.batch_id for job in backend.jobs.values()}) == 2


def test_no_batches(stages: Callable[..., Stages]) -> None:
    """Where the provider has no batches, and where none was asked for, each job goes by itself."""
    backend = ScriptedBackend()
    run(stages(backend), circuits(1, vendor_batch=True), "one")
    backend.capabilities |= {Capability.BATCHES}
    run(stages(backend), circuits(1), "two")
    assert {job.batch.options.batch_id for job in backend.jobs.values()} == {None}


def test_same_logical_run(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Another run of the same logical run finds its jobs; of another one it makes its own."""
    staged = stages()
    first = run(staged, circuits(2), "one")
    assert run(staged, circuits(2), "two", identity="one").jobs == first.jobs
    assert run(staged, circuits(2), "two", identity="other").jobs != first.jobs
    assert len(staged.opened["fake"].jobs) == 2


# The device's limit, and other processes


def test_full_device(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Never more live jobs than the device takes; what does not fit is submitted as slots free."""
    backend = ScriptedBackend(limits=Limits(max_items=1, max_live_jobs=2))
    live: list[int] = []
    backend.before_submit = lambda: live.append(len(backend.live()))
    staged = stages(backend)
    assert run(staged, circuits(5)).problems == {}
    assert (len(backend.jobs), max(live), n_missing(store)) == (5, 1, 0)
    assert [until for until, _, _ in staged.waits] == ["any", "any", "all"]


def test_room_of_others(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A device that another run has filled is waited for, and then used."""
    backend = ScriptedBackend(limits=Limits(max_items=1, max_live_jobs=1))
    staged = stages(backend)
    other = create(store, "other", n_items=1)
    qjobs.submit(store, backend, other)
    assert run(staged, circuits(1)).problems == {}
    assert staged.waits == [("room", "room", 1), ("all", "progress", 1)]


def test_room_of_account(store: Ledger, stages: Callable[..., Stages]) -> None:
    """An account that is filled by a job on another of its devices is waited for, and then used."""
    backend = ScriptedBackend(limits=Limits(max_items=1, max_account_jobs=1))
    elsewhere = ScriptedBackend(limits=backend.limits)
    elsewhere.device = "second"
    elsewhere.jobs = backend.jobs  # one provider
    staged = stages(backend)
    other = create(store, "other", n_items=1, device="second")
    qjobs.submit(store, elsewhere, other)
    assert run(staged, circuits(2)).problems == {}
    assert staged.waits[0] == ("room", "room", 1)
    assert len(backend.jobs) == 3


def test_busy_elsewhere(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A job that another process is submitting is tried again until that one has let go of it."""
    job_id = create(store, "shared", n_items=1)
    attempt = claim(store, job_id, owner="elsewhere:1", now=utc_now())
    later = threading.Timer(0.2, lambda: store.submissions.release(attempt, "no route", now=NOW))
    later.start()
    staged = stages()
    assert finish(store, {job_id: to_submit()}, staged) == {}
    later.join()
    assert len(staged.opened["fake"].jobs) == 1


def test_left_submitting(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A submission that failed and could not be written down is reported, and not waited for."""

    class Locked(Submissions):
        def mark_unknown(self, *_: object, **__: object) -> None:
            raise LedgerUnavailable("locked")

    job_id = create(store, "locked", n_items=1)
    staged = stages()
    staged.opened["fake"].faults.append(Fault(SubmissionUnknown("the connection broke")))
    with Ledger(store.url) as locked:
        locked.submissions = Locked(locked._db)
        staged._ledger = locked
        problems = finish(locked, {job_id: to_submit()}, staged)
    assert isinstance(problems[job_id], BackendUnavailable)
    assert (store.job(job_id).status, staged.waits) == (S.SUBMITTING, [])


# What goes wrong


def test_refused_spares_others(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A refused job is a problem of its own; the others have their results."""
    staged = stages(ScriptedBackend(limits=ONE_EACH))
    staged.opened["fake"].faults += [None, Fault(SubmissionRejected("no", detail="too wide"))]
    done = run(staged, circuits(3))
    assert [type(error) for error in done.problems.values()] == [SubmissionRejected]
    assert n_missing(store) == 1


def test_unknown_ends_the_run(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A job that stays UNKNOWN is neither waited for nor sent again."""
    staged = stages(ScriptedBackend(Lookup()))
    staged.opened["fake"].faults.append(Fault(SubmissionUnknown("the connection broke"), "after"))
    done = run(staged, circuits(1))
    assert [type(error) for error in done.problems.values()] == [SubmissionUnknown]
    assert (len(staged.opened["fake"].jobs), staged.waits) == (1, [])


def test_failed_is_reported_again(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A run entered again reports the job that failed, and pays for no other; a new run makes a new one."""
    staged = stages()
    staged.end = S.ERROR
    for _ in range(2):
        assert [type(error) for error in run(staged, points()).problems.values()] == [JobFailed]
    assert len(staged.opened["fake"].jobs) == 1
    staged.end = S.COMPLETED
    assert run(staged, points(), "another").problems == {}
    assert len(staged.opened["fake"].jobs) == 2


def test_borrowed_job_failed(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A run that was suspended for another run's job, which failed, pays for no second one; then its wait is over."""
    staged = stages()
    staged.end = S.ERROR
    (failed,) = run(staged, points(), "one").jobs["fake"]
    store.waits.register("two", [failed], until="all", now=NOW)
    done = run(staged, points(), "two")
    assert list(done.problems) == [failed]
    assert (len(store.jobs()), store.waits.runs()) == (1, [])


def test_wrong_second_name(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A sweep that names a backend that does not exist plans nothing on the others."""
    with pytest.raises(InvalidInput, match="no backend 'nobody'"):
        run(stages(), points(backends=["fake", "nobody"]))
    assert store.jobs() == []


def test_second_refuses(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A sweep that one of its backends cannot run is submitted to none."""
    staged = stages(fake=ScriptedBackend(), small=ScriptedBackend(name="small", limits=Limits(max_shots=1)))
    with pytest.raises(InvalidInput, match="5 shots"):
        run(staged, points(backends=["fake", "small"]))
    assert [backend.jobs for backend in staged.opened.values()] == [{}, {}]


def test_two_backends(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Jobs of several backends are waited for together."""
    staged = stages(fake=ScriptedBackend(), other=ScriptedBackend(name="other"))
    done = run(staged, points(backends=["fake", "other"]))
    assert (done.problems, staged.waits, n_missing(store)) == ({}, [("all", "progress", 2)], 0)


# Compile jobs


def test_compile_job(store: Ledger, stages: Callable[..., Stages]) -> None:
    """The provider compiles first, in a job of its own; entered again, neither job is sent again."""
    staged = stages()
    for _ in range(2):
        assert run(staged, circuits(1, compiler="remote")).problems == {}
    assert [job.kind for job in store.jobs()].count(JobKind.COMPILE) == len(store.jobs()) - 1 == 1
    assert [kind for _, kind, _ in staged.waits] == ["compile-progress", "progress"]
    assert len(staged.opened["fake"].jobs) == 2


def test_compile_job_fails(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Where the compile job fails, the run fails and nothing else is planned or sent."""
    staged = stages()
    staged.end = S.ERROR
    for _ in range(2):
        with pytest.raises(JobFailed):
            run(staged, circuits(1, compiler="remote"))
    assert [job.kind for job in store.jobs()] == [JobKind.COMPILE]
    assert len(staged.opened["fake"].jobs) == 1
