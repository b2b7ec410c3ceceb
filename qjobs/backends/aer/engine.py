"""Aer: circuits in; counts, shots, expectation values, states and unitaries out.

A circuit is first made `native`. Where its outcome is computed and not sampled, its final measurements
are taken off (`split_measurements`). Then one call of this module runs many circuits, or one circuit with
many rows of parameters.

Aer holds the GIL for the whole of a call, and each call computes in one thread unless it is given more: make it in
a worker process (`WorkerPool`). Nothing here imports qiskit at module level, because parents import it too.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from qjobs.backends.aer.gates import BASIS_1Q, BASIS_2Q, BASIS_3Q, BASIS_OTHER
from qjobs.backends.aer.noise import NoiseSpec, noise_model
from qjobs.errors import InvalidCircuit
from qjobs.model import Observable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

WIDE_QUBITS = 20
"""From this width on a state is large enough for several threads to share (tests/bench/bench_cores.py)."""
MAX_EXACT_QUBITS = 16
"""Widest circuit whose shots are drawn from exact probabilities."""

_NATIVE_NOISY = frozenset({*BASIS_1Q, *BASIS_2Q, *BASIS_OTHER, "barrier", "break_loop", "continue_loop", "store"})
_NATIVE = _NATIVE_NOISY | {*BASIS_3Q, "unitary", "diagonal", "pauli", "initialize", "mcx", "mcp", "mcphase"}
_BOUND_BY_AER = frozenset({"p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3", "rxx", "ryy", "rzz", "rzx"})
"""Gates whose symbols Aer 0.17 and 0.18 bind. Those of cp, cu, cu1, cu3, crx, cry and crz they leave alone, or bind
wrongly, without a word: wrong numbers, or one result for all rows."""
_ANGLED = frozenset({*BASIS_1Q, *BASIS_2Q})
_RESETS = frozenset({"reset", "initialize"})
_CONTROL = frozenset({*BASIS_OTHER, "break_loop", "continue_loop", "store"}) - {"measure", "reset", "delay"}


class AerMethod(StrEnum):
    """Simulation methods of Aer that the adapter offers."""

    AUTOMATIC = "automatic"
    STATEVECTOR = "statevector"
    DENSITY_MATRIX = "density_matrix"
    STABILIZER = "stabilizer"
    MATRIX_PRODUCT_STATE = "matrix_product_state"


def import_aer() -> None:
    """Import what a simulation needs, before the first one; it gives circuits their save methods."""
    import logging

    import qiskit_aer.noise

    logging.getLogger(qiskit_aer.__name__).setLevel(logging.CRITICAL)


def native(circuit: QuantumCircuit, *, noisy: bool = False) -> QuantumCircuit:
    """The circuit in gates that Aer knows; the same object if it has no others.

    `noisy` opens gates on more than two qubits, to which no noise belongs. `circuit` is not changed.
    """
    from qiskit import transpile

    if _names(circuit) <= (_NATIVE_NOISY if noisy else _NATIVE):
        return circuit
    basis = [*BASIS_1Q, *BASIS_2Q, *(() if noisy else BASIS_3Q), *BASIS_OTHER]
    return transpile(circuit, basis_gates=basis, optimization_level=0)


def _names(circuit: QuantumCircuit) -> set[str]:
    """Names of the operations, also of those inside blocks."""
    names = set(circuit.count_ops())
    if not names.isdisjoint(_CONTROL):
        for instruction in circuit.data:
            for block in getattr(instruction.operation, "blocks", ()):
                names |= _names(block)
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A circuit whose measurements are all at its end.

    Args:
        gates: It without them; not to be changed.
        measured: (qubit, bit) of each of them. `split_measurements` orders them by qubit; the first one
            is the lowest digit of an outcome.
        resets: Whether it resets qubits, so that its state is a mixed one.
    """

    gates: QuantumCircuit
    measured: tuple[tuple[int, int], ...]
    resets: bool = False


def split_measurements(circuit: QuantumCircuit) -> Split | None:
    """Take the measurements off a native circuit, and barriers; None when something depends on a measurement."""
    operations = circuit.count_ops()
    if circuit.num_vars or not operations.keys().isdisjoint(_CONTROL):
        return None
    left = operations.get("measure", 0) + operations.get("barrier", 0)
    gates = circuit.copy()
    measured: dict[int, int] = {}
    later: set[int] = set()
    for place in range(len(gates.data) - 1, -1, -1):  # from the end: deleting moves nothing that is still to come
        if not left:
            break
        instruction = gates.data[place]
        qubits = {gates.find_bit(qubit).index for qubit in instruction.qubits}
        if instruction.name == "measure":
            bit = gates.find_bit(instruction.clbits[0]).index
            if bit in measured.values() or not qubits.isdisjoint(later | measured.keys()):
                return None
            measured[qubits.pop()] = bit
        elif instruction.name != "barrier":
            later |= qubits
            continue
        del gates.data[place]
        left -= 1
    return Split(
        gates=gates, measured=tuple(sorted(measured.items())), resets=not operations.keys().isdisjoint(_RESETS)
    )


def is_exact(method: str, n_qubits: int, *, noisy: bool = False) -> bool:
    """Whether shots are drawn from exact probabilities, where the measurements can be split off.

    It is the same distribution. Aer needs about 1.1 us for each shot; a draw from the exact
    probabilities costs about 10 us for each circuit of 8 bits, whatever the shots.
    """
    return not noisy and method in {AerMethod.AUTOMATIC, AerMethod.STATEVECTOR} and n_qubits <= MAX_EXACT_QUBITS


Rows = Sequence[tuple[float, ...]]
"""Values of a circuit's parameters, one tuple for each run, in the order of their names."""


def _run(
    circuits: Sequence[QuantumCircuit], *, method: str, shots: int = 1, threads: int = 1, **options: Any
) -> list[Any]:
    """One call of Aer; one entry for each circuit, or for each row of `parameter_binds`.

    More `threads` share a state, never the shots: how shots are shared changes the numbers that a seed draws.
    """
    from qiskit_aer import AerSimulator

    cores = {"max_parallel_threads": threads, "max_parallel_experiments": 1, "max_parallel_shots": 1}
    simulator = AerSimulator(method=str(method), **cores, **options.pop("simulator", {}))
    result = simulator.run(list(circuits), shots=shots, **options).result()
    if not result.success:
        words = [str(entry.status) for entry in result.results if not entry.success]
        raise RuntimeError("; ".join(words) or str(result.status))
    return list(result.results)


def _run_rows(circuit: QuantumCircuit, names: Sequence[str], rows: Rows, **options: Any) -> list[Any]:
    """One entry for each row; any circuit.

    Raises:
        RuntimeError: Aer failed, or gave another number of results.
    """
    symbols = list(circuit.parameters)
    if not symbols:
        return _run([circuit] * len(rows), **options)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    binds = {symbol: list(columns[symbol.name]) for symbol in symbols}
    return _run_bound(circuit, binds, len(rows), **options)


def _run_bound(
    circuit: QuantumCircuit, binds: Mapping[Any, list[float]], n_rows: int, *, at_runtime: bool = False, **options: Any
) -> list[Any]:
    """One entry for each row of `binds`. Aer binds the symbols where it can, else they are bound here."""
    turning = _names_with_symbols(circuit)
    if turning and turning <= _BOUND_BY_AER:
        simulator = {"runtime_parameter_bind_enable": at_runtime}
        found = _run([circuit], parameter_binds=[binds], simulator=simulator, **options)
    else:
        values = [dict(zip(binds, row, strict=True)) for row in zip(*binds.values(), strict=True)]
        found = _run([circuit.assign_parameters(each) for each in values], **options)
    if len(found) != n_rows:
        raise RuntimeError(f"Aer gave {len(found)} results for {n_rows} rows of parameters")
    return found


def _names_with_symbols(circuit: QuantumCircuit) -> set[str]:
    """Names of the operations that have symbols, also of those inside blocks."""
    names = set()
    for each in circuit.data:
        blocks = getattr(each.operation, "blocks", ()) if each.name in _CONTROL else ()
        for block in blocks:
            names |= _names_with_symbols(block)
        if each.is_parameterized() and not blocks:
            names.add(each.name)
    return names


def _run_template(template: Template, names: Sequence[str], rows: Rows, **options: Any) -> list[Any]:
    """One entry for each row.

    State vectors are bound at run time. That saves a copy of the circuit for each row, but Aer 0.17 and 0.18 abort the
    process when such a circuit has control flow: only circuits of plain gates are templates.

    Raises:
        RuntimeError: Aer failed, or gave another number of results.
    """
    if not template.circuit.parameters:
        return _run([template.circuit] * len(rows), **options)
    at_runtime = options["method"] == AerMethod.STATEVECTOR
    return _run_bound(template.circuit, template.binds(names, rows), len(rows), at_runtime=at_runtime, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A circuit of plain gates that is run with many rows of parameters: one symbol for each distinct angle.

    Aer works out every expression (`2*beta`) anew for each gate and row, which takes longer than the gates of a circuit
    of 8 qubits. Here each is worked out once a row.

    Args:
        circuit: Its symbols are those of the user and those of `angles`; it has no global phase.
        angles: The expression that each new symbol stands for.
    """

    circuit: QuantumCircuit
    angles: Mapping[Any, Any]

    def binds(self, names: Sequence[str], rows: Rows) -> dict[Any, list[float]]:
        """The values of each symbol, a value a row."""
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        found = {}
        for symbol in self.circuit.parameters:
            angle = self.angles.get(symbol)
            if angle is None:
                found[symbol] = list(columns[symbol.name])
                continue
            used = list(angle.parameters)
            values = zip(*(columns[parameter.name] for parameter in used), strict=True)
            found[symbol] = [float(angle.bind(dict(zip(used, row, strict=True)))) for row in values]
        return found


def template(circuit: QuantumCircuit) -> Template:
    """The template of a circuit; `circuit` is not changed, and is the template's own where it has no parameters."""
    if not circuit.parameters:
        return Template(circuit=circuit, angles={})
    symbols: dict[Any, Any] = {}
    flat = circuit.copy_empty_like()
    flat.global_phase = 0
    for instruction in circuit.data:
        if instruction.is_parameterized() and instruction.name in _ANGLED:
            operation = instruction.operation.to_mutable()
            operation.params = [_symbol(angle, symbols) for angle in operation.params]
            flat.append(operation, instruction.qubits, instruction.clbits)
        else:
            flat.append(instruction)
    return Template(circuit=flat, angles={symbol: angle for angle, symbol in symbols.items()})


def _symbol(angle: Any, symbols: dict[Any, Any]) -> Any:
    """The symbol that stands for an angle: the angle itself where it is a number or a symbol."""
    from qiskit.circuit import Parameter, ParameterExpression

    if not isinstance(angle, ParameterExpression) or isinstance(angle, Parameter) or not angle.parameters:
        return angle
    if angle not in symbols:
        symbols[angle] = Parameter(f"angle {uuid.uuid4().hex}")  # a name that no user has
    return symbols[angle]


def with_probabilities(split: Split) -> QuantumCircuit:
    """The circuit that gives the probabilities of its outcomes."""
    circuit = split.gates.copy()
    circuit.save_probabilities([qubit for qubit, _ in split.measured])
    return circuit


def probabilities(circuits: Sequence[QuantumCircuit]) -> list[NDArray[np.float64]]:
    """The probabilities of the outcomes of circuits `with_probabilities`."""
    entries = _run(circuits, method=AerMethod.STATEVECTOR) if circuits else []
    return [entry.data.probabilities.clip(min=0) for entry in entries]


def probabilities_of_rows(template: Template, names: Sequence[str], rows: Rows) -> NDArray[np.float64]:
    """The probabilities of the outcomes of the template of a circuit `with_probabilities`: a row for each row."""
    import numpy as np

    if not template.circuit.parameters:
        (alike,) = probabilities([template.circuit])
        return np.tile(alike, (len(rows), 1))
    entries = _run_template(template, names, rows, method=AerMethod.STATEVECTOR)
    return np.array([entry.data.probabilities for entry in entries]).clip(min=0)


def draw_counts(weights: NDArray[np.float64], shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each outcome was seen: a row for each row of probabilities."""
    return rng.multinomial(shots, weights / weights.sum(axis=1, keepdims=True))


def draw_shots(weights: NDArray[np.float64], shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The outcome of each shot, as a number."""
    cumulated = weights.cumsum()
    # Drawn from [0, the sum): rounding never gives an outcome of probability zero at the end.
    drawn: NDArray[np.int64] = cumulated.searchsorted(rng.random(shots) * cumulated[-1], side="right")
    return drawn


def sample_counts(
    circuit: QuantumCircuit,
    shots: int,
    *,
    names: Sequence[str] = (),
    rows: Rows = ((),),
    method: str = AerMethod.AUTOMATIC,
    noise: Any = None,
    seed: int | None = None,
    threads: int = 1,
) -> Iterator[dict[str, int]]:
    """Counts that Aer sampled, for each row; bit 0 is the rightmost."""
    options: dict[str, Any] = {"method": method, "shots": shots, "noise_model": noise, "threads": threads}
    entries = _run_rows(circuit, names, rows, seed_simulator=seed, **options)
    words: dict[str, str] = {}  # one string object for each outcome: it is pickled once
    for entry in entries:
        counts = entry.data.counts
        for key in counts.keys() - words.keys():
            words[key] = format(int(key, 16), f"0{circuit.num_clbits}b")
        yield {words[key]: int(count) for key, count in counts.items()}


def sample_shots(circuit: QuantumCircuit, shots: int, *, method: str, noise: Any = None, seed: int) -> list[str]:
    """Each shot that Aer sampled, in order: hexadecimal numbers, bit 0 the lowest."""
    if "measure" not in _names(circuit):
        return ["0x0"] * shots
    (entry,) = _run([circuit], method=method, shots=shots, memory=True, noise_model=noise, seed_simulator=seed)
    memory: list[str] = entry.data.memory
    return memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A circuit that gives the exact expectation values of observables, and how Aer is to run it."""

    template: Template
    names: tuple[str, ...]
    method: str
    noise: NoiseSpec | None


def with_expectations(
    circuit: QuantumCircuit,
    observables: Sequence[Observable],
    *,
    method: str = AerMethod.AUTOMATIC,
    noise: NoiseSpec | None = None,
) -> Observed:
    """The circuit that gives expectation values: what the counts of infinitely many shots would give.

    A readout error p shrinks a Pauli string of weight w by (1 - 2p)^w.

    Raises:
        InvalidCircuit: Something depends on a measurement.
    """
    from qiskit.quantum_info import SparsePauliOp

    noise = noise or NoiseSpec()
    split = split_measurements(circuit)
    if split is None:
        raise InvalidCircuit(
            "exact expectation values need a circuit whose measurements are all at its end; "
            "remove the observables to sample it, or remove the measurement in its middle"
        )
    saving = split.gates.copy()
    for number, observable in enumerate(observables):
        terms = []
        for pauli, value in observable.terms:
            weight = len(pauli) - pauli.count("I")
            terms.append((pauli, value * (1 - 2 * noise.readout) ** weight))
        operator = SparsePauliOp.from_list(terms)
        saving.save_expectation_value(operator, range(circuit.num_qubits), label=f"observable_{number}")
    if noise.on_gates or split.resets:
        method = AerMethod.DENSITY_MATRIX
    elif method == AerMethod.AUTOMATIC and circuit.num_qubits <= MAX_EXACT_QUBITS:
        method = AerMethod.STATEVECTOR
    return Observed(
        template=template(saving),
        names=tuple(observable.name for observable in observables),
        method=method,
        noise=noise if noise.on_gates else None,
    )


def expectation_values(
    observed: Observed, *, names: Sequence[str] = (), rows: Rows = ((),), threads: int = 1
) -> Iterator[dict[str, float]]:
    """The values of the observables by their names, for each row."""
    options: dict[str, Any] = {"method": observed.method, "threads": threads}
    if observed.noise is not None:
        options["noise_model"] = noise_model(observed.noise)
    for entry in _run_template(observed.template, names, rows, **options):
        values = entry.data
        yield {name: float(getattr(values, f"observable_{number}")) for number, name in enumerate(observed.names)}


def statevectors(splits: Sequence[Split], seed: int) -> list[Any]:
    """The state of each circuit before its measurements; a reset draws from `seed`."""
    circuits = [split.gates.copy() for split in splits]
    for circuit in circuits:
        circuit.save_statevector()
    entries = _run(circuits, method=AerMethod.STATEVECTOR, seed_simulator=seed)
    return [entry.data.statevector for entry in entries]


def unitaries(splits: Sequence[Split]) -> list[Any]:
    """The unitary of each circuit before its measurements."""
    circuits = [split.gates.copy() for split in splits]
    for circuit in circuits:
        circuit.save_unitary()
    return [entry.data.unitary for entry in _run(circuits, method="unitary")]
