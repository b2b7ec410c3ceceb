"""What is uploaded to Nexus for a program: pytket's JSON, with numbers in place of the symbols.

Nexus binds no parameters. A circuit is converted once; the JSON of every bound one is that of the template with
the values of its angles put in, since converting takes some ten milliseconds a circuit.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from qjobs.circuits.parameter_names import decode
from qjobs.errors import InvalidCircuit
from qjobs.model import Program, ProgramHash

if TYPE_CHECKING:
    from pytket.circuit import Circuit

__all__ = ["Template", "Templates", "program_of"]

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
"""What of a circuit's attributes is the circuit; the rest is Nexus's own (name, properties, timestamps)."""


class Template:
    """One program as pytket's JSON, ready to be bound.

    Args:
        program: What is converted.

    Raises:
        InvalidCircuit: pytket cannot hold it.
    """

    def __init__(self, program: Program) -> None:
        from qjobs.circuits.programs import to_pytket

        self._circuit: Circuit = to_pytket(program)
        self._names = program.parameters
        content = self._circuit.to_dict()
        content.pop("name", None)
        self.unbound: str = _dump(content)
        """The JSON with its symbols, for a compile job."""
        self._symbols = {decode(symbol.name): symbol for symbol in self._circuit.free_symbols()}
        self._pieces: list[str] = []
        self._angle_of: list[int] = []
        angles = _take_angles(self._circuit, content) if self._symbols else None
        if angles:
            pieces = _MARK.split(_dump(content))
            self._pieces, self._angle_of = pieces[::2], [int(number) for number in pieces[1::2]]
            self._evaluate = _compiled([self._symbols.get(name) for name in self._names], angles)

    def bound(self, parameters: Mapping[str, float]) -> str:
        """The JSON with these values.

        Args:
            parameters: A value for every parameter of the program.

        Raises:
            InvalidCircuit: One is missing, or an angle has no finite value at these.
        """
        missing = [name for name in self._names if name not in parameters]
        if missing:
            raise InvalidCircuit(f"the circuit's parameters {', '.join(missing[:10])} have no value")
        if not self._symbols:
            return self.unbound
        try:
            if not self._pieces:
                return self._bound_by_pytket(parameters)
            texts = [_text(value) for value in self._evaluate([float(parameters[name]) for name in self._names])]
        except (ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise InvalidCircuit(
                f"the circuit cannot be evaluated at {dict(parameters)}: {error}; use other values"
            ) from error
        parts = [self._pieces[0]]
        for number, piece in zip(self._angle_of, self._pieces[1:], strict=True):
            parts += (texts[number], piece)
        return "".join(parts)

    def _bound_by_pytket(self, parameters: Mapping[str, float]) -> str:
        """As `bound`, for a circuit whose boxes hide symbols."""
        circuit = self._circuit.copy()
        circuit.symbol_substitution({symbol: float(parameters[name]) for name, symbol in self._symbols.items()})
        if circuit.is_symbolic():
            raise ValueError("a box keeps its symbol")
        content = circuit.to_dict()
        content.pop("name", None)
        return _dump(content)


def _dump(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))


def _text(value: object) -> str:
    """A finite real number as pytket's JSON has it."""
    number = complex(value)  # type: ignore[call-overload]
    if number.imag or number != number or abs(number) == float("inf"):
        raise ValueError(f"an angle is {value}")
    return f'"{number.real!r}"'


def _take_angles(circuit: Circuit, content: dict[str, Any]) -> list[Any] | None:
    """Put a mark into `content` for every symbolic angle; the different angles, in half-turns.

    None where the JSON does not show them all, as with boxes. The text of an angle is never parsed.
    """
    from pytket.circuit import OpType

    angles: dict[Any, int] = {}

    def mark(angle: Any) -> str:
        return f"\0{angles.setdefault(angle, len(angles))}\0"

    for command, entry in zip(circuit.get_commands(), content["commands"], strict=True):
        op, node = command.op, entry["op"]
        while op.type == OpType.Conditional:
            op, node = op.op, node["conditional"]["op"]
        if not op.free_symbols():
            continue
        shown = node.get("params", ())
        if node["type"] != op.type.name or not shown or len(shown) != len(op.params):
            return None
        node["params"] = [
            mark(angle) if getattr(angle, "free_symbols", None) else text
            for angle, text in zip(op.params, shown, strict=True)
        ]
    if getattr(circuit.phase, "free_symbols", None):
        content["phase"] = mark(circuit.phase)
    return list(angles)


def _compiled(symbols: Sequence[Any], angles: Sequence[Any]) -> Callable[[Sequence[float]], Sequence[object]]:
    """A function of the symbols' values that gives all angles; no name of a user's gets into its code."""
    import sympy

    stand_ins = [sympy.Symbol(f"p{index}") for index in range(len(symbols))]
    changes = {symbol: stand_in for symbol, stand_in in zip(symbols, stand_ins, strict=True) if symbol is not None}
    expressions = [angle.xreplace(changes) for angle in angles]
    function: Callable[[Sequence[float]], Sequence[object]] = sympy.lambdify(
        [stand_ins], expressions, modules=[{"conjugate": lambda value: value}, "math"]
    )
    return function


class Templates:
    """The last templates that were used. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[ProgramHash, Template] = OrderedDict()

    def of(self, program: Program) -> Template:
        """The template of a program; one thread converts at a time.

        Raises:
            InvalidCircuit: pytket cannot hold it.
        """
        with self._lock:
            if program.hash not in self._kept:
                try:
                    self._kept[program.hash] = Template(program)
                except RuntimeError as error:  # pytket's, or a RecursionError
                    raise InvalidCircuit(f"the circuit cannot be written for Nexus: {error}") from error
            self._kept.move_to_end(program.hash)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[program.hash]


def program_of(attributes: Mapping[str, Any]) -> Program:
    """The program of a circuit's attributes, as Nexus gives them.

    Raises:
        InvalidCircuit: They are no circuit that qjobs can read.
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
