"""Advice is a command that works as printed: every command that a message prints is run against a job in its state."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import own_backends
import pytest
import scripted
from advice import ROOT, advice, commands_in, parse
from launching import Stages, circuits, run
from scripted import AT_ONCE, ScriptedBackend

import qjobs as library
from qjobs.backends.aer import AerBackend
from qjobs.backends.base import Backend, Target
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import BackendUnavailable, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, ItemSpec, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.poll import poll, utc_now
from qjobs.paths import data_home
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider
from qjobs.testing.stepped import SteppedRestBackend
from qjobs.testing.store import Habits

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
FORCE = RemoteRetryStrategy.FORCE_RESUBMIT
Said = tuple[int, str, str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@dataclass
class World:
    """One job on one backend, the command, and what a message said of the job."""

    store: Ledger
    command: Callable[..., Said]
    providers: dict[str, ScriptedProvider] = field(default_factory=dict)
    job_id: JobId = field(init=False)
    provider: ScriptedProvider | None = None
    local: ScriptedBackend | None = None

    def rest(self, variant: str) -> Backend:
        """A provider behind the name `own/VARIANT`, and a job that was planned for it."""
        provider = self.provider = self.providers[variant] = ScriptedProvider(variant)

        kind = LostReply(variant)
        backend = RestBackend(provider.url, lost_reply=kind, name="own", settle_s=0.0, confirm=AT_ONCE)
        return self.planned(f"own/{variant}", backend)

    def in_steps(self) -> Backend:
        provider = self.provider = self.providers["steps"] = ScriptedProvider("opaque")
        backend = SteppedRestBackend(provider.url, items_per_step=1, settle_s=0.0, confirm=AT_ONCE)
        return self.planned("own/steps", backend)

    def here(self, **options: object) -> ScriptedBackend:
        """A backend of this process, of which a test says what it reports."""
        self.local = ScriptedBackend(**options)
        self.planned("own/here", self.local)
        return self.local

    def planned(self, name: str, backend: Backend, n: int = 2) -> Backend:
        own_backends.OPENED[name] = backend
        bell = read_circuit(BELL)
        items = [ItemSpec(label=f"bell-{number}", program=bell.hash, shots=10) for number in range(n)]
        (self.job_id,) = library.plan(
            self.store, backend, items, {bell.hash: bell}, run="run", name="bells", opened_as=name
        )
        return backend

    def fails(self, backend: Backend, **options: object) -> str:
        """What submitting says."""
        with pytest.raises(QJobsError) as caught:
            library.submit(self.store, backend, self.job_id, **options)
        return str(caught.value)

    def says(self, *words: object, code: int = 1) -> str:
        """What the command says."""
        found, out, err = self.command(*words)
        assert found == code, (words, out, err)
        return out + err

    @property
    def status(self) -> JobStatus:
        return self.store.job(self.job_id).status

    @property
    def created(self) -> int:
        return self.provider.created if self.provider else len(self.local.jobs)


@pytest.fixture
def world(qjobs: Callable[..., Said], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.syspath_prepend(str(own_backends.install(tmp_path / "site")))
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as store:
        made = World(store, qjobs)
        yield made
    own_backends.close_all()
    for provider in made.providers.values():
        provider.close()


def lost(world: World, variant: str, action: Action) -> str:
    backend = world.rest(variant)
    world.provider.inject(Fault(route=Route.SUBMIT, action=action))
    return world.fails(backend)


def opaque_and_there(world: World) -> str:
    return lost(world, "opaque", Action.DROP_AFTER)


def opaque_and_not_there(world: World) -> str:
    return lost(world, "opaque", Action.DROP_BEFORE)


def opaque_reconciled(world: World) -> str:
    lost(world, "opaque", Action.DROP_AFTER)
    return world.says("reconcile")


def not_found(world: World) -> str:
    lost(world, "findable", Action.DROP_BEFORE)
    return world.says("reconcile")


def reserved(world: World) -> None:
    backend = world.in_steps()
    world.provider.inject(Fault(route=Route.ADD, action=Action.DROP_BEFORE, times=50), *_finals())
    world.fails(backend)
    world.provider.inject()
    attempt = world.store.attempts(world.job_id)[-1]
    assert attempt.is_reserved, attempt


def _finals() -> list[Fault]:
    return [Fault(route=Route.FINALISE, action=Action.DROP_BEFORE, times=50)]


def reserved_reconciled(world: World) -> str:
    reserved(world)
    return world.says("reconcile")


def reserved_discarded(world: World) -> str:
    reserved(world)
    return world.says("jobs", "discard", world.job_id, code=2)


def refused(world: World) -> str:
    backend = world.rest("findable")
    world.provider.inject(Fault(route=Route.SUBMIT, action=Action.CODE_BEFORE, code=422, proved=True))
    world.fails(backend)
    return world.fails(backend)


def done_without_results(world: World) -> str:
    backend = world.rest("findable")
    world.provider.store.results_late_s = 3600.0
    library.submit(world.store, backend, world.job_id)
    poll(world.store, backend, [world.job_id])
    return world.fails(backend, strategy=FORCE)


def failed(world: World, times: int) -> Backend:
    """A job whose items ended in ERROR, so many times."""
    backend = world.rest("findable")
    world.provider.store.habits = Habits(broken={0: "laser off", 1: "laser off"})
    for _ in range(times):
        library.submit(world.store, backend, world.job_id, strategy=FORCE)
        poll(world.store, backend, [world.job_id])
        poll(world.store, backend, [world.job_id])
    assert world.status is JobStatus.ERROR
    return backend


def too_often(world: World) -> str:
    failed(world, 3)
    return world.says("jobs", "retry", world.job_id, "--strategy", "FORCE_RESUBMIT")


def too_often_anew(world: World) -> str:
    failed(world, 3)
    return world.says("jobs", "retry", world.job_id, "--strategy", "FULL_RESTART")


def too_long(world: World) -> str:
    failed(world, 1)
    return world.says("jobs", "retry", world.job_id, "--strategy", "FORCE_RESUBMIT", "--max-total-s", "1e-9")


def too_dear(world: World) -> str:
    world.here(price=3.5)
    return world.says("jobs", "retry", world.job_id, "--max-cost", "2")


def without_a_price(world: World) -> str:
    world.here()
    return world.says("jobs", "retry", world.job_id, "--max-cost", "2")


def others_run(world: World) -> str:
    return _chosen_beside_others(world, JobStatus.ERROR)


def others_run_beside_cancelled(world: World) -> str:
    return _chosen_beside_others(world, JobStatus.CANCELLED, "--status", "CANCELLED")


def _chosen_beside_others(world: World, ended: JobStatus, *chosen: str) -> str:
    """An item is to be sent again while another one runs, which then fails in another way."""
    backend = world.here()
    library.submit(world.store, backend, world.job_id)
    (remote,) = backend.jobs.values()
    remote.items = [ended, JobStatus.RUNNING]
    poll(world.store, backend, [world.job_id])
    words = world.says("jobs", "retry", world.job_id, *chosen, "--strategy", "FORCE_RESUBMIT")
    remote.items = [ended, JobStatus.DEPLETED]
    poll(world.store, backend, [world.job_id])
    return words


def forgotten(world: World) -> str:
    backend = world.rest("findable")
    world.provider.store.queue_s = 60.0
    library.submit(world.store, backend, world.job_id)
    for job in world.provider.store.jobs.values():
        job.is_forgotten = True
    poll(world.store, backend, [world.job_id])
    assert world.status is JobStatus.LOST
    return world.fails(backend)


def ended_with_its_process(world: World) -> str:
    """A job of Aer in a process that was killed."""
    opened = AerBackend()
    world.planned("aer", opened)
    attempt = claimed(world)
    world.store.submissions.renew(attempt, lease_s=60.0, now=utc_now(), sending=True)
    long_ago = RemoteId(f"aer-{socket.gethostname()}-{os.getpid()}-1-1x2")
    world.store.submissions.accept(attempt, long_ago, now=utc_now())
    poll(world.store, opened, [world.job_id])
    assert world.status is JobStatus.TERMINATED
    return world.says("jobs", "retry", world.job_id, "--strategy", "FORCE_RESUBMIT", code=0)


def aer_not_found(world: World) -> str:
    opened = AerBackend()
    world.planned("aer", opened)
    attempt = claimed(world)
    world.store.submissions.mark_unknown(attempt, "killed", now=utc_now())
    return world.says("reconcile")


def claimed(world: World) -> Attempt:
    return world.store.submissions.claim(
        world.job_id,
        expected=JobStatus.CREATED,
        strategy=RemoteRetryStrategy.DEFAULT,
        owner="test",
        lease_s=60.0,
        now=utc_now(),
    )


def no_such_job(world: World) -> str:
    return world.says("jobs", "show", "job-0000000000")


def an_unknown_one(world: World) -> str:
    opaque_and_there(world)
    return world.says("doctor", code=0)


def adopted(world: World) -> None:
    assert world.status is not JobStatus.UNKNOWN
    assert world.store.attempts(world.job_id)[-1].remote_id is not None
    assert world.created == 1


def put_back(world: World) -> None:
    assert world.status is JobStatus.CREATED


def recalibrated(world: World) -> str:
    """The device was recalibrated between compiling and sending, and its run lets nothing stale be sent."""
    backend = world.local = own_backends.OPENED["own/here"] = ScriptedBackend()
    given = {"circuits": [{"openqasm": BELL}], "compiler": "qiskit", "on_recalibration": "fail"}
    plan = circuits(1, backend="own/here", **given)
    backend.faults.append(scripted.Fault(BackendUnavailable("not now"), "preparing"))
    for coupled in ((0, 1), (1, 2)):
        backend.shown = Target(name="device", n_qubits=3, basis_gates=("cx", "rz", "sx", "x"), coupling=(coupled,))
        with Ledger(world.store.url) as ledger:  # each keeps for a while what a device is
            stages = Stages(ledger, CompileCache(data_home() / "compiled"), **{"own/here": backend})
            ((world.job_id, problem),) = run(stages, plan).problems.items()
    assert backend.jobs == {}
    return str(problem)


def sent_once(world: World) -> None:
    assert world.created == 1
    assert world.store.attempts(world.job_id)[-1].remote_id is not None


def sent_twice(world: World) -> None:
    assert world.created == 2


def first_sent_again(world: World) -> None:
    assert world.created == 2
    assert world.store.attempts(world.job_id)[-1].items == (0,)


def sent_four_times(world: World) -> None:
    assert world.created == 4


def cancelled(world: World) -> None:
    assert world.status is JobStatus.CANCELLED


def simulated(world: World) -> None:
    assert world.status is JobStatus.COMPLETED
    assert world.store.result_counts([world.job_id]) == {world.job_id: 2}


def nothing_changed(world: World) -> None:
    """The command only shows something."""


RETRY = "qjobs jobs retry {}"
ADOPT, DISCARD, CANCEL, SHOW = (
    f"qjobs jobs {verb}" for verb in ("adopt {} ITS_ID", "discard {}", "cancel {}", "show {}")
)
ALLOWED, FORCED = f"{RETRY} --strategy ALLOW_RESUBMIT", f"{RETRY} --strategy FORCE_RESUBMIT"
CHOSEN = "qjobs jobs retry {}{} --strategy {}"
CAPPED = "qjobs jobs retry {}{} --strategy FORCE_RESUBMIT {}"
CASES: list[tuple[Callable[[World], str], str, Callable[[World], None]]] = [
    (opaque_and_there, ADOPT, adopted),
    (opaque_and_not_there, DISCARD, put_back),
    (opaque_reconciled, ADOPT, adopted),
    (opaque_reconciled, DISCARD, put_back),
    (not_found, ALLOWED, sent_once),
    (not_found, DISCARD, put_back),
    (reserved_reconciled, RETRY, sent_once),
    (reserved_discarded, RETRY, sent_once),
    (refused, ALLOWED, sent_once),
    (done_without_results, f"{RETRY} --status COMPLETED --strategy FORCE_RESUBMIT", sent_twice),
    (too_often, SHOW, nothing_changed),
    (too_often, CAPPED, sent_four_times),
    (too_often_anew, "qjobs jobs retry {} --strategy FULL_RESTART {}", sent_four_times),
    (too_long, CAPPED, sent_twice),
    (too_dear, f"{FORCED} --max-cost {{}}", sent_once),
    (without_a_price, FORCED, sent_once),
    (others_run, CHOSEN, first_sent_again),
    (others_run_beside_cancelled, CHOSEN, first_sent_again),
    (forgotten, FORCED, sent_twice),
    (forgotten, CANCEL, cancelled),
    (ended_with_its_process, f"{RETRY} --status {{}} --strategy {{}}", simulated),
    (aer_not_found, ALLOWED, simulated),
    (recalibrated, RETRY, sent_once),
    (recalibrated, f"{RETRY} --strategy FULL_RESTART", sent_once),
    (no_such_job, "qjobs jobs list", nothing_changed),
    (an_unknown_one, "qjobs jobs list --status UNKNOWN", nothing_changed),
]
PARSED = {
    "qjobs run FILE --yes",
    "qjobs doctor",
    "qjobs jobs show ID",
    "qjobs reconcile",
    "qjobs watch --run {}",
    "qjobs serve users add EMAIL",
    "qjobs serve users token EMAIL",
    "make ui",
    "make deploy",
    "make worker",
}
ELSEWHERE = {
    "qjobs run FILE",
    "qjobs sensor",
    "qjobs jobs list --ledger {}",
    "qjobs jobs list --ledger {} --create",
    "python -m flows.worker",
    "prefect block register -m blocks",
    "prefect worker start --pool {}",
    "python -m flows.sweep FILE --strategy FULL_RESTART",
    "python -m flows.run_circuits FILE --logical-run {} --strategy FULL_RESTART",
    "python -m flows.server stop --now",
    "python -m flows.deploy",
    "python -m flows.run_circuits examples/bell/circuits.yaml",
    "python -m flows.sweep examples/rabi/sweep.yaml",
    "qjobs run examples/rabi/sweep.yaml",
}
"""Run by a test below, in test_home.py or test_project_layout.py, or in tests/prefect."""
NO_ADVICE = {
    "prefect server",
    "python -m flows.on_service",
    "python -m flows.server",
    "qjobs serve",
    "python -m qjobs.testing.servers",
}
"""Names of checks, of a certificate, of a program."""


def test_every_advice_is_run() -> None:
    """A message with a command that no test runs fails this test."""
    found = advice()
    tested = {template for _, template, _ in CASES} | PARSED | ELSEWHERE | NO_ADVICE
    assert {command: found[command] for command in found.keys() - tested} == {}
    assert tested - found.keys() == set()


@pytest.mark.parametrize(
    ("arises", "template", "check"), CASES, ids=[f"{arises.__name__}: {words}" for arises, words, _ in CASES]
)
def test_works_as_printed(
    world: World, arises: Callable[[World], str], template: str, check: Callable[[World], None]
) -> None:
    """The command of a message does what the message says, with nothing added."""
    said = arises(world)
    pattern = re.compile(re.escape(template).replace(re.escape("{}"), r"[\w. -]*"))
    (command, *_) = [each for each in commands_in(said) if pattern.fullmatch(each)] or [f"none in: {said}"]
    words = shlex.split(command.replace("ITS_ID", next(iter(world.provider.store.jobs), "") if world.provider else ""))
    code, out, err = world.command(*words[1:])
    assert code == 0, (command, out, err)
    check(world)


@pytest.mark.parametrize("command", sorted(PARSED))
def test_parses(command: str) -> None:
    """The commands of other programs, and those that need a service, parse."""
    program, *words = command.split()
    if program == "make":
        assert subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, check=False).returncode == 0
    else:
        parse(words)
