"""The content hash of a circuit: one walk, in which nothing but the content counts.

The walk covers every level: instructions, nested blocks, definitions of custom gates, matrices,
conditions and symbolic expressions. Left out are object identity, parameter UUIDs, the names of
circuits and registers, how bits are grouped into registers, and metadata.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeAlias

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import (
    CircuitInstruction,
    ClassicalRegister,
    Clbit,
    ControlFlowOp,
    Operation,
    Parameter,
    ParameterExpression,
)
from qiskit.circuit.annotated_operation import AnnotatedOperation
from qiskit.circuit.classical import expr as classical

from qjobs.errors import InvalidCircuit
from qjobs.model import ProgramHash

_MAX_STEPS: Final = 5_000_000
_MAX_EXACT_INT: Final = 2**53
_SELF_EXPLAINING: Final = (
    "qiskit.circuit.library.standard_gates",
    "qiskit.circuit.library.generalized_gates.unitary",
    "qiskit.circuit.measure",
    "qiskit.circuit.reset",
    "qiskit.circuit.delay",
    "qiskit.circuit.barrier",
)
_PRODUCT: Final = re.compile(r"(-|[\d.]+\*|\(-[\d.]+\)\*)p0\Z")
"""A number times the first symbol, as qiskit writes it: `2*p0`, `(-1.5)*p0`, `-p0`."""
_PLAIN_NAME: Final = re.compile(r"\w+(\[\d+\])?\Z")


def content_hash(circuit: QuantumCircuit) -> ProgramHash:
    """Sha256 of what a circuit does, and of nothing else.

    Two circuits with the same hash have the same qubits, bits, instructions in the same order,
    angles to the last digit (-0.0 is 0.0, 1 is 1.0) and symbols of the same names. The reverse
    holds for circuits written alike: no algebra is done beyond the order of sums and products.

    Returns:
        64 hexadecimal digits.

    Raises:
        InvalidCircuit: An instruction holds something without a canonical form, or the circuit
            has more than 5 million instructions once its custom gates are opened.
    """
    try:
        names = sorted(str(each.name) for each in circuit.parameters)
        return ProgramHash(_digest([*map(_text, names), _Walk().circuit(circuit)]).hex())
    except RecursionError as error:
        raise InvalidCircuit("the circuit is nested too deeply; flatten its gates or blocks") from error


def plain_number(value: object) -> complex | float | int | None:
    """The number behind a Python, numpy or fully bound qiskit value; None if it is not one."""
    if isinstance(value, ParameterExpression):
        return None if value.parameters else value.numeric()
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (bool, int, float, complex)) else None


def is_standard(operation: object) -> bool:
    """Whether name, parameters and control state say all about an operation: no definition is needed."""
    # The class of a singleton gate has no module; its base class has.
    module = getattr(operation, "base_class", type(operation)).__module__ or ""
    return module.startswith(_SELF_EXPLAINING)


def in_sympy(expression: ParameterExpression, stand_ins: Mapping[Parameter, Parameter]) -> Any:
    """The expression in sympy's terms, with other symbols in place of its own; None where qiskit cannot tell it.

    `stand_ins` has one for each of its parameters, with names that sympy reads as nothing but symbols.
    """
    moved = expression.subs(dict(stand_ins))
    text = str(moved)
    if text in {each.name for each in stand_ins.values()}:
        # Where all other symbols cancelled out (b + 0*a), qiskit 2.6 gives any one of them.
        import sympy

        return sympy.Symbol(text)
    try:
        tree = moved.sympify()
    except TypeError:
        return None
    return None if tree is NotImplemented else tree  # qiskit 2.6 cannot turn 2**a into sympy


def _number(value: complex | float | int) -> bytes:
    if isinstance(value, complex):
        if value.imag != 0:
            return b"z" + struct.pack("<dd", value.real + 0.0, value.imag + 0.0)
        value = value.real
    if isinstance(value, int) and abs(value) > _MAX_EXACT_INT:
        return b"i" + str(value).encode()
    value = float(value)
    if not math.isfinite(value):
        raise InvalidCircuit(f"an angle of the circuit is {value}; give finite numbers")
    return b"f" + struct.pack("<d", value + 0.0)


def _pack(*parts: bytes) -> bytes:
    """Join parts so that no two different lists of parts give the same bytes."""
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _digest(parts: Iterable[bytes]) -> bytes:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(struct.pack("<Q", len(part)))
        sha.update(part)
    return sha.digest()


def _text(value: object) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


_Wires: TypeAlias = "Mapping[Any, int]"


class _Walk:
    """One hash computation: bounds its own work and remembers expressions."""

    def __init__(self) -> None:
        self._steps = 0
        self._counters: list[Parameter | None] = []
        self._expressions: dict[tuple[str, tuple[str, ...]], bytes] = {}

    def circuit(self, circuit: QuantumCircuit) -> bytes:
        width = _text(f"{circuit.num_qubits} {circuit.num_clbits}")
        wires: dict[Any, int] = {bit: index for index, bit in enumerate(circuit.qubits)}
        wires |= {bit: index for index, bit in enumerate(circuit.clbits)}
        return _pack(width, self._block(circuit, wires))

    def _block(self, circuit: QuantumCircuit, wires: _Wires) -> bytes:
        return _digest(self._block_parts(circuit, wires))

    def _block_parts(self, circuit: QuantumCircuit, wires: _Wires) -> Iterable[bytes]:
        yield self._param(wires, circuit.global_phase)
        for kind, variables in (
            ("input", circuit.iter_input_vars()),
            ("capture", circuit.iter_captured_vars()),
            ("declare", circuit.iter_declared_vars()),
            ("stretch", circuit.iter_stretches()),
        ):
            for variable in sorted(variables, key=attrgetter("name")):
                yield _text(f"{kind} {variable.name} {variable.type!r}")
        for instruction in circuit.data:
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise InvalidCircuit("the circuit has more than 5 million instructions; make it smaller")
            yield self._instruction(wires, instruction)

    def _instruction(self, wires: _Wires, instruction: CircuitInstruction) -> bytes:
        operation = instruction.operation
        if not isinstance(operation, ControlFlowOp):
            where = [wires[bit] for bit in instruction.qubits], [wires[bit] for bit in instruction.clbits]
            return _pack(_text(where), self._operation(wires, operation))
        # A reader may pass a block more bits, or in another order: only those it acts on count.
        parts = [_text(operation.name), *self._control_flow(wires, operation)]
        for block in operation.blocks:
            passed = (wires[bit] for bit in (*instruction.qubits, *instruction.clbits))
            inner = dict(zip((*block.qubits, *block.clbits), passed, strict=True))
            parts.append(self._block(block, inner))
        if operation.name == "for_loop":
            self._counters.pop()
        return _pack(*parts)

    def _operation(self, wires: _Wires, operation: Operation) -> bytes:
        parts = [_text(operation.name), _text(f"{operation.num_qubits} {operation.num_clbits}")]
        for attribute in ("ctrl_state", "unit"):
            value = getattr(operation, attribute, None)
            if value is not None:
                parts.append(_pack(_text(attribute), self._param(wires, value)))
        if isinstance(operation, AnnotatedOperation):
            parts += [_text(operation.modifiers), self._operation(wires, operation.base_op)]
        elif operation.name == "store":
            parts += [self._expr(wires, operation.lvalue), self._expr(wires, operation.rvalue)]
        else:
            parts += self._gate(wires, operation)
        return _pack(*parts)

    def _gate(self, wires: _Wires, operation: Operation) -> Iterable[bytes]:
        definition = None if is_standard(operation) else getattr(operation, "definition", None)
        for value in getattr(operation, "params", ()):
            try:
                yield self._param(wires, value)
            except InvalidCircuit:
                if definition is None:
                    raise
                yield b"in the definition"
        if definition is not None:
            yield b"definition" + self.circuit(definition)

    def _control_flow(self, wires: _Wires, operation: ControlFlowOp) -> Iterable[bytes]:
        condition = getattr(operation, "condition", None)
        if condition is not None:
            yield _pack(b"condition", self._condition(wires, condition))
        if operation.name == "switch_case":
            yield self._condition_side(wires, operation.target)
            for cases in operation.cases():
                # The default case is an object without a value of its own.
                yield _pack(*(_text(case) if isinstance(case, int) else b"default" for case in cases))
        if operation.name == "for_loop":
            indices, parameter, _ = operation.params
            yield _text(indices if isinstance(indices, range) else tuple(indices))
            self._counters.append(parameter)
        if operation.name == "box":
            for value in (operation.duration, operation.unit, *map(repr, operation.annotations)):
                yield self._param(wires, value)

    def _condition(self, wires: _Wires, condition: object) -> bytes:
        if isinstance(condition, tuple):
            target, value = condition
            return _pack(self._condition_side(wires, target), _text(int(value)))
        return self._condition_side(wires, condition)

    def _condition_side(self, wires: _Wires, side: object) -> bytes:
        if isinstance(side, Clbit):
            return _text(f"bit {wires[side]}")
        if isinstance(side, ClassicalRegister):
            return _text(f"bits {[wires[bit] for bit in side]}")
        return self._expr(wires, side)

    def _expr(self, wires: _Wires, node: object) -> bytes:
        if isinstance(node, classical.Var) and isinstance(node.var, (Clbit, ClassicalRegister)):
            return self._condition_side(wires, node.var)
        if not isinstance(node, classical.Expr):
            raise InvalidCircuit(f"a condition of type {type(node).__name__} cannot be stored")
        parts = [_text(type(node).__name__), _text(repr(node.type))]
        if isinstance(node, (classical.Var, classical.Stretch)):
            parts.append(_text(node.name))
        for attribute in ("op", "value"):
            if hasattr(node, attribute):
                parts.append(_text(repr(getattr(node, attribute))))
        for attribute in ("operand", "left", "right", "target", "index"):
            if hasattr(node, attribute):
                parts.append(self._expr(wires, getattr(node, attribute)))
        return _pack(*parts)

    def _param(self, wires: _Wires, value: object) -> bytes:
        number = plain_number(value)
        if number is not None:
            return _number(number)
        match value:
            case Parameter():
                return _pack(b"symbol", _text(self._name(value)))
            case ParameterExpression():
                return self._symbolic(value)
            case np.ndarray():
                array = np.ascontiguousarray(value, dtype=complex) + 0.0
                return _pack(b"array", _text(value.shape), array.tobytes())
            case str():
                return _pack(b"text", _text(value))
            case list() | tuple():
                return _pack(b"list", *(self._param(wires, each) for each in value))
            case QuantumCircuit():
                return _pack(b"circuit", self.circuit(value))
            case classical.Expr():
                return _pack(b"expr", self._expr(wires, value))
            case None:
                return b"none"
        raise InvalidCircuit(
            f"a parameter of type {type(value).__name__} cannot be stored; decompose the gate that holds it"
        )

    def _name(self, symbol: Parameter) -> str:
        """The symbol's name; readers invent names for the counters of loops, so that theirs is the depth."""
        if symbol in self._counters:
            return f"counter {self._counters.index(symbol)}"
        return f"name {symbol.name}"

    def _symbolic(self, expression: ParameterExpression) -> bytes:
        ordered = sorted(expression.parameters, key=self._name)
        names = tuple(map(self._name, ordered))
        key = str(expression), names
        plain = all(_PLAIN_NAME.match(str(each.name)) for each in ordered)  # else the text may be ambiguous
        if plain and key in self._expressions:
            return self._expressions[key]
        # Stand-in names: sympy then never sees a user's name, and the walk puts the real one back.
        stand_ins = {each: Parameter(f"p{index}") for index, each in enumerate(ordered)}
        real = {f"p{index}": name for index, name in enumerate(names)}
        packed = self._product(expression.subs(stand_ins), real) or self._tree(expression, stand_ins, real)
        if plain:
            self._expressions[key] = packed
        return packed

    @staticmethod
    def _product(expression: ParameterExpression, names: Mapping[str, str]) -> bytes:
        """What `_tree` makes of a number times a symbol, without sympy, whose import takes a third of a second.

        Empty where it is anything else.
        """
        if len(names) != 1 or not _PRODUCT.match(str(expression)):
            return b""
        factor = plain_number(expression.gradient(*expression.parameters))
        if factor is None or factor in {0, 1}:
            return b""
        parts = sorted([_number(complex(factor)), _pack(b"symbol", _text(names["p0"]))])
        return _pack(b"expression", _pack(b"Mul", *parts))

    @staticmethod
    def _tree(
        expression: ParameterExpression, stand_ins: Mapping[Parameter, Parameter], names: Mapping[str, str]
    ) -> bytes:
        tree = in_sympy(expression, stand_ins)
        if tree is None:
            return _pack(b"text", _text(expression.subs(stand_ins)), *map(_text, names.values()))
        # A symbol that cancels out (0*a) leaves a number; the list of free symbols still names it.
        return _sympy(tree, names) if tree.is_number else _pack(b"expression", _sympy(tree, names))


def _sympy(node: Any, names: Mapping[str, str]) -> bytes:
    if node.is_Symbol:
        return _pack(b"symbol", _text(names[node.name]))
    if node.is_number:
        return _number(complex(node))
    arguments = [_sympy(each, names) for each in node.args]
    if node.is_Add or node.is_Mul:
        arguments.sort()
    return _pack(_text(type(node).__name__), *arguments)
