"""What is uploaded to Nexus for a program: pytket's JSON, with numbers in place of the symbols.

Nexus binds no parameters. A circuit is converted once, since that takes some ten milliseconds; the JSON of every
bound circuit is that of the template with the values of its angles put in.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from qjobs.backends.lru import LruCache
from qjobs.circuits.parameter_names import decode
from qjobs.errors import InvalidCircuit
from qjobs.model import Program, ProgramHash

if TYPE_CHECKING:
    from pytket.circuit import Circuit

_MARK: Final = re.compile(r'"\\u0000(\d+)\\u0000"')
_KEPT: Final = 64
_FIELDS: Final = (
    "bits",
    "commands",
    "created_qubits",
    "discarded_qubits",
    "implicit_permutation",
    "number_of_ws",
    "phase",
    "qubits",
)
"""The attributes that make a circuit; the others are Nexus's own (name, properties, timestamps)."""


class Template:
    """One program as pytket's JSON, ready to be bound.

    Raises:
        InvalidCircuit: pytket cannot hold it.
    """

    def __init__(self, program: Program) -> None:
        from qjobs.circuits.programs import to_pytket

        self.circuit: Circuit = to_pytket(program)
        """The circuit with its symbols; never changed."""
        self._names = program.parameters
        content = _content_of(self.circuit)
        self.unbound: str = _dump(content)
        """The JSON with its symbols, for a compile job."""
        self._symbols = {decode(symbol.name): symbol for symbol in self.circuit.free_symbols()}
        self._pieces: list[str] = []
        """The JSON, cut at every angle that has to be put in."""
        self._angle_of: list[int] = []
        """Which angle follows each piece but the last."""
        angles = _take_angles(self.circuit, content) if self._symbols else None
        if angles:
            cut = _MARK.split(_dump(content))  # a piece, the number of an angle, a piece, ...
            self._pieces = cut[::2]
            self._angle_of = [int(number) for number in cut[1::2]]
            self._evaluate = _compiled([self._symbols.get(name) for name in self._names], angles)

    def bound(self, parameters: Mapping[str, float]) -> str:
        """The JSON with values in place of the symbols, as `qjobs.circuits.programs.bind` takes them.

        Raises:
            InvalidCircuit: A value is missing, or makes an angle that is not a finite number.
        """
        missing = [name for name in self._names if name not in parameters]
        if missing:
            raise InvalidCircuit(f"the circuit's parameters {', '.join(missing[:10])} have no value")
        if not self._symbols:
            return self.unbound
        try:
            if not self._pieces:
                return self._bound_by_pytket(parameters)
            values = [float(parameters[name]) for name in self._names]
            texts = [_text(angle) for angle in self._evaluate(values)]
        except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise InvalidCircuit(
                f"the circuit cannot be evaluated at {dict(parameters)}: {error}; use other values"
            ) from error
        parts = [self._pieces[0]]
        for number, piece in zip(self._angle_of, self._pieces[1:], strict=True):
            parts += [texts[number], piece]
        return "".join(parts)

    def _bound_by_pytket(self, parameters: Mapping[str, float]) -> str:
        """As `bound`, for a circuit whose boxes hide symbols."""
        circuit = self.circuit.copy()
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
    """A function of the symbols' values that gives all angles; no name that a user chose gets into its code."""
    import sympy

    stand_ins = []
    changes = {}
    for index, symbol in enumerate(symbols):
        stand_ins.append(sympy.Symbol(f"p{index}"))
        if symbol is not None:
            changes[symbol] = stand_ins[index]
    expressions = [angle.xreplace(changes) for angle in angles]
    function: Callable[[Sequence[float]], Sequence[object]] = sympy.lambdify(
        [stand_ins], expressions, modules=[{"conjugate": lambda value: value}, "math"]
    )
    return function


class Templates:
    """The templates that were used last. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: LruCache[ProgramHash, Template] = LruCache(_KEPT)

    def of(self, program: Program) -> Template:
        """The template of a program; one thread converts at a time.

        Raises:
            InvalidCircuit: pytket cannot hold it.
        """
        with self._lock:
            template = self._kept.get(program.hash)
            if template is None:
                try:
                    template = Template(program)
                except RuntimeError as error:  # pytket's, or a RecursionError
                    raise InvalidCircuit(f"the circuit cannot be written for Nexus: {error}") from error
                self._kept.put(program.hash, template)
            return template


def program_of(attributes: Mapping[str, Any]) -> Program:
    """The program that the attributes of one of Nexus's circuits describe.

    Raises:
        InvalidCircuit: They are not a circuit that qjobs can read.
    """
    from pytket.utils.serialization.migration import circuit_dict_from_pytket1_dict

    from qjobs.circuits.programs import read_circuit
    from qjobs.circuits.pytket import load_pytket

    content = {name: attributes[name] for name in _FIELDS if attributes.get(name) is not None}
    try:
        content = circuit_dict_from_pytket1_dict(content)
        payload = json.dumps(content).encode()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidCircuit(f"Nexus gave a circuit that cannot be read: {error!r}") from error
    return read_circuit(load_pytket(payload))
