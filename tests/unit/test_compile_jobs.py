"""Compile jobs go through the ledger as execute jobs do: one remote job, retried by item, found again, reused."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import Fault, ScriptedBackend
from support import at

import qjobs
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileCache, CompileOptions
from qjobs.errors import BackendUnavailable, InvalidInput, JobFailed, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId, JobKind, Program, ProgramHash, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.compile_jobs import Compilation, compile_programs, compiled_by, plan_compilation

S = JobStatus
TEMPLATE = 'OPENQASM 3.0; include "stdgates.inc"; input float theta; qubit q; bit c; rx({}*theta) q; c = measure q;'


@pytest.fixture
def given(store: Ledger) -> list[Program]:
    programs = [read_circuit(TEMPLATE.format(n)) for n in (2, 3)]
    store.add_programs(programs)
    return programs


def now() -> object:
    return at(1)


def planned(store: Ledger, backend: ScriptedBackend, given: list[Program], **values: object) -> Compilation:
    wanted = {"level": 2, "name": "sweep", "run": "run", "opened_as": "fake", **values}
    return plan_compilation(store, backend, [program.hash for program in given], **wanted)


def finished(store: Ledger, backend: ScriptedBackend, job_id: JobId, *statuses: JobStatus) -> None:
    qjobs.submit(store, backend, job_id, now=now)
    backend.report(*statuses)
    qjobs.poll(store, backend, [job_id], now=now)
    qjobs.collect(store, backend, job_id, now=now)


class Starting(ScriptedBackend):
    """A backend with processes of its own, which were asked to start so many times."""

    n_warm = 0

    def warm(self) -> None:
        self.n_warm += 1


def test_starts_meanwhile(store: Ledger, given: list[Program], tmp_path: Path) -> None:
    """What runs the circuits is started while they are compiled."""
    backend = Starting()
    hashes = [program.hash for program in given]
    compile_programs(store, backend, hashes, CompileOptions(), CompileCache(tmp_path / "compiled"))
    assert backend.n_warm == 1


def test_templates(store: Ledger, given: list[Program]) -> None:
    """The provider compiles templates, with their free symbols."""
    backend = ScriptedBackend()
    (job_id,) = planned(store, backend, given).job_ids
    job = store.job(job_id)
    assert (job.kind, job.options.level, job.name) == (JobKind.COMPILE, 2, "compile sweep")
    finished(store, backend, job_id, S.COMPLETED, S.COMPLETED)
    batch = backend.jobs[RemoteId("remote-1")].batch
    assert (batch.kind, batch.options.level, [item.shots for item in batch.items]) == (JobKind.COMPILE, 2, [0, 0])
    compiled = compiled_by(store, [job_id])
    assert list(compiled) == [program.hash for program in given]
    programs = store.programs(compiled.values())
    assert {programs[each].payload for each in compiled.values()} == {b"compiled"}
    assert {programs[each].parameters for each in compiled.values()} == {("theta",)}


def test_lost_reply(store: Ledger, given: list[Program]) -> None:
    """A lost reply is looked up and makes no second job."""
    backend = ScriptedBackend()
    (job_id,) = planned(store, backend, given).job_ids
    backend.faults.append(Fault(SubmissionUnknown("gone"), "after"))
    with pytest.raises(BackendUnavailable):
        qjobs.submit(store, backend, job_id, now=now)
    assert planned(store, backend, given).job_ids == (job_id,)  # the run enters again
    finished(store, backend, job_id, S.COMPLETED, S.COMPLETED)
    assert len(backend.jobs) == 1


def test_retry(store: Ledger, given: list[Program]) -> None:
    """A retry compiles only what failed, and keeps the rest."""
    backend = ScriptedBackend()
    (job_id,) = planned(store, backend, given).job_ids
    with pytest.raises(JobFailed, match="1 of 2 items"):
        finished(store, backend, job_id, S.COMPLETED, S.ERROR)
    kept = compiled_by(store, [job_id])
    assert list(kept) == [given[0].hash]
    recovery.retry(store, backend, job_id, strategy=RemoteRetryStrategy.FORCE_RESUBMIT, now=now)
    assert [item.program for item in backend.jobs[RemoteId("remote-2")].batch.items] == [given[1].hash]
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=now)
    qjobs.collect(store, backend, job_id, now=now)
    after = compiled_by(store, [job_id])
    assert after[given[0].hash] == kept[given[0].hash]
    assert after[given[1].hash] == ProgramHash("remote-2/0")


def test_reuse(store: Ledger, given: list[Program]) -> None:
    """What was compiled before for a device at a level is reused, unless `fresh`."""
    backend = ScriptedBackend()
    first = planned(store, backend, given[:1])
    finished(store, backend, first.job_ids[0], S.COMPLETED)
    again = planned(store, backend, given, run="another")
    assert again.have == {given[0].hash: ProgramHash("remote-1/0")}
    (job_id,) = again.job_ids
    assert [item.program for item in store.items(job_id)] == [given[1].hash]
    for changed in ({"level": 1}, {"fresh": True}):
        other = planned(store, backend, given[:1], run="a third", **changed)
        assert (other.have, len(other.job_ids)) == ({}, 1)
    device = ScriptedBackend()
    device.device = "another device"
    assert planned(store, device, given[:1], run="a fourth").have == {}


def test_under_way(store: Ledger, given: list[Program]) -> None:
    """What is being compiled for another run, which may be dead, is not compiled twice, unless `fresh`."""
    backend = ScriptedBackend()
    (job_id,) = planned(store, backend, given[:1]).job_ids
    assert planned(store, backend, given[:1], run="another").job_ids == (job_id,)
    assert planned(store, backend, given[:1], run="a third", fresh=True).job_ids != (job_id,)
    assert planned(store, backend, given[:1], run="a fourth", level=1).job_ids != (job_id,)
    qjobs.cancel(store, backend, job_id, now=now)
    assert planned(store, backend, given[:1], run="a fifth").job_ids != (job_id,)


def test_rerun(store: Ledger, given: list[Program]) -> None:
    """A compile job can be rerun under a new name."""
    backend = ScriptedBackend()
    (job_id,) = planned(store, backend, given).job_ids
    new = recovery.rerun(store, job_id, "again", now=now)
    assert (store.job(new).kind, store.job(new).options.level) == (JobKind.COMPILE, 2)
    finished(store, backend, new, S.COMPLETED, S.COMPLETED)
    assert backend.jobs[RemoteId("remote-1")].batch.kind is JobKind.COMPILE


def test_no_compiler(store: Ledger, given: list[Program]) -> None:
    """A backend that does not compile is refused before a job is made."""
    backend = ScriptedBackend()
    backend.capabilities = frozenset()
    with pytest.raises(InvalidInput, match="set the compiler to"):
        planned(store, backend, given)
    assert store.jobs() == []


@pytest.mark.parametrize("wrong", [{"shots": 5}, {"parameters": (("theta", 0.5),)}])
def test_no_shots(store: Ledger, given: list[Program], wrong: dict[str, object]) -> None:
    """A compile item has neither shots nor parameters."""
    item = ItemSpec(**{"label": "one", "program": given[0].hash, "shots": 0, **wrong})
    programs = {given[0].hash: given[0]}
    with pytest.raises(InvalidInput, match="neither shots nor parameters"):
        qjobs.plan(store, ScriptedBackend(), [item], programs, run="run", name="job", kind=JobKind.COMPILE)
    assert store.jobs() == []
