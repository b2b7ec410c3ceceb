"""Pytket's JSON, and qiskit circuits to pytket circuits and back: symbols, global phase and bit order are kept.

Our own tables, because `pytket-qiskit` refuses symbols and brings a provider's runtime along.
Qiskit counts angles in radians, pytket in half-turns. Qubit i is qubit i and bit i is bit i on the
other side; registers are flattened.

`load_pytket` and `pytket_to_qiskit` read every circuit; `plain_pytket` reads usual ones in less time.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, Final, TypeAlias

import numpy as np
import sympy
from pytket.circuit import Circuit, Op, OpType, Unitary1qBox, Unitary2qBox, Unitary3qBox
from pytket.passes import DecomposeBoxes, RebaseTket
from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp, Parameter, ParameterExpression
from qiskit.circuit import library as gates
from qiskit.circuit.classical import expr as classical

from qjobs.circuits.angle_bounds import check_json
from qjobs.circuits.content_hash import in_sympy, is_standard, plain_number
from qjobs.circuits.parameter_names import decode, encode_for_pytket
from qjobs.circuits.text_bounds import MAX_WIRES
from qjobs.errors import InvalidCircuit

Angle: TypeAlias = "float | ParameterExpression"

# Every parameter is an angle; same order on both sides.
GATES: Final = (
    ("id", OpType.noop, gates.IGate),
    ("x", OpType.X, gates.XGate),
    ("y", OpType.Y, gates.YGate),
    ("z", OpType.Z, gates.ZGate),
    ("h", OpType.H, gates.HGate),
    ("s", OpType.S, gates.SGate),
    ("sdg", OpType.Sdg, gates.SdgGate),
    ("t", OpType.T, gates.TGate),
    ("tdg", OpType.Tdg, gates.TdgGate),
    ("sx", OpType.SX, gates.SXGate),
    ("sxdg", OpType.SXdg, gates.SXdgGate),
    ("rx", OpType.Rx, gates.RXGate),
    ("ry", OpType.Ry, gates.RYGate),
    ("rz", OpType.Rz, gates.RZGate),
    ("p", OpType.U1, gates.PhaseGate),
    ("u", OpType.U3, gates.UGate),
    ("r", OpType.PhasedX, gates.RGate),
    ("cx", OpType.CX, gates.CXGate),
    ("cy", OpType.CY, gates.CYGate),
    ("cz", OpType.CZ, gates.CZGate),
    ("ch", OpType.CH, gates.CHGate),
    ("cs", OpType.CS, gates.CSGate),
    ("csdg", OpType.CSdg, gates.CSdgGate),
    ("csx", OpType.CSX, gates.CSXGate),
    ("crx", OpType.CRx, gates.CRXGate),
    ("cry", OpType.CRy, gates.CRYGate),
    ("crz", OpType.CRz, gates.CRZGate),
    ("cp", OpType.CU1, gates.CPhaseGate),
    ("cu3", OpType.CU3, gates.CU3Gate),
    ("swap", OpType.SWAP, gates.SwapGate),
    ("iswap", OpType.ISWAPMax, gates.iSwapGate),
    ("ecr", OpType.ECR, gates.ECRGate),
    ("rxx", OpType.XXPhase, gates.RXXGate),
    ("ryy", OpType.YYPhase, gates.RYYGate),
    ("rzz", OpType.ZZPhase, gates.RZZGate),
    ("ccx", OpType.CCX, gates.CCXGate),
    ("cswap", OpType.CSWAP, gates.CSwapGate),
)
"""Qiskit's name, pytket's type, qiskit's class."""

_TO_PYTKET: Final = {name: kind for name, kind, _ in GATES} | {
    "u1": OpType.U1,
    "u2": OpType.U2,
    "u3": OpType.U3,
    "cu1": OpType.CU1,
    "ccz": OpType.CnZ,
}
_TO_QISKIT: Final[dict[Any, Any]] = {kind: gate for _, kind, gate in GATES} | {OpType.U2: gates.U2Gate}
_BOXES: Final = {1: Unitary1qBox, 2: Unitary2qBox, 3: Unitary3qBox}
_FUNCTIONS: Final[dict[Any, str]] = {
    sympy.sin: "sin",
    sympy.cos: "cos",
    sympy.tan: "tan",
    sympy.asin: "arcsin",
    sympy.acos: "arccos",
    sympy.atan: "arctan",
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.Abs: "abs",
    sympy.sign: "sign",
    sympy.conjugate: "conjugate",
}


def dump_pytket(circuit: Circuit) -> bytes:
    """The JSON of a pytket circuit; symbols that pytket could not read back are escaped.

    Raises:
        InvalidCircuit: It is no circuit, or pytket cannot write it.
    """
    if not isinstance(circuit, Circuit):
        raise InvalidCircuit(f"a pytket {type(circuit).__name__} is not a circuit; give a pytket Circuit")
    names = {symbol: encode_for_pytket(decode(symbol.name)) for symbol in circuit.free_symbols()}
    changes = {symbol: sympy.Symbol(name) for symbol, name in names.items() if name != symbol.name}
    try:
        if changes:
            circuit = circuit.copy()
            circuit.symbol_substitution(changes)
        return json.dumps(circuit.to_dict(), sort_keys=True, separators=(",", ":")).encode()
    except (RuntimeError, TypeError, ValueError) as error:
        raise InvalidCircuit(f"pytket cannot write the circuit as JSON: {error}") from error


def load_pytket(payload: bytes) -> Circuit:
    """The pytket circuit of a JSON text.

    Raises:
        InvalidCircuit: It is not JSON, or not a circuit, or an angle in it stands for too much.
    """
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidCircuit(f"the text is not JSON: {error}; write json.dumps(circuit.to_dict())") from error
    if not isinstance(content, dict) or "commands" not in content:
        raise InvalidCircuit("the JSON is not a pytket circuit; write json.dumps(circuit.to_dict())")
    wires = [content.get(kind) for kind in ("qubits", "bits")]
    if any(isinstance(each, list) and len(each) > MAX_WIRES for each in wires):
        raise InvalidCircuit(f"the circuit has more than {MAX_WIRES:,} qubits or bits; make it smaller")
    check_json(content)
    try:
        return Circuit.from_dict(content)
    except Exception as error:  # pytket raises RuntimeError, ValueError, KeyError or its own
        words = " ".join(str(error).split())[:300]
        raise InvalidCircuit(f"the JSON is not a pytket circuit: {words}; write it with pytket") from error


def qiskit_to_pytket(circuit: QuantumCircuit) -> Circuit:
    """A pytket circuit that does the same, gates outside the table opened by their definition.

    Raises:
        InvalidCircuit: It holds control flow, a delay, or a gate without a definition.
    """
    result = Circuit(circuit.num_qubits, circuit.num_clbits)
    try:
        _append_all(result, circuit, list(range(circuit.num_qubits)), list(range(circuit.num_clbits)))
    except RecursionError as error:
        raise InvalidCircuit("the circuit's gates are nested too deeply; decompose() it") from error
    return result


def _append_all(result: Circuit, circuit: QuantumCircuit, qubits: list[int], clbits: list[int]) -> None:
    result.add_phase(_half_turns(circuit.global_phase))
    for instruction in circuit.data:
        on = [qubits[circuit.find_bit(bit).index] for bit in instruction.qubits]
        into = [clbits[circuit.find_bit(bit).index] for bit in instruction.clbits]
        _append(result, instruction.operation, on, into)


def _append(result: Circuit, operation: Any, on: list[int], into: list[int]) -> None:
    name = operation.name
    if name == "measure":
        result.Measure(on[0], into[0])
    elif name == "reset":
        result.Reset(on[0])
    elif name == "barrier":
        if on:
            result.add_barrier(on)
    elif name == "global_phase":
        result.add_phase(_half_turns(operation.params[0]))
    elif name == "unitary" and is_standard(operation) and len(on) in _BOXES:
        matrix = np.asarray(operation.to_matrix(), dtype=complex)
        result.add_gate(_BOXES[len(on)](matrix), on[::-1])  # pytket: first qubit most significant
    elif _in_table(operation):
        result.add_gate(_TO_PYTKET[name], [_half_turns(each) for each in operation.params], on)
    elif isinstance(operation, ControlFlowOp) or name in {"store", "delay", "break_loop", "continue_loop"}:
        raise InvalidCircuit(f"pytket cannot hold the circuit's {name}; compile it with qiskit")
    elif getattr(operation, "definition", None) is not None:
        _append_all(result, operation.definition, on, into)
    else:
        raise InvalidCircuit(f"the gate {name} has no definition; give it one, or use other gates")


def _in_table(operation: Any) -> bool:
    """Whether it is the standard gate of this name, not a user's gate that borrows the name."""
    return operation.name in _TO_PYTKET and is_standard(operation)


def _half_turns(value: object) -> Any:
    number = plain_number(value)
    if number is not None:
        return complex(number).real / math.pi
    if not isinstance(value, ParameterExpression):
        raise InvalidCircuit(f"pytket has no angle of type {type(value).__name__}")
    ordered = sorted(value.parameters, key=lambda each: str(each.name))
    # Stand-in names, so that sympy never reads a user's name.
    stand_ins = {each: Parameter(f"p{index}") for index, each in enumerate(ordered)}
    symbols = {
        sympy.Symbol(f"p{index}"): sympy.Symbol(encode_for_pytket(str(each.name))) for index, each in enumerate(ordered)
    }
    tree = in_sympy(value, stand_ins)
    if tree is None or tree.has(sympy.sign):  # at a sign of a symbol pytket ends the process
        raise InvalidCircuit(f"the angle {value} cannot be written for pytket; compile with qiskit")
    return tree.xreplace(symbols) / sympy.pi


def pytket_gates(names: Iterable[str]) -> set[OpType]:
    """The pytket types of qiskit's gate names; a name that pytket lacks is left out."""
    return {_TO_PYTKET[name] for name in names if name in _TO_PYTKET}


def pytket_to_qiskit(circuit: Circuit, *, keep_outputs: bool = True, keep_zzmax: bool = False) -> QuantumCircuit:
    """A qiskit circuit that does the same.

    With `keep_outputs` wire swaps that pytket left implicit become swaps at the end. Without them measurements are the
    same, and the qubits end in another order. With `keep_zzmax` each ZZMax becomes one RZZ gate, so that a noise model
    sees one gate; otherwise it is opened into gates that both know. `circuit` is not changed.

    Raises:
        InvalidCircuit: It holds an operation or an expression that qiskit lacks.
    """
    if keep_outputs:
        circuit = circuit.copy()
        circuit.replace_implicit_wire_swaps()
    return _Reader(circuit, keep_zzmax=keep_zzmax).result


class _Reader:
    """One conversion from pytket, with the wires and symbols that it has met."""

    def __init__(self, circuit: Circuit, *, keep_zzmax: bool) -> None:
        self._keep_zzmax = keep_zzmax
        self._symbols: dict[str, Parameter] = {}
        self._qubits = {qubit: index for index, qubit in enumerate(circuit.qubits)}
        self._bits = {bit: index for index, bit in enumerate(circuit.bits)}
        self.result = QuantumCircuit(circuit.n_qubits, circuit.n_bits)
        self._phase: Angle = self._radians(circuit.phase)
        for command in circuit.get_commands():
            on = [self._qubits[qubit] for qubit in command.qubits]
            into = [self._bits[bit] for bit in command.bits]
            if command.op.type == OpType.Conditional:
                self._append_conditional(command.op, command.args, on)
            else:
                self._append(command.op, on, into)
        self.result.global_phase = self._phase

    def _append(self, op: Op, on: list[int], into: list[int]) -> None:
        kind = op.type
        if kind in _TO_QISKIT:
            self.result.append(_TO_QISKIT[kind](*map(self._radians, op.params)), on)
        elif kind == OpType.ZZMax and self._keep_zzmax:
            self.result.rzz(math.pi / 2, *on)
        elif kind == OpType.Measure:
            self.result.measure(on[0], into[0])
        elif kind == OpType.Reset:
            self.result.reset(on[0])
        elif kind == OpType.Barrier:
            self.result.barrier(on)
        elif kind == OpType.Phase:
            self._phase = self._phase + self._radians(op.params[0])
        elif kind == OpType.TK1:
            last, middle, first = map(self._radians, op.params)
            self.result.rz(first, on[0])
            self.result.rx(middle, on[0])
            self.result.rz(last, on[0])
        elif kind == OpType.TK2:
            for gate, angle in zip((gates.RXXGate, gates.RYYGate, gates.RZZGate), op.params, strict=True):
                self.result.append(gate(self._radians(angle)), on)
        elif kind in {OpType.Unitary1qBox, OpType.Unitary2qBox, OpType.Unitary3qBox}:
            self.result.unitary(op.get_matrix(), on[::-1])
        else:
            self._append_rebased(op, on, into)

    def _append_rebased(self, op: Op, on: list[int], into: list[int]) -> None:
        alone = Circuit(len(on), len(into))
        try:
            alone.add_gate(op, [*alone.qubits, *alone.bits])
            DecomposeBoxes().apply(alone)
            commands = alone.get_commands()
            if any(each.op.type == op.type for each in commands):
                RebaseTket().apply(alone)
            alone.replace_implicit_wire_swaps()
            commands = alone.get_commands()
        except RuntimeError as error:
            raise InvalidCircuit(f"qiskit has no form of pytket's {op.type.name}: {error}") from error
        if any(each.op.type in {op.type, OpType.Conditional} for each in commands):
            raise InvalidCircuit(f"qiskit has no form of pytket's {op.type.name}; leave it out")
        self._phase = self._phase + self._radians(alone.phase)
        for each in commands:
            self._append(each.op, [on[q.index[0]] for q in each.qubits], [into[b.index[0]] for b in each.bits])

    def _append_conditional(self, op: Any, args: Sequence[Any], on: list[int]) -> None:
        bits = [self.result.clbits[self._bits[bit]] for bit in args[: op.width]]
        terms = [
            classical.lift(bit) if op.value >> place & 1 else classical.logic_not(bit) for place, bit in enumerate(bits)
        ]
        into = [self._bits[bit] for bit in args[op.width :] if bit in self._bits]
        outer = self.result
        phase = self._phase
        body = QuantumCircuit(outer.qubits, outer.clbits)
        self.result = body
        self._phase = 0.0
        self._append(op.op, on, into)
        body.global_phase = self._phase
        self.result = outer
        self._phase = phase
        used = sorted(range(outer.num_qubits))
        outer.if_test(reduce(classical.logic_and, terms), body, used, list(range(outer.num_clbits)))

    def _radians(self, value: Any) -> Angle:
        if isinstance(value, (int, float)):
            return value * math.pi
        if not value.free_symbols:
            return _finite(value) * math.pi
        terms = value.args if value.is_Add else (value,)
        return sum((self._expression(sympy.pi * term) for term in terms[1:]), self._expression(sympy.pi * terms[0]))

    def _expression(self, node: Any) -> Angle:
        if node.is_Symbol:
            name = decode(node.name)
            return self._symbols.setdefault(name, Parameter(name))
        if node.is_number:
            return int(node) if node.is_Integer else _finite(node)
        if node.is_Add:
            return reduce(operator.add, map(self._expression, node.args))
        if node.is_Mul:
            return self._product(node)
        if node.is_Pow:
            base, exponent = map(self._expression, node.args)
            return 1 / base if node.args[1] == -1 else base**exponent
        if node.func in _FUNCTIONS:
            argument = self._expression(node.args[0])
            function: Callable[[], ParameterExpression] = getattr(argument, _FUNCTIONS[node.func])
            return function()
        raise InvalidCircuit(f"qiskit has no function {node.func.__name__} for angles; use another")

    def _product(self, node: Any) -> Angle:
        """Numbers are multiplied first, so that pi/pi and 2/4 leave no rounding behind."""
        number, rest = node.as_independent(*node.free_symbols, as_Add=False)
        product = reduce(operator.mul, map(self._expression, sympy.Mul.make_args(rest)))
        return product if number == 1 else self._expression(number) * product


def _finite(node: Any) -> float:
    value = complex(node)
    if value.imag or not math.isfinite(value.real):
        raise InvalidCircuit(f"the angle {node} is not a finite real number; correct it")
    return value.real
