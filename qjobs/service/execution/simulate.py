"""Execution in a worker process: several items in one call of Aer, results as pytket writes them."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qjobs.backends.aer import NoiseSpec, engine, noise_model
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable
from qjobs.service.choices import SIMULATION_METHODS
from qjobs.service.execution.cost import cost_hqc, gate_counts
from qjobs.service.execution.packing import (
    expectations_body,
    outcomes_of_indices,
    outcomes_of_memory,
    state_body,
    unitary_body,
)
from qjobs.service.execution.programs import (
    ItemFailure,
    Machine,
    check_circuit,
    is_out_of_memory,
    load_circuit,
    out_of_memory,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

_NOISELESS = frozenset({"id", "rz", "p", "u1"})
"""Gates that an ion trap does in software, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteItem:
    """One circuit to run: the body of its document, and the text from which its seed is made.

    `observables` are Pauli strings, the leftmost letter on qubit 0, whose exact expectation values are computed;
    without them it is sampled.
    """

    item_uuid: str
    body: bytes = field(repr=False)
    n_shots: int | None
    max_cost: float | None
    n_qubits: int | None
    seed_text: str
    observables: tuple[str, ...] = ()


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
    """An item that has been read and checked.

    Args:
        circuit: It, to be sampled by Aer, or it without its measurements, where the outcome is computed;
            None if nothing is to be run. Circuits that are alike share one with parameters.
        names: The names of these parameters.
        row: Their values.
        qubits: Its qubits, as pytket writes them.
    """

    item: ExecuteItem
    cost: float = 0.0
    circuit: engine.Split | QuantumCircuit | None = None
    names: Sequence[str] = ()
    row: tuple[float, ...] = ()
    qubits: Sequence[Any] = ()
    bits: Sequence[Any] = ()
    duration_s: float = 0.0


class _Depleted(Exception):
    """The item costs more than its max_cost."""


def run_execute(task: ExecuteTask) -> list[ExecuteOutcome]:
    """Run the circuits of a task; what fails is data, and leaves the others alone."""
    engine.import_aer()
    outcomes: dict[str, ExecuteOutcome] = {}
    try:
        loaded = _plain(task)
    except Exception:  # boundary: each is read alone then, and fails alone
        loaded = []
    plain = {one.item.item_uuid for one in loaded}
    for item in task.items:
        if item.item_uuid in plain:
            continue
        started = time.process_time()
        try:
            one = _load(task, item)
        except Exception as error:  # boundary: pytket and qiskit raise what they like, and it is one item's failure
            outcomes[item.item_uuid] = _failed(task.machine, item, error, time.process_time() - started)
            continue
        one.duration_s = time.process_time() - started
        if task.machine.is_checker:
            outcomes[item.item_uuid] = ExecuteOutcome(
                item_uuid=item.item_uuid, duration_s=one.duration_s, cost=one.cost
            )
        else:
            loaded.append(one)
    for outcome in _simulated(task, loaded):
        outcomes[outcome.item_uuid] = outcome
    return [outcomes[item.item_uuid] for item in task.items]


def _failed(machine: Machine, item: ExecuteItem, error: Exception, duration_s: float) -> ExecuteOutcome:
    words = " ".join(str(getattr(error, "message", "") or error).split())
    if isinstance(error, _Depleted):
        failure = ItemFailure(status="DEPLETED", message=words, detail=words)
    elif is_out_of_memory(error):
        failure = out_of_memory(machine, error)
    elif isinstance(error, InvalidInput):
        failure = ItemFailure(status="ERROR", message=words, detail=words)
    else:
        failure = ItemFailure(
            status="ERROR", message=f"the simulation failed: {words}", detail=f"{type(error).__name__}: {words}"
        )
    return ExecuteOutcome(item_uuid=item.item_uuid, duration_s=duration_s, failure=failure)


def _load(task: ExecuteTask, item: ExecuteItem) -> _Loaded:
    machine = task.machine
    circuit = load_circuit(item.body)
    check_circuit(circuit, machine, n_qubits=_limit(task, item))
    one = _Loaded(
        item=item,
        cost=_priced(circuit, task, item),
        qubits=[qubit.to_list() for qubit in circuit.qubits],
        bits=[bit.to_list() for bit in circuit.bits],
    )
    if machine.is_checker:
        return one
    if item.observables:
        one.circuit = _for_expectations(circuit, task)
    elif machine.result == "shots":
        one.circuit = _for_shots(circuit, task)
    else:
        one.circuit = _gates_only(circuit, machine.result)
    return one


def _plain(task: ExecuteTask) -> list[_Loaded]:
    """The items read quickly, where their circuits and the machine are simple enough; those together that are alike."""
    from qjobs.circuits.plain_pytket import read_alike

    machine = task.machine
    if machine.is_checker or machine.priced or machine.native_only or machine.connectivity is not None:
        return []
    try:
        method = _method_of(task)
        if machine.result != "shots" or not engine.is_exact(method, 0, noisy=_noise_of(task) is not None):
            return []
    except InvalidInput:  # each item says so
        return []
    started = time.process_time()
    items = [item for item in task.items if item.body and not item.observables]
    loaded = []
    for group in read_alike([zlib.decompress(item.body) for item in items]):
        circuit = group.circuit
        n_qubits = circuit.gates.num_qubits
        if n_qubits > machine.n_qubits or not engine.is_exact(method, n_qubits):
            continue
        split = engine.Split(gates=engine.native(circuit.gates), measured=circuit.measured)
        for place, row in group.rows.items():
            if n_qubits <= (_limit(task, items[place]) or n_qubits):
                loaded.append(_Loaded(item=items[place], circuit=split, names=group.names, row=row, bits=circuit.bits))
    for one in loaded:
        one.duration_s = (time.process_time() - started) / len(loaded)
    return loaded


def _limit(task: ExecuteTask, item: ExecuteItem) -> int | None:
    wanted = [value for value in (item.n_qubits, task.config.get("n_qubits")) if isinstance(value, int)]
    return min(wanted, default=None)


def _priced(circuit: Any, task: ExecuteTask, item: ExecuteItem) -> float:
    """The price of the item, within what it may cost; a checker spends nothing, so that it names every price."""
    if not task.machine.priced:
        return 0.0
    cost = cost_hqc(gate_counts(circuit), item.n_shots or 0)
    caps = [cap for cap in (item.max_cost, task.config.get("max_cost")) if cap is not None]
    if not task.machine.is_checker and cost > min(caps, default=cost):
        raise _Depleted(
            f"the item costs {cost:g} HQC, and its max_cost is {min(caps):g}; it was not run. "
            "Allow more, or take fewer shots"
        )
    return cost


def _for_shots(circuit: Any, task: ExecuteTask) -> engine.Split | QuantumCircuit:
    from qjobs.circuits.pytket import pytket_to_qiskit

    if not circuit.n_bits:
        raise InvalidCircuit("the circuit measures nothing; add measurements, for example with measure_all()")
    noisy = _noise_of(task) is not None
    # Measurements need no swaps at the end.
    converted = engine.native(pytket_to_qiskit(circuit, keep_outputs=False, keep_zzmax=True), noisy=noisy)
    if engine.is_exact(_method_of(task), circuit.n_qubits, noisy=noisy):
        split = engine.split_measurements(converted)
        if split is not None and split.measured and not split.resets:
            return split
    return converted


def _for_expectations(circuit: Any, task: ExecuteTask) -> QuantumCircuit:
    from qjobs.circuits.pytket import pytket_to_qiskit

    if _noise_of(task) is not None:
        raise InvalidCircuit(f"{task.machine.name} has noise, and gives no exact expectation values; sample it")
    return engine.native(pytket_to_qiskit(circuit, keep_zzmax=True))


def _gates_only(circuit: Any, what: str) -> engine.Split:
    """The circuit without measurements at its end."""
    from qjobs.circuits.pytket import pytket_to_qiskit

    converted = engine.native(pytket_to_qiskit(circuit, keep_zzmax=True))
    split = engine.split_measurements(converted)
    if split is None and "measure" in converted.count_ops():
        raise InvalidCircuit(f"the circuit measures before its end, and has no {what}; take AerConfig to sample it")
    if split is None:
        raise InvalidCircuit(f"the circuit has conditions, and no {what}; take AerConfig to sample it")
    return split


def _method_of(task: ExecuteTask) -> str:
    """Aer's method that the backend configuration asks for.

    Raises:
        InvalidInput: There is no such method.
    """
    method = task.config.get("simulation_method") or "automatic"
    if task.config.get("simulator") == "stabilizer":
        method = "stabilizer"
    if method not in SIMULATION_METHODS:
        raise InvalidInput(f"simulation_method: there is no {method!r}; there are {', '.join(SIMULATION_METHODS)}")
    return str(method)


def _noise_of(task: ExecuteTask) -> Any:
    """The device's noise, or what AerConfig brings along; None for none."""
    given = task.config.get("noise_model")
    if isinstance(given, Mapping) and given:
        return _own_noise(json.dumps(given, sort_keys=True))
    if task.config.get("noisy_simulation") is False or task.machine.noise == NoiseSpec():
        return None
    return noise_model(task.machine.noise, noiseless=_NOISELESS)


@lru_cache(maxsize=8)
def _own_noise(text: str) -> Any:
    from qiskit_aer.noise import NoiseModel

    try:
        return NoiseModel.from_dict(json.loads(text))
    except Exception as error:  # boundary: whatever Aer meets in a dict that is none of its own
        raise InvalidInput(f"noise_model: Aer cannot read it: {error}") from error


def _simulated(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[ExecuteOutcome]:
    """All in one call; one at a time when that fails, to find out which one it was."""
    if not loaded:
        return []
    started = time.process_time()
    try:
        bodies = _bodies(task, loaded)
    except Exception as error:  # boundary: Aer fails in many ways, and it is one item's failure
        if len(loaded) == 1:
            return [_failed(task.machine, loaded[0].item, error, loaded[0].duration_s + time.process_time() - started)]
        outcomes = []
        for one in loaded:
            outcomes += _simulated(task, [one])
        return outcomes
    share_s = (time.process_time() - started) / len(loaded)
    return [
        ExecuteOutcome(item_uuid=one.item.item_uuid, duration_s=one.duration_s + share_s, body=body, cost=one.cost)
        for one, body in zip(loaded, bodies, strict=True)
    ]


def _bodies(task: ExecuteTask, loaded: Sequence[_Loaded]) -> list[bytes]:
    splits = [one.circuit for one in loaded if isinstance(one.circuit, engine.Split)]
    match task.machine.result:
        case "state":
            states = engine.statevectors(splits, _seed(loaded[0].item))
            texts = [state_body(one.qubits, state) for one, state in zip(loaded, states, strict=True)]
        case "unitary":
            found = engine.unitaries(splits)
            texts = [unitary_body(one.qubits, unitary) for one, unitary in zip(loaded, found, strict=True)]
        case _:
            weights = _weights(loaded)
            texts = [_shots(task, one, weights.get(one.item.item_uuid)) for one in loaded]
    return [zlib.compress(text.encode(), 1) for text in texts]


def _weights(loaded: Sequence[_Loaded]) -> dict[str, NDArray[np.float64]]:
    """The probabilities of the outcomes, by item, where they are computed: one call for all that are alike."""
    alike: dict[int, tuple[engine.Split, list[_Loaded]]] = {}
    for one in loaded:
        if isinstance(one.circuit, engine.Split):
            alike.setdefault(id(one.circuit), (one.circuit, []))[1].append(one)
    found = {}
    single = []
    for split, group in alike.values():
        if len(group) == 1 and not group[0].names:
            single += group
            continue
        template = engine.template(engine.with_probabilities(split))
        table = engine.probabilities_of_rows(template, group[0].names, [one.row for one in group])
        for one, weights in zip(group, table, strict=True):
            found[one.item.item_uuid] = weights
    for one, weights in zip(single, _computed(single), strict=True):
        found[one.item.item_uuid] = weights
    return found


def _computed(loaded: Sequence[_Loaded]) -> list[NDArray[np.float64]]:
    circuits = [engine.with_probabilities(one.circuit) for one in loaded if isinstance(one.circuit, engine.Split)]
    return engine.probabilities(circuits)


def _shots(task: ExecuteTask, one: _Loaded, weights: NDArray[np.float64] | None) -> str:
    """The result of an item: shots, drawn here by their weights, or by Aer, each item with its own seed."""
    n_shots = one.item.n_shots or 0
    if one.item.observables:
        return _expectations(one)
    if isinstance(one.circuit, engine.Split) and weights is not None:
        drawn = engine.draw_shots(weights, n_shots, _rng(one.item))
        return outcomes_of_indices(one.bits, [bit for _, bit in one.circuit.measured], drawn)
    assert not isinstance(one.circuit, engine.Split | None)  # noqa: S101 - for the type
    shots = engine.sample_shots(
        one.circuit, n_shots, method=_method_of(task), noise=_noise_of(task), seed=_seed(one.item)
    )
    return outcomes_of_memory(one.bits, shots)


def _expectations(one: _Loaded) -> str:
    from qiskit import QuantumCircuit

    assert isinstance(one.circuit, QuantumCircuit)  # noqa: S101 - for the type
    n_qubits = one.circuit.num_qubits
    observables = []
    for word in dict.fromkeys(one.item.observables):
        if len(word) > n_qubits:
            raise InvalidCircuit(f"the circuit has {n_qubits} qubits, and an observable is {len(word)} qubits wide")
        observables.append(Observable(name=word, terms=((word.ljust(n_qubits, "I")[::-1], 1.0),)))
    (values,) = engine.expectation_values(engine.with_expectations(one.circuit, observables))
    return expectations_body(values)


def _seed(item: ExecuteItem) -> int:
    return int(_rng(item).integers(1 << 31))


def _rng(item: ExecuteItem) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(int.from_bytes(sha256(item.seed_text.encode()).digest()[:8]))
