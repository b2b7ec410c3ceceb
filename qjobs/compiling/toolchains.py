"""The compilers themselves: qiskit's preset pass managers and a sequence of pytket's passes."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qiskit import QuantumCircuit

from qjobs.model import Target

if TYPE_CHECKING:
    from pytket.circuit import Circuit as TketCircuit

_SEED: Final = 20_250_101
_CONTROL_FLOW: Final = ("if_else", "for_loop", "while_loop", "switch_case", "box")
_ROUTABLE: Final = ("u", "cx", *_CONTROL_FLOW)


def directed_pairs(target: Target) -> list[tuple[int, int]]:
    """The coupled pairs; a device that takes any gate takes it in both directions."""
    pairs = set(target.coupling or ())
    if target.basis_gates is None:
        pairs |= {(b, a) for a, b in pairs}
    return sorted(pairs)


def device_width(target: Target) -> int | None:
    """How many qubits the device has; None if it does not say."""
    if target.n_qubits is not None or not target.coupling:
        return target.n_qubits
    return 1 + max(max(pair) for pair in target.coupling)


@functools.cache
def _known_to_qiskit() -> frozenset[str]:
    from qiskit.circuit.library import get_standard_gate_name_mapping

    return frozenset(get_standard_gate_name_mapping()) | set(_CONTROL_FLOW)


def _run_qiskit(circuit: QuantumCircuit, target: Target, level: int, **more: Any) -> QuantumCircuit:
    from qiskit.transpiler import CouplingMap, generate_preset_pass_manager

    coupling = None
    basis = target.basis_gates
    if target.coupling is not None:
        coupling = CouplingMap([list(pair) for pair in directed_pairs(target)])
        basis = basis or _ROUTABLE  # routing needs gates on at most two qubits
        for qubit in range(device_width(target) or 0):
            if qubit not in coupling.graph.node_indices():
                coupling.add_physical_qubit(qubit)
    return generate_preset_pass_manager(
        optimization_level=level,
        # Qiskit refuses names that it does not know, such as a device's own gates.
        basis_gates=None if basis is None else [name for name in basis if name in _known_to_qiskit()],
        coupling_map=coupling,
        seed_transpiler=_SEED,
        **more,
    ).run(circuit)


def settled(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """A compiled circuit in one form, whatever qiskit's routing left to chance.

    Where it lays out a qubit that no gate on several acts on, and in which order it writes instructions that do not
    depend on each other, differs from run to run (seen with qiskit 2.6). Here such qubits come to the lowest places
    that are free, instructions as early as they can be, and those of one moment by their qubits. So equal circuits have
    equal hashes. A circuit with variables keeps its order.
    """
    place = {} if target.coupling is None else _places_of_lone_qubits(circuit)
    free_at: dict[Any, int] = {}
    placed = []
    for instruction in circuit.data:
        qubits = tuple([circuit.qubits[place.get(n, n)] for n in _numbers(circuit, instruction)])
        wires = (*qubits, *instruction.clbits)
        moment = max((free_at.get(wire, 0) for wire in wires), default=0)
        free_at.update(dict.fromkeys(wires, moment + 1))
        first = min((circuit.find_bit(qubit).index for qubit in qubits), default=-1)
        placed.append((moment, first, instruction.replace(qubits=qubits)))
    if not circuit.num_vars:
        placed.sort(key=lambda each: each[:2])
    ordered = circuit.copy_empty_like()
    for _, _, instruction in placed:
        ordered._append(instruction)
    return ordered


def _numbers(circuit: QuantumCircuit, instruction: Any) -> list[int]:
    return [circuit.find_bit(qubit).index for qubit in instruction.qubits]


def _places_of_lone_qubits(circuit: QuantumCircuit) -> dict[int, int]:
    """A new place for each qubit that no gate on several acts on, by what is done to it."""
    done: dict[int, list[str]] = {}
    together: set[int] = set()
    for instruction in circuit.data:
        numbers = _numbers(circuit, instruction)
        bits = [circuit.find_bit(bit).index for bit in instruction.clbits]
        for number in numbers:
            done.setdefault(number, []).append(f"{instruction.name} {instruction.params} {bits}")
        if len(numbers) > 1 and instruction.name != "barrier":
            together.update(numbers)
    lone = sorted(done.keys() - together, key=lambda number: (done[number], number))
    free = [number for number in range(circuit.num_qubits) if number not in together]
    return dict(zip(lone, free, strict=False))


def with_qiskit(circuit: QuantumCircuit, target: Target, level: int, keep: bool) -> QuantumCircuit:
    """Compile with qiskit; with `keep` qubit i stays qubit i (no coupling then)."""
    compiled = _run_qiskit(circuit, target, level)
    if not keep or compiled.layout is None:
        return compiled
    where = compiled.layout.final_index_layout()
    if where == list(range(circuit.num_qubits)):
        return compiled
    # Qiskit leaves out swaps by renaming the outputs (ElidePermutations): put them back.
    restored = compiled.copy()
    restored._layout = None
    for qubit in range(len(where)):
        while where[qubit] != qubit:
            other = where[qubit]
            restored.swap(qubit, other)
            where = [{qubit: other, other: qubit}.get(place, place) for place in where]
    return _run_qiskit(restored, target, 0)


def with_tket(circuit: TketCircuit, target: Target, level: int, keep: bool) -> QuantumCircuit:
    """Compile with pytket, in place: the circuit that is given is changed."""
    from pytket.passes import DecomposeBoxes, FlattenRegisters, RebaseTket, SynthesiseTket

    from qjobs.circuits.pytket import pytket_to_qiskit

    FlattenRegisters().apply(circuit)
    DecomposeBoxes().apply(circuit)
    if target.coupling is not None:
        circuit = _measuring_last(circuit)
    if circuit.is_symbolic():
        return _template_with_tket(circuit, target, level)
    _optimise_tket(circuit, level, allow_swaps=not keep)
    if target.coupling is not None:
        RebaseTket().apply(circuit)
        circuit = _route_tket(circuit, target)
        if level > 0:
            SynthesiseTket().apply(circuit)
    _rebase_tket(circuit, target)
    return _finish(pytket_to_qiskit(circuit, keep_outputs=keep), target, 0)


def _measuring_last(circuit: TketCircuit) -> TketCircuit:
    """The circuit with a barrier before its measurements, if these are final.

    Pytket's routing would otherwise swap qubits through one that has been measured.
    """
    from pytket.circuit import Circuit, OpType
    from pytket.predicates import NoMidMeasurePredicate

    commands = circuit.get_commands()
    conditional = any(each.op.type == OpType.Conditional for each in commands)
    if conditional or not NoMidMeasurePredicate().verify(circuit):
        return circuit
    circuit.replace_implicit_wire_swaps()
    commands = circuit.get_commands()
    measurements = [each for each in commands if each.op.type == OpType.Measure]
    result = Circuit(circuit.n_qubits, circuit.n_bits)
    result.add_phase(circuit.phase)
    for each in commands:
        if each.op.type == OpType.Barrier:
            result.add_barrier(each.args)
        elif each.op.type != OpType.Measure:
            result.add_gate(each.op, each.args)
    result.add_barrier([each.qubits[0] for each in measurements])
    for each in measurements:
        result.Measure(each.qubits[0], each.bits[0])
    return result


def _finish(circuit: QuantumCircuit, target: Target, level: int) -> QuantumCircuit:
    """Let qiskit turn gates round where only the other direction is coupled, and write those that pytket could not."""
    layout = {} if target.coupling is None else {"initial_layout": list(range(circuit.num_qubits))}
    return _run_qiskit(circuit, target, level, **layout)


def _template_with_tket(circuit: TketCircuit, target: Target, level: int) -> QuantumCircuit:
    """Pytket's passes that leave symbolic rotations whole.

    Its synthesis and rebases merge them into atan2 and acos of the symbols, which qiskit cannot
    write and which are not defined at every value. Qiskit translates the gates instead.
    """
    from pytket.passes import CommuteThroughMultis, RemoveRedundancies

    from qjobs.circuits.pytket import pytket_to_qiskit, qiskit_to_pytket

    everywhere = replace(target, coupling=None, basis_gates=target.basis_gates or _ROUTABLE)
    circuit = qiskit_to_pytket(_run_qiskit(pytket_to_qiskit(circuit), everywhere, 0))
    if level > 0:
        CommuteThroughMultis().apply(circuit)
        RemoveRedundancies().apply(circuit)
    if target.coupling is not None:
        circuit = _route_tket(circuit, target)
    return _finish(pytket_to_qiskit(circuit), target, min(level, 1))


def _optimise_tket(circuit: TketCircuit, level: int, *, allow_swaps: bool) -> None:
    from pytket.passes import FullPeepholeOptimise, RemoveRedundancies, SynthesiseTket

    if level == 1:
        SynthesiseTket().apply(circuit)
    elif level > 1:
        FullPeepholeOptimise(allow_swaps=allow_swaps).apply(circuit)
        RemoveRedundancies().apply(circuit)


def _route_tket(circuit: TketCircuit, target: Target) -> TketCircuit:
    from pytket.architecture import Architecture
    from pytket.circuit import Node, Qubit
    from pytket.passes import NaivePlacementPass, PlacementPass, RoutingPass
    from pytket.placement import GraphPlacement

    nodes = Architecture([(Node(a), Node(b)) for a, b in target.coupling or ()])
    PlacementPass(GraphPlacement(nodes)).apply(circuit)
    NaivePlacementPass(nodes).apply(circuit)
    RoutingPass(nodes).apply(circuit)
    circuit.rename_units({qubit: Qubit("q", qubit.index[0]) for qubit in circuit.qubits})
    present = {qubit.index[0] for qubit in circuit.qubits}
    for index in range(device_width(target) or 0):
        if index not in present:
            circuit.add_qubit(Qubit("q", index))
    return circuit


def _rebase_tket(circuit: TketCircuit, target: Target) -> None:
    from pytket.circuit import OpType
    from pytket.passes import AutoRebase, RemoveRedundancies

    from qjobs.circuits.pytket import pytket_gates

    if target.basis_gates is None:
        AutoRebase({OpType.CX, OpType.U3}).apply(circuit)
        return
    try:
        rebase = AutoRebase(pytket_gates(target.basis_gates))
    except RuntimeError:  # pytket knows no way to this gate set: qiskit will
        rebase = AutoRebase({OpType.CX, OpType.U3})
    rebase.apply(circuit)
    RemoveRedundancies().apply(circuit)
