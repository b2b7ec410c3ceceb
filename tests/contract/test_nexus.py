"""The Nexus adapter against `qjobs serve`: the contract, and what is Nexus's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytket.circuit import Bit, Circuit, Qubit
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from strangers import check_place

import qjobs
from qjobs.backends.base import Backend, MissingResult
from qjobs.backends.http import READ_TRIES
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend
from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.cli import main as cli
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, JobKind, Limits, RemoteId
from qjobs.operations.execute import DirectStages, ToSubmit, WaitedFor, finish
from qjobs.operations.retry import RetryPolicy
from qjobs.service import tables as schema
from qjobs.service.running import RunningService
from qjobs.service.tables import SERVICE
from qjobs.testing.contract import BackendContract, flips, new_key
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.proxy import FaultyProxy

EMAIL = "contract@localhost.test"
OTHER = "other@localhost.test"
PASSWORD = "correct horse battery"
SHOTS_PER_S = 20_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Aer takes 50 microseconds a shot, and H2-1LE has a queue; access tokens live 20 s, so that some are renewed."""
    folder = tmp_path_factory.mktemp("nexus")
    devices = files("qjobs.service").joinpath("devices.yaml").read_text()
    slow = devices.replace("name: Aer,", f"name: Aer, shots_per_s: {SHOTS_PER_S},")
    slow = slow.replace("name: H2-1LE,", "name: H2-1LE, queue_time_s: 600, max_shots: 1000000,")
    assert slow != devices
    (folder / "devices.yaml").write_text(slow)
    options = ["--submit-delay", "0.02", "--workers", "2", "--access-ttl", "20"]
    options += ["--devices", str(folder / "devices.yaml")]
    users = {EMAIL: PASSWORD, OTHER: PASSWORD}
    with RunningService(folder / "service", users=users, options=options) as service:
        yield service


@pytest.fixture(scope="module")
def token(service: RunningService) -> str:
    return service.sign_in(EMAIL, PASSWORD)


@pytest.fixture(scope="module")
def opened(service: RunningService, token: str) -> Iterator[Callable[..., NexusBackend]]:
    """Opens backends on the service."""
    made: list[NexusBackend] = []

    def open_one(device: str = "Aer", **options: Any) -> NexusBackend:
        settings = {"url": service.url, "token": token, "project": "contract", "limiter": Limiter()}
        settings |= {"verify": str(service.certificate), "poll_interval_s": (0.05, 1.0)}
        made.append(NexusBackend(device, **(settings | options)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


class TestNexus(BackendContract):
    is_seeded = True

    @pytest.fixture
    def backend(self, opened: Callable[..., NexusBackend]) -> Backend:
        return opened()

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 50 * SHOTS_PER_S), (flips(1, on=[]), 50 * SHOTS_PER_S)])

    def failing_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 8), (flips(41, on=[0]), 8), (flips(1, on=[]), 8)])

    def refused_batch(self, backend: Backend) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 1_000_001)])

    @pytest.fixture(autouse=True)
    def _kept(self, opened: Callable[..., NexusBackend], service: RunningService, token: str) -> None:
        self.opened = opened
        self.service = service
        self.token = token

    def secrets(self, backend: Backend) -> list[str]:
        return [self.token, PASSWORD]

    def otherwise(self, backend: Backend) -> Backend:
        return self.opened(config={"noise_model": {"errors": []}})

    def stranger(self, backend: Backend) -> NexusBackend:
        return self.opened(project="somewhere else", prefix="by-hand-")

    def elsewhere(self, backend: Backend) -> NexusBackend:
        return self.opened("H2-1LE")

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        with httpx.Client(base_url=self.service.url, verify=False, cookies={"myqos_oat": self.token}) as client:
            return client.delete(f"/api/jobs/v1beta3/{remote_id}").status_code == 204


Opened = Callable[..., NexusBackend]
suite = TestNexus()


def batch_of(*sources: Any, kind: JobKind = JobKind.EXECUTE, shots: int = 32, level: int | None = None) -> Batch:
    """One item for each circuit, or pair of a circuit and its parameters."""
    programs = {}
    items = []
    for n, source in enumerate(sources):
        circuit, values = source if isinstance(source, tuple) else (source, {})
        program = read_circuit(circuit)
        programs[program.hash] = program
        items.append(ItemSpec(label=f"item {n}", program=program.hash, shots=shots, parameters=tuple(values.items())))
    return Batch(
        number=0,
        items=tuple(items),
        programs=programs,
        options=ExecuteOptions(level=level),
        kind=kind,
        name="a batch for people",
    )


def test_registers(opened: Opened) -> None:
    """Registers of pytket keep their order."""
    circuit = Circuit(2)
    for bit in (Bit("zeta", 0), Bit("alpha", 10), *(Bit("alpha", n) for n in range(10))):
        circuit.add_bit(bit)
    circuit.X(0)
    circuit.Measure(Qubit(0), Bit("alpha", 2))
    circuit.Measure(Qubit(1), Bit("zeta", 0))
    program = read_circuit(circuit)
    (result,) = suite.run(opened(), batch_of(circuit))
    assert result.counts == {"000000000100": 32}
    ours = bind(program, {})
    into = {}
    for each in ours.data:
        if each.operation.name == "measure":
            into[ours.find_bit(each.qubits[0]).index] = ours.find_bit(each.clbits[0]).index
    assert into[0] == 2


def test_place_of_stranger(opened: Opened, service: RunningService, ledger: Ledger) -> None:
    """A job by hand, in another project, takes a place on the device until it ends, and the list may fail meanwhile."""
    stranger = opened(project="by hand", prefix="by-hand-")
    with FaultyProxy(service.url) as proxy:
        backend = opened(url=proxy.url, limits=Limits(max_items=1, max_live_jobs=2), sleep=lambda _: None)
        fault = Fault(route=Route.LISTING, action=Action.NOT_JSON, times=READ_TRIES)
        check_place(suite, ledger, backend, stranger, suite.slow_batch(), lambda: proxy.inject(fault))


def test_compile_job(opened: Opened) -> None:
    """A compile job gives programs of native gates that do the same."""
    angle = Parameter("angle")
    symbolic = QuantumCircuit(2, 2)
    symbolic.h(0)
    symbolic.crx(angle, 0, 1)
    symbolic.measure([0, 1], [0, 1])
    machine = opened("H1-1LE")
    batch = batch_of(flips(3, on=[0, 2]), flips(2, on=[1]), symbolic, kind=JobKind.COMPILE, shots=0, level=0)
    remote_id = suite.submit(machine, batch)
    assert suite.wait(machine, remote_id).status is JobStatus.COMPLETED
    results = suite.entries(machine, remote_id, 3)
    compiled = [entry.program for entry in results if isinstance(entry, ItemResult)]
    assert [entry.parameters for entry in compiled if entry] == [(), (), ("angle",)]
    allowed = {"rz", "r", "rzz", "measure", "barrier"}
    assert all(set(to_qiskit(program).count_ops()) <= allowed for program in compiled if program)
    run = Batch(
        number=0,
        items=tuple(ItemSpec(label="", program=each.hash, shots=20) for each in compiled[:2] if each),
        programs={each.hash: each for each in compiled[:2] if each},
    )
    assert [result.counts for result in suite.run(machine, run)] == [{"101": 20}, {"10": 20}]


def test_not_compiled(opened: Opened) -> None:
    """A machine refuses the item that is not compiled, and runs the others."""
    native = QuantumCircuit(1, 1)
    native.r(3.141592653589793, 0, 0)
    native.measure(0, 0)
    machine = opened("H1-1LE")
    remote_id = suite.submit(machine, batch_of(flips(1, on=[0]), native))
    assert suite.wait(machine, remote_id).status is JobStatus.ERROR
    refused, done = suite.entries(machine, remote_id, 2)
    assert isinstance(refused, MissingResult)
    assert refused.reason
    assert isinstance(done, ItemResult)
    assert done.counts == {"1": 32}


def test_targets(opened: Opened) -> None:
    """Target and limits are those of the device."""
    aer = opened().target()
    machine = opened("H1-1E").target()
    assert (aer.name, aer.basis_gates, aer.coupling) == ("Aer", None, None)
    assert (machine.n_qubits, machine.basis_gates, machine.coupling) == (20, ("rz", "r", "rzz"), None)
    assert opened("H9-9").target().n_qubits is None
    assert opened().limits == Limits(max_items=300)
    assert opened("H1-1SC").limits == Limits(max_items=300, max_shots=10_000, results_kept_s=0)
    assert opened("H1-1E").limits == Limits(max_items=300, max_shots=10_000)


def test_syntax_checker(opened: Opened) -> None:
    """A syntax checker has no results, and nobody waits for them."""
    native = QuantumCircuit(1, 1)
    native.rz(1.0, 0)
    native.measure(0, 0)
    checker = opened("H1-1SC", max_cost=100.0)
    remote_id = suite.submit(checker, batch_of(native))
    snapshot = suite.wait(checker, remote_id)
    assert snapshot.status is JobStatus.COMPLETED
    assert snapshot.cost is not None
    (entry,) = suite.entries(checker, remote_id, 1)
    assert isinstance(entry, MissingResult)
    assert "syntax checker" in entry.reason
    assert entry.permanent


def test_key(opened: Opened, service: RunningService, token: str) -> None:
    """The key is in the name and in a property; a job is found wherever it is."""
    key = new_key()
    remote_id = suite.submit(opened(prefix="mine-"), batch_of(flips(1, on=[0])), key)
    with httpx.Client(base_url=service.url, verify=False, cookies={"myqos_oat": token}) as client:
        shown = client.get(f"/api/jobs/v1beta3/{remote_id}").json()["data"]["attributes"]
    assert (shown["name"], shown["description"]) == (f"mine-{key}", "a batch for people")
    assert shown["properties"] == {"qjobs_key": key}
    assert opened().find(key) is None, "another prefix"
    assert opened(project="another").find(key) is None
    assert opened(prefix="mine-", project="another").find(key) == remote_id, "wherever it is"
    assert opened(project="another").remote_jobs() == []


def test_accounts(opened: Opened, service: RunningService) -> None:
    """An account does not see the jobs of another."""
    key = new_key()
    remote_id = suite.submit(opened(), batch_of(flips(1, on=[0])), key)
    other = opened(token=service.sign_in(OTHER, PASSWORD))
    assert other.find(key) is None
    assert other.status([remote_id]) == {}
    assert other.remote_jobs() == []


def test_quota(opened: Opened, service: RunningService, ledger: Ledger, tmp_path: Path, caplog: Any) -> None:
    """Jobs of a user whose quota is used up are held with the reason, by one request a pass, and go when it is back."""
    caplog.set_level("DEBUG", "qjobs.backends.http")
    program = read_circuit(flips(1, on=[0]))
    database = Database(f"sqlite:///{service.data / 'service.db'}", SERVICE)
    with httpx.Client(base_url=service.url, verify=False) as client, FaultyProxy(service.url) as proxy:
        client.cookies.set("myqos_oat", service.sign_in(OTHER, PASSWORD))
        user_id = client.get("/api/users/v1beta2/me").json()["data"]["id"]
        spent = {"user_id": user_id, "quota": "simulation", "amount": 1e6, "at": datetime.now(UTC)}
        with database.write() as connection:
            connection.execute(schema.usage.insert().values(spent))
        backend = opened(url=proxy.url, token=service.sign_in(OTHER, PASSWORD), project="held")
        items = [[ItemSpec(label=f"{n}", program=program.hash, shots=8)] for n in range(3)]
        ids = [qjobs.plan(ledger, backend, one, {program.hash: program}, run="r", name="held")[0] for one in items]
        held: list[str | None] = []

        class Refilled(DirectStages):
            """The month ends while the jobs are held."""

            def wait(self, waited_for: WaitedFor) -> None:
                if waited_for.jobs:
                    super().wait(waited_for)
                    return
                held.extend(ledger.job(job_id).trouble for job_id in ids)
                assert (proxy.created, waited_for.at_most_s) == ([], 30.0)
                assert sum("/quotas/" in line for line in caplog.messages) == 1
                with database.write() as connection:
                    connection.execute(schema.usage.delete().where(schema.usage.c.user_id == user_id))

        policy = RetryPolicy.for_backend(backend.lookup)
        stages = Refilled(ledger, {"nexus": backend}, CompileCache(tmp_path))
        assert finish(ledger, {job_id: ToSubmit(backend="nexus", policy=policy) for job_id in ids}, stages) == {}
        words = "held by the quota of nexus: the account's quota simulation is used up;"
        assert [(why or "")[: len(words)] for why in held] == [words] * 3
        assert len(proxy.created) == 3
        assert [ledger.job(job_id).trouble for job_id in ids] == [None] * 3
    database.close()


def test_uploaded_once(opened: Opened, service: RunningService, token: str) -> None:
    """A circuit with its parameters is uploaded once."""
    backend = opened(project="uploads")
    angle = Parameter("a")
    template = QuantumCircuit(1, 1)
    template.ry(angle, 0)
    template.measure(0, 0)
    batch = batch_of(*[(template, {"a": value}) for value in (0.0, 3.141592653589793, 0.0)])
    for _ in range(2):
        assert [r.counts for r in suite.run(backend, batch)] == [{"0": 32}, {"1": 32}, {"0": 32}]
    with httpx.Client(base_url=service.url, verify=False, cookies={"myqos_oat": token}) as client:
        project = client.get("/api/projects/v1beta2", params={"filter[name_exact]": "uploads"}).json()["data"][0]["id"]
        count = client.get("/api/circuits/v1beta2/meta/count", params={"filter[project][id]": project}).json()["count"]
    assert count == 2


def test_socket(opened: Opened) -> None:
    """The status socket says at once what happens."""
    backend = opened()
    remote_id = suite.submit(backend, batch_of(flips(1, on=[0]), shots=SHOTS_PER_S))
    seen: list[str] = []
    final = backend.watch(remote_id, timeout_s=30, changed=lambda snapshot: seen.append(snapshot.remote_status))
    assert final is not None
    assert final.status is JobStatus.COMPLETED
    assert len(seen) < 8, "it does not ask again and again"
    assert seen[-1] == "COMPLETED"
    assert len(seen) >= 2
    assert backend.watch(RemoteId("7b0f3a60-1111-4222-8333-944444444444"), timeout_s=1) is None


def test_command_finds_lost_job(
    opened: Opened,
    service: RunningService,
    token: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The variables that `qjobs serve` prints are enough for the command to find a lost job."""
    monkeypatch.setenv("QJOBS_NEXUS_TOKEN", token)
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    program = read_circuit(flips(1, on=[0]))
    items = [ItemSpec(label="", program=program.hash, shots=8)]
    where = ["--backend", "nexus", "--name", "nexus", "--device", "Aer", "--project", "contract", "--ledger", url]
    with Ledger(url) as ledger, FaultyProxy(service.url) as proxy:
        address = httpx.URL(proxy.url)
        at_proxy = {"NEXUS_PROTOCOL": address.scheme, "NEXUS_DOMAIN": address.host, "NEXUS_PORT": str(address.port)}
        assert set(at_proxy) <= set(service.environment)
        for name, value in (service.environment | at_proxy).items():
            monkeypatch.setenv(name, value)
        backend = opened(url=proxy.url)
        (job_id,) = qjobs.plan(ledger, backend, items, {program.hash: program}, run="r", name="lost")
        proxy.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
        with pytest.raises(BackendUnavailable):
            qjobs.submit(ledger, backend, job_id)
        assert ledger.job(job_id).status is JobStatus.UNKNOWN
        (remote_id,) = proxy.created
        assert cli.main(["orphans", *where]) == 0
        assert remote_id in capsys.readouterr().out, "no job of this ledger claims it yet"
        assert cli.main(["reconcile", *where]) == 0
        assert "ADOPTED" in capsys.readouterr().out.upper()
        assert ledger.last_attempts([job_id])[job_id].remote_id == remote_id
