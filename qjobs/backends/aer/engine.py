"""One program, many rows of parameters, through Aer: counts or exact expectation values.

Runs in a worker process only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qjobs.backends.aer.worker import BASIS_1Q, BASIS_2Q, BASIS_3Q, BASIS_OTHER, AerMethod, NoiseSpec, Row, Task
from qjobs.errors import InvalidCircuit
from qjobs.model import Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["run_program"]

_NATIVE_ALWAYS = frozenset({*BASIS_1Q, *BASIS_2Q, *BASIS_OTHER, "barrier", "break_loop", "continue_loop", "store"})
_NATIVE_IDEAL = _NATIVE_ALWAYS | {*BASIS_3Q, "unitary", "diagonal", "pauli", "initialize", "mcx", "mcp", "mcphase"}

_MAX_EXACT_QUBITS = 16
_MAX_EXACT_BITS = 12


def run_program(task: Task, program: Program, parameters: list[tuple[float, ...]], position: int) -> list[Row]:
    """Simulate items of one program.

    Args:
        task: What holds for all of them.
        program: Their circuit.
        parameters: One row for each item, in the order of `Program.parameters`.
        position: Place of the first one in the task; the seed derives from it.

    Returns:
        One row for each item. Whatever goes wrong is raised: the caller turns it into data.
    """
    started = time.perf_counter()
    seed = _seed(task, position)
    counts: Iterable[dict[str, int] | None]
    expvals: Iterable[dict[str, float] | None]
    if task.observables:
        counts, expvals = [None] * len(parameters), _expvals(task, program, parameters)
    else:
        expvals, exact = [None] * len(parameters), _exact_form(task, program)
        if exact is None:
            counts = _sampled(task, program, parameters, seed)
        else:
            counts = _sampled_exactly(exact, task.shots, parameters, seed)
    pairs = list(zip(counts, expvals, strict=True))
    share_s = (time.perf_counter() - started) / len(pairs)
    return [(count, expval, share_s) for count, expval in pairs]


def _seed(task: Task, position: int) -> int | None:
    """Seed of a run of items: from the job's seed and the index of the run's first item."""
    if task.seed is None:
        return None
    digest = sha256(f"{task.seed}:{task.first + position}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1  # Aer adds 2113 for each circuit of a call: leave room


@dataclass(frozen=True, slots=True)
class _Split:
    """A circuit whose measurements are all at the end: the gates, and (qubit, bit) sorted by bit."""

    gates: QuantumCircuit
    measured: tuple[tuple[int, int], ...]
    resets: bool


def _split(circuit: QuantumCircuit) -> _Split | None:
    """The circuit without its final measurements; None when something depends on a measurement."""
    if circuit.num_vars:
        return None
    gates = circuit.copy_empty_like()
    qubit_index = {bit: index for index, bit in enumerate(circuit.qubits)}
    bit_index = {bit: index for index, bit in enumerate(circuit.clbits)}
    measured: dict[int, int] = {}
    resets = False
    for instruction in circuit.data:
        name = instruction.operation.name
        qubits = [qubit_index[qubit] for qubit in instruction.qubits]
        if name == "barrier":
            continue
        if any(qubit in measured for qubit in qubits):
            return None
        if name == "measure":
            bit = bit_index[instruction.clbits[0]]
            if bit in measured.values():
                return None
            measured[qubits[0]] = bit
            continue
        if instruction.clbits or (name in BASIS_OTHER and name not in {"reset", "delay"}):
            return None
        resets |= name in {"reset", "initialize"}
        gates.append(instruction)
    pairs = tuple(sorted(measured.items(), key=lambda pair: pair[1]))
    return _Split(gates, pairs, resets)


@lru_cache(maxsize=256)
def _native(program: Program, noisy: bool) -> QuantumCircuit:
    """The circuit in gates that Aer (and the noise model) knows; shared, not to be changed."""
    from qiskit import transpile

    from qjobs.circuits.programs import to_qiskit

    circuit = to_qiskit(program)
    if _names(circuit) <= (_NATIVE_ALWAYS if noisy else _NATIVE_IDEAL):
        return circuit
    basis = [*BASIS_1Q, *BASIS_2Q, *(() if noisy else BASIS_3Q), *BASIS_OTHER]
    return transpile(circuit, basis_gates=basis, optimization_level=0)


def _names(circuit: QuantumCircuit) -> set[str]:
    names: set[str] = set()
    for instruction in circuit.data:
        names.add(instruction.operation.name)
        for block in getattr(instruction.operation, "blocks", ()):
            names |= _names(block)
    return names


@dataclass(frozen=True, slots=True)
class _Exact:
    """A circuit that ends in `save_probabilities`, and the bit string of each outcome."""

    circuit: QuantumCircuit
    parameters: tuple[str, ...]
    words: Any


def _exact_form(task: Task, program: Program) -> _Exact | None:
    """The form to sample outside Aer, where that is the same distribution and much faster.

    Aer needs about 1.1 us for each shot; a multinomial draw from the exact probabilities costs about
    10 us for each item of 8 bits, whatever the shots.
    """
    plain = task.noise is None and task.method in {AerMethod.AUTOMATIC, AerMethod.STATEVECTOR}
    return _exact(program) if plain and program.n_qubits <= _MAX_EXACT_QUBITS else None


@lru_cache(maxsize=256)
def _exact(program: Program) -> _Exact | None:
    import numpy as np

    split = _split(_native(program, False))
    if split is None or split.resets or len(split.measured) > _MAX_EXACT_BITS:
        return None
    circuit = split.gates.copy()
    circuit.save_probabilities([qubit for qubit, _ in split.measured])
    words = []
    for outcome in range(2 ** len(split.measured)):
        bits = ["0"] * program.n_bits
        for place, (_, bit) in enumerate(split.measured):
            bits[-1 - bit] = "01"[outcome >> place & 1]
        words.append("".join(bits))
    return _Exact(circuit, program.parameters, np.array(words, dtype=object))


def _sampled_exactly(
    exact: _Exact, shots: int, parameters: list[tuple[float, ...]], seed: int | None
) -> Iterator[dict[str, int]]:
    import numpy as np

    rows = parameters if exact.circuit.parameters else parameters[:1]
    experiments = _aer(
        exact.circuit, exact.parameters, rows, shots=1, method=AerMethod.STATEVECTOR, bind_at_runtime=True
    )
    weights = np.array([experiment.data.probabilities for experiment in experiments]).clip(min=0)
    weights = np.broadcast_to(weights, (len(parameters), weights.shape[1]))
    drawn = np.random.default_rng(seed).multinomial(shots, weights / weights.sum(axis=1, keepdims=True))
    for row in drawn:
        seen = row.nonzero()[0]
        yield dict(zip(exact.words[seen].tolist(), row[seen].tolist(), strict=True))


def _sampled(
    task: Task, program: Program, parameters: list[tuple[float, ...]], seed: int | None
) -> Iterator[dict[str, int]]:
    noise = _noise_model(task.noise) if task.noise else None
    circuit = _native(program, noise is not None)
    experiments = _aer(
        circuit,
        program.parameters,
        parameters,
        shots=task.shots,
        method=task.method,
        noise_model=noise,
        seed_simulator=seed,
    )
    words: dict[str, str] = {}  # one string object for each outcome: it is pickled once
    for experiment in experiments:
        counts = experiment.data.counts
        for key in counts.keys() - words.keys():
            words[key] = format(int(key, 16), f"0{program.n_bits}b")
        yield {words[key]: int(count) for key, count in counts.items()}


def _expvals(task: Task, program: Program, parameters: list[tuple[float, ...]]) -> Iterator[dict[str, float]]:
    """Exact expectation values: what the counts of infinitely many shots would give.

    A readout error p shrinks a Pauli string of weight w by (1 - 2p)^w.
    """
    from qiskit.quantum_info import SparsePauliOp

    noise = task.noise or NoiseSpec()
    split = _split(_native(program, noise.on_gates))
    if split is None:
        raise InvalidCircuit(
            "exact expectation values need a circuit whose measurements are all at its end; "
            "remove the observables to sample it, or remove the measurement in its middle"
        )
    circuit = split.gates.copy()
    for number, observable in enumerate(task.observables):
        terms = [
            (pauli, value * (1 - 2 * noise.readout) ** (len(pauli) - pauli.count("I")))
            for pauli, value in observable.terms
        ]
        circuit.save_expectation_value(
            SparsePauliOp.from_list(terms), range(program.n_qubits), label=f"observable_{number}"
        )
    mixed = noise.on_gates or split.resets
    method = AerMethod.DENSITY_MATRIX if mixed else task.method
    if method is AerMethod.AUTOMATIC and program.n_qubits <= _MAX_EXACT_QUBITS:
        method = AerMethod.STATEVECTOR
    model = _noise_model(noise) if noise.on_gates else None
    fast = method is AerMethod.STATEVECTOR
    experiments = _aer(
        circuit,
        program.parameters,
        parameters,
        shots=1,
        method=method,
        noise_model=model,
        bind_at_runtime=fast and not split.resets,
    )
    for experiment in experiments:
        yield {
            observable.name: float(getattr(experiment.data, f"observable_{number}"))
            for number, observable in enumerate(task.observables)
        }


@lru_cache(maxsize=16)
def _noise_model(spec: NoiseSpec) -> Any:
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    model = NoiseModel()
    if spec.depolarizing_1q:
        model.add_all_qubit_quantum_error(depolarizing_error(spec.depolarizing_1q, 1), list(BASIS_1Q))
    if spec.depolarizing_2q:
        model.add_all_qubit_quantum_error(depolarizing_error(spec.depolarizing_2q, 2), list(BASIS_2Q))
    if spec.readout:
        p = spec.readout
        model.add_all_qubit_readout_error(ReadoutError([[1 - p, p], [p, 1 - p]]))
    return model


def _aer(
    circuit: QuantumCircuit,
    names: tuple[str, ...],
    parameters: Sequence[tuple[float, ...]],
    *,
    shots: int,
    method: AerMethod,
    bind_at_runtime: bool = False,
    **options: Any,
) -> list[Any]:
    """One call of Aer; one experiment for each row of `parameters`, ordered as `names`.

    `bind_at_runtime` saves a copy of the circuit for each row, but Aer 0.17 and 0.18 abort the process
    when such a circuit has control flow: only circuits of plain gates ask for it.
    """
    from qiskit_aer import AerSimulator

    columns = dict(zip(names, zip(*parameters, strict=True), strict=True)) if names else {}
    symbols = list(circuit.parameters)
    binds = [{symbol: list(columns[symbol.name]) for symbol in symbols}] if symbols else None
    circuits = [circuit] if symbols else [circuit] * len(parameters)
    simulator = AerSimulator(
        method=method.value,
        max_parallel_threads=1,
        runtime_parameter_bind_enable=bind_at_runtime and bool(symbols),
        **options,
    )
    result = simulator.run(circuits, shots=shots, parameter_binds=binds).result()
    if not result.success:
        raise RuntimeError(str(result.status))
    return list(result.results)
