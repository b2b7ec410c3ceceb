"""Calibration: what a device was like is written down three times, and a stale job follows the rule of its run."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from launching import Stages, points, run
from mqp_portal import TOKEN, MqpPortal
from scripted import FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend, SteppedBackend
from support import at, check_history, submitted

import qjobs
from qjobs.backends.base import Limits, Target
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend
from qjobs.backends.mqp.resources import resource_in, target_of
from qjobs.backends.nexus.devices import config_of, target_in
from qjobs.cli import main as cli
from qjobs.compiling.compiler import CompileCache, check_fits
from qjobs.errors import BackendUnavailable, InvalidCircuit, Recalibrated
from qjobs.experiments.circuit_list import CircuitList, CircuitListPlan, expand_circuit_list
from qjobs.ledger import Ledger
from qjobs.ledger.submissions import Submissions
from qjobs.lifecycle import JobStatus
from qjobs.model import Event, JobId, JobKind, OnRecalibration, RemoteRetryStrategy
from qjobs.operations.calibration import calibration_record, changes, snapshot_now, snapshot_of
from qjobs.operations.dispatch import dispatch
from qjobs.operations.execute import DirectStages, ToSubmit, execute, to_send
from qjobs.operations.retry import RetryPolicy
from qjobs.reports.provenance import provenance
from qjobs.reports.run_report import report_of
from qjobs.results.save import save_run
from qjobs.results.store import METADATA_KEY

S = JobStatus
RULE = OnRecalibration
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'
BEFORE = Target(
    name="device",
    n_qubits=3,
    basis_gates=("cx", "rz", "sx", "x"),
    coupling=((0, 1),),
    calibration={"cx": {(0, 1): {"error": 0.01}}},
    calibrated="2026-11-01",
)
AFTER = replace(BEFORE, coupling=((1, 2),), calibration={"cx": {(1, 2): {"error": 0.02}}}, calibrated="2026-11-08")
OLD = snapshot_of(BEFORE).fingerprint
NEW = snapshot_of(AFTER).fingerprint


def bells(rule: str = "warn", count: int = 2, **values: object) -> CircuitListPlan:
    """Circuits of two coupled qubits."""
    given = {"name": "bells", "circuits": [{"openqasm": BELL}] * count, "shots": 5, "backend": "fake"}
    return expand_circuit_list(CircuitList.model_validate({**given, "on_recalibration": rule, **values}))


class Lab:
    """A ledger, opened as each process does, a device whose calibration changes, and stages on it."""

    def __init__(self, folder: Path, backend: ScriptedBackend) -> None:
        self.folder = folder
        self.backend = backend
        self.url = f"sqlite:///{folder / 'ledger.db'}"
        self.store = Ledger(self.url)
        backend.shown = BEFORE

    def anew(self) -> None:
        """Another process goes on."""
        self.store.close()
        self.store = Ledger(self.url)

    def recalibrate(self, target: Target = AFTER) -> None:
        self.backend.shown = target
        self.anew()

    @property
    def stages(self) -> Stages:
        return Stages(self.store, CompileCache(self.folder / "compiled"), fake=self.backend)

    def planned(self, plan: CircuitListPlan) -> JobId:
        """The job of a run that was killed after it had compiled, and before it sent anything."""

        class Killed(Submissions):
            def claim(self, *_: object, **__: object) -> None:  # type: ignore[override]
                raise KeyboardInterrupt

        self.store.submissions = Killed(self.store._db)
        with pytest.raises(KeyboardInterrupt):
            run(self.stages, plan)
        self.anew()
        (job,) = self.store.jobs(kind=JobKind.EXECUTE)
        assert (job.status, self.store.attempts(job.job_id)) == (S.CREATED, [])
        return job.job_id

    def told(self, job_id: JobId) -> list[Event]:
        return [event for event in self.store.events(job_id) if event.cause == "recalibrated"]

    def on(self, job_id: JobId) -> tuple[str | None, str | None, str | None]:
        last = self.store.attempts(job_id)[-1]
        return last.compiled_on, last.submitted_on, last.results_on

    def sent_fits(self, target: Target) -> bool:
        """Whether all that was sent runs on a device as it is; what the ledger has is what was sent."""
        fits = True
        for remote in self.backend.jobs.values():
            for program in remote.batch.programs.values():
                try:
                    check_fits(program, target)
                except InvalidCircuit:
                    fits = False
        return fits


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, ScriptedBackend())
    yield made
    made.store.close()


# The fingerprint


def test_one_device_one_fingerprint() -> None:
    """Order is nothing, and a last bit, a date, a gate or a coupling is all."""
    same = replace(BEFORE, basis_gates=("x", "sx", "rz", "cx", "x"), calibration={"cx": {(0, 1): {"error": 0.01}}})
    assert snapshot_of(same) == snapshot_of(BEFORE)
    others = [
        replace(BEFORE, calibration={"cx": {(0, 1): {"error": math.nextafter(0.01, 1)}}}),
        replace(BEFORE, calibration={"cx": {(0, 1): {"error": math.nan}}}),
        replace(BEFORE, calibration={"cx": {(0, 1): {"error": math.inf}}}),
        replace(BEFORE, calibration={"cx": {(1, 0): {"error": 0.01}}}),
        replace(BEFORE, calibrated="2026-11-02"),
        replace(BEFORE, basis_gates=("cx", "rz", "sx")),
        replace(BEFORE, basis_gates=None),
        replace(BEFORE, coupling=((1, 0),)),
        replace(BEFORE, coupling=None),
        replace(BEFORE, n_qubits=4),
        replace(BEFORE, name="other"),
    ]
    assert len({snapshot_of(each).fingerprint for each in [BEFORE, *others]}) == len(others) + 1


def test_every_process_alike() -> None:
    """Other processes, which hash texts otherwise, find the same; sets are in no order of their own."""
    code = (
        "from qjobs.model import Target; from qjobs.operations.calibration import snapshot_of; "
        "print(snapshot_of(Target(name='d', calibration={'up': {'q1', 'q2', 'q3'}, 'T1': 0.1 + 0.2})).fingerprint)"
    )
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_portal_shows() -> None:
    """The portal's properties of gates count, and those that are None are none."""

    def shown(properties: object) -> Target:
        body = {"name": "chip", "online": True, "qubits": 2, "connectivity": "[[0, 1]]"}
        return target_of(resource_in({**body, "instructions": str([("cz", {(0, 1): properties})])}))

    assert snapshot_of(shown(None)).shows_calibration is False
    one, other = (snapshot_of(shown({"error": error, "duration": 3e-8})) for error in (0.01, 0.02))
    assert one.shows_calibration
    assert changes(one, other) == "other values of its gates and qubits"
    assert (shown(None).coupling, shown(None).basis_gates) == (((0, 1),), ("cz",))


def test_nexus_shows() -> None:
    """What Nexus shows in `misc` of a device counts."""

    def shown(misc: Mapping[str, object]) -> Target:
        info = {"name": "QuantinuumBackend", "device_name": "H1-1", "device": {"n_nodes": 20}, "misc": misc}
        return target_in([{"backend_info_list": [info]}], "H1-1", config_of("H1-1", {}, None))

    assert (shown({}).n_qubits, shown({}).calibration) == (20, {})
    assert changes(snapshot_of(shown({})), snapshot_of(shown({"noise_specs": {"p2": 1e-3}}))) != ""


def test_asked_once(lab: Lab, clock: Clock) -> None:
    """A device is asked once a minute however many jobs are sent, once in ten where it shows no calibration."""
    submitted(lab.store, lab.backend, *(f"key-{n}" for n in range(5)))
    assert lab.backend.n_looks == 1
    for target, held_s in ((BEFORE, 60.0), (Target(name="device", n_qubits=3), 600.0)):
        lab.recalibrate(target)
        lab.backend.n_looks = 0
        for after_s, looks in ((0.0, 1), (held_s - 1, 1), (1.0, 2)):
            clock.elapsed_s += after_s
            snapshot_now(lab.store, lab.backend, now=clock.now())
            assert lab.backend.n_looks == looks
    lab.recalibrate()
    lab.backend.shown = BackendUnavailable("not now")
    lab.backend.n_looks = 0
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            snapshot_now(lab.store, lab.backend, now=clock.now())
    assert lab.backend.n_looks == 1


# The rules


def test_the_same_device(lab: Lab) -> None:
    """Nothing is told where nothing has changed, whatever the rule; all three are written down."""
    for rule in RULE:
        job_id = lab.planned(bells(rule))
        assert run(lab.stages, bells(rule)).problems == {}
        assert (lab.on(job_id), lab.told(job_id)) == ((OLD, OLD, OLD), [])
        lab.store._db.close()
        (lab.folder / "ledger.db").unlink()
        lab.anew()


def test_warn(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It is sent as it was compiled; history, log and report say so."""
    job_id = lab.planned(bells())
    lab.recalibrate()
    done = run(lab.stages, bells())
    assert (done.problems, len(lab.backend.jobs), lab.sent_fits(BEFORE)) == ({}, 1, True)
    assert lab.on(job_id) == (OLD, NEW, NEW)
    (event,) = lab.told(job_id)
    words = (
        "device was recalibrated after compiling: 1 coupling gone, 1 coupling new, other values of its gates and "
        f"qubits, calibrated at 2026-11-08 (compiled on {OLD}, now {NEW})"
    )
    assert event.detail == f"{words}; it is sent as it was compiled"
    assert words in caplog.text
    check_history(lab.store, job_id)


def test_recompile(lab: Lab) -> None:
    """What is sent was compiled for the device as it is now, once; entered again, nothing is sent."""
    job_id = lab.planned(bells("recompile"))
    lab.recalibrate()
    for _ in range(2):
        assert run(lab.stages, bells("recompile")).problems == {}
        lab.anew()
    assert (len(lab.backend.jobs), lab.sent_fits(AFTER), lab.on(job_id)) == (1, True, (NEW, NEW, NEW))
    (remote,) = lab.backend.jobs.values()
    assert {item.program for item in lab.store.items(job_id)} == set(remote.batch.programs)
    assert [event.detail for event in lab.told(job_id)] == [f"compiled anew for {NEW}"]
    check_history(lab.store, job_id)


def test_fail(lab: Lab) -> None:
    """Nothing is sent, and the one error says what to do."""
    job_id = lab.planned(bells("fail"))
    lab.recalibrate()
    for _ in range(2):
        problem = run(lab.stages, bells("fail")).problems[job_id]
        assert isinstance(problem, Recalibrated)
        assert f"qjobs jobs retry {job_id} --strategy FULL_RESTART; or send it as it is with: " in str(problem)
    assert (len(lab.backend.jobs), lab.store.job(job_id).status, len(lab.told(job_id))) == (0, S.CREATED, 1)
    assert run(lab.stages, bells()).problems == {}, "another rule sends it"
    assert lab.on(job_id) == (OLD, NEW, NEW)


@pytest.mark.parametrize("strategy", [RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.FULL_RESTART])
def test_advice(lab: Lab, strategy: RemoteRetryStrategy) -> None:
    """What the error advises sends the job as it is, or compiled anew."""
    from qjobs.operations.compile_jobs import compile_programs
    from qjobs.operations.recover import retry

    job_id = lab.planned(bells("fail"))
    lab.recalibrate()
    programs = {}
    if strategy is RemoteRetryStrategy.FULL_RESTART:
        cache = CompileCache(lab.folder / "compiled")
        pairs = {source: sent for source, sent, _ in lab.store.program_pairs(job_id)}
        compiled = compile_programs(lab.store, lab.backend, list(pairs), bells().compile_options, cache, fresh=True)
        programs = {sent: compiled[source] for source, sent in pairs.items()}
    retry(lab.store, lab.backend, job_id, strategy=strategy, programs=programs)
    assert len(lab.backend.jobs) == 1
    assert lab.sent_fits(AFTER if programs else BEFORE)


def test_values_alone(lab: Lab) -> None:
    """Where only error rates are others, compiling anew gives the same circuits, and these count as compiled now."""
    job_id = lab.planned(bells("recompile"))
    lab.recalibrate(replace(BEFORE, calibration={"cx": {(0, 1): {"error": 0.02}}}))
    assert run(lab.stages, bells("recompile")).problems == {}
    compiled_on, submitted_on, _ = lab.on(job_id)
    assert compiled_on == submitted_on != OLD
    assert len(lab.backend.jobs) == 1


def test_as_they_are(lab: Lab) -> None:
    """Circuits that nobody compiles are checked against the device as it is now: what does not fit is not sent."""
    native = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; cx q[0], q[1]; measure q -> c;'
    plan = bells("recompile", compiler="none", circuits=[{"openqasm": native}])
    job_id = lab.planned(plan)
    lab.recalibrate()
    problem = run(lab.stages, plan).problems[job_id]
    assert isinstance(problem, InvalidCircuit)
    assert (len(lab.backend.jobs), lab.store.job(job_id).status) == (0, S.CREATED)


def test_not_told(lab: Lab) -> None:
    """A device that cannot be asked keeps nothing back under warn, and all under the other rules."""
    job_id = lab.planned(bells())
    lab.recalibrate()
    lab.backend.shown = BackendUnavailable("not now")
    for rule in (RULE.RECOMPILE, RULE.FAIL):
        policy = RetryPolicy(rungs=(), on_recalibration=rule)
        with pytest.raises(BackendUnavailable):
            qjobs.submit(lab.store, lab.backend, job_id, policy=policy)
        assert len(lab.backend.jobs) == 0
    qjobs.submit(lab.store, lab.backend, job_id)
    assert (len(lab.backend.jobs), lab.on(job_id)) == (1, (OLD, None, None))


def test_all_that_wait(lab: Lab) -> None:
    """One compile stage serves all jobs of a backend; many jobs ask the device no oftener."""
    lab.backend.limits = Limits(max_items=1, max_live_jobs=1)
    rule = RetryPolicy(rungs=(), on_recalibration=RULE.RECOMPILE).on_recalibration
    plan = bells(rule, 4)

    class Killed(Submissions):
        def claim(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    lab.store.submissions = Killed(lab.store._db)
    with pytest.raises(KeyboardInterrupt):
        run(lab.stages, plan)
    lab.recalibrate()
    lab.backend.n_looks = 0
    assert run(lab.stages, plan).problems == {}
    assert (len(lab.backend.jobs), lab.sent_fits(AFTER), lab.backend.n_looks) == (4, True, 2)


def test_the_newest_counts(ledger: Ledger) -> None:
    """A circuit counts as compiled for the newest snapshot, whoever is slower to write it down; on its device alone."""
    program = next(iter(bells().programs))
    for fingerprint, after_s in ((OLD, 0.0), (NEW, 10.0), (OLD, 5.0)):
        ledger.calibrations.record_compiled("fake", "device", [program], fingerprint, at=at(after_s))
    assert ledger.calibrations.programs_compiled_on("fake", "device", [program]) == {NEW}
    assert ledger.calibrations.programs_compiled_on("fake", "other", [program]) == set()
    for target in (BEFORE, BEFORE, AFTER):
        ledger.calibrations.record(snapshot_of(target), now=at(0))
    assert ledger.calibrations.snapshots([OLD, NEW, "none"]) == {OLD: snapshot_of(BEFORE), NEW: snapshot_of(AFTER)}


# Never lost, never doubled


@pytest.mark.parametrize("times", [1, 2])
def test_killed_before_the_claim(lab: Lab, times: int) -> None:
    """A process that is killed after it compiled anew has changed nothing of the job; the next one sends it once."""
    plan = bells("recompile")
    before = {item.program for item in lab.store.items(lab.planned(plan))}
    for _ in range(times):
        lab.recalibrate()
        job_id = lab.planned(plan)
        assert {item.program for item in lab.store.items(job_id)} == before
    assert run(lab.stages, plan).problems == {}
    assert (len(lab.backend.jobs), lab.sent_fits(AFTER)) == (1, True)


def test_killed_while_sending(lab: Lab) -> None:
    """Killed when the new circuits were on their way, it is found again, and stays the only one."""
    plan = bells("recompile")
    job_id = lab.planned(plan)
    lab.recalibrate()
    lab.backend.faults.append(Fault(KeyboardInterrupt(), "after"))
    with pytest.raises(KeyboardInterrupt):
        run(lab.stages, plan)
    lab.recalibrate(BEFORE)  # and back again
    assert run(lab.stages, plan).problems == {}
    assert (len(lab.backend.jobs), lab.sent_fits(AFTER), lab.on(job_id)[:2]) == (1, True, (NEW, NEW))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rule", [RULE.WARN, RULE.RECOMPILE])
def test_lost_reply(lab: Lab, when: str, rule: RULE, clock: Clock) -> None:
    """What may be at the provider is never sent with other circuits: the same go again under the same key."""
    job_id = lab.planned(bells(rule))
    policy = RetryPolicy(rungs=(), on_recalibration=rule)
    lab.backend.faults.append(Fault(BackendUnavailable("cut off"), when))
    with pytest.raises(BackendUnavailable):
        qjobs.submit(lab.store, lab.backend, job_id, policy=policy, now=clock.now)
    lab.recalibrate()
    clock.elapsed_s += 3600
    programs = dict.fromkeys((item.program for item in lab.store.items(job_id)), next(iter(bells().programs)))
    qjobs.submit(
        lab.store, lab.backend, job_id, policy=policy, now=clock.now, programs=programs,
        strategy=RemoteRetryStrategy.ALLOW_RESUBMIT,
    )  # fmt: skip
    assert (len(lab.backend.jobs), lab.backend.most_live, lab.sent_fits(BEFORE)) == (1, 1, True)
    assert len(lab.told(job_id)) == (1 if when == "before" else 0), "where it was found, nothing was sent"
    (remote,) = lab.backend.jobs.values()
    assert remote.key == lab.store.job(job_id).key


def test_fail_holds_a_second_one(lab: Lab, clock: Clock) -> None:
    """The rule fail holds what is to be sent again too, before anything is cancelled."""
    job_id = lab.planned(bells("fail"))
    policy = RetryPolicy(rungs=(), on_recalibration=RULE.FAIL)
    qjobs.submit(lab.store, lab.backend, job_id, policy=policy, now=clock.now)
    lab.recalibrate()
    with pytest.raises(Recalibrated):
        qjobs.submit(
            lab.store, lab.backend, job_id, policy=policy, strategy=RemoteRetryStrategy.FORCE_RESUBMIT, now=clock.now
        )
    (remote,) = lab.backend.jobs.values()
    assert (remote.cancels, remote.status) == (0, S.QUEUED)


def test_reserved(tmp_path: Path) -> None:
    """What a provider has reserved is gone on with, or held by the rule fail: its circuits are there already."""
    lab = Lab(tmp_path, SteppedBackend(OPAQUE))
    job_id = lab.planned(bells("recompile"))
    lab.backend.faults.append(Fault(BackendUnavailable("cut off"), "reserved"))
    with pytest.raises(BackendUnavailable):
        qjobs.submit(lab.store, lab.backend, job_id)
    lab.recalibrate()
    with pytest.raises(Recalibrated):
        qjobs.submit(lab.store, lab.backend, job_id, policy=RetryPolicy(rungs=(), on_recalibration=RULE.FAIL))
    assert not lab.backend.jobs
    qjobs.submit(lab.store, lab.backend, job_id, policy=RetryPolicy(rungs=(), on_recalibration=RULE.RECOMPILE))
    assert (len(lab.backend.jobs), lab.sent_fits(BEFORE), len(lab.told(job_id))) == (1, True, 2)
    lab.store.close()


# The sensor


@pytest.mark.parametrize("rule", RULE)
def test_sensor(lab: Lab, rule: RULE, clock: Clock) -> None:
    """What waits for a place follows the rule when the sensor sends it; what it cannot do, the resumed run does."""
    plan = bells(rule)
    job_id = lab.planned(plan)
    to_submit = {job_id: ToSubmit(backend="fake", policy=RetryPolicy(rungs=(), on_recalibration=rule))}
    lab.recalibrate()
    lab.store.waits.register("run", [job_id], until="all", now=clock.now(), to_send=to_send(to_submit))
    for _ in range(3):
        dispatch(lab.store, lambda _: lab.backend, now=clock.now)
    assert len(lab.backend.jobs) == (1 if rule is RULE.WARN else 0)
    (waiting,) = lab.store.waits.runs(flow_run_id="run")
    assert waiting.is_over is (rule is not RULE.WARN), "a run whose job is held is resumed"
    assert len(lab.told(job_id)) == 1
    problems = run(lab.stages, plan).problems
    assert len(lab.backend.jobs) == (0 if rule is RULE.FAIL else 1)
    assert [type(each) for each in problems.values()] == ([Recalibrated] if rule is RULE.FAIL else [])
    assert lab.sent_fits(AFTER) is (rule is not RULE.WARN)


def test_sensor_sends_the_new_ones(lab: Lab, clock: Clock) -> None:
    """What a run compiled anew before it was suspended is what the sensor sends."""
    plan = bells("recompile", 2)
    lab.backend.limits = Limits(max_items=1, max_live_jobs=1)

    class Suspended(BaseException):
        pass

    class Suspends(Stages):
        def wait(self, waited_for: object) -> None:
            unsent = dict(waited_for.unsent)  # type: ignore[attr-defined]
            jobs = [*waited_for.jobs, *unsent]  # type: ignore[attr-defined]
            self.ledger.waits.register("run", jobs, until="all", now=clock.now(), to_send=to_send(unsent))
            raise Suspended

    class Killed(Submissions):
        def claim(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    lab.store.submissions = Killed(lab.store._db)
    with pytest.raises(KeyboardInterrupt):
        run(lab.stages, plan)
    lab.recalibrate()
    with pytest.raises(Suspended):
        run(Suspends(lab.store, CompileCache(lab.folder / "compiled"), fake=lab.backend), plan)
    lab.backend.report(S.COMPLETED)
    for job in lab.store.open_jobs():
        qjobs.poll(lab.store, lab.backend, [job.job_id])
    dispatch(lab.store, lambda _: lab.backend, now=clock.now)
    assert (len(lab.backend.jobs), lab.sent_fits(AFTER)) == (2, True)
    assert {lab.on(job.job_id)[:2] for job in lab.store.jobs()} == {(NEW, NEW)}


def test_policies_of_before() -> None:
    """A policy that an older version left in the ledger warns."""
    kept = RetryPolicy.for_backend(FINDABLE).as_json()
    del kept["on_recalibration"]
    assert RetryPolicy.from_json(kept).on_recalibration is RULE.WARN


# Compiled by the provider


def test_compiled_there(lab: Lab) -> None:
    """Circuits count as compiled when their compile job was sent; recompile makes another one, and pays once."""
    plan = bells("recompile", 1, compiler="remote")
    job_id = planned_there(lab, plan)
    lab.recalibrate()
    for _ in range(2):
        assert run(lab.stages, plan).problems == {}
        lab.anew()
    kinds = [remote.batch.kind for remote in lab.backend.jobs.values()]
    assert kinds == [JobKind.COMPILE, JobKind.COMPILE, JobKind.EXECUTE]
    assert lab.on(job_id) == (NEW, NEW, NEW)
    (item,) = lab.store.items(job_id)
    assert item.program == "remote-2/0"


def test_advice_there(lab: Lab) -> None:
    """What a provider compiled is compiled anew by its run alone, so that is what the error says; and that works."""
    job_id = planned_there(lab, bells("fail", 1, compiler="remote"))
    lab.recalibrate()
    problem = run(lab.stages, bells("fail", 1, compiler="remote")).problems[job_id]
    assert "Go on with bells and on_recalibration: recompile" in str(problem)
    lab.anew()
    assert run(lab.stages, bells("recompile", 1, compiler="remote")).problems == {}
    assert lab.on(job_id) == (NEW, NEW, NEW)


def planned_there(lab: Lab, plan: CircuitListPlan) -> JobId:
    class Killed(Submissions):
        def claim(self, job_id: JobId, **values: object) -> object:  # type: ignore[override]
            if lab.store.job(job_id).kind is JobKind.EXECUTE:
                raise KeyboardInterrupt
            return super().claim(job_id, **values)  # type: ignore[arg-type]

    lab.store.submissions = Killed(lab.store._db)
    with pytest.raises(KeyboardInterrupt):
        run(lab.stages, plan)
    lab.anew()
    (job,) = lab.store.jobs(kind=JobKind.EXECUTE)
    return job.job_id


# A portal on a real socket


@pytest.mark.parametrize("rule", RULE)
def test_portal(tmp_path: Path, rule: RULE) -> None:
    """A resource of a portal loses a coupling while a job waits; it is asked for once to compile, and once to send."""
    instructions = "[('r', {{(0,): None}}), ('cz', {{{0}: {{'error': {1}}}}}), ('measure', {{(0,): None}})]"
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    plan = bells(rule, backend="QExa")

    class Killed(Submissions):
        def claim(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    with MqpPortal() as portal:
        portal.ways.connectivity = "[[0, 1], [1, 0]]"
        portal.ways.instructions = instructions.format("(0, 1)", 0.01)

        def enter(*, killed: bool) -> dict[JobId, Exception]:
            settings = {"url": portal.url, "token": lambda: TOKEN, "limiter": Limiter(), "sleep": lambda _: None}
            with Ledger(url) as store, contextlib.closing(MqpBackend("QExa", **settings)) as backend:  # type: ignore[arg-type]
                if killed:
                    store.submissions = Killed(store._db)
                stages = DirectStages(store, {"QExa": backend}, CompileCache(tmp_path / "compiled"))
                return dict(execute(store, plan, stages, run="run").problems)

        with pytest.raises(KeyboardInterrupt):
            enter(killed=True)
        portal.ways.connectivity = "[[1, 2], [2, 1]]"
        portal.ways.instructions = instructions.format("(1, 2)", 0.02)
        problems = enter(killed=False)
        assert enter(killed=False).keys() == problems.keys()
        sent = [body.body["circuit"] for body in portal.sent.values()]
    assert len(sent) == (0 if rule is RULE.FAIL else 1)
    assert [type(each) for each in problems.values()] == ([Recalibrated] if rule is RULE.FAIL else [])
    pairs = {"0,1" if "q[0],q[1]" in text.replace(" ", "") else "1,2" for text in sent}
    assert pairs == {RULE.WARN: {"0,1"}, RULE.RECOMPILE: {"1,2"}, RULE.FAIL: set()}[rule]
    with Ledger(url) as store:
        (job,) = store.jobs()
        for attempt in store.attempts(job.job_id):
            assert (attempt.compiled_on == attempt.submitted_on) is (rule is RULE.RECOMPILE)
            known = store.calibrations.snapshots([str(attempt.submitted_on)])[str(attempt.submitted_on)]
            assert known.facts["calibration"] == {"cz": {"[1,2]": {"error": 0.02}}}


# What is told


def test_told_in_the_report(lab: Lab) -> None:
    """Report, saved record, Parquet file, provenance and `qjobs jobs show` tell of the drift."""
    plan = bells()
    job_id = lab.planned(plan)
    lab.recalibrate()
    done = run(lab.stages, plan)
    line = (
        "the device device was recalibrated between compiling and running: 1 coupling gone, 1 coupling new, other "
        f"values of its gates and qubits, calibrated at 2026-11-08; compiled on {OLD} (calibrated at 2026-11-01), "
        f"submitted on {NEW} (calibrated at 2026-11-08), result on {NEW} (calibrated at 2026-11-08)"
    )
    report = report_of(lab.store, plan, done.jobs)
    assert report.lines == (line,)
    assert f"Calibration: {line}." in report.markdown(None, []).replace("\\", "")
    saved = save_run(lab.store, plan, done.jobs, {"fake": lab.backend}, where=lab.folder / "results")
    told = json.loads(json.dumps(saved.run.record))["calibration"]
    (seen,) = told["seen"]
    assert seen == {
        "device": "device", "compiled_on": OLD, "submitted_on": NEW, "results_on": NEW, "submissions": 1,
        "drifted": True,
    }  # fmt: skip
    assert told["snapshots"][NEW] == {"device": "device", "calibrated": "2026-11-08", "shows_calibration": True}
    metadata = pq.read_metadata(saved.report.file).metadata
    assert json.loads(metadata[METADATA_KEY.encode()])["calibration"] == told
    record = provenance(lab.store, {"fake": lab.backend}, [job_id])
    assert record["calibration"] == told
    assert [record["jobs"][0][name] for name in ("compiled_on", "submitted_on", "results_on")] == [OLD, NEW, NEW]


def test_shown(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """`qjobs jobs show` has it in a line, and the fingerprints in its JSON."""
    job_id = lab.planned(bells())
    lab.recalibrate()
    run(lab.stages, bells())
    assert cli.main(["jobs", "show", job_id, "--ledger", lab.url]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "calibration the device device was recalibrated between compiling and running" in printed
    assert cli.main(["jobs", "show", job_id, "--ledger", lab.url, "--json"]) == 0
    (attempt,) = json.loads(capsys.readouterr().out)["attempts"]
    assert (attempt["compiled_on"], attempt["submitted_on"], attempt["results_on"]) == (OLD, NEW, NEW)


def test_between_sending_and_the_result(lab: Lab) -> None:
    """A device that was recalibrated while a job was in its queue is told of, with the snapshot of the result."""
    (job_id,) = submitted(lab.store, lab.backend, "key")
    lab.recalibrate()
    lab.backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.poll(lab.store, lab.backend, [job_id])
    qjobs.collect(lab.store, lab.backend, job_id)
    assert lab.on(job_id) == (None, OLD, NEW)
    assert calibration_record(lab.store, [job_id])["seen"][0]["drifted"]


def test_shows_none(lab: Lab) -> None:
    """A provider that shows no calibration is told of as such; results of an older ledger say nothing."""
    lab.backend.shown = Target(name="device")
    done = run(lab.stages, points(0.1))
    report = report_of(lab.store, points(0.1), done.jobs)
    assert report.lines == ()
    (words,) = report.devices
    assert words.endswith("the provider shows no calibration, so that only qubits, gates and couplings tell")
    with lab.store._db.write() as connection:
        connection.exec_driver_sql("UPDATE attempt SET compiled_on = NULL, submitted_on = NULL, results_on = NULL")
    assert report_of(lab.store, points(0.1), done.jobs).devices == ()
