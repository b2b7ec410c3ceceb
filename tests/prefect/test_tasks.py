"""Tasks: what their decorators say, what they do without Prefect, and the retry ladder within it."""

from __future__ import annotations

import ast
import inspect
import logging
import re
from pathlib import Path

import pytest
from given import BELL
from observing import logs_of
from prefect import Flow, Task, flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from scripted_block import script
from support import job_moves

import flows.hybrid
import flows.nightly_benchmark
import flows.run_circuits
import flows.sweep
import qjobs
import tasks
from blocks import backend_named, ledger_named
from flows._support.stages import TaskStages
from flows._support.waiting import AUTO
from qjobs import errors
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId, Lookup, RemoteRetryStrategy
from qjobs.operations.execute import ToSubmit, finish, sort_failures
from qjobs.operations.retry import RetryPolicy, Rung
from tasks.retrying import (
    COMPILE_DELAYS_S,
    DEFAULT_POLICY,
    READ_DELAYS_S,
    is_transient,
    is_transient_read,
    run_count,
)

ROOT = Path(__file__).parents[2]
TASKS = [getattr(tasks, name) for name in tasks.__all__]
FLOWS = [
    flows.sweep.sweep,
    flows.run_circuits.run_circuits,
    flows.nightly_benchmark.nightly_benchmark,
    flows.hybrid.hybrid,
]
DEFAULT, ALLOW = RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.ALLOW_RESUBMIT


def _decorated(folder: str, decorator: str) -> dict[str, tuple[ast.FunctionDef, set[str]]]:
    """Functions under a decorator of that name, with the options it is called with."""
    found = {}
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for one in getattr(node, "decorator_list", []):
                if ast.unparse(getattr(one, "func", one)) == decorator:
                    found[node.name] = (node, {keyword.arg for keyword in getattr(one, "keywords", [])})
    return found


def test_length() -> None:
    """A task has at most twenty lines."""
    for name, (node, _) in _decorated("tasks", "task").items():
        body = node.body[1:]  # without the docstring
        assert body[-1].end_lineno - body[0].lineno < 20, name


@pytest.mark.parametrize("one", TASKS, ids=lambda one: one.name)
def test_task_options(one: Task) -> None:
    """Every task has the options of its kind."""
    submits = one is tasks.submit_job
    delays = {tasks.submit_job: DEFAULT_POLICY.delays_s, tasks.compile_circuits: COMPILE_DELAYS_S}.get(
        one, READ_DELAYS_S
    )
    assert (one.retries, one.retry_delay_seconds) == (len(delays), delays)
    assert one.retry_jitter_factor > 0
    assert one.retry_condition_fn is (is_transient if submits else is_transient_read)
    assert one.persist_result is False
    assert one.cache_policy == NO_CACHE
    assert one.tags == {"qjobs"}
    assert one.name == one.fn.__name__.replace("_", "-")
    assert one.description
    assert one.task_run_name


@pytest.mark.parametrize("one", FLOWS, ids=lambda one: one.name)
def test_flow_options(one: Flow) -> None:
    """Every flow of an experiment has the same options, and the hook that cancels its jobs."""
    assert (one.retries, one.persist_result, one.should_validate_parameters) == (0, False, True)
    assert one.on_cancellation_hooks == [flows._support.stages.cancel_jobs]
    assert one.name == one.fn.__name__.replace("_", "-")
    assert one.flow_run_name == "{spec.name}"


def test_only_submit_submits() -> None:
    """Nothing but the submit stage can create a remote job."""
    for one in TASKS:
        called = set()
        for node in ast.walk(ast.parse(inspect.getsource(one.fn))):
            if isinstance(node, ast.Attribute):
                called.add(node.attr)
            elif isinstance(node, ast.Name):
                called.add(node.id)
        assert bool(called & {"submit", "submit_by_ladder"}) == (one is tasks.submit_job), one.name


def _error(name: str) -> Exception:
    """An error of that class, whatever its constructor wants: as `pickle` makes it."""
    cls = getattr(errors, name)
    return cls.__reduce__(cls.__new__(cls, "words"))[0](cls, ("words",), {})


@pytest.mark.parametrize("name", errors.__all__)
def test_transient(name: str) -> None:
    """Transient errors are retried, and no others; a stage that only reads also asks again for an odd answer."""
    transient = {"BackendUnavailable", "NotSent", "Busy", "LedgerAway"}
    state = Failed(data=_error(name))
    assert is_transient(None, None, state) is (name in transient)
    assert is_transient_read(None, None, state) is (name in {*transient, "ProtocolError", "AlreadyRuns"})


@pytest.mark.parametrize(
    "state",
    [
        Completed(data=3),
        *(Failed(data=error) for error in (RuntimeError("x"), TimeoutError(), ValueError(), KeyError("x"))),
    ],
)
def test_others(state: State) -> None:
    """Neither success nor errors that are not ours are retried."""
    assert is_transient(None, None, state) is False
    assert run_count() == 1


def _job(
    store: Ledger, backend: str, program: str | None = None, labels: tuple[str, ...] = ("bell",), **values: object
) -> JobId:
    bell = read_circuit(BELL)
    known = store.programs([program]) if program else {bell.hash: bell}
    items = [ItemSpec(label=label, program=next(iter(known)), shots=100) for label in labels]
    values = {"run": "run", "name": labels[0], **values}
    return qjobs.plan(store, backend_named(backend), items, known, **values)[0]


def test_without_prefect(store: Ledger, home: Path) -> None:
    """Every task works without Prefect."""
    spec = CircuitList.model_validate({"name": "plain", "circuits": [{"openqasm": BELL, "label": "bell"}], "seed": 1})
    program = read_circuit(BELL)
    store.add_programs([program])
    compiled = tasks.compile_circuits.fn("aer", [program.hash], CompileOptions())
    assert set(compiled) == {program.hash}
    job_id = _job(store, "aer", compiled[program.hash])
    assert tasks.submit_job.fn(job_id, backend="aer") in {"SUBMITTED", "QUEUED", "RUNNING", "COMPLETED"}
    assert tasks.wait_for_jobs.fn([job_id], backends=["aer"], progress_key="plain-progress") == {job_id: "COMPLETED"}
    assert tasks.collect_results.fn(job_id, backend="aer") == 1
    assert tasks.submit_job.fn(job_id, backend="aer") == "COMPLETED"
    assert len(store.attempts(job_id)) == 1
    published = tasks.publish_artifacts.fn(expand_circuit_list(spec), {"aer": [job_id]})
    assert (published.n_rows, published.n_missing, published.artifact_keys) == (1, 0, ())
    assert Path(published.parquet).is_relative_to(home)


def test_compile_cache(store: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling again takes it from the cache, unless `fresh`."""
    # Prefect's loggers keep their records from the root logger, where `caplog` listens.
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    program = read_circuit(BELL)
    store.add_programs([program])
    with caplog.at_level(logging.INFO):
        for fresh in (False, False, True):
            tasks.compile_circuits.fn("aer", [program.hash], CompileOptions(), fresh=fresh)
    hits = [record.getMessage().rsplit("cache: ")[1] for record in caplog.records if "cache:" in record.getMessage()]
    assert hits[:2] == ["0 hits of 1", "1 hits of 1"]
    assert not hits[2].startswith("1 hits")


def test_compile_on(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage compiles where the form says; without a cluster it says what to do, and Prefect does not repeat it."""
    monkeypatch.delenv("QJOBS_DASK_SCHEDULER", raising=False)
    programs = [read_circuit(BELL), read_circuit(BELL.replace("h q[0]", "x q[0]"))]
    store.add_programs(programs)
    hashes = [program.hash for program in programs]
    here = tasks.compile_circuits.fn("aer", hashes, CompileOptions(level=2), on=CompileOn.HERE)
    assert tasks.compile_circuits.fn("aer", hashes, CompileOptions(level=2), fresh=True, on=CompileOn.PROCESSES) == here
    with pytest.raises(errors.InvalidInput, match="QJOBS_DASK_SCHEDULER"):
        tasks.compile_circuits.fn("aer", hashes, CompileOptions(level=2), fresh=True, on=CompileOn.DASK)


@flow(name="one-submission", log_prints=False)
def one_submission(job_id: JobId, backend: str, policy: RetryPolicy) -> tuple[str, str]:
    stage = tasks.submit_job.with_options(retries=len(policy.rungs), retry_delay_seconds=policy.delays_s)
    future = stage.submit(job_id, backend=backend, policy=policy)
    answer = future.result(raise_on_failure=False)
    return str(flow_run.id), answer if isinstance(answer, str) else f"{type(answer).__name__}: {answer}"


SUBMISSIONS = {
    "a rung that may": (["not sent", "lost", "ok"], {}, [DEFAULT, ALLOW], (3, 1), "SUBMITTED|QUEUED|RUNNING|COMPLETED"),
    "found by its key": (
        ["lost reply"],
        {},
        [DEFAULT],
        (1, 1),
        "COMPLETED",
    ),  # what is found is asked for its status at once
    "the ladder ends": (["not sent"] * 9, {}, [DEFAULT, ALLOW, ALLOW], (4, 0), "NotSent"),
    "rejected": (["refused"], {}, [], (1, 0), "SubmissionRejected"),
    "opaque": (["lost reply"], {"lookup": Lookup()}, [], (1, 1), "SubmissionUnknown"),
}
LEFT = {"the ladder ends": JobStatus.CREATED, "rejected": JobStatus.ERROR, "opaque": JobStatus.UNKNOWN}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_submit_stage(client: SyncPrefectClient, store: Ledger, case: str) -> None:
    """Each retry names its rung in the log and in the events; what a retry cannot help is not retried."""
    words, options, climbed, made, expected = SUBMISSIONS[case]
    name, backend = script(f"stage-{case.replace(' ', '-')}", on_submit=words, **options)
    job_id = _job(store, name)
    rungs = tuple(Rung(strategy=strategy, delay_s=0.01) for strategy in (DEFAULT, ALLOW, ALLOW))
    run, answer = one_submission(job_id, name, RetryPolicy(rungs=rungs))
    assert re.match(expected, answer)
    assert (backend.n_submissions, len(backend.jobs)) == made
    assert case not in LEFT or store.job(job_id).status is LEFT[case]
    assert (store.job(job_id).message == "the provider says: too deep") == (case == "rejected")
    assert ("found by key" in [cause for _, _, cause in job_moves(store, job_id)]) == (case == "found by its key")
    told = [event.detail for event in store.events(job_id) if event.cause == "retry"]
    assert told == [f"retry {n} of the submit stage, rung {rung}" for n, rung in enumerate(climbed, 1)]
    lines = logs_of(client, run, until=f"retry {len(climbed)} of {job_id}") if climbed else []
    for number, rung in enumerate(climbed, 1):
        assert any(f"retry {number} of {job_id} uses the rung {rung}" in line for line in lines)
    if case == "a rung that may":
        assert [attempt.strategy for attempt in store.attempts(job_id)] == [DEFAULT, DEFAULT, ALLOW]


def test_sort(api: str, store: Ledger) -> None:
    """A failed submission is repeated later, lost, or at its provider: by its error and the ledger."""
    name, _ = script("sorting", on_submit=["ok", "ok", "lost"])
    jobs = [_job(store, name, labels=(label,)) for label in ("full", "outage", "read fails", "bug", "fate")]
    full, outage, read_fails, bug, fate = jobs
    for job_id in (read_fails, bug):
        qjobs.submit(store, backend_named(name), job_id)
    with pytest.raises(errors.BackendUnavailable):
        qjobs.submit(store, backend_named(name), fate)
    failed = {
        full: errors.Busy("full", job_id=full),
        outage: errors.NotSent("no route"),
        read_fails: errors.BackendUnavailable("502"),
        bug: RuntimeError("ours"),
        fate: errors.BackendUnavailable("502"),
    }
    later, lost = sort_failures(store, failed)
    assert later == {full}
    assert set(lost) == {outage, bug, fate}


@flow(name="some-jobs", log_prints=False)
def some_jobs(jobs: dict[JobId, str]) -> dict[JobId, str]:
    wanted = {}
    for job_id, name in jobs.items():
        wanted[job_id] = ToSubmit(backend=name, policy=RetryPolicy.for_backend(backend_named(name).lookup))
    problems = finish(ledger_named(), wanted, TaskStages("", "some jobs", AUTO))
    return {job_id: type(error).__name__ for job_id, error in problems.items()}


def test_first_rung(api: str, store: Ledger) -> None:
    """One failure in a flow takes the first rung of the backend's own ladder, with its delay of two seconds."""
    name, backend = script("hiccup", on_submit=["not sent"])
    job_id = _job(store, name)
    assert some_jobs({job_id: name}) == {}
    assert (backend.n_submissions, len(backend.jobs)) == (2, 1)
    notes = [event for event in store.events(job_id) if event.cause == "retry"]
    assert [event.detail for event in notes] == ["retry 1 of the submit stage, rung DEFAULT"]
    waited_s = (notes[0].at - store.job(job_id).created_at).total_seconds()
    assert waited_s >= 1.5  # Prefect's jitter takes a fifth of it at the most
