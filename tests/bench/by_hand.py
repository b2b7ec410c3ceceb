"""What a user would write by hand instead of using this project: Aer and qulacs, in one process and on all cores.

The baseline of bench_sweep.py. It has no import of ours, and is handed circuits of qiskit, a matrix of parameters and
shots. Every way gives the counts of every point (a row of numbers per outcome where the outcomes are few, else a dict),
or its expectation values. Measurements stand at the end of a circuit, and bit i is that of qubit i.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

# Before OpenMP is loaded: threads that wait in a loop cost a factor of ten on a loaded machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import qulacs
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_TABLE_QUBITS = 12
"""Up to this width outcomes are counted in a table, beyond it shot by shot."""
_WIDE_QUBITS = 12
"""From this width on a circuit is a piece of work of its own for the pool."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One circuit with a matrix of parameters, a row a point and the columns in the order of names; or a list.

    With `observable` its exact expectation value is wanted for every point, else counts.
    """

    circuits: tuple[QuantumCircuit, ...]
    matrix: NDArray[np.float64] | None = None
    shots: int = 1000
    observable: SparsePauliOp | None = None
    noise: NoiseModel | None = None

    @property
    def n_points(self) -> int:
        return len(self.circuits) if self.matrix is None else len(self.matrix)


Way = Callable[[Work], Sequence[Any]]


# Aer, which samples.


def _binds(circuit: QuantumCircuit, matrix: NDArray[np.float64]) -> list[dict[Any, list[float]]]:
    names = sorted(circuit.parameters, key=lambda each: each.name)
    return [{name: list(column) for name, column in zip(names, matrix.T, strict=True)}]


def _bound(work: Work) -> list[QuantumCircuit]:
    if work.matrix is None:
        return list(work.circuits)
    (circuit,) = work.circuits
    names = sorted(circuit.parameters, key=lambda each: each.name)
    return [circuit.assign_parameters(dict(zip(names, row, strict=True))) for row in work.matrix]


def _counted(work: Work, circuits: Sequence[QuantumCircuit], options: dict[str, Any], **run: Any) -> list[Any]:
    if work.noise is not None:
        options = {**options, "noise_model": work.noise}
    result = AerSimulator(**options).run(list(circuits), shots=work.shots, **run).result()
    return [result.get_counts(place) for place in range(work.n_points)]


def aer_list(work: Work) -> Sequence[Any]:
    """A list of bound circuits."""
    return _counted(work, _bound(work), {"max_parallel_experiments": _threads()})


def aer_binds(work: Work) -> Sequence[Any]:
    """`parameter_binds`."""
    return _counted(work, work.circuits, {}, parameter_binds=_binds(work.circuits[0], work.matrix))


def aer_binds_parallel(work: Work) -> Sequence[Any]:
    """`parameter_binds`, several experiments at a time."""
    options = {"max_parallel_experiments": _threads()}
    return _counted(work, work.circuits, options, parameter_binds=_binds(work.circuits[0], work.matrix))


def aer_runtime(work: Work) -> Sequence[Any]:
    """`parameter_binds`, bound at run time."""
    method = "density_matrix" if work.noise is not None else "statevector"
    options = {"method": method, "runtime_parameter_bind_enable": True}
    return _counted(work, work.circuits, options, parameter_binds=_binds(work.circuits[0], work.matrix))


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or CORES)


# Aer, which gives probabilities or expectation values.


def _saved(work: Work, save: Callable[[QuantumCircuit], None]) -> list[Any]:
    """What Aer saved at every point."""
    circuits = []
    for circuit in work.circuits:
        gates = circuit.remove_final_measurements(inplace=False)
        save(gates)
        circuits.append(gates)
    options: dict[str, Any] = {"method": "statevector" if work.noise is None else "density_matrix"}
    if work.noise is not None:
        options["noise_model"] = work.noise
    run: dict[str, Any] = {"shots": 1}
    if work.matrix is not None:
        options["runtime_parameter_bind_enable"] = True
        run["parameter_binds"] = _binds(circuits[0], work.matrix)
    result = AerSimulator(**options).run(circuits, **run).result()
    return [entry.data for entry in result.results]


def aer_probabilities(work: Work) -> Sequence[Any]:
    """Exact probabilities, from which numpy draws; for a diagonal observable no draw is needed."""
    rows = [data.probabilities for data in _saved(work, lambda gates: gates.save_probabilities())]
    return _drawn(work, [row.clip(min=0) for row in rows])


def aer_expectation(work: Work) -> Sequence[Any]:
    """`save_expectation_value`."""

    def save(gates: QuantumCircuit) -> None:
        gates.save_expectation_value(work.observable, range(gates.num_qubits), label="value")

    return [data.value for data in _saved(work, save)]


def _drawn(work: Work, rows: Sequence[NDArray[np.float64]]) -> Sequence[Any]:
    if work.observable is not None:
        return list(np.array(rows) @ _diagonal(work.observable))
    rng = np.random.default_rng()
    widths = {len(row) for row in rows}
    if len(widths) == 1 and max(widths) <= 2**_TABLE_QUBITS:
        table = np.array(rows)
        return list(rng.multinomial(work.shots, table / table.sum(axis=1, keepdims=True)))
    return [_one_drawn(row, work.shots, rng) for row in rows]


def _one_drawn(row: NDArray[np.float64], shots: int, rng: np.random.Generator) -> Any:
    if len(row) <= 2**_TABLE_QUBITS:
        return rng.multinomial(shots, row / row.sum())
    cumulated = row.cumsum()
    outcomes, times = np.unique(
        cumulated.searchsorted(rng.random(shots) * cumulated[-1], side="right"), return_counts=True
    )
    return dict(zip(outcomes.tolist(), times.tolist(), strict=True))


def _diagonal(observable: SparsePauliOp) -> NDArray[np.float64]:
    """The diagonal of an observable of I and Z."""
    diagonal = np.zeros(2**observable.num_qubits)
    for pauli, value in zip(observable.paulis.to_labels(), observable.coeffs.real, strict=True):
        term = np.ones(1)
        for letter in pauli:
            term = np.kron(term, (1.0, -1.0) if letter == "Z" else (1.0, 1.0))
        diagonal += value * term
    return diagonal


# qulacs.

_PLAIN = ("X", "Y", "Z", "H", "S", "Sdag", "T", "Tdag", "sqrtX")
_NAMES = {
    "sdg": "Sdag",
    "tdg": "Tdag",
    "sx": "sqrtX",
    **{name.lower(): name for name in ("X", "Y", "Z", "H", "S", "T")},
}
_TURNS = {"rx": "RX", "ry": "RY", "rz": "RZ"}


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """A circuit in gates of qulacs: (name, qubits, index of the angle or None); angles are expressions or numbers."""

    n_qubits: int
    gates: tuple[tuple[str, tuple[int, ...], int | None], ...]
    angles: tuple[Any, ...]

    def values(self, circuit: QuantumCircuit, matrix: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """The value of each angle at each point; qulacs turns the other way."""
        if matrix is None:
            return -np.array([self.angles], dtype=float)
        names = sorted(circuit.parameters, key=lambda each: each.name)
        columns = np.empty((len(matrix), len(self.angles)))
        for place, angle in enumerate(self.angles):
            used = [name for name in names if name in getattr(angle, "parameters", ())]
            if not used:
                columns[:, place] = float(angle)
                continue
            places = [names.index(name) for name in used]
            columns[:, place] = [
                float(angle.bind(dict(zip(used, row, strict=True)))) for row in matrix[:, places].tolist()
            ]
        return -columns


def _steps(circuit: QuantumCircuit) -> _Steps:
    gates = []
    angles: dict[Any, int] = {}
    for instruction in circuit.data:
        name = instruction.operation.name
        if name in {"measure", "barrier", "id"}:
            continue
        qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
        if name in _NAMES:
            gates.append((_NAMES[name], qubits, None))
        elif name in _TURNS:
            gates.append((_TURNS[name], qubits, angles.setdefault(instruction.operation.params[0], len(angles))))
        elif name == "cx":
            gates.append(("CNOT", qubits, None))
        else:
            raise ValueError(f"no way to write {name} in qulacs here")
    return _Steps(n_qubits=circuit.num_qubits, gates=tuple(gates), angles=tuple(angles))


def _written(steps: _Steps, angles: Sequence[float]) -> qulacs.QuantumCircuit:
    written = qulacs.QuantumCircuit(steps.n_qubits)
    for name, qubits, angle in steps.gates:
        add = getattr(written, f"add_{name}_gate")
        if angle is None:
            add(*qubits)
        else:
            add(*qubits, angles[angle])
    return written


def _states(work: Work, parametric: bool) -> Iterator[qulacs.QuantumState]:
    for circuit in work.circuits:
        steps = _steps(circuit)
        state = qulacs.QuantumState(steps.n_qubits)
        template = qulacs.ParametricQuantumCircuit(steps.n_qubits)
        turning = []
        for name, qubits, angle in steps.gates if parametric else ():
            if angle is None:
                getattr(template, f"add_{name}_gate")(*qubits)
            else:
                getattr(template, f"add_parametric_{name}_gate")(*qubits, 0.0)
                turning.append(angle)
        for angles in steps.values(circuit, work.matrix).tolist():
            state.set_zero_state()
            if parametric:
                for place, angle in enumerate(turning):
                    template.set_parameter(place, angles[angle])
                template.update_quantum_state(state)
            else:
                _written(steps, angles).update_quantum_state(state)
            yield state


def _by_qulacs(work: Work, parametric: bool) -> Sequence[Any]:
    if work.observable is None or work.observable.paulis.x.any():
        if work.observable is not None:
            return _expected(work, parametric)
        return _drawn(work, [np.abs(state.get_vector()) ** 2 for state in _states(work, parametric)])
    diagonal = _diagonal(work.observable)
    return [np.abs(state.get_vector()) ** 2 @ diagonal for state in _states(work, parametric)]


def _expected(work: Work, parametric: bool) -> Sequence[float]:
    assert work.observable is not None
    observable = qulacs.Observable(work.observable.num_qubits)
    for pauli, value in zip(work.observable.paulis.to_labels(), work.observable.coeffs.real, strict=True):
        letters = [f"{letter} {place}" for place, letter in enumerate(reversed(pauli)) if letter != "I"]
        observable.add_operator(value, " ".join(letters))
    return [observable.get_expectation_value(state) for state in _states(work, parametric)]


def qulacs_gates(work: Work) -> Sequence[Any]:
    """State vectors of qulacs, the gates written anew for every point."""
    return _by_qulacs(work, False)


def qulacs_parametric(work: Work) -> Sequence[Any]:
    """State vectors of qulacs, of one circuit whose parameters are set for every point."""
    return _by_qulacs(work, True)


AER_COUNTS: dict[str, Way] = {
    "Aer, list of circuits": aer_list,
    "Aer, parameter_binds": aer_binds,
    "Aer, parameter_binds, parallel": aer_binds_parallel,
    "Aer, runtime binding": aer_runtime,
}


def ways_of(work: Work) -> dict[str, Way]:
    """The ways that apply to some work."""
    if work.observable is not None:
        found: dict[str, Way] = {"Aer, expectation values": aer_expectation}
        if not work.observable.paulis.x.any():
            found["Aer, probabilities"] = aer_probabilities
    else:
        found = {"Aer, list of circuits": aer_list} if work.matrix is None else dict(AER_COUNTS)
        found["Aer, probabilities + multinomial"] = aer_probabilities
    if work.noise is None:
        found["qulacs, written gates"] = qulacs_gates
        if work.matrix is not None:
            found["qulacs, parametric"] = qulacs_parametric
    return found


# All cores.


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Pool:
    """A process for every core, of one thread each, kept warm."""

    def __init__(self) -> None:
        self._executor = ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn"))
        with environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):
            for ready in [self._executor.submit(pow, 2, place) for place in range(4 * CORES)]:
                ready.result()

    def __call__(self, way: Way, work: Work) -> Sequence[Any]:
        """Every point of the work, in order."""
        places = []
        running: list[Future[Sequence[Any]]] = []
        for place, piece in pieces(work):
            places.append(place)
            running.append(self._executor.submit(way, piece))
        found: list[Any] = [None] * work.n_points
        for place, future in zip(places, running, strict=True):
            for index, value in zip(place, future.result(), strict=True):
                found[index] = value
        return found

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown()


def pieces(work: Work) -> Iterator[tuple[Sequence[int], Work]]:
    """Work cut for the cores: a matrix into as many parts, a list into its wide circuits and parts of the others."""
    if work.matrix is not None:
        for part in np.array_split(np.arange(len(work.matrix)), CORES):
            yield part.tolist(), replace(work, matrix=work.matrix[part])
        return
    order = sorted(range(len(work.circuits)), key=lambda place: -work.circuits[place].num_qubits)
    wide = [place for place in order if work.circuits[place].num_qubits >= _WIDE_QUBITS]
    narrow = [place for place in order if work.circuits[place].num_qubits < _WIDE_QUBITS]
    for places in (*([place] for place in wide), *(narrow[first::CORES] for first in range(CORES))):
        if places:
            yield places, replace(work, circuits=tuple(work.circuits[place] for place in places))
