"""What `mqp-qiskit-provider` takes for granted."""

from __future__ import annotations

from checking import BY_OWNER, TOKEN, raised, run_checks, same, until
from mqp.qiskit_provider import MQPProvider
from qiskit import QuantumCircuit, transpile
from qiskit.providers import JobStatus

PROVIDER = MQPProvider(TOKEN)  # the address is in MQP_URL


def backend(name: str = "Aer"):
    (found,) = PROVIDER.backends(name)
    return found


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def flip(qubit: int) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.x(qubit)
    circuit.measure_all()
    return circuit


def check_backends() -> None:
    """All resources are backends; those that are away are left out where that is asked for."""
    every = {each.name for each in PROVIDER.backends()}
    online = {each.name for each in PROVIDER.backends(online_backends=True)}
    same(({"Aer", "dark", "repaired"} <= every, every - online), (True, {"dark", "repaired"}))
    same(PROVIDER.backends("nothing"), [])


def check_target() -> None:
    """Connectivity and instructions make a target for which qiskit compiles."""
    found = backend("line")
    same((found.coupling_map is not None, found.target.num_qubits), (True, 4))
    same(set(found.target.operation_names), {"rx", "rz", "cx", "measure"})
    circuit = QuantumCircuit(4)
    circuit.h(0)
    circuit.cx(0, 3)
    circuit.measure_all()
    compiled = transpile(circuit, found, seed_transpiler=1)
    counts = found.run(compiled, shots=200, no_modify=True).result().get_counts()
    same((set(counts), sum(counts.values())), ({"0000", "1001"}, 200))


def check_everything_couples() -> None:
    found = backend()
    same((found.coupling_map, found.target.num_qubits), (None, 40))


def check_circuit() -> None:
    job = backend().run(bell(), shots=300)
    counts = job.result().get_counts()
    same((set(counts), sum(counts.values()), job.status()), ({"00", "11"}, 300, JobStatus.DONE))


def check_circuits() -> None:
    """A list of circuits is one job; their counts are in its order, bit 0 rightmost."""
    result = backend().run([flip(0), flip(1), bell()], shots=50).result()
    same([result.get_counts(0), result.get_counts(1)], [{"01": 50}, {"10": 50}])
    same(set(result.get_counts(2)) <= {"00", "11"}, True)


def check_openqasm_3() -> None:
    same(backend().run(flip(1), shots=20, qasm3=True).result().get_counts(), {"10": 20})


def check_compiled_by_the_portal() -> None:
    same(backend("H1-1LE").run(flip(0), shots=20).result().get_counts(), {"01": 20})


def check_cancel() -> None:
    """A job waits, is cancelled, and says why."""
    job = backend("busy").run(bell(), shots=10)
    until(lambda: job.status() == JobStatus.QUEUED)
    job.cancel()
    same(job.status(), JobStatus.CANCELLED)
    same(raised(job.result, RuntimeError), BY_OWNER)


def check_offline() -> None:
    """A job for a resource that is away ends; a queued one waits."""
    job = backend("dark").run(bell(), shots=10)
    same(raised(job.result, RuntimeError), "Job cancelled: The resource dark is offline.")
    before = backend("dark").num_pending_jobs
    queued = backend("dark").run(bell(), shots=10, queued=True)
    same((queued.status(), backend("dark").num_pending_jobs), (JobStatus.INITIALIZING, before + 1))
    queued.cancel()


def check_failed() -> None:
    job = backend("broken").run(bell(), shots=10)
    same(raised(job.result, RuntimeError), "Job failed")
    same(job.status(), JobStatus.ERROR)


if __name__ == "__main__":
    run_checks(globals())
