"""Circuits as Qoro takes them: OpenQASM 2 texts, bound ones or templates with one row of numbers for each item.

Qoro puts the numbers of a row in the places of names, as text, so that `2*a` with a negative `a` depends on how its
parser reads `2*-0.5`. A template of ours has a name for every angle that is not a number, and the rows have the values
of the angles: nothing but numbers is ever put in the place of a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, ItemSpec, Program, ProgramHash

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from qjobs.circuits.templates import OpenQasm2Template

__all__ = ["Template", "bound_texts", "templates"]

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
    for_expvals = bool(batch.options.observables)
    found = []
    for item in batch.items:
        name = (item.program, tuple(sorted(item.parameters)))
        if name not in texts:
            row = dict(item.parameters)
            template = _template_of(batch.programs[item.program], for_expvals)
            text = None if template is None else template.filled(row)
            if text is None:
                text = _text(_prepared(bind(batch.programs[item.program], row), for_expvals))
            texts[name] = text
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
    template = _template_of(program, bool(batch.options.observables)) if program.parameters else None
    if template is None:
        return None
    rows = []
    for position, item in items:
        values = template.values(dict(item.parameters))
        if values is None:
            return None
        rows.append((position, values))
    names = tuple(map(_name_of, range(len(template.angles))))
    return Template(text=template.text.filled(names), names=names, rows=tuple(rows))


@lru_cache(maxsize=64)
def _template_of(program: Program, for_expvals: bool) -> OpenQasm2Template | None:
    from qjobs.circuits.programs import to_qiskit
    from qjobs.circuits.templates import openqasm2_template

    return openqasm2_template(_prepared(to_qiskit(program), for_expvals))


def _name_of(number: int) -> str:
    """The name of an angle; all are of one length, so that none is the beginning of another."""
    return f"p{number:05d}"


def _prepared(circuit: QuantumCircuit, for_expvals: bool) -> QuantumCircuit:
    """The circuit on one quantum and one classical register; without its last measurements for expectation values."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ControlFlowOp

    if any(isinstance(each.operation, ControlFlowOp) for each in circuit.data):
        raise InvalidCircuit(f"a circuit cannot be sent to Qoro: {_CONTROL}")
    flat = QuantumCircuit(circuit.num_qubits, circuit.num_clbits)
    flat.compose(circuit, flat.qubits, flat.clbits, inplace=True, copy=False)
    if not for_expvals:
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
