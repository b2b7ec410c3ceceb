"""The scheduler of the portal: what it sends, in whose name, when, and what comes back."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from own_service import OwnService
from portal_person import BELL, BELL3, FLIPS, PortalPerson
from standing_service import fresh_database

from qjobs.errors import StaleJob
from qjobs.service import tables as schema
from qjobs.service.executions import execution_id
from qjobs.service.mqp import catalogue
from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.circuit_texts import pytket_bodies
from qjobs.service.mqp.portal import PROJECT, Portal
from qjobs.service.running import RunningService

DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: AerBackend, config: AerConfig, n_qubits: 20}
  - {name: second, kind: nexus-hosted, backend: B, config: SecondConfig, n_qubits: 5}
  - {name: native, kind: nexus-hosted, backend: B, config: NativeConfig, n_qubits: 5, native_only: true,
     gate_set: [PhasedX, Rz, ZZPhase, ZZMax, Measure]}
  - {name: queued, kind: hardware, backend: B, config: QueuedConfig, n_qubits: 5, queue_time_s: 1814400}
  - {name: dark, kind: nexus-hosted, backend: B, config: OffConfig, n_qubits: 5, state: offline}
  - {name: repaired, kind: nexus-hosted, backend: B, config: RepairedConfig, n_qubits: 5, state: in maintenance}
  - {name: broken, kind: nexus-hosted, backend: B, config: BrokenConfig, n_qubits: 5, failure_rate: 1.0}
  - {name: reserved, kind: nexus-hosted, backend: B, config: ReservedConfig, n_qubits: 5,
     state: "online, reserved", reserved_for: [vip@localhost.test]}
"""
TWO_REGISTERS = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg b[2]; creg a[1]; '
    "x q[0]; x q[2]; measure q[0] -> b[0]; measure q[1] -> b[1]; measure q[2] -> a[0];"
)
AWAY = [("dark", "offline"), ("repaired", "maintenance"), ("reserved", "refused")]
CONDITIONAL = BELL.replace("h q[0]", "if (c==1) h q[0]")


class Scheduled(OwnService):
    """A service whose executor and scheduler work, and a user of it with a budget."""

    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(folder, devices=DEVICES, **more)
        self.portal = Portal.open(self.service)
        self.owner = self.user.email
        for email in (self.owner, "vip@localhost.test"):
            if email != self.owner:
                self.service.accounts.add_user(email, "a secret")
            catalogue.add_budget(self.portal.jobs, email, "default")
        self.service.executor.start()

    def close(self) -> None:
        self.portal.scheduler.stop()
        super().close()

    def ask(self, target: str = "Aer", circuit: str = BELL, shots: int = 20, **more: Any) -> int:
        """Create a job; its id."""
        owner = more.pop("owner", self.owner)
        circuit_format = more.pop("circuit_format", "qasm")
        job = mqp.create_job(shots, circuit, owner, "default", target, circuit_format, **more)
        self.portal.scheduler.wake()
        return job.id

    def found(self, job_id: int, owner: str | None = None) -> mqp.CircuitJob:
        job = mqp.fetch_result_by_job_id_and_identity(str(job_id), owner or self.owner)
        assert job is not None
        return job

    def ends(self, job_id: int, owner: str | None = None) -> mqp.CircuitJob:
        """The job, when it is final."""
        self.until(lambda: self.found(job_id, owner).status.is_final)
        return self.found(job_id, owner)

    def becomes(self, job_id: int, status: str) -> None:
        self.until(lambda: self.found(job_id).status == status)

    def executions(self, job_id: int) -> list[Any]:
        """The jobs of the service that worked for one of the portal."""
        return self.rows(schema.job, name=f"portal job {job_id}")


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduled]:
    own = Scheduled(tmp_path_factory.mktemp("scheduled"))
    own.portal.scheduler.start()
    yield own
    own.close()


@pytest.fixture
def own(working: Scheduled) -> Iterator[Scheduled]:
    """A service that schedules."""
    with mqp.using(working.portal.jobs):
        yield working


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Scheduled]:
    """A service whose scheduler a test starts itself."""
    found = Scheduled(tmp_path)
    with mqp.using(found.portal.jobs):
        yield found
    found.close()


def test_circuits(own: Scheduled) -> None:
    """One circuit gives a histogram, a list gives a list in its order, and the executed circuits are kept."""
    one = own.ends(own.ask(circuit=str([FLIPS[1]])))
    assert (one.status, json.loads(one.result or "")) == ("COMPLETED", {"01": 20})
    many = own.ends(own.ask(circuit=str(FLIPS)))
    assert json.loads(many.result or "") == [{"00": 20}, {"01": 20}, {"10": 20}]
    assert (many.executed_resource, json.loads(many.executed_circuit or "")) == ("Aer", FLIPS)


@pytest.mark.slow
def test_bits(own: Scheduled) -> None:
    """Bit 0 of the register that was declared first is rightmost, whatever the registers are called."""
    job = own.ends(own.ask(circuit=TWO_REGISTERS))
    assert json.loads(job.result or "") == {"101": 20}


@pytest.mark.slow
def test_openqasm_3(own: Scheduled) -> None:
    """OpenQASM 3 is run as OpenQASM 2 is."""
    job = own.ends(own.ask(circuit=BELL3, circuit_format="qasm3", shots=200))
    counts = json.loads(job.result or "")
    assert (set(counts), sum(counts.values())) == ({"00", "11"}, 200)


@pytest.mark.slow
def test_in_the_project_of_the_owner(own: Scheduled) -> None:
    """The work is a job of the service, in a project of the owner's, under an id that the portal's job decides."""
    job = own.ends(own.ask())
    (execution,) = own.executions(job.id)
    (project,) = own.rows(schema.project, name=PROJECT)
    assert (execution.project_id, project.owner_id) == (project.project_id, own.user.user_id)
    assert execution.job_id == job.remote == execution_id(job.id, "execute")


def test_compiled(own: Scheduled) -> None:
    """A circuit is compiled for a device that wants its own gates, and what ran is told."""
    job = own.ends(own.ask("native", circuit=str(FLIPS)))
    assert json.loads(job.result or "") == [{"00": 20}, {"01": 20}, {"10": 20}]
    assert [row.job_type for row in own.executions(job.id)] == ["compile", "execute"]
    assert all(text.startswith("OPENQASM 3") for text in json.loads(job.executed_circuit or ""))


@pytest.mark.slow
def test_not_modified(own: Scheduled) -> None:
    """With no_modify it is not compiled, and fails where the device does not take it."""
    job = own.ends(own.ask("native", no_modify=True))
    assert (job.status, job.reason) == ("FAILED", "execution")
    assert "native" in job.note


@pytest.mark.slow
@pytest.mark.parametrize(
    ("circuit", "said"),
    [(BELL.replace("measure q -> c;", ""), "measures nothing"), (CONDITIONAL, "circuit 1 of 1")],
)
def test_cannot_run(own: Scheduled, circuit: str, said: str) -> None:
    """What can be read and not be run makes the job FAILED, with the words why."""
    job = own.ends(own.ask(circuit=circuit))
    assert job.status == "FAILED"
    assert said in job.note


@pytest.mark.slow
def test_broken_device(own: Scheduled) -> None:
    """A device that fails makes the job FAILED."""
    job = own.ends(own.ask("broken"))
    assert (job.status, job.reason, job.result) == ("FAILED", "execution", None)


@pytest.mark.parametrize(
    ("target", "reason", "word"), [("dark", "offline", "offline"), ("repaired", "maintenance", "in")]
)
def test_away(own: Scheduled, target: str, reason: str, word: str) -> None:
    """A resource that is away ends a job with its reason, and lets a queued one wait."""
    queued = own.ask(target, queued=True)
    job = own.ends(own.ask(target))
    assert (job.status, job.reason) == ("CANCELLED", reason)
    assert job.note.startswith(f"The resource {target} is {word}")
    assert own.found(queued).status == "PENDING"
    assert not own.executions(queued)


@pytest.mark.slow
def test_window_of_maintenance(own: Scheduled) -> None:
    """A queued job runs when the planned maintenance is over; the scheduler leaves the plan as it is."""
    now = own.service.clock.now()
    resource = next(each for each in catalogue.resources(own.portal.jobs) if each.name == "second")
    window = {"maintenance_from": now - timedelta(hours=1), "maintenance_until": now + timedelta(seconds=2)}
    planned = mqp.Resource(**{name: getattr(resource, name) for name in resource.__slots__} | window)
    catalogue.save_resource(own.portal.jobs, planned)
    refused = own.ends(own.ask("second"))
    assert (refused.status, refused.reason) == ("CANCELLED", "maintenance")
    job = own.ends(own.ask("second", queued=True))
    assert job.status == "COMPLETED"
    assert job.timestamp_scheduled is not None
    assert job.timestamp_scheduled >= now + timedelta(seconds=2)
    assert planned in catalogue.resources(own.portal.jobs)


def test_active_limit(own: Scheduled) -> None:
    """A user has two jobs at a resource at once; the next one is sent when one of them ends."""
    first, second, third = (own.ask("queued") for _ in range(3))
    own.becomes(second, "WAITING")
    assert own.found(third).status == "PENDING"
    mqp.cancel_job(first, "enough")
    own.portal.scheduler.cancel(first)
    own.becomes(third, "WAITING")
    for job_id in (second, third):
        mqp.cancel_job(job_id, "enough")
        own.portal.scheduler.cancel(job_id)


def test_cancelled_on_the_way(own: Scheduled) -> None:
    """What runs for a job that is cancelled ends with it."""
    job_id = own.ask("queued")
    own.until(lambda: own.found(job_id).remote)
    mqp.cancel_job(job_id, "enough")
    own.portal.scheduler.cancel(job_id)
    own.until(lambda: [row.status for row in own.executions(job_id)] == ["CANCELLED"])
    assert own.found(job_id).note == "enough"


@pytest.mark.slow
@pytest.mark.parametrize(("change", "status"), [("cancel", "CANCELLED"), ("delete", "FAILED")])
def test_its_work_ended_otherwise(own: Scheduled, change: str, status: str) -> None:
    """A job ends where somebody cancels or deletes what works for it."""
    job_id = own.ask("queued")
    own.until(lambda: own.found(job_id).remote)
    writable = own.service.accounts.projects_with(own.user.user_id, "DELETE")
    getattr(own.store, change)(writable, execution_id(job_id, "execute"))
    assert own.ends(job_id).status == status


@pytest.mark.slow
def test_reserved(own: Scheduled) -> None:
    """A reserved resource takes the jobs of those who are named, and lets the others wait."""
    others = own.ask("reserved")
    theirs = own.ask("reserved", owner="vip@localhost.test")
    assert own.ends(theirs, "vip@localhost.test").status == "COMPLETED"
    assert own.found(others).status == "PENDING"
    mqp.cancel_job(others, "enough")


def test_claimed_and_left(idle: Scheduled) -> None:
    """A job that was claimed and not sent is sent by the next scheduler, once."""
    job_id = idle.ask()
    mqp.fetch_all_pending_jobs()
    idle.portal.scheduler.start()
    assert idle.ends(job_id).status == "COMPLETED"
    assert len(idle.executions(job_id)) == 1


@pytest.mark.parametrize("done", ["marked", "started", "named"])
def test_sent_and_left(idle: Scheduled, done: str) -> None:
    """A job that was sent, or may have been, is looked up by the next scheduler, and runs once."""
    job_id = idle.ask(circuit=FLIPS[1])
    mqp.fetch_all_pending_jobs()
    mqp.mark_dispatched(job_id)
    if done != "marked":
        device = idle.service.devices.get("Aer")
        assert device is not None
        execution = execution_id(job_id, "execute")
        idle.portal.executions.execute(execution, idle.user, device, pytket_bodies([FLIPS[1]]), [20], name="by hand")
        if done == "named":
            mqp.mark_dispatched(job_id, execution)
    idle.portal.scheduler.start()
    assert idle.ends(job_id).result == '{"01": 20}'
    assert len(idle.rows(schema.job)) == 1


@pytest.mark.slow
def test_on_postgresql(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """On PostgreSQL it runs jobs, and lets them wait, as on SQLite."""
    with fresh_database("postgresql", tmp_path, request) as url:
        own = Scheduled(tmp_path, url=url)
        with contextlib.closing(own), mqp.using(own.portal.jobs):
            own.portal.scheduler.start()
            waiting = own.ask("dark", queued=True)
            many = own.ends(own.ask("native", circuit=str(FLIPS)))
            assert json.loads(many.result or "") == [{"00": 20}, {"01": 20}, {"10": 20}]
            assert own.found(waiting).status == "PENDING"


def test_started_twice(idle: Scheduled) -> None:
    """Who starts the same work a second time, because a write after it was lost, starts nothing."""
    device = idle.service.devices.get("Aer")
    assert device is not None
    bodies = pytket_bodies(FLIPS)
    for _ in range(2):
        idle.portal.executions.execute(
            execution_id(1, "execute"), idle.user, device, bodies, [20] * len(bodies), name="x"
        )
    assert len(idle.rows(schema.job)) == 1
    assert len(idle.rows(schema.document)) == len(idle.rows(schema.job_item)) == len(FLIPS)


def test_cancelled_while_it_is_sent(idle: Scheduled) -> None:
    """A job that its owner cancels between the claim and the sending is not sent."""
    job_id = idle.ask()
    (job,) = mqp.fetch_all_pending_jobs()
    mqp.cancel_job(job_id, "enough")
    idle.portal.scheduler._dispatch(job)
    assert not idle.rows(schema.job)


def test_sent_elsewhere(idle: Scheduled) -> None:
    """A job that another scheduler sent to a machine of its own is left to it."""
    job_id = idle.ask()
    mqp.fetch_all_pending_jobs()
    mqp.mark_dispatched(job_id, "their-machine/17")
    idle.portal.scheduler.start()
    later = idle.ask()
    assert idle.ends(later).status == "COMPLETED"
    assert idle.found(job_id).status == "WAITING"
    assert not idle.executions(job_id)


def test_started_again(idle: Scheduled) -> None:
    """A scheduler that is stopped and started again goes on with what it had."""
    job_id = idle.ask("queued")
    idle.portal.scheduler.start()
    idle.until(lambda: idle.found(job_id).remote)
    idle.portal.scheduler.stop()
    idle.portal.scheduler.start()
    writable = idle.service.accounts.projects_with(idle.user.user_id, "WRITE")
    idle.store.cancel(writable, execution_id(job_id, "execute"))
    assert idle.ends(job_id).status == "CANCELLED"
    assert len(idle.executions(job_id)) == 1


@pytest.mark.slow
def test_hamiltonian(own: Scheduled) -> None:
    """A Hamiltonian job comes near its lowest energy, epoch by epoch."""
    job = mqp.create_hamiltonian_job("0 1; 0;", "1.0 0.5;", own.owner, "default", "Aer")
    own.portal.scheduler.wake()

    def found() -> mqp.HamiltonianJob:
        one = mqp.fetch_hamiltonian_result_by_job_id_and_identity(str(job.id), own.owner)
        assert one is not None
        return one

    own.until(lambda: found().status.is_final)
    assert found().status == "COMPLETED", found().note
    result = json.loads(found().result or "")
    assert result["exact_energy"] == pytest.approx(-1.5)
    assert -1.5 <= result["energy"] < -1.3
    assert (found().epochs, len(result["energies"])) == (result["epochs"], result["epochs"])
    assert set(json.loads(found().params or "")) == set(result["params"])
    assert (found().parametric_circuit or "").startswith("OPENQASM 3")
    with pytest.raises(StaleJob):
        mqp.cancel_hamiltonian_job(job.id, "too late")


@pytest.mark.slow
def test_hamiltonian_posted(service: RunningService) -> None:
    """A Hamiltonian job that is posted to `qjobs serve` is minimised there, with a token of the command."""
    trusted = ssl.create_default_context(cafile=service.certificate)
    person = PortalPerson(service.url, service.portal_token("ada@localhost.test"), verify=trusted)
    with contextlib.closing(person.http):
        uuid = person.hamiltonian(interaction_str="0 1; 1;", coefficients_str="1.0 -0.5;")["uuid"]
        assert person.until(uuid, kind="hamiltonian_job") == "COMPLETED"
        result = person.result(uuid, "hamiltonian_job")
    assert result["exact_energy"] == pytest.approx(-1.5)
    assert -1.5 <= result["energy"] < -1.3
    assert result["energy"] == min(result["energies"])
    assert len(result["energies"]) == result["epochs"] == 50


def test_hamiltonian_cancelled(own: Scheduled) -> None:
    """A loop ends with its job; what it waits for ends, too."""
    job = mqp.create_hamiltonian_job("0 1;", "1.0;", own.owner, "default", "queued")
    own.portal.scheduler.wake()
    name = f"portal job {job.id}, epoch 1"
    own.until(lambda: own.rows(schema.job, name=name))
    mqp.cancel_hamiltonian_job(job.id, "enough")
    own.portal.scheduler.cancel(job.id)
    own.until(lambda: [row.status for row in own.rows(schema.job, name=name)] == ["CANCELLED"])


@pytest.mark.slow
@pytest.mark.parametrize(("target", "reason"), AWAY)
def test_hamiltonian_away(own: Scheduled, target: str, reason: str) -> None:
    """A Hamiltonian job does not wait for a resource that is away, or another's."""
    job = mqp.create_hamiltonian_job("0 1;", "1.0;", own.owner, "default", target)
    own.portal.scheduler.wake()

    def found() -> mqp.HamiltonianJob | None:
        return mqp.fetch_hamiltonian_result_by_job_id_and_identity(str(job.id), own.owner)

    own.until(lambda: (one := found()) is not None and one.status.is_final)
    one = found()
    assert one is not None
    assert (one.status, one.reason) == ("CANCELLED", reason)
