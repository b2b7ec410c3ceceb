"""Reading circuits in every form that people have, and checking and binding them.

A `Program` keeps the user's own form; everything else here derives from the qiskit circuit that it
stands for. Nothing in the input is ever run as code: QPY older than version 13 is refused (it went
through symengine's loader) and that of others is read in a process of its own first (`qpy_guard`),
OpenQASM may include only its standard library, and sizes and nesting are bounded before a parser sees
the text (`text_bounds`, `angle_bounds`).
"""

from __future__ import annotations

import difflib
import functools
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from qiskit import QuantumCircuit, qpy
from qiskit.circuit import ControlFlowOp, Gate, Parameter
from qiskit.exceptions import QiskitError

from qjobs.circuits.content_hash import content_hash
from qjobs.circuits.delays import lengths_aside, lengths_back
from qjobs.circuits.lookalikes import replace_lookalikes
from qjobs.circuits.openqasm import detect, one_line, parse_openqasm2, parse_openqasm3
from qjobs.circuits.parameter_names import decode
from qjobs.circuits.qpy_guard import check_foreign_qpy
from qjobs.circuits.text_bounds import MAX_BYTES
from qjobs.errors import InvalidCircuit
from qjobs.model import Program, ProgramFormat

if TYPE_CHECKING:
    from pytket.circuit import Circuit as TketCircuit

__all__ = [
    "CircuitSource",
    "bind",
    "check_runs",
    "content_hash",
    "program_from_qiskit",
    "program_from_qpy",
    "read_circuit",
    "to_pytket",
    "to_qiskit",
]

CircuitSource: TypeAlias = "QuantumCircuit | TketCircuit | str | bytes | Path"
"""What `read_circuit` takes."""

_QPY_MAGIC: Final = b"QISKIT"
_QPY_OLDEST: Final = 13
_WHOLE_QPY_HEADER: Final = 20
_CACHED: Final = 256


def read_circuit(source: CircuitSource, *, field: str | None = None) -> Program:
    """Read a circuit in any of its forms, and check that it can be read back.

    `source` is a `QuantumCircuit`; a pytket `Circuit`; OpenQASM 2 or 3 text; QPY bytes that hold one circuit; or a
    `Path` to a `.qasm`, `.qpy` or `.json` (pytket) file. The error keeps `field`, its place in the caller's input.

    Returns:
        The program. Text is kept as given, a `QuantumCircuit` as QPY, a pytket circuit as its JSON.

    Raises:
        InvalidCircuit: It cannot be read; the message says why and what to do.
    """
    try:
        form, payload = _payload(source)
        _check_size(payload)
        if form is ProgramFormat.QPY and not isinstance(source, QuantumCircuit):
            _check_qpy_header(payload)
            check_foreign_qpy(payload)
        return _read(form, payload)
    except InvalidCircuit as error:
        if field is None or error.field is not None:
            raise
        raise InvalidCircuit(str(error), field=field) from error
    except RecursionError as error:
        raise InvalidCircuit("the circuit is nested too deeply; flatten it", field=field) from error


def program_from_qiskit(circuit: QuantumCircuit) -> Program:
    """The program of a qiskit circuit, kept as QPY.

    Raises:
        InvalidCircuit: QPY cannot hold it, or it has no canonical form.
    """
    return _read(ProgramFormat.QPY, _dump_qpy(circuit))


def program_from_qpy(payload: bytes) -> Program:
    """The program of QPY that this library has written itself; `read_circuit` reads that of others.

    Raises:
        InvalidCircuit: It cannot be read.
    """
    return _read(ProgramFormat.QPY, payload)


def to_qiskit(program: Program) -> QuantumCircuit:
    """The qiskit circuit of a program.

    The last 256 circuits are kept and shared: do not change what you get, `copy()` it first.

    Raises:
        InvalidCircuit: The payload cannot be read.
    """
    return _cached(program.format, program.payload)


def to_pytket(program: Program) -> TketCircuit:
    """The pytket circuit of a program: a new one at each call, symbols kept.

    Qubit i of qiskit is qubit i of pytket and bit i is bit i. Names that pytket cannot store
    (`t[0]`, `pi`) are escaped; reading the circuit back restores them.

    Raises:
        InvalidCircuit: It holds what pytket cannot (control flow); compile it with qiskit.
    """
    from qjobs.circuits import pytket as convert

    if program.format is ProgramFormat.PYTKET:
        return convert.load_pytket(program.payload)
    return convert.qiskit_to_pytket(to_qiskit(program))


def bind(program: Program, parameters: Mapping[str, float]) -> QuantumCircuit:
    """The circuit with a number in place of every free symbol: a new circuit at each call.

    A finite number is used as it is: radians in qiskit and OpenQASM circuits, whatever the angles of a pytket circuit
    mean by it (half-turns) there.

    Raises:
        InvalidCircuit: A parameter is missing, unknown or not finite, or an expression cannot be
            evaluated at these values.
    """
    _check_names(program, parameters)
    circuit = to_qiskit(program)
    symbols = {str(each.name): each for each in circuit.parameters}
    values = {}
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InvalidCircuit(f"parameter {name} is {value!r}; give a finite number", field=name)
        values[symbols[name]] = float(value)
    try:
        return circuit.assign_parameters(values)
    except (QiskitError, ArithmeticError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidCircuit(
            f"the circuit cannot be evaluated at {dict(parameters)}: {one_line(error)}; use other values"
        ) from error


def check_runs(program: Program, *, need_counts: bool = True, parameters: Iterable[str] | None = None) -> None:
    """Check that a program can be run with these parameters, before anything is sent.

    With `need_counts` something must be measured. `parameters` are the names that will be bound, None if not yet known.

    Raises:
        InvalidCircuit: Nothing is measured, or parameters are missing or unknown.
    """
    if need_counts and not program.measured:
        raise InvalidCircuit(
            "the circuit has no measurement, so there is nothing to count; "
            "add measurements (measure_all() in qiskit), or ask for observables"
        )
    if parameters is not None:
        _check_names(program, parameters)


def _check_names(program: Program, given: Iterable[str]) -> None:
    names = set(given)
    missing = [name for name in program.parameters if name not in names]
    unknown = sorted(names - set(program.parameters))
    has = f"it has {_list(program.parameters)}" if program.parameters else "it has none"
    if missing:
        near = difflib.get_close_matches(missing[0], unknown, n=1)
        meant = f" ({near[0]} is given; is {missing[0]} meant?)" if near else ""
        raise InvalidCircuit(f"the circuit's parameters {_list(missing)} have no value; give one for each{meant}")
    if unknown:
        raise InvalidCircuit(f"the circuit has no parameters {_list(unknown)} ({has}); leave them out")


def _list(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _payload(source: object) -> tuple[ProgramFormat, bytes]:
    match source:
        case QuantumCircuit():
            return ProgramFormat.QPY, _dump_qpy(source)
        case str():
            return detect(source), _utf8(source)
        case bytes():
            return ProgramFormat.QPY, source
        case Path():
            return _read_file(source)
    if type(source).__module__.startswith("pytket") or type(source).__module__.startswith("_tket"):
        from qjobs.circuits import pytket as convert

        return ProgramFormat.PYTKET, convert.dump_pytket(source)
    raise InvalidCircuit(
        f"a {type(source).__name__} is not a circuit; give a qiskit QuantumCircuit, a pytket Circuit, "
        "OpenQASM text, QPY bytes, or a pathlib.Path to a .qasm, .qpy or .json file"
    )


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_BYTES:
        raise InvalidCircuit(f"the circuit has more than {MAX_BYTES:,} bytes; make it smaller")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidCircuit("the circuit's text is not valid Unicode; save it as UTF-8") from error


def _read_file(path: Path) -> tuple[ProgramFormat, bytes]:
    suffix = path.suffix.lower()
    if suffix not in {".qasm", ".qpy", ".json"}:
        raise InvalidCircuit(f"{path}: the name must end in .qasm, .qpy or .json (pytket)")
    try:
        with path.open("rb") as file:
            payload = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidCircuit(f"{path} cannot be read: {error.strerror}; check the path") from error
    if suffix == ".qpy":
        return ProgramFormat.QPY, payload
    if suffix == ".json":
        return ProgramFormat.PYTKET, payload
    try:
        return detect(payload.decode("utf-8-sig")), payload
    except UnicodeDecodeError as error:
        raise InvalidCircuit(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _parse(form: ProgramFormat, payload: bytes) -> QuantumCircuit:
    return replace_lookalikes(_parse_as_given(form, payload))


def _parse_as_given(form: ProgramFormat, payload: bytes) -> QuantumCircuit:
    match form:
        case ProgramFormat.OPENQASM2:
            return parse_openqasm2(payload.decode("utf-8-sig"))
        case ProgramFormat.OPENQASM3:
            return _restore_names(parse_openqasm3(payload.decode("utf-8-sig")))
        case ProgramFormat.QPY:
            return _load_qpy(payload)
        case ProgramFormat.PYTKET:
            from qjobs.circuits import pytket as convert

            return convert.pytket_to_qiskit(convert.load_pytket(payload))


@functools.lru_cache(maxsize=_CACHED)
def _cached(form: ProgramFormat, payload: bytes) -> QuantumCircuit:
    try:
        return _parse(form, payload)
    except RecursionError as error:
        raise InvalidCircuit("the circuit is nested too deeply; flatten it") from error


@functools.lru_cache(maxsize=_CACHED)
def _read(form: ProgramFormat, payload: bytes) -> Program:
    circuit = _parse(form, payload)
    return Program(
        hash=content_hash(circuit),
        format=form,
        payload=payload,
        n_qubits=circuit.num_qubits,
        n_bits=circuit.num_clbits,
        measured=_measures(circuit),
        parameters=tuple(sorted(str(each.name) for each in circuit.parameters)),
    )


def _measures(circuit: QuantumCircuit) -> bool:
    for instruction in circuit.data:
        operation = instruction.operation
        if operation.name == "measure":
            return True
        if isinstance(operation, ControlFlowOp):
            if any(_measures(block) for block in operation.blocks):
                return True
        elif instruction.clbits and not isinstance(operation, Gate):
            definition = getattr(operation, "definition", None)
            if definition is not None and _measures(definition):
                return True
    return False


def _restore_names(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with names that OpenQASM cannot write as they were before they were escaped."""
    changes = {}
    for each in circuit.parameters:
        name = decode(str(each.name))
        if name != each.name:
            changes[each] = Parameter(name)
    if not changes:
        return circuit
    try:
        return circuit.assign_parameters(changes)
    except QiskitError as error:
        raise InvalidCircuit(f"two parameters share a name: {one_line(error)}; rename one") from error


def _dump_qpy(circuit: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    kept = lengths_aside(circuit)
    try:
        qpy.dump(kept, stream)
    except Exception as error:  # the writer has no error class of its own
        raise InvalidCircuit(
            f"the circuit cannot be stored as QPY: {one_line(error)}; decompose what it names"
        ) from error
    return stream.getvalue()


def _check_qpy_header(payload: bytes) -> None:
    if len(payload) < _WHOLE_QPY_HEADER or not payload.startswith(_QPY_MAGIC):
        raise InvalidCircuit("the bytes are not QPY; write them with qiskit.qpy.dump")
    if payload[6] < _QPY_OLDEST:
        raise InvalidCircuit(
            f"QPY version {payload[6]} is too old to be read safely; "
            "load it with qiskit 1.3 or newer and write it again with qiskit.qpy.dump"
        )


def _load_qpy(payload: bytes) -> QuantumCircuit:
    _check_qpy_header(payload)
    try:
        circuits = qpy.load(io.BytesIO(payload))
    except RecursionError:
        raise
    except BaseException as error:  # a damaged file panics in Rust, which is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        raise InvalidCircuit(
            f"the QPY is damaged or of a newer qiskit ({type(error).__name__}); write it again with qiskit.qpy.dump"
        ) from error
    if len(circuits) != 1:
        raise InvalidCircuit(f"the QPY holds {len(circuits)} circuits; give one circuit a file")
    return lengths_back(circuits[0])
