"""Compilation with pytket, in a worker process."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qjobs.errors import InvalidCircuit
from qjobs.service.choices import two_qubit_choices
from qjobs.service.execution.programs import ItemFailure, Machine, is_out_of_memory, load_circuit, out_of_memory

_SQUASHABLE = ("PhasedX", "Rz", "TK1", "Rx", "Ry", "U3")
_GREEDY_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileItem:
    """One circuit to compile: the body of its document."""

    item_uuid: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileTask:
    """Circuits that one worker compiles alike. `record` asks for the circuit after every pass."""

    machine: Machine
    config: Mapping[str, Any]
    level: int
    record: bool
    items: tuple[CompileItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One pass and the circuit after it; no body: it left the circuit as it was."""

    name: str
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOutcome:
    """One compiled circuit and how it came about, or why it did not; `duration_s` is of the processor."""

    item_uuid: str
    duration_s: float
    body: bytes = field(default=b"", repr=False)
    steps: tuple[Step, ...] = ()
    failure: ItemFailure | None = None


def run_compile(task: CompileTask) -> list[CompileOutcome]:
    """Compile the circuits of a task; what fails is data, and leaves the others alone."""
    return [_run(task, item) for item in task.items]


def _run(task: CompileTask, item: CompileItem) -> CompileOutcome:
    started = time.process_time()
    try:
        circuit, steps = compile_circuit(
            load_circuit(item.body), task.machine, task.config, task.level, record=task.record
        )
        body = _dump(circuit)
    except Exception as error:  # pytket raises RuntimeError and its own: one item's failure
        words = " ".join(str(error).split())
        message = words if isinstance(error, InvalidCircuit) else f"the compilation failed: {words}"
        failure = ItemFailure(status="ERROR", message=message, detail=f"{type(error).__name__}: {words}")
        if is_out_of_memory(error):
            failure = out_of_memory(task.machine, error)
        return CompileOutcome(item_uuid=item.item_uuid, duration_s=time.process_time() - started, failure=failure)
    return CompileOutcome(
        item_uuid=item.item_uuid, duration_s=time.process_time() - started, body=body, steps=tuple(steps)
    )


def _dump(circuit: Any) -> bytes:
    return zlib.compress(json.dumps(circuit.to_dict(), separators=(",", ":")).encode(), 1)


def compile_circuit(
    circuit: Any, machine: Machine, config: Mapping[str, Any], level: int, *, record: bool = False
) -> tuple[Any, list[Step]]:
    """Compile for a device.

    The pytket circuit, which may have free symbols, is changed. Of the configuration `target_2qb_gate` and `n_qubits`
    count. Level 0 rewrites gates only, 1 simplifies, 2 optimises, 3 also resynthesises Pauli rotations. `record` keeps
    the circuit after every pass.

    Returns:
        The compiled circuit, and the passes if they were to be recorded.

    Raises:
        InvalidCircuit: It has more qubits than the device, or than the configuration allows.
    """
    limit = config.get("n_qubits")
    if isinstance(limit, int) and circuit.n_qubits > limit:
        raise InvalidCircuit(f"the circuit has {circuit.n_qubits} qubits, and n_qubits of the configuration is {limit}")
    if circuit.n_qubits > machine.n_qubits:
        raise InvalidCircuit(f"the circuit has {circuit.n_qubits} qubits, and {machine.name} has {machine.n_qubits}")
    steps: list[Step] = []
    for name, apply in _passes(circuit, machine, config, level):
        changed = apply(circuit)
        if record:
            steps.append(Step(name=name, body=_dump(circuit) if changed else None))
    return circuit, steps


def _passes(
    circuit: Any, machine: Machine, config: Mapping[str, Any], level: int
) -> Iterator[tuple[str, Callable[[Any], bool]]]:
    from pytket import passes
    from pytket.circuit import OpType

    gates = _target_gates(machine, config)
    yield "DecomposeBoxes", passes.DecomposeBoxes().apply
    if level >= 3 and not circuit.is_symbolic():
        yield "GreedyPauliSimp", _greedy
    if level == 1:
        yield "SynthesiseTket", passes.SynthesiseTket().apply
    elif level >= 2:
        target = OpType.TK2 if OpType.TK2 in gates and OpType.CX not in gates else OpType.CX
        yield "FullPeepholeOptimise", passes.FullPeepholeOptimise(target_2qb_gate=target).apply
    if machine.connectivity is not None:
        yield "DefaultMapping", _mapping(machine)
        if level >= 1:
            yield "SynthesiseTket", passes.SynthesiseTket().apply
    yield "AutoRebase", passes.AutoRebase(gates).apply
    if level >= 1:
        yield "RemoveRedundancies", passes.RemoveRedundancies().apply
        one_qubit = {gate for gate in gates if gate.name in _SQUASHABLE}
        if {gate.name for gate in one_qubit} >= {"PhasedX", "Rz"} or "TK1" in {gate.name for gate in one_qubit}:
            yield "AutoSquash", passes.AutoSquash(one_qubit).apply


def _target_gates(machine: Machine, config: Mapping[str, Any]) -> set[Any]:
    """The gates to compile to: of an ion trap's three two-qubit gates the one that was asked for."""
    from pytket.circuit import OpType

    names = set(machine.gate_set) or {"CX", "TK1", "Measure", "Reset", "Barrier"}
    two_qubit = two_qubit_choices(names, native_only=machine.native_only)
    if two_qubit:
        wanted = config.get("target_2qb_gate") or two_qubit[0]
        if wanted not in two_qubit:
            raise InvalidCircuit(
                f"{machine.name} has no gate {wanted!r}; target_2qb_gate is one of {', '.join(two_qubit)}"
            )
        names -= set(two_qubit) - {str(wanted)}
    return {OpType.from_name(name) for name in names}


def _greedy(circuit: Any) -> bool:
    """Resynthesis where it helps; it takes gates of a basic set only, and no classical control."""
    from pytket.circuit import OpType
    from pytket.passes import GreedyPauliSimp, RebaseTket, RemoveBarriers
    from pytket.predicates import NoMidMeasurePredicate

    taken = (command.op.type != OpType.Reset and command.op.is_gate() for command in circuit.get_commands())
    if not NoMidMeasurePredicate().verify(circuit) or not all(taken):
        return False
    changed: bool = RemoveBarriers().apply(circuit)
    changed |= RebaseTket().apply(circuit)
    changed |= GreedyPauliSimp(only_reduce=True, thread_timeout=_GREEDY_TIMEOUT_S).apply(circuit)
    return changed


def _mapping(machine: Machine) -> Callable[[Any], bool]:
    from pytket.architecture import Architecture
    from pytket.passes import DefaultMappingPass, RebaseTket

    architecture = Architecture(sorted(machine.connectivity or ()))

    def apply(circuit: Any) -> bool:
        RebaseTket().apply(circuit)
        DefaultMappingPass(architecture).apply(circuit)
        return True

    return apply
