"""The backend of Divi, sentence by sentence of its `AsyncJobBackend`; Divi itself is not installed here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qiskit import QuantumCircuit
from scripted import OPAQUE, Fault, ScriptedBackend
from support import raw

from qjobs.backends.base import Limits
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    InvalidInput,
    JobFailed,
    JobNotFound,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.experiments.forms import CompileInput
from qjobs.interop.divi import QjobsBackend
from qjobs.interop.divi_types import DiviJobStatus, ExecutionCancelledError, ExecutionResult, Response, divi_types
from qjobs.ledger import Ledger
from qjobs.ledger.tables import JOB
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.operations.submit import submit

S = JobStatus
ONE = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; x q[0]; measure q -> c;'
OTHER = ONE.replace("x q[0]", "h q[0]")
THREE = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; c = measure q;'
UNCOMPILED = CompileInput.model_validate({"compiler": "none"})


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QJOBS_HOME", str(home))


@pytest.fixture
def provider() -> ScriptedBackend:
    return ScriptedBackend(poll_interval_s=(0.01, 0.01))


def program_on(store: Ledger, provider: ScriptedBackend, **values: object) -> QjobsBackend:
    given: dict[str, Any] = {"run": "vqe", "shots": 100, "ledger": store, "compiling": UNCOMPILED, **values}
    return QjobsBackend(provider, **given)


def ended(provider: ScriptedBackend, *statuses: JobStatus) -> Callable[[int, str], None]:
    """A progress callback that lets the newest job end after two polls, and notes what it is told."""
    told: list[tuple[int, str]] = []

    def callback(attempt: int, status: str) -> None:
        told.append((attempt, status))
        if attempt == 2:
            provider.report(*statuses)

    callback.told = told  # type: ignore[attr-defined]
    return callback


def done(backend: QjobsBackend, provider: ScriptedBackend, circuits: Any, **values: object) -> Any:
    """A batch from its submission to its results."""
    handle = backend.submit_circuits(circuits, **values)
    provider.report(*[S.COMPLETED] * len(provider.jobs[list(provider.jobs)[-1]].items))
    assert backend.poll_job_status(handle, loop_until_complete=True, verbose=False) == "COMPLETED"
    return backend.get_job_results(handle)


def sent(provider: ScriptedBackend) -> list[tuple[str, int]]:
    """Labels and shots of all items that were sent."""
    found = []
    for job in provider.jobs.values():
        found += [(item.label, item.shots) for item in job.batch.items]
    return found


def test_handle(store: Ledger, provider: ScriptedBackend) -> None:
    """Submitting gives a handle with a job id and without results."""
    handle = program_on(store, provider).submit_circuits({"a": ONE, "b": THREE})
    assert isinstance(handle, ExecutionResult)
    assert handle.is_async()
    assert handle.results is None
    assert sent(provider) == [("a", 100), ("b", 100)]
    assert store.job(handle.job_id).experiment == "vqe"  # an ordinary job of the ledger


def test_shots(store: Ledger, provider: ScriptedBackend) -> None:
    """`shots` is the number of shots of sampled circuits, and `shot_groups` names others."""
    backend = program_on(store, provider)
    assert backend.shots == 100
    assert (backend.is_async, backend.supports_expval, backend.resolves_parameters) == (True, False, False)
    assert backend.max_retries is None  # Divi 0.13 reads it at every poll
    backend.submit_circuits({"a": ONE, "b": ONE, "c": ONE}, shot_groups=[[0, 1, 7], [1, 3, 9]])
    assert sent(provider) == [("a", 7), ("b", 9), ("c", 9)]


@pytest.mark.parametrize("groups", [[[0, 1, 5]], [[0, 2, 5], [1, 2, 5]], [[0, 3, 5]], [[0, 2, 0]], [[1, 1, 5]]])
def test_bad_shot_groups(store: Ledger, provider: ScriptedBackend, groups: Sequence[Sequence[int]]) -> None:
    """Shot groups cover each circuit once, or nothing is sent."""
    with pytest.raises(InvalidInput):
        program_on(store, provider).submit_circuits({"a": ONE, "b": ONE}, shot_groups=groups)
    assert not provider.jobs


def test_collections(store: Ledger, provider: ScriptedBackend) -> None:
    """Circuits come as text or as objects of qiskit, by label, by position, or as payloads of Divi."""
    backend = program_on(store, provider)
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    backend.submit_circuits({"q": circuit})
    backend.submit_circuits([ONE, circuit])
    backend.submit_circuits([SimpleNamespace(circuit=ONE, parameters=(), parameter_sets=(("p", ()), ("r", ())))])
    assert [label for label, _ in sent(provider)] == ["q", "0", "1", "p", "r"]


@pytest.mark.parametrize("given", [ONE, QuantumCircuit(1), {"a": 3}])
def test_no_collection(store: Ledger, provider: ScriptedBackend, given: Any) -> None:
    """A single circuit, or what is none, is refused as Divi does it."""
    with pytest.raises(TypeError):
        program_on(store, provider).submit_circuits(given)


def test_refused_circuits(store: Ledger, provider: ScriptedBackend) -> None:
    """Free parameters, unreadable text, equal labels and nothing at all are refused before anything is written."""
    backend = program_on(store, provider)
    payload = SimpleNamespace(circuit=ONE, parameters=("t",), parameter_sets=(("p", (0.1,)),))
    twice = SimpleNamespace(circuit=ONE, parameters=(), parameter_sets=(("p", ()), ("p", ())))
    for bad in ([payload], [twice], {}, {"a": "no circuit"}):
        with pytest.raises(ValueError):
            backend.submit_circuits(bad)
    with pytest.raises(TypeError, match="job_config"):
        backend.submit_circuits([ONE], job_config=1)
    assert not store.jobs()


def test_event_before_dispatch(store: Ledger, provider: ScriptedBackend) -> None:
    """With the event set nothing is sent, and the class of the error is Divi's or ours."""
    event = threading.Event()
    event.set()
    with pytest.raises(divi_types().cancelled):
        program_on(store, provider).submit_circuits({"a": ONE}, cancellation_event=event)
    assert not provider.jobs
    assert not store.jobs()


def test_single_query(store: Ledger, provider: ScriptedBackend) -> None:
    """Without `loop_until_complete` one query is made, and the most recent status returned."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    assert backend.poll_job_status(handle) is DiviJobStatus.PENDING
    assert len(provider.asked) == 1
    provider.report(S.RUNNING)
    assert backend.poll_job_status(handle) == "RUNNING"
    provider.report(S.COMPLETED)
    assert backend.poll_job_status(handle) == "COMPLETED"
    assert store.missing_items(handle.job_id) == ()


def test_loop(store: Ledger, provider: ScriptedBackend) -> None:
    """The loop ends with the terminal status; the callback gets the number of the poll and Divi's status."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    callback: Any = ended(provider, S.COMPLETED)
    assert backend.poll_job_status(handle, loop_until_complete=True, progress_callback=callback) == "COMPLETED"
    assert callback.told == [(1, "PENDING"), (2, "PENDING"), (3, "COMPLETED")]


@pytest.mark.parametrize(
    ("status", "divi"),
    [(S.ERROR, "FAILED"), (S.TERMINATED, "FAILED"), (S.DEPLETED, "FAILED"), (S.CANCELLED, "CANCELLED")],
)
def test_unsuccessful_ends(store: Ledger, provider: ScriptedBackend, status: JobStatus, divi: str) -> None:
    """A loop returns FAILED and CANCELLED too; results of such a job are refused with its reason."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    provider.report(status, messages=[(0, "it broke")])
    assert backend.poll_job_status(handle, loop_until_complete=True, verbose=False) == divi
    with pytest.raises(JobFailed, match="it broke"):
        backend.get_job_results(handle)


def test_on_complete(store: Ledger, provider: ScriptedBackend) -> None:
    """`on_complete` is called once at the end, with what stands for a response; not before."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    told: list[Response] = []
    backend.poll_job_status(handle, on_complete=told.append)
    assert told == []
    provider.report(S.COMPLETED)
    backend.poll_job_status(handle, loop_until_complete=True, on_complete=told.append)
    assert [(each.status_code, each.ok, each.json()) for each in told] == [
        (200, True, {"job_id": handle.job_id, "status": "COMPLETED"})
    ]


def test_verbose(store: Ledger, provider: ScriptedBackend, caplog: pytest.LogCaptureFixture) -> None:
    """The status of each poll is logged, unless it is shown otherwise or not wanted."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    caplog.set_level(logging.INFO, logger="qjobs.interop.divi")
    backend.poll_job_status(handle, verbose=False)
    backend.poll_job_status(handle, progress_callback=lambda *_: None)
    assert not caplog.messages
    backend.poll_job_status(handle)
    assert caplog.messages == [f"{handle.job_id} is PENDING, poll 1"]


def test_event_in_loop(store: Ledger, provider: ScriptedBackend) -> None:
    """The event ends the loop within a second, and the job goes on."""
    provider.poll_interval_s = (60.0, 60.0)
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    event = threading.Event()
    set_at: list[float] = []
    timer = threading.Timer(0.3, lambda: (set_at.append(time.monotonic()), event.set()))
    timer.start()
    with pytest.raises(ExecutionCancelledError):
        backend.poll_job_status(handle, loop_until_complete=True, verbose=False, cancellation_event=event)
    assert time.monotonic() - set_at[0] < 1.0
    assert len(provider.live()) == 1
    with pytest.raises(ExecutionCancelledError):
        backend.poll_job_status(handle, cancellation_event=event)


def test_event_while_provider_is_away(store: Ledger, provider: ScriptedBackend) -> None:
    """A provider that is away is waited for, until the event is set; nothing was sent, and nothing is lost."""
    backend = program_on(store, provider)
    provider.faults.extend([Fault(BackendUnavailable("502"), "preparing")] * 5)
    event = threading.Event()
    threading.Timer(0.2, event.set).start()
    with pytest.raises(ExecutionCancelledError):
        backend.submit_circuits({"a": ONE}, cancellation_event=event)
    assert not provider.jobs
    provider.faults.clear()
    again = done(program_on(store, provider), provider, {"a": ONE})
    assert [entry["label"] for entry in again.results] == ["a"]
    assert len(store.jobs()) == 1


def test_results(store: Ledger, provider: ScriptedBackend) -> None:
    """Results are counts by label, in the order of submission; asking again gives the same."""
    backend = program_on(store, provider)
    found = done(backend, provider, {"b": ONE, "a": OTHER})
    assert [entry["label"] for entry in found.results] == ["b", "a"]
    assert found.results[0]["results"]["00"] == 100
    assert not found.is_async()
    assert backend.get_job_results(found) == found


def test_results_too_early(store: Ledger, provider: ScriptedBackend) -> None:
    """Results may be asked for only after COMPLETED; a handle without an id is none."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    with pytest.raises(Busy):
        backend.get_job_results(handle)
    with pytest.raises(ValueError):
        backend.get_job_results(ExecutionResult())
    with pytest.raises(JobNotFound):
        backend.poll_job_status(ExecutionResult(job_id="job-of-nobody"))


def test_cancel(store: Ledger, provider: ScriptedBackend) -> None:
    """Cancelling is idempotent: of a final job it raises nothing, and says so."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE, "b": ONE})
    first = backend.cancel_job(handle)
    assert (first.status_code, first.json()["circuits_cancelled"]) == (200, 2)
    assert backend.poll_job_status(handle, loop_until_complete=True, verbose=False) == "CANCELLED"
    assert [backend.cancel_job(handle).status_code for _ in range(2)] == [409, 409]
    assert provider.jobs["remote-1"].cancels == 1  # type: ignore[index]


def test_several_jobs(store: Ledger, provider: ScriptedBackend) -> None:
    """A batch beyond the limits of a job is several jobs behind one handle; those without room are sent later."""
    provider.limits = Limits(max_items=2, max_live_jobs=1)
    backend = program_on(store, provider)
    handle = backend.submit_circuits({str(n): ONE for n in range(5)})
    assert len(handle.job_id.split(",")) == 3
    assert len(provider.jobs) == 1

    def finish_one(_: int, status: str) -> None:
        assert status in {"PENDING", "RUNNING", "COMPLETED"}
        for n, job in enumerate(provider.jobs.values()):
            provider.report(*[S.COMPLETED] * len(job.items), of=n)

    assert backend.poll_job_status(handle, loop_until_complete=True, progress_callback=finish_one) == "COMPLETED"
    assert [entry["label"] for entry in backend.get_job_results(handle).results] == ["0", "1", "2", "3", "4"]
    assert len(provider.jobs) == 3


def test_room_by_single_queries(store: Ledger, provider: ScriptedBackend) -> None:
    """A program that asks by single queries gets the jobs sent that had no room at first."""
    provider.limits = Limits(max_items=1, max_live_jobs=1)
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE, "b": ONE})
    assert backend.poll_job_status(handle) == "PENDING"
    provider.report(S.COMPLETED)
    assert backend.poll_job_status(handle) == "RUNNING"
    backend.poll_job_status(handle)
    provider.report(S.COMPLETED)
    assert backend.poll_job_status(handle) == "COMPLETED"


def test_lost_reply(store: Ledger) -> None:
    """UNKNOWN is PENDING to a query, and a wait raises what to do; nothing is sent again."""
    provider = ScriptedBackend(OPAQUE, poll_interval_s=(0.01, 0.01))
    provider.faults.append(Fault(SubmissionUnknown("the reply was lost", job_id=""), "after"))
    with pytest.raises(SubmissionUnknown):
        program_on(store, provider).submit_circuits({"a": ONE})
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    assert store.job(handle.job_id).status is S.UNKNOWN
    assert backend.poll_job_status(handle) == "PENDING"
    with pytest.raises(SubmissionUnknown):
        backend.poll_job_status(handle, loop_until_complete=True)
    assert len(provider.jobs) == 1


def test_lost_job(store: Ledger, provider: ScriptedBackend) -> None:
    """LOST is PENDING to a query: the job may come back, and a program must not ask for another."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    raw(store, JOB.update().values(status=S.LOST))
    assert backend.poll_job_status(handle) == "PENDING"


def test_rejected(store: Ledger, provider: ScriptedBackend) -> None:
    """What the provider refuses is raised with its words."""
    provider.faults.append(Fault(SubmissionRejected("no credits", detail="no credits")))
    with pytest.raises(SubmissionRejected, match="no credits"):
        program_on(store, provider).submit_circuits({"a": ONE})


def test_entered_again(store: Ledger, provider: ScriptedBackend) -> None:
    """The same program under the same name gets the same jobs and results, and goes on with new ones."""
    first = done(program_on(store, provider), provider, {"a": ONE, "b": OTHER})
    backend = program_on(store, provider)
    again = backend.submit_circuits({"b": OTHER, "a": ONE})  # the order of labels says nothing
    assert again.job_id == first.job_id
    assert backend.poll_job_status(again, loop_until_complete=True, verbose=False) == "COMPLETED"
    assert backend.get_job_results(again).results == first.results
    assert len(provider.jobs) == 1
    second = done(backend, provider, {"a": ONE, "b": OTHER})  # the same circuits as another batch are sent
    assert second.job_id != first.job_id
    assert len(provider.jobs) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"circuits": {"a": OTHER}},
        {"circuits": {"x": ONE}},
        {"circuits": {"a": ONE, "b": ONE}},
        {"shots": 101},
        {"seed": 4},
        {"compiling": CompileInput.model_validate({"compiler": "qiskit"})},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_divergence(store: Ledger, provider: ScriptedBackend, changed: dict[str, Any]) -> None:
    """A batch that is not what it was is refused, and nothing is sent."""
    program_on(store, provider).submit_circuits({"a": ONE})
    values = dict(changed)
    circuits = values.pop("circuits", {"a": ONE})
    with pytest.raises(InvalidInput, match="batch 0 of the run vqe is not what it was"):
        program_on(store, provider, **values).submit_circuits(circuits)
    assert len(store.jobs()) == len(provider.jobs) == 1
    done(program_on(store, provider, run="vqe-2", **values), provider, circuits)


def test_answered_by_the_sensor(store: Ledger, provider: ScriptedBackend) -> None:
    """The sensor sees the jobs as any others; the program then asks the provider for nothing."""
    handle = program_on(store, provider, opened_as="own/fake").submit_circuits({"a": ONE})
    provider.report(S.COMPLETED)
    names: list[str] = []
    store.schedule.set_next({handle.job_id: None})
    report = sensor_pass(store, lambda name: (names.append(name), provider)[1])
    assert (report.asked, names) == ({handle.job_id}, ["own/fake"])
    asked = len(provider.asked)
    backend = program_on(store, provider, opened_as="own/fake")
    again = backend.submit_circuits({"a": ONE})
    assert backend.poll_job_status(again, loop_until_complete=True, verbose=False) == "COMPLETED"
    assert backend.get_job_results(again).results[0]["label"] == "a"
    assert len(provider.asked) == asked


def test_cancelled_and_retried(store: Ledger, provider: ScriptedBackend) -> None:
    """A batch that was cancelled stays so when the program is entered again, until a person sends it anew."""
    backend = program_on(store, provider)
    handle = backend.submit_circuits({"a": ONE})
    backend.cancel_job(handle)
    for _ in range(2):
        backend = program_on(store, provider)
        assert backend.submit_circuits({"a": ONE}) == handle
        assert backend.poll_job_status(handle, loop_until_complete=True, verbose=False) == "CANCELLED"
    assert len(provider.jobs) == 1
    submit(store, provider, handle.job_id, strategy=RemoteRetryStrategy.FORCE_RESUBMIT)
    provider.report(S.COMPLETED)
    backend = program_on(store, provider)
    backend.submit_circuits({"a": ONE})
    assert backend.poll_job_status(handle, loop_until_complete=True, verbose=False) == "COMPLETED"
    assert len(provider.jobs) == 2


def test_raised_ends(store: Ledger, provider: ScriptedBackend) -> None:
    """Where Divi's protocol wants it (0.15), an unsuccessful end of a wait is raised, with the reason."""
    backend = program_on(store, provider)
    backend._types = replace(backend._types, raises=True)
    handle = backend.submit_circuits({"a": ONE})
    provider.report(S.ERROR, messages=[(0, "it broke")])
    with pytest.raises(JobFailed, match="it broke"):
        backend.poll_job_status(handle, loop_until_complete=True, verbose=False)
    assert backend.poll_job_status(handle) == "FAILED"


def test_other_place(store: Ledger, provider: ScriptedBackend) -> None:
    """A run is not mixed from two backends, or from two configurations of one."""
    program_on(store, provider).submit_circuits({"a": ONE})
    for other in (ScriptedBackend(name="other"), ScriptedBackend(place="elsewhere")):
        with pytest.raises(InvalidInput, match="the run another name"):
            program_on(store, other).submit_circuits({"a": ONE})
        assert not other.jobs


def test_two_at_once(store: Ledger, provider: ScriptedBackend) -> None:
    """Two processes that ask for different batches of one run: the second is refused, and nothing is sent for it."""
    one = program_on(store, provider)
    two = program_on(store, provider)
    one.submit_circuits({"a": ONE})
    two.submit_circuits({"a": ONE})
    one.submit_circuits({"b": ONE})
    with pytest.raises(StaleJob, match="another process"):
        two.submit_circuits({"c": ONE})
    assert len(provider.jobs) == 2


def test_seeds(store: Ledger, provider: ScriptedBackend) -> None:
    """Each batch draws random numbers of its own from the seed."""
    backend = program_on(store, provider, seed=3)
    for _ in range(2):
        backend.submit_circuits({"a": ONE})
    seeds = [job.batch.options.seed for job in provider.jobs.values()]
    assert None not in seeds
    assert len(set(seeds)) == 2


def test_given_badly(store: Ledger, provider: ScriptedBackend) -> None:
    """Shots, name, backend and exactness are checked before anything is opened or sent."""
    for values in ({"shots": 0}, {"run": ""}, {"run": "a/b"}, {"exact": True}):
        with pytest.raises(InvalidInput):
            program_on(store, provider, **values)
    with pytest.raises(InvalidInput):
        QjobsBackend("nothing", run="vqe", ledger=store)
