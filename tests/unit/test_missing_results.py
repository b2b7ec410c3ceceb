"""Results that never come: each is settled with its reason, the run goes on, and nothing is shown in their place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from launching import Stages, circuits, points, run
from scripted import ScriptedBackend
from support import NOW, at, create, submitted

import qjobs
from qjobs.backends.base import Limits, MissingResult, Snapshot
from qjobs.errors import BackendUnavailable, JobFailed
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobId, RemoteId
from qjobs.operations.compile_jobs import compiled_by, plan_compilation
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.reports.run_report import report_of

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)
CHECKER = Limits(results_kept_s=0)
DAY_S = 86_400.0
NO_SHOTS: Mapping[str, object] = {
    "told": lambda _: MissingResult(reason="a syntax checker"),
    "zeros": lambda _: ItemResult(counts={"0": 0, "1": 0}),
    "nothing": lambda _: ItemResult(counts={}),
}


def done(store: Ledger, backend: ScriptedBackend, key: str = "key") -> JobId:
    """A COMPLETED job, of which nothing is collected yet."""
    (job_id,) = submitted(store, backend, key)
    backend.report(*DONE)
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    return job_id


def test_gone(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A result that is gone for ever is told with its words at once; the others are there, and the frame has both."""
    backend = ScriptedBackend()
    backend.gone[1] = "410: results are kept for 30 days"
    plan = circuits(3)
    finished = run(stages(backend), plan)
    (problem,) = finished.problems.values()
    assert isinstance(problem, JobFailed)
    assert problem.failed == {1: "410: results are kept for 30 days"}
    assert "410: results are kept for 30 days" in str(problem)
    frame = report_of(store, plan, finished.jobs).frame
    assert frame["status"].tolist() == ["COMPLETED", "MISSING", "COMPLETED"]
    assert frame["message"].tolist() == ["", "410: results are kept for 30 days", ""]
    assert frame["counts"].isna().tolist() == [False, True, False]


def test_gone_is_not_waited_for(store: Ledger, backend: ScriptedBackend) -> None:
    """A result that never comes is asked for once, by the sensor too, and a suspended run goes on."""
    backend.gone[1] = "404"
    (job_id,) = submitted(store, backend, "a")
    store.waits.register("run", [job_id], until="all", now=NOW)
    backend.report(*DONE)
    sensor_pass(store, lambda _: backend, now=lambda: at(10))
    assert [each.is_over for each in store.waits.runs()] == [True]
    assert sensor_pass(store, lambda _: backend, now=lambda: at(DAY_S)).asked == set()
    assert [item.no_result for item in store.items(job_id)] == [None, "404"]


@pytest.mark.parametrize("answer", NO_SHOTS.values(), ids=NO_SHOTS)
def test_syntax_checker(store: Ledger, stages: Callable[..., Stages], answer: Callable[[int], object]) -> None:
    """A run on a syntax checker succeeds without results, and nothing of it is shown as data."""
    backend = ScriptedBackend(limits=CHECKER)
    backend.result = lambda _, n: answer(n)
    plan = points(0.1, 0.2, observables=[{"name": "z", "terms": "Z0"}])
    finished = run(stages(backend), plan)
    assert finished.problems == {}
    report = report_of(store, plan, finished.jobs)
    assert report.frame["status"].tolist() == ["MISSING", "MISSING"]
    assert set(report.frame["message"]) == {"device gives no results"}
    assert all(math.isnan(value) for value in report.frame["z"])
    assert (report.picture, report.bests) == (None, ())
    assert [store.results(job.job_id) for job in store.jobs()] == [{}]


def test_checker_ends_at_once(store: Ledger) -> None:
    """The sensor does not wait for the results of a syntax checker."""
    backend = ScriptedBackend(limits=CHECKER)
    backend.result = lambda *_: MissingResult(reason="a syntax checker")
    (job_id,) = submitted(store, backend, "a")
    backend.report(*DONE)
    report = sensor_pass(store, lambda _: backend, now=lambda: NOW)
    assert (report.moved, report.trouble) == ({job_id: S.COMPLETED}, {})
    assert store.job(job_id).next_poll_at is None
    assert qjobs.collect(store, backend, job_id, now=lambda: NOW).missing.keys() == {0, 1}


def test_checker_fails(store: Ledger) -> None:
    """What a syntax checker refuses is a failure, with its words."""
    backend = ScriptedBackend(limits=CHECKER)
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.COMPLETED, S.ERROR, messages=[(1, "line 3: no such gate")])
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    with pytest.raises(JobFailed, match=r"1 of 2 items.*line 3: no such gate") as caught:
        qjobs.collect(store, backend, job_id, now=lambda: NOW)
    assert caught.value.failed.keys() == {1}


def test_checker_compiles(store: Ledger) -> None:
    """What a syntax checker compiles is a result."""
    backend = ScriptedBackend(limits=CHECKER)
    plan = circuits(1)
    store.add_programs(plan.programs.values())
    wanted = {"level": 1, "name": "c", "run": "r", "opened_as": "fake"}
    (job_id,) = plan_compilation(store, backend, list(plan.programs), **wanted).job_ids
    qjobs.submit(store, backend, job_id)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id])
    qjobs.collect(store, backend, job_id)
    assert compiled_by(store, [job_id]).keys() == plan.programs.keys()


@pytest.mark.parametrize(
    ("limits", "late_s", "words"),
    [
        (Limits(results_kept_s=4000.0), 4001.0, "keeps results for 4000 s"),
        (Limits(), DAY_S + 1, "COMPLETED for 24 hours"),
    ],
    ids=["kept", "a day"],
)
def test_given_up(store: Ledger, limits: Limits, late_s: float, words: str) -> None:
    """A result that is not there is asked for as long as it may come, and then settled."""
    backend = ScriptedBackend(limits=limits)
    job_id = done(store, backend)
    backend.jobs[RemoteId("remote-1")].late = True
    for seconds in (late_s - 3602, late_s - 2):
        with pytest.raises(BackendUnavailable, match="not there yet"):
            qjobs.collect(store, backend, job_id, now=lambda seconds=seconds: at(seconds))
    assert store.awaited_items(job_id) == (0, 1)
    with pytest.raises(JobFailed, match=words):
        qjobs.collect(store, backend, job_id, now=lambda: at(late_s))
    assert store.awaited_items(job_id) == ()


@pytest.mark.parametrize("limits", [Limits(results_kept_s=100.0), Limits()], ids=["kept", "a day"])
def test_one_late_answer(store: Ledger, limits: Limits) -> None:
    """Whoever asks for the first time weeks later gives nothing up for one answer; an hour of them settles it."""
    backend = ScriptedBackend(limits=limits)
    job_id = done(store, backend)
    backend.jobs[RemoteId("remote-1")].late = True
    for seconds in (20 * DAY_S, 20 * DAY_S + 3599):
        with pytest.raises(BackendUnavailable, match="not there yet"):
            qjobs.collect(store, backend, job_id, now=lambda seconds=seconds: at(seconds))
    assert [event.cause for event in store.events(job_id)].count("no result yet") == 1
    with pytest.raises(JobFailed):
        qjobs.collect(store, backend, job_id, now=lambda: at(20 * DAY_S + 3600))
    backend.jobs[RemoteId("remote-1")].late = False
    assert qjobs.collect(store, backend, job_id, now=lambda: at(21 * DAY_S)).results.keys() == {0, 1}


def test_open_item_is_not_settled(store: Ledger, backend: ScriptedBackend) -> None:
    """An item that is still open may get a result, whatever is said of it."""
    backend.gone[1] = "404 for now"
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.COMPLETED, S.RUNNING)
    sensor_pass(store, lambda _: backend, now=lambda: at(10))
    assert [item.no_result for item in store.items(job_id)] == [None, None]
    backend.gone.clear()
    backend.report(*DONE)
    sensor_pass(store, lambda _: backend, now=lambda: at(DAY_S))
    assert store.results(job_id).keys() == {0, 1}


def test_zeros_of_an_older_version(store: Ledger, backend: ScriptedBackend) -> None:
    """Zero counts that lie in the ledger are no data in a frame."""
    job_id = done(store, backend)
    attempt = store.attempts(job_id)[0]
    store.store_results(job_id, attempt, {0: ItemResult(counts={"00": 0}), 1: ItemResult(counts={"00": 3})}, now=NOW)
    frame = report_of(store, circuits(1), {"fake": [job_id]}).frame
    assert frame["status"].tolist() == ["MISSING", "COMPLETED"]
    assert frame["counts"].isna().tolist() == [True, False]
    assert json.loads(frame["counts"][1]) == {"00": 3}


def detailed(backend: ScriptedBackend, detail: str) -> None:
    """Let the backend add a detail to every item in ERROR."""
    told = backend.snapshot

    def snapshot(remote_id: RemoteId) -> Snapshot:
        plain = told(remote_id)
        items = []
        for item in plain.items or ():
            items.append(replace(item, error_detail=detail) if item.status is S.ERROR else item)
        return replace(plain, items=tuple(items))

    backend.snapshot = snapshot


def test_detail_of_an_error(store: Ledger, stages: Callable[..., Stages]) -> None:
    """The provider's detail of an item's error is in the failure and in the frame."""
    backend = ScriptedBackend()
    detailed(backend, "qubit 3 lost its ion")
    staged = stages(backend)
    staged.end = S.ERROR
    plan: SweepPlan = points(0.1)
    finished = run(staged, plan)
    (problem,) = finished.problems.values()
    assert isinstance(problem, JobFailed)
    assert "qubit 3 lost its ion" in problem.failed[0]
    assert "qubit 3 lost its ion" in report_of(store, plan, finished.jobs).frame["message"][0]


def test_nothing_was_sent(store: Ledger) -> None:
    """A job that was never sent says so."""
    job_id = create(store)
    assert set(qjobs.collect(store, None, job_id).missing.values()) == {"it is not in the ledger"}
