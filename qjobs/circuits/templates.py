"""Templates: a circuit written once in the form that is sent, with its angles put in for each row of values.

Writing a circuit takes a millisecond or more, filling a template some microseconds. What a template cannot say is
written circuit by circuit: every template tells so, and its caller goes the slow way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from qjobs.circuits.parameter_names import decode
from qjobs.errors import InvalidCircuit
from qjobs.model import Program, ProgramFormat

if TYPE_CHECKING:
    from pytket.circuit import Circuit
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterExpression

__all__ = [
    "CutText",
    "OpenQasm2Template",
    "PytketTemplate",
    "openqasm2_number",
    "openqasm2_template",
    "written_openqasm2",
]

_FIRST: Final = 700_000.5
"""Stands for the angle number 0 while OpenQASM is written; then 700,001.5 and so on. No angle of a circuit is so big,
and no fraction of pi that the writer would shorten."""
_STAND_IN: Final = re.compile(r"(?<![\w.])(7\d{5})\.5(?![\w.])")
_MOST: Final = 90_000
"""Angles of one template."""
_MARK: Final = re.compile(r'"\\u0000(\d+)\\u0000"')


@dataclass(frozen=True, slots=True)
class CutText:
    """A text, cut where other texts are put in: hole `n` is between the pieces `n` and `n + 1`.

    `holes` has the number of the text that belongs there.
    """

    pieces: tuple[str, ...] = field(repr=False)
    holes: tuple[int, ...]

    @classmethod
    def at(cls, mark: re.Pattern[str], text: str, first: int = 0) -> CutText:
        """Cut a text at each match of `mark`, whose one group is a number, counted from `first`."""
        parts = mark.split(text)
        return cls(tuple(parts[::2]), tuple(int(number) - first for number in parts[1::2]))

    def filled(self, texts: Sequence[str]) -> str:
        """The whole text.

        >>> CutText(("rx(", ") q; ry(", ") q;"), (1, 0)).filled(["a", "b"])
        'rx(b) q; ry(a) q;'
        """
        parts = [""] * (2 * len(self.holes) + 1)
        parts[::2] = self.pieces
        parts[1::2] = [texts[number] for number in self.holes]
        return "".join(parts)


def openqasm2_number(value: float) -> str:
    """A finite number as OpenQASM 2 has it, with the decimal point that strict readers insist on; read, it is the same.

    >>> openqasm2_number(0.1), openqasm2_number(-1e-300), openqasm2_number(1e17)
    ('0.1', '-1.0e-300', '1.0e+17')
    """
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


class _Angle:
    """An angle with symbols, to be worked out by qiskit from the values of a circuit's symbols."""

    __slots__ = ("_expression", "_places", "_symbols")

    def __init__(self, angle: ParameterExpression, names: Sequence[str]) -> None:
        from qiskit.circuit import Parameter

        self._expression = None if isinstance(angle, Parameter) else angle
        self._symbols = tuple(angle.parameters)
        self._places = [names.index(str(each.name)) for each in self._symbols]

    def at(self, values: Sequence[float]) -> float:
        """Its value where the symbols have these, in the order of their names."""
        if self._expression is None:
            return values[self._places[0]]
        binds = {symbol: values[place] for symbol, place in zip(self._symbols, self._places, strict=True)}
        return float(self._expression.bind(binds))


@dataclass(frozen=True, slots=True)
class OpenQasm2Template:
    """A circuit as OpenQASM 2, to be filled with the values of its angles.

    `names` are those of its symbols, `angles` its different angles that have symbols. Numbers that are in the circuit
    itself are as qiskit writes them: fractions of pi by name, and within 1e-12.
    """

    text: CutText
    angles: tuple[_Angle, ...] = field(repr=False)
    names: tuple[str, ...]

    def values(self, row: Mapping[str, float]) -> tuple[float, ...] | None:
        """The value of each angle where its symbols have those of `row`.

        None where `row` is not one finite `float` or `int` for each symbol, or an angle would be no finite number:
        then `qjobs.circuits.programs.bind` says what is wrong.
        """
        from qiskit.exceptions import QiskitError

        if len(row) != len(self.names) or not {float, int}.issuperset(map(type, row.values())):
            return None
        try:
            given = [float(row[name]) for name in self.names]
            if not all(map(math.isfinite, given)):
                return None
            found = tuple([angle.at(given) for angle in self.angles])
        except (QiskitError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError):
            return None
        return found if all(map(math.isfinite, found)) else None

    def filled(self, row: Mapping[str, float]) -> str | None:
        """The text of the bound circuit; None as `values`."""
        values = self.values(row)
        return None if values is None else self.text.filled([openqasm2_number(value) for value in values])


@lru_cache(maxsize=64)
def _openqasm2_of(program: Program) -> OpenQasm2Template | None:
    """The template of a program on one quantum and one classical register; None as `openqasm2_template`.

    Raises:
        InvalidCircuit: The program cannot be read.
    """
    from qjobs.circuits.openqasm import flat, has_control_flow
    from qjobs.circuits.programs import to_qiskit

    circuit = to_qiskit(program)
    return None if has_control_flow(circuit) else openqasm2_template(flat(circuit))


def written_openqasm2(program: Program, row: Mapping[str, float]) -> str:
    """A program with values for its symbols as OpenQASM 2, on one quantum and one classical register.

    Its template is filled; what that cannot say is bound and written by itself.

    Raises:
        InvalidCircuit: As `qjobs.circuits.programs.bind` and `qjobs.circuits.openqasm.write_openqasm2`.
    """
    template = _openqasm2_of(program)
    text = None if template is None else template.filled(row)
    if text is not None:
        return text
    from qjobs.circuits.openqasm import write_openqasm2
    from qjobs.circuits.programs import bind

    return write_openqasm2(bind(program, row))


def openqasm2_template(circuit: QuantumCircuit) -> OpenQasm2Template | None:
    """The template of a circuit; None where it has to be written bound, one by one.

    It has to be where OpenQASM 2 cannot say it, and where a symbol is in a place that its text does not show, such as
    the definition of a gate. `circuit` is not changed.
    """
    from qjobs.circuits.openqasm import write_openqasm2

    names = tuple(sorted(str(each.name) for each in circuit.parameters))
    if not _has_symbols_in_view(circuit):
        return None
    bound, angles, places = _with_stand_ins(circuit)
    try:
        text = CutText.at(_STAND_IN, write_openqasm2(bound), first=int(_FIRST))
    except InvalidCircuit:  # bound, it may be written otherwise
        return None
    if text.holes != tuple(places) or len(angles) > _MOST:  # in a definition, or a number of the circuit's own
        return None
    return OpenQasm2Template(text=text, angles=tuple(_Angle(each, names) for each in angles), names=names)


def _has_symbols_in_view(circuit: QuantumCircuit) -> bool:
    """Whether every symbol is an angle of a gate that OpenQASM knows, and none is in the definition of another gate."""
    from qiskit.circuit.library import get_standard_gate_name_mapping

    standard = get_standard_gate_name_mapping()
    for each in circuit.data:
        operation = each.operation
        if any(map(_is_symbolic, operation.params)):
            known = standard.get(operation.name)
            if known is None or operation.base_class is not known.base_class:
                return False
    return True


def _is_symbolic(angle: object) -> bool:
    from qiskit.circuit import ParameterExpression

    return isinstance(angle, ParameterExpression) and bool(angle.parameters)


def _with_stand_ins(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[Any], list[int]]:
    """A copy with a number in the place of each angle that has a symbol; the different angles; which is where."""
    found = circuit.copy_empty_like()
    found.global_phase = 0
    angles: list[Any] = []
    places: list[int] = []
    numbers: dict[str, int] = {}
    for each in circuit.data:
        operation = each.operation
        if any(map(_is_symbolic, operation.params)):
            operation = operation.to_mutable()
            angles_now = []
            for angle in operation.params:
                if not _is_symbolic(angle):
                    angles_now.append(angle)
                    continue
                number = numbers.setdefault(str(angle), len(angles))
                if number < len(angles) and angles[number] != angle:  # two that are written alike
                    number = len(angles)
                if number == len(angles):
                    angles.append(angle)
                places.append(number)
                angles_now.append(_FIRST + number)
            operation.params = angles_now
        found.append(each.replace(operation=operation, params=tuple(operation.params)))
    return found, angles, places


class PytketTemplate:
    """A program as pytket's JSON, to be filled with the values of its angles.

    A circuit whose symbols pytket cannot hold is converted at each call, bound.
    """

    def __init__(self, program: Program) -> None:
        from qjobs.circuits.programs import to_pytket

        self._program = program
        self._trouble: InvalidCircuit | None = None
        self._text: CutText | None = None
        try:
            self._circuit: Circuit = to_pytket(program)
        except InvalidCircuit as error:
            self._trouble = error
            return
        content = _content_of(self._circuit)
        self._unbound = _dump(content)
        self._symbols = {decode(symbol.name): symbol for symbol in self._circuit.free_symbols()}
        angles = _take_angles(self._circuit, content) if self._symbols else None
        if angles:
            self._text = CutText.at(_MARK, _dump(content))
            self._evaluate = _compiled([self._symbols.get(name) for name in program.parameters], angles)

    @property
    def circuit(self) -> Circuit:
        """The circuit with its symbols; not to be changed.

        Raises:
            InvalidCircuit: pytket cannot hold it.
        """
        self._check()
        return self._circuit

    @property
    def unbound(self) -> str:
        """The JSON with its symbols, for a compile job.

        Raises:
            InvalidCircuit: pytket cannot hold it.
        """
        self._check()
        return self._unbound

    def _check(self) -> None:
        if self._trouble is not None:
            raise InvalidCircuit(str(self._trouble)) from self._trouble

    def bound(self, parameters: Mapping[str, float]) -> str:
        """The JSON with values in place of the symbols, as `qjobs.circuits.programs.bind` takes them.

        Raises:
            InvalidCircuit: A value is missing, or makes an angle that is not a finite number; or pytket cannot hold
                the circuit.
        """
        names = self._program.parameters
        missing = [name for name in names if name not in parameters]
        if missing:
            raise InvalidCircuit(f"the circuit's parameters {', '.join(missing[:10])} have no value")
        if self._trouble is not None:
            return self._bound_by_qiskit(parameters)
        if not self._symbols:
            return self._unbound
        try:
            if self._text is None:
                return self._bound_by_pytket(parameters)
            values = [float(parameters[name]) for name in names]
            return self._text.filled([_text(angle) for angle in self._evaluate(values)])
        except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise InvalidCircuit(
                f"the circuit cannot be evaluated at {dict(parameters)}: {error}; use other values"
            ) from error

    def _bound_by_qiskit(self, parameters: Mapping[str, float]) -> str:
        """As `bound`, for a circuit with an expression that pytket lacks."""
        from qjobs.circuits.programs import bind
        from qjobs.circuits.pytket import qiskit_to_pytket

        if self._program.format is ProgramFormat.PYTKET or not self._program.parameters:
            self._check()
        return _dump(_content_of(qiskit_to_pytket(bind(self._program, parameters))))

    def _bound_by_pytket(self, parameters: Mapping[str, float]) -> str:
        """As `bound`, for a circuit whose boxes hide symbols."""
        circuit = self._circuit.copy()
        circuit.symbol_substitution({symbol: float(parameters[name]) for name, symbol in self._symbols.items()})
        if circuit.is_symbolic():
            raise ValueError("a box keeps its symbol")
        return _dump(_content_of(circuit))


def _content_of(circuit: Circuit) -> dict[str, Any]:
    """A circuit as pytket's JSON has it, without its name: that is given at the upload."""
    content: dict[str, Any] = circuit.to_dict()
    content.pop("name", None)
    return content


def _dump(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def _text(value: object) -> str:
    """A finite real number as pytket's JSON has it."""
    if type(value) is float and math.isfinite(value):
        return f'"{value!r}"'
    number = complex(value)  # type: ignore[call-overload]
    if number.imag or number != number or abs(number) == float("inf"):
        raise ValueError(f"an angle is {value}")
    return f'"{number.real!r}"'


def _take_angles(circuit: Circuit, content: dict[str, Any]) -> list[Any] | None:
    """Put a mark into `content` for every symbolic angle; returns the different angles, in half-turns.

    Returns None where the JSON does not show them all, as with boxes. The text of an angle is never parsed.
    """
    from pytket.circuit import OpType

    angles: dict[Any, int] = {}

    def mark(angle: Any) -> str:
        return f"\0{angles.setdefault(angle, len(angles))}\0"

    for command, entry in zip(circuit.get_commands(), content["commands"], strict=True):
        op = command.op
        node = entry["op"]
        while op.type == OpType.Conditional:
            op = op.op
            node = node["conditional"]["op"]
        if not op.free_symbols():
            continue
        shown = node.get("params", ())
        if node["type"] != op.type.name or not shown or len(shown) != len(op.params):
            return None
        for position, angle in enumerate(op.params):
            if getattr(angle, "free_symbols", None):
                shown[position] = mark(angle)
    if getattr(circuit.phase, "free_symbols", None):
        content["phase"] = mark(circuit.phase)
    return list(angles)


def _compiled(symbols: Sequence[Any], angles: Sequence[Any]) -> Callable[[Sequence[float]], Sequence[object]]:
    """A function of the symbols' values that gives all angles; no name that a user chose gets into its code.

    Numbers with a point are handed to it beside the values: sympy would print 15 of their 17 digits into the code.
    """
    import sympy

    stand_ins = []
    changes = {}
    for index, symbol in enumerate(symbols):
        stand_ins.append(sympy.Symbol(f"p{index}"))
        if symbol is not None:
            changes[symbol] = stand_ins[index]
    numbers = sorted(set().union(*(angle.atoms(sympy.Float) for angle in angles)))
    for index, number in enumerate(numbers):
        stand_ins.append(sympy.Symbol(f"n{index}"))
        changes[number] = stand_ins[-1]
    constants = [float(number) for number in numbers]
    expressions = [angle.xreplace(changes) for angle in angles]
    function: Callable[[Sequence[float]], Sequence[object]] = sympy.lambdify(
        [stand_ins], expressions, modules=[{"conjugate": lambda value: value}, "math"]
    )
    return lambda values: function([*values, *constants])
