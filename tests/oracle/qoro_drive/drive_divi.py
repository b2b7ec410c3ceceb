"""What Divi's `QoroService` takes for granted, in both of its versions."""

from __future__ import annotations

import os
import random
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "portal_drive"))

import requests
from checking import TOKEN, raised, run_checks, same, until
from divi.backends import ExecutionResult, JobConfig, JobStatus, QiskitSimulator, QoroService
from divi.qprog import VQE, GenericLayerAnsatz
from divi.qprog.optimizers import ScipyMethod, ScipyOptimizer
from qiskit.circuit.library import CXGate, RYGate
from qiskit.quantum_info import SparsePauliOp

try:
    from divi.backends import runners
    from divi.circuits._payloads import CircuitPayload
    from divi.qprog.problems import HamiltonianProblem
    from qiskit.circuit import Parameter

    qoro: Any = sys.modules[f"{runners.__name__}._qoro"]
    IS_NEW = True
except ImportError:
    from divi.backends import _qoro_service as qoro
    from divi.circuits import TemplateEntry

    IS_NEW = False

qoro.API_URL = os.environ["QORO_API_URL"]
warnings.simplefilter("ignore")
_TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\n'
READ = "measure q[0] -> c[0];\nmeasure q[1] -> c[1];\n"
BELL = f"{_TWO}h q[0];\ncx q[0],q[1];\n{READ}"
FLIP0 = f"{_TWO}x q[0];\n{READ}"
ROTATED = f"{_TWO}ry(theta_0) q[0];\nry(-theta_1) q[1];\n{READ}"
PI = 3.141592653589793
H2 = SparsePauliOp.from_list(
    [("II", -1.052373), ("IZ", 0.397937), ("ZI", -0.397937), ("ZZ", -0.011280), ("XX", 0.180931)]
)
"""Molecular hydrogen at 0.735 Angstrom on two qubits, in Hartree."""


def service(**config: Any) -> Any:
    given = config or {"simulator_cluster": "qoro_maestro"}
    return QoroService(TOKEN, job_config=JobConfig(**{"shots": 100, **given}), polling_interval=0.05)


SERVICE = service()


def finished(of: Any, submitted: Any) -> dict[str, Any]:
    """The results of a job by label, after it ended."""
    same(of.poll_job_status(submitted, loop_until_complete=True, verbose=False), JobStatus.COMPLETED)
    return {entry["label"]: entry["results"] for entry in of.get_job_results(submitted).results}


def templates(rows: tuple[tuple[str, tuple[float, float]], ...]) -> tuple[Any, Any]:
    """A way to submit a template, and what it takes."""
    if IS_NEW:
        payload = CircuitPayload(
            circuit=ROTATED, parameters=(Parameter("theta_0"), Parameter("theta_1")), parameter_sets=rows
        )
        return SERVICE.submit_circuits, [payload]
    return SERVICE.submit_circuit_templates, [TemplateEntry(ROTATED, ("theta_0", "theta_1"), rows)]


def check_connection() -> None:
    same(SERVICE.test_connection().status_code, 200)


def check_targets() -> None:
    """Clusters give expectation values; machines are systems that do not, in each version."""
    same([cluster.name for cluster in SERVICE.fetch_simulator_clusters()], ["qoro_maestro", "Aer", "dark", "repaired"])
    systems = {system.name: system for system in SERVICE.fetch_qpu_systems()}
    same((systems["H1-1"].qpus[0].q_bits, systems["line"].qpus[0].status), (20, "online"))
    same((SERVICE.supports_expval, service(qpu_system="H1-1").supports_expval), (True, False))


def check_credits() -> None:
    """The balance is a decimal in a text, and simulation uses it."""
    found = SERVICE.get_credit_balance()
    same(sorted(found), ["balance", "created_at", "total_used", "updated_at"])
    finished(SERVICE, SERVICE.submit_circuits({"a": BELL}))
    after = SERVICE.get_credit_balance()
    assert 0 < float(after["balance"]) <= float(found["balance"]), (found, after)


def check_execute() -> None:
    """Counts by label, qubit 0 rightmost as in qiskit."""
    found = finished(SERVICE, SERVICE.submit_circuits({"bell": BELL, "flip": FLIP0}))
    same(found["flip"], {"01": 100})
    same((set(found["bell"]), sum(found["bell"].values())), ({"00", "11"}, 100))


def check_shot_groups() -> None:
    found = finished(
        SERVICE, SERVICE.submit_circuits({"a": FLIP0, "b": FLIP0, "c": FLIP0}, shot_groups=[[0, 1, 7], [1, 3, 20]])
    )
    same(found, {"a": {"01": 7}, "b": {"01": 20}, "c": {"01": 20}})


def check_expectation() -> None:
    """Values are exact and by term, qubit 0 leftmost."""
    found = finished(SERVICE, SERVICE.submit_circuits({"bell": BELL, "flip": FLIP0}, ham_ops="ZZ;XX;ZI;IZ;II"))
    for label, expected in (("bell", (1, 1, 0, 0, 1)), ("flip", (-1, 0, -1, 1, 1))):
        same(list(found[label]), ["ZZ", "XX", "ZI", "IZ", "II"])
        same([round(value, 9) + 0.0 for value in found[label].values()], [float(each) for each in expected])


def check_circuit_ham_map() -> None:
    """Each range of circuits has its group; what no range has, has all."""
    found = finished(
        SERVICE,
        SERVICE.submit_circuits(
            {"a": FLIP0, "b": FLIP0, "c": FLIP0}, ham_ops="ZI|IZ;XX", circuit_ham_map=[[0, 1], [1, 2]]
        ),
    )
    same(
        {label: sorted(values) for label, values in found.items()},
        {"a": ["ZI"], "b": ["IZ", "XX"], "c": ["IZ", "XX", "ZI"]},
    )


def check_templates() -> None:
    """Values stand in for parameters, and a negative one too."""
    submit, given = templates((("none", (0.0, 0.0)), ("first", (PI, 0.0)), ("second", (0.0, -PI))))
    same(finished(SERVICE, submit(given)), {"none": {"00": 100}, "first": {"01": 100}, "second": {"10": 100}})


def check_templates_expectation() -> None:
    submit, given = templates((("none", (0.0, 0.0)), ("half", (PI / 2, 0.0))))
    found = finished(SERVICE, submit(given, ham_ops="ZI;XI"))
    same(round(found["none"]["ZI"], 9), 1.0)
    same((round(found["half"]["ZI"], 9) + 0.0, round(found["half"]["XI"], 9)), (0.0, 1.0))


def check_pages() -> None:
    """More results than a page has, and more circuits than a job of the service takes."""
    submit, given = templates(tuple((f"row {number}", (PI * (number % 2), 0.0)) for number in range(450)))
    found = finished(SERVICE, submit(given))
    same(len(found), 450)
    for number in (0, 1, 99, 100, 299, 300, 449):
        same(found[f"row {number}"], {"01": 100} if number % 2 else {"00": 100})


def check_fragments() -> None:
    """Circuits that do not fit in one request."""
    circuits = {}
    for number in range(20):
        angles = random.Random(number)
        noise = "".join(f"rz({angles.random()}) q[0];\n" for _ in range(1500))
        circuits[f"c{number}"] = f"{_TWO}{noise}x q[0];\n{READ}"
    before = qoro._MAX_PAYLOAD_SIZE_MB
    qoro._MAX_PAYLOAD_SIZE_MB = 0.05
    try:
        submitted = SERVICE.submit_circuits(circuits)
    finally:
        qoro._MAX_PAYLOAD_SIZE_MB = before
    same(set(map(str, finished(SERVICE, submitted).values())), {"{'01': 100}"})


def check_packing() -> None:
    packed = service(simulator_cluster="Aer", use_circuit_packing=True, tag="packed")
    same(finished(packed, packed.submit_circuits({"flip": FLIP0})), {"flip": {"01": 100}})


def check_qpu_system() -> None:
    """A machine compiles what it is sent."""
    native = service(qpu_system="H1-1LE")
    same(finished(native, native.submit_circuits({"flip": FLIP0})), {"flip": {"01": 100}})


def check_not_ready() -> None:
    """A job that waits is open, has no results, and can be cancelled once."""
    busy = service(qpu_system="busy")
    job = busy.submit_circuits({"bell": BELL})
    assert busy.poll_job_status(job).value in {"PENDING", "SCHEDULED"}
    same("400 Bad Request" in raised(lambda: busy.get_job_results(job), requests.HTTPError), True)
    answer = busy.cancel_job(job).json()
    same(answer, {"status": "cancelled", "job_id": job.job_id, "circuits_cancelled": 1})
    same(raised(lambda: busy.cancel_job(job), requests.HTTPError)[:3], "409")
    same(busy.poll_job_status(job), JobStatus.CANCELLED)


def check_cancellation_event() -> None:
    from divi.exceptions import ExecutionCancelledError

    busy = service(qpu_system="busy")
    job = busy.submit_circuits({"bell": BELL})
    event = threading.Event()
    threading.Timer(0.3, event.set).start()
    raised(
        lambda: busy.poll_job_status(job, loop_until_complete=True, verbose=False, cancellation_event=event),
        ExecutionCancelledError,
    )
    busy.cancel_job(job)


def check_failed() -> None:
    broken = service(qpu_system="broken")
    job = broken.submit_circuits({"bell": BELL})
    until(lambda: broken.poll_job_status(job) is JobStatus.FAILED)


def check_delete() -> None:
    job = SERVICE.submit_circuits({"bell": BELL})
    same(SERVICE.delete_job(job).status_code, 204)
    same(raised(lambda: SERVICE.poll_job_status(job), requests.HTTPError)[:3], "404")


def check_errors() -> None:
    """What is refused is an error of HTTP, with our words in it."""
    unknown = ExecutionResult(job_id="00000000-0000-4000-8000-000000000000")
    same(raised(lambda: SERVICE.poll_job_status(unknown), requests.HTTPError)[:3], "404")
    same(raised(lambda: SERVICE.cancel_job(unknown), requests.HTTPError)[:3], "404")
    same(raised(lambda: QoroService("forged"), requests.HTTPError)[:3], "401")
    words = raised(
        lambda: service(shots=10**8, simulator_cluster="Aer").submit_circuits({"a": BELL}), requests.HTTPError
    )
    same((words[:3], "at most 1000000 shots" in words), ("400", True))


def vqe(backend: Any) -> Any:
    given = {"problem": HamiltonianProblem(H2)} if IS_NEW else {"hamiltonian": H2}
    program = VQE(
        **given,
        ansatz=GenericLayerAnsatz([RYGate], entangler=CXGate, entangling_layout="linear"),
        n_layers=1,
        optimizer=ScipyOptimizer(method=ScipyMethod.COBYLA),
        max_iterations=6,
        backend=backend,
        seed=11,
    )
    program.run()
    return program


def check_vqe() -> None:
    """Divi's own VQE sees here what it sees on its own simulator: values are exact on both.

    Divi rounds angles to 8 digits where it binds them itself, and then its optimiser's last steps may part.
    """
    here, there = vqe(SERVICE), vqe(QiskitSimulator())
    pairs = list(zip(losses(here), losses(there), strict=False))
    assert all(abs(one - other) < 1e-6 for one, other in pairs[:5]), pairs
    assert -1.8573 < here.best_loss < -1.85, here.best_loss


def losses(program: Any) -> list[float]:
    return [min(map(float, entry.values())) for entry in program.losses_history]


if __name__ == "__main__":
    run_checks(globals())
