"""Execution with Aer, in a worker process: several items in one call, results as pytket writes them.

Circuits without noise whose measurements are all at the end are not sampled by Aer: it computes the
exact probabilities, and the shots are drawn from these, which is the same distribution and faster.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.service.execution.aer_calls import is_exact, method_of, noise_of, run_aer, split_measurements, to_qiskit
from qjobs.service.execution.cost import cost_hqc, gate_counts
from qjobs.service.execution.packing import outcomes_of_indices, outcomes_of_memory, state_body, unitary_body
from qjobs.service.execution.plain_circuits import PlainCircuit, read_plain
from qjobs.service.execution.programs import ItemFailure, Machine, check_circuit, load_circuit

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["ExecuteItem", "ExecuteOutcome", "ExecuteTask", "run_execute"]

_MAX_EXACT_QUBITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteItem:
    """One circuit to run: the body of its document, and the text from which its seed is made."""

    item_uuid: str
    body: bytes = field(repr=False)
    n_shots: int | None
    max_cost: float | None
    n_qubits: int | None
    seed_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteTask:
    """Circuits that one worker runs alike."""

    machine: Machine
    config: Mapping[str, Any]
    items: tuple[ExecuteItem, ...]

    def without(self, uuids: Collection[str]) -> ExecuteTask:
        """The same without some of its items."""
        return replace(self, items=tuple(item for item in self.items if item.item_uuid not in uuids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteOutcome:
    """What became of one item. `body` is zlib of the JSON of `BackendResult.to_dict()`; seconds are the processor's."""

    item_uuid: str
    duration_s: float
    body: bytes = field(default=b"", repr=False)
    cost: float | None = None
    failure: ItemFailure | None = None


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """An item on its way."""

    item: ExecuteItem
    circuit: Any
    """pytket's, or a `PlainCircuit`."""
    cost: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Exact:
    """A circuit whose shots are drawn here: its gates, its bits, and (qubit, bit) of each measurement."""

    item: ExecuteItem
    gates: QuantumCircuit
    bits: Sequence[Any]
    measured: Sequence[tuple[int, int]]


class _Depleted(Exception):
    """It would cost more than it may."""


def run_execute(task: ExecuteTask) -> list[ExecuteOutcome]:
    """Run the circuits of a task; what fails is data, and leaves the others alone."""
    import qiskit_aer  # noqa: F401  # gives circuits their save_... methods

    outcomes: dict[str, ExecuteOutcome] = {}
    loaded = []
    for item in task.items:
        started = time.process_time()
        try:
            circuit = _plain(task, item)
            cost = 0.0
            if circuit is None:
                circuit = load_circuit(item.body)
                check_circuit(circuit, task.machine, n_qubits=_limit(task, item))
                cost = _priced(circuit, item, task.machine)
        except Exception as error:
            outcomes[item.item_uuid] = _failed(item, error, time.process_time() - started)
            continue
        if task.machine.is_checker:
            duration_s = time.process_time() - started
            outcomes[item.item_uuid] = ExecuteOutcome(item_uuid=item.item_uuid, duration_s=duration_s, cost=cost)
        else:
            duration_s = time.process_time() - started
            loaded.append(_Loaded(item=item, circuit=circuit, cost=cost, duration_s=duration_s))
    for one in _simulated(task, loaded):
        outcomes[one.item_uuid] = one
    return [outcomes[item.item_uuid] for item in task.items]


def _plain(task: ExecuteTask, item: ExecuteItem) -> PlainCircuit | None:
    """The circuit read quickly, where it and the machine are simple enough."""
    machine = task.machine
    if machine.is_checker or machine.priced or machine.native_only or machine.connectivity is not None:
        return None
    if machine.result != "shots" or not is_exact(task.machine, task.config) or not item.body:
        return None
    try:
        content = json.loads(zlib.decompress(item.body))
    except (ValueError, zlib.error, RecursionError):
        return None
    circuit = read_plain(content)
    limits = (machine.n_qubits, _MAX_EXACT_QUBITS, _limit(task, item) or _MAX_EXACT_QUBITS)
    return circuit if circuit is not None and circuit.gates.num_qubits <= min(limits) else None


def _limit(task: ExecuteTask, item: ExecuteItem) -> int | None:
    wanted = [value for value in (item.n_qubits, task.config.get("n_qubits")) if isinstance(value, int)]
    return min(wanted, default=None)


def _priced(circuit: Any, item: ExecuteItem, machine: Machine) -> float:
    if not machine.priced:
        return 0.0
    cost = cost_hqc(gate_counts(circuit), item.n_shots or 0)
    if item.max_cost is not None and cost > item.max_cost:
        raise _Depleted(
            f"the item costs {cost:g} HQC, and its max_cost is {item.max_cost:g}; it was not run. "
            "Allow more, or take fewer shots"
        )
    return cost


def _failed(item: ExecuteItem, error: Exception, duration_s: float) -> ExecuteOutcome:
    words = " ".join(str(getattr(error, "message", "") or error).split())
    if isinstance(error, _Depleted):
        failure = ItemFailure(status="DEPLETED", message=words, detail=words)
    elif isinstance(error, InvalidInput):
        failure = ItemFailure(status="ERROR", message=words, detail=words)
    else:
        failure = ItemFailure(
            status="ERROR", message=f"the simulation failed: {words}", detail=f"{type(error).__name__}: {words}"
        )
    return ExecuteOutcome(item_uuid=item.item_uuid, duration_s=duration_s, failure=failure)


def _simulated(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[ExecuteOutcome]:
    """All in one call; one at a time when that fails, to find out which one it was."""
    if not loaded:
        return []
    started = time.process_time()
    try:
        bodies = _bodies(task, loaded)
    except Exception as error:
        if len(loaded) == 1:
            return [_failed(loaded[0].item, error, loaded[0].duration_s + time.process_time() - started)]
        return [outcome for one in loaded for outcome in _simulated(task, [one])]
    share_s = (time.process_time() - started) / len(loaded)
    return [
        ExecuteOutcome(item_uuid=one.item.item_uuid, duration_s=one.duration_s + share_s, body=body, cost=one.cost)
        for one, body in zip(loaded, bodies, strict=True)
    ]


def _bodies(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[bytes]:
    match task.machine.result:
        case "state":
            found = _states(task, loaded)
        case "unitary":
            found = _unitaries(task, loaded)
        case _:
            found = _shots(task, loaded)
    return [zlib.compress(text.encode(), 1) for text in found]


# ---- shots --------------------------------------------------------------------------------------


def _shots(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[str]:
    texts: dict[str, str] = {}
    exact: list[_Exact] = []
    may_be_exact = is_exact(task.machine, task.config)
    noisy = noise_of(task.machine, task.config) is not None
    for one in loaded:
        if isinstance(one.circuit, PlainCircuit):
            plain = one.circuit
            exact.append(_Exact(one.item, plain.gates, plain.bits, plain.measured))
            continue
        if not one.circuit.n_bits:
            raise InvalidCircuit("the circuit measures nothing; add measurements, for example with measure_all()")
        circuit = to_qiskit(one.circuit, keep_outputs=False, noisy=noisy)
        small = may_be_exact and one.circuit.n_qubits <= _MAX_EXACT_QUBITS
        measured = split_measurements(circuit) if small else None
        if measured is not None:
            exact.append(_Exact(one.item, circuit, _names(one.circuit.bits), measured))
        else:
            texts[one.item.item_uuid] = _sampled(one, circuit, task)
    for each, probabilities in zip(exact, _probabilities(exact), strict=True):
        cumulated = probabilities.clip(min=0).cumsum()
        # Drawn from [0, the sum): rounding never gives an outcome of probability zero at the end.
        drawn = cumulated.searchsorted(_rng(each.item).random(each.item.n_shots) * cumulated[-1], side="right")
        texts[each.item.item_uuid] = outcomes_of_indices(each.bits, [bit for _, bit in each.measured], drawn)
    return [texts[one.item.item_uuid] for one in loaded]


def _names(units: Sequence[Any]) -> list[Any]:
    return [unit.to_list() for unit in units]


def _probabilities(exact: Sequence[_Exact]) -> list[Any]:
    if not exact:
        return []
    circuits = []
    for each in exact:
        gates = each.gates.copy()  # a second try must find it as it was
        gates.save_probabilities([qubit for qubit, _ in each.measured])
        circuits.append(gates)
    return [entry.data.probabilities for entry in run_aer(circuits, method="statevector", shots=1)]


def _sampled(one: _Loaded, circuit: QuantumCircuit, task: ExecuteTask) -> str:
    """Shots drawn by Aer, one circuit in a call: its seed is its own."""
    seed = int(_rng(one.item).integers(1 << 31))
    noise, bits = noise_of(task.machine, task.config), _names(one.circuit.bits)
    options = {} if noise is None else {"noise_model": noise}
    (entry,) = run_aer(
        [circuit], method=method_of(task.config), shots=one.item.n_shots, memory=True, seed_simulator=seed, **options
    )
    if "measure" in circuit.count_ops():
        return outcomes_of_memory(bits, entry.data.memory)
    return outcomes_of_memory(bits, ["0x0"] * (one.item.n_shots or 0))


def _rng(item: ExecuteItem) -> Any:
    import numpy as np

    return np.random.default_rng(int.from_bytes(sha256(item.seed_text.encode()).digest()[:8]))


# ---- states and unitaries -----------------------------------------------------------------------


def _states(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[str]:
    circuits = []
    for one in loaded:
        circuit = _gates_only(one.circuit, "state")
        circuit.save_statevector()
        circuits.append(circuit)
    seed = int(_rng(loaded[0].item).integers(1 << 31))
    entries = run_aer(circuits, method="statevector", shots=1, seed_simulator=seed)
    return [state_body(one.circuit.qubits, entry.data.statevector) for one, entry in zip(loaded, entries, strict=True)]


def _unitaries(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[str]:
    circuits = []
    for one in loaded:
        circuit = _gates_only(one.circuit, "unitary")
        circuit.save_unitary()
        circuits.append(circuit)
    entries = run_aer(circuits, method="unitary", shots=1)
    return [unitary_body(one.circuit.qubits, entry.data.unitary) for one, entry in zip(loaded, entries, strict=True)]


def _gates_only(circuit: Any, what: str) -> QuantumCircuit:
    """The circuit without measurements at its end."""
    converted = to_qiskit(circuit, keep_outputs=True)
    if "measure" in converted.count_ops() and split_measurements(converted) is None:
        raise InvalidCircuit(f"the circuit measures before its end, and has no {what}; take AerConfig to sample it")
    if "if_else" in converted.count_ops():
        raise InvalidCircuit(f"the circuit has conditions, and no {what}; take AerConfig to sample it")
    return converted
