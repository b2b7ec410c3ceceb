"""Circuits as Qoro takes them: OpenQASM 2 texts, bound ones or templates with one row of numbers for each item.

Qoro puts the numbers of a row in the places of names, as text, so that `2*a` with a negative `a` depends on how its
parser reads `2*-0.5`. A template of ours has a name for every angle that is not a number, and the rows have the values
of the angles: nothing but numbers is ever put in the place of a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, ItemSpec, Program, ProgramHash

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Template", "bound_texts", "templates"]

_FIRST: Final = 700_000.5
"""Stands for the angle number 0 while the text is written; then 700,001.5 and so on. No angle of a circuit is so big,
and no fraction of pi that the writer would shorten."""
_STAND_IN: Final = re.compile(r"(?<![\w.])7\d{5}\.5(?![\w.])")
_MOST: Final = 90_000
"""Angles of one template."""
_CONTROL: Final = "it has control flow, which OpenQASM 2 has no words for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text with `names` in the places of numbers; each row has the item's position in the batch, and its numbers."""

    text: str
    names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[float, ...]], ...]


def bound_texts(batch: Batch) -> list[str]:
    """The text of each item of a batch, with its numbers in it.

    Raises:
        InvalidCircuit: A circuit cannot be written in OpenQASM 2, or measures in its middle and is to give expectation
            values.
    """
    from qjobs.circuits.programs import bind

    texts: dict[tuple[ProgramHash, tuple[tuple[str, float], ...]], str] = {}
    found = []
    for item in batch.items:
        name = (item.program, tuple(sorted(item.parameters)))
        if name not in texts:
            circuit = bind(batch.programs[item.program], dict(item.parameters))
            texts[name] = _text(_prepared(circuit, batch))
        found.append(texts[name])
    return found


def templates(batch: Batch) -> list[Template] | None:
    """The batch as templates, one for each circuit; None where it has to be sent bound.

    It has to be where a circuit has no symbol, where no circuit has two items, where items differ in their shots, and
    where a symbol is in a place that a text cannot have a name for (the definition of a gate).

    Raises:
        InvalidCircuit: As `bound_texts`.
    """
    items: dict[ProgramHash, list[tuple[int, ItemSpec]]] = {}
    for position, item in enumerate(batch.items):
        items.setdefault(item.program, []).append((position, item))
    if len(items) == len(batch.items) or len({item.shots for item in batch.items}) > 1:
        return None
    found = []
    for name, of_program in items.items():
        template = _template(batch.programs[name], of_program, batch)
        if template is None:
            return None
        found.append(template)
    return found


def _template(program: Program, items: Sequence[tuple[int, ItemSpec]], batch: Batch) -> Template | None:
    from qjobs.circuits.programs import to_qiskit

    if not program.parameters:
        return None
    prepared = _prepared(to_qiskit(program), batch)
    if not _has_symbols_in_view(prepared):
        return None
    circuit, angles = _with_stand_ins(prepared)
    try:
        text = _text(circuit)
    except InvalidCircuit:  # bound, it may be written otherwise
        return None
    head = [line for line in text.splitlines() if line.startswith("gate ")]
    seen = {_number_of(match) for match in _STAND_IN.findall(text)}
    if any(_STAND_IN.search(line) for line in head) or seen != set(range(len(angles))):
        return None
    rows = []
    for position, item in items:
        values = _values(angles, dict(item.parameters))
        if values is None:
            return None
        rows.append((position, values))
    return Template(
        text=_STAND_IN.sub(lambda match: _name_of(_number_of(match[0])), text),
        names=tuple(map(_name_of, range(len(angles)))),
        rows=tuple(rows),
    )


def _has_symbols_in_view(circuit: QuantumCircuit) -> bool:
    """Whether every symbol is an angle of a gate that OpenQASM knows, and none is in the definition of another gate."""
    from qiskit.circuit import ParameterExpression
    from qiskit.circuit.library import get_standard_gate_name_mapping

    standard = get_standard_gate_name_mapping()
    for each in circuit.data:
        operation = each.operation
        if any(isinstance(angle, ParameterExpression) and angle.parameters for angle in operation.params):
            known = standard.get(operation.name)
            if known is None or operation.base_class is not known.base_class:
                return False
    return True


def _name_of(number: int) -> str:
    """The name of an angle; all are of one length, so that none is the beginning of another."""
    return f"p{number:05d}"


def _number_of(stand_in: str) -> int:
    return round(float(stand_in) - _FIRST)


def _with_stand_ins(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[Any]]:
    """A copy with a number in the place of each angle that has a symbol, and those angles in order."""
    from qiskit.circuit import ParameterExpression

    found = circuit.copy_empty_like()
    found.global_phase = 0
    angles: list[Any] = []
    numbers: dict[str, int] = {}
    for each in circuit.data:
        operation = each.operation
        if any(isinstance(angle, ParameterExpression) and angle.parameters for angle in operation.params):
            operation = operation.to_mutable()
            angles_now = []
            for angle in operation.params:
                if isinstance(angle, ParameterExpression) and angle.parameters:
                    number = numbers.setdefault(str(angle), len(angles))
                    if number < len(angles) and angles[number] != angle:  # two that are written alike
                        number = len(angles)
                    if number == len(angles):
                        angles.append(angle)
                    angle = _FIRST + number  # noqa: PLW2901
                angles_now.append(angle)
            operation.params = angles_now
        found.append(each.replace(operation=operation, params=tuple(operation.params)))
    return found, angles


def _values(angles: Sequence[Any], parameters: Mapping[str, float]) -> tuple[float, ...] | None:
    """The value of each angle; None where one is no finite real number."""
    found = []
    for angle in angles:
        bound = angle.bind({each: parameters[each.name] for each in angle.parameters})
        try:
            value = float(bound)
        except TypeError:
            return None
        if not math.isfinite(value):
            return None
        found.append(value)
    return tuple(found) if len(angles) <= _MOST else None


def _prepared(circuit: QuantumCircuit, batch: Batch) -> QuantumCircuit:
    """The circuit on one quantum and one classical register; without its last measurements for expectation values."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ControlFlowOp

    if any(isinstance(each.operation, ControlFlowOp) for each in circuit.data):
        raise InvalidCircuit(f"a circuit cannot be sent to Qoro: {_CONTROL}")
    flat = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    flat.compose(circuit, flat.qubits, flat.clbits, inplace=True, copy=False)
    if not batch.options.observables:
        return flat
    bare = flat.remove_final_measurements(inplace=False)
    if any(each.clbits for each in bare.data):
        raise InvalidCircuit(
            "expectation values need a circuit whose measurements are all at its end; remove the observables to "
            "sample it, or remove the measurement in its middle"
        )
    return bare


def _text(circuit: QuantumCircuit) -> str:
    from qiskit import qasm2
    from qiskit.exceptions import QiskitError

    try:
        return str(qasm2.dumps(circuit))
    except (QiskitError, LookupError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidCircuit(f"a circuit cannot be written as OpenQASM 2 ({error}); compile it for the device") from (
            error
        )
