"""Execute jobs: shots, states, unitaries, errors of single items, costs."""

from __future__ import annotations

import functools
from typing import Any
from uuid import uuid4

import numpy as np
import qnexus as qnx
from pytket.backends.backendresult import BackendResult
from pytket.circuit import Circuit, OpType
from pytket.qasm import circuit_to_qasm_str
from qnexus.client.jobs import PollingStrategy, WebsocketStrategy
from qnexus.exceptions import JobError, ResourceCreateFailed
from qnexus.models.job_status import JobStatusEnum
from qnexus.models.references import ExecutionResultRef, IncompleteJobItemRef
from quantinuum_schemas.models.backend_config import QuantinuumCompilerOptions
from session import MEASURED, bell, execute, final, ghz, project, refused, same, skewed, upload, uploaded

AER = qnx.AerConfig(seed=11)
H1LE = qnx.QuantinuumConfig(device_name="H1-1LE")
NAMES = ("skewed", "bell", "ghz", "skewed")
SHOTS = [4000, 100, 700, 1]


@functools.cache
def _batch() -> Any:
    """Four circuits with four shot counts."""
    job = execute([uploaded(name) for name in NAMES], SHOTS, AER, "batch")
    qnx.jobs.wait_for(job, timeout=60)
    return job


@functools.cache
def _results() -> list[BackendResult]:
    return [reference.download_result() for reference in qnx.jobs.results(_batch())]


def check_results_in_order() -> None:
    """Each result is that of its circuit, with its shots and its width, in the order of the items."""
    references = qnx.jobs.results(_batch())
    same([reference.get_input().annotations.name for reference in references], list(NAMES))
    same([reference.job_item_integer_id for reference in references], [1, 2, 3, 4])
    same([int(sum(result.get_counts().values())) for result in _results()], SHOTS)
    same([result.get_shots().shape for result in _results()], [(4000, 3), (100, 2), (700, 3), (1, 3)])
    same([set(_results()[1].get_counts()), set(_results()[2].get_counts())], [{(0, 0), (1, 1)}, {(0, 0, 0), (1, 1, 1)}])


def _measure(label: str, circuit: Circuit, result: BackendResult) -> None:
    """The test compares these with Aer's: bit 0 is the last character, as qiskit writes it."""
    counts = {"".join(map(str, reversed(bits))): int(number) for bits, number in result.get_counts().items()}
    MEASURED[label] = {"qasm": circuit_to_qasm_str(circuit), "counts": counts}


def check_measured_on_aer() -> None:
    for name, circuit, result in zip(NAMES, (skewed(), bell(), ghz()), _results(), strict=False):
        _measure(f"Aer {name}", circuit, result)
    same(sum(label.startswith("Aer ") for label in MEASURED), 3)


def check_measured_on_h_series() -> None:
    (compiled,) = qnx.compile(
        programs=uploaded("skewed"), backend_config=H1LE, name="native", project=project(), timeout=60
    )
    (result,) = qnx.execute(
        programs=compiled, n_shots=[3000], backend_config=H1LE, name="native", project=project(), timeout=60
    )
    _measure("H1-1LE skewed", skewed(), result)


def _exact(circuit: Circuit, config: Any) -> BackendResult:
    (result,) = qnx.execute(
        programs=upload(circuit), n_shots=[None], backend_config=config, name="exact", project=project(), timeout=60
    )
    return result


def check_state_and_unitary() -> None:
    """They are those that pytket computes."""
    circuit = Circuit(3, name="state").H(0).CX(0, 1).Ry(0.3, 2).CCX(0, 2, 1).Rz(0.7, 0)
    state = _exact(circuit, qnx.AerStateConfig()).get_state()
    overlap = abs(np.vdot(state, circuit.get_statevector()))
    assert overlap > 1 - 1e-9, f"the overlap with the exact state is {overlap}: {state}"
    circuit = Circuit(2, name="unitary").H(0).CX(0, 1).Ry(0.3, 1).Rz(0.7, 0)
    unitary = _exact(circuit, qnx.AerUnitaryConfig()).get_unitary()
    overlap = abs(np.trace(np.conj(unitary.T) @ circuit.get_unitary())) / 4
    assert overlap > 1 - 1e-9, f"the overlap with the exact unitary is {overlap}: {unitary}"


def check_result_by_id() -> None:
    reference = qnx.jobs.results(_batch())[1]
    result, info, program = qnx.results.get(reference.id)
    same((result.get_counts(), program.id), (_results()[1].get_counts(), uploaded("bell").id))
    same("CX" in {gate.name for gate in info.gate_set}, True)
    found = qnx.jobs.results(_batch())[0].download_backend_info()
    same((found.name, found.n_nodes), ("AerBackend", 40))
    error = refused(lambda: qnx.results.get(uuid4()), Exception)
    same(type(error).__name__, "ZeroMatches")


def check_waits() -> None:
    """The client waits by web socket and by polling, and not at all for a final job."""
    for strategy in (WebsocketStrategy(), PollingStrategy(initial_interval=0.2, backoff_factor=1.1)):
        job = execute(uploaded("bell"), 10, AER)
        same(qnx.jobs.wait_for(job, strategy=strategy, timeout=60).status, JobStatusEnum.COMPLETED)
    same(qnx.jobs.wait_for(_batch(), timeout=10).status, JobStatusEnum.COMPLETED)


def check_one_bad_item() -> None:
    """An item with a gate that is not native says so, and its siblings keep their results."""
    good = upload(Circuit(2, name="native").Rz(0.1, 0).ZZMax(0, 1).measure_all())
    job = execute([good, uploaded("bell"), good], [20, 20, 30], H1LE, "mixed")
    error = refused(lambda: qnx.jobs.wait_for(job, timeout=60), JobError)
    same("errored with detail" in str(error), True)
    found = qnx.jobs.results(job, allow_incomplete=True)
    same([type(entry) for entry in found], [ExecutionResultRef, IncompleteJobItemRef, ExecutionResultRef])
    same([int(sum(found[place].download_result().get_counts().values())) for place in (0, 2)], [20, 30])
    detail = found[1].last_status_detail
    same((detail.status, found[1].get_input().id), (JobStatusEnum.ERROR, uploaded("bell").id))
    assert "CX" in f"{detail.message} {detail.error_detail}", detail


def _priced() -> tuple[Circuit, float]:
    """5 + C (N1 + 10 N2 + 5 Nm) / 5000 for two, one, two preparations and two measurements, and 1000 shots."""
    circuit = Circuit(2, name="priced").ZZMax(0, 1)
    for qubit in (0, 1):
        circuit.add_gate(OpType.PhasedX, [0.5, 0.25], [qubit])
    return circuit.measure_all(), 5 + 1000 * (2 + 10 * 1 + 5 * 4) / 5000


def check_costs() -> None:
    """A job costs what its items cost, and nothing on a simulator."""
    circuit, cost = _priced()
    reference = upload(circuit)
    job = execute([reference, reference], [1000, 1000], H1LE)
    final(job)
    same((qnx.jobs.cost(job), qnx.jobs.results(job)[0].cost), (2 * cost, cost))
    same(qnx.jobs.cost(_batch()), 0.0)
    found = qnx.jobs.cost_confidence(_batch())
    same((len(found), {type(value) for pair in found for value in pair}), (4, {float}))


def check_syntax_checker() -> None:
    """It prices the circuit and gives no result; the client asks it what a circuit costs."""
    circuit, cost = _priced()
    job = execute(upload(circuit), 1000, qnx.QuantinuumConfig(device_name="H1-1SC"))
    status = qnx.jobs.wait_for(job, timeout=60)
    found = qnx.jobs.results(job, allow_incomplete=True)
    same((status.cost, [type(entry) for entry in found]), (cost, [IncompleteJobItemRef]))
    config = qnx.QuantinuumConfig(device_name="H2-1")
    same(qnx.circuits.cost(upload(circuit), 1000, config, project=project(), timeout=60), cost)


def check_refused() -> None:
    """A job that cannot run is refused in words."""
    error = refused(lambda: execute(uploaded("bell"), 10, AER, user_group="strangers"), ResourceCreateFailed)
    same((error.status_code, "Not a member of any group with name: strangers" in str(error)), (403, True))
    options = QuantinuumCompilerOptions(target_2qb_gate="ZZMax")
    config = qnx.QuantinuumConfig(device_name="H1-1LE", compiler_options=options)
    error = refused(lambda: execute(uploaded("bell"), 10, config), ResourceCreateFailed)
    same((error.status_code, "compiler_options.target_2qb_gate" in str(error)), (400, True))


def check_configs() -> None:
    """A configuration comes back; the greatest cost of a batch that is not given is a number."""
    config = qnx.AerConfig(seed=3, n_qubits=12, simulation_method="statevector")
    same(qnx.jobs.get(id=execute(uploaded("bell"), 10, config).id).backend_config, config)
    found = qnx.jobs.get(id=execute(uploaded("bell"), 10, H1LE).id).backend_config
    same(isinstance(found.max_batch_cost, float), True)
