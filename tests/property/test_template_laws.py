"""Laws of templates: what is filled in is what is written circuit by circuit, for every backend."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from aer_batches import simulate
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qasm2
from qiskit.circuit import Gate, Parameter, ParameterExpression
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qjobs.backends.mqp.circuits import written
from qjobs.backends.qoro.circuits import bound_texts, templates
from qjobs.circuits.openqasm import flat, parse_openqasm2
from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.circuits.pytket import load_pytket, pytket_to_qiskit, qiskit_to_pytket
from qjobs.circuits.templates import PytketTemplate, openqasm2_number, written_openqasm2
from qjobs.compiling.compiler import CompileOptions, Compiler, compile_program
from qjobs.model import Batch, ExecuteOptions, ItemSpec, Observable, Program, Target

limited = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
few = settings(limited, max_examples=12)

GATES = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if isinstance(gate, Gate) and 0 < gate.num_qubits <= 4 and name not in {"rcccx", "rv"}
}
NAMES = (
    ("a", "b", "c"),
    ("gamma", "beta", "lambda"),
    ("θ[0]", "θ[1]", "θ[10]"),
    ("a", "b", "a + b"),
    ("pi", "E", "sin"),
    ("p0", "n0", "p00000"),
    ("__import__('os').abort()", "%s", "x y;"),
)
EXPRESSIONS: Sequence[Callable[[Parameter, Parameter, Parameter], ParameterExpression]] = (
    lambda a, b, c: a,
    lambda a, b, c: b,
    lambda a, b, c: c,
    lambda a, b, c: -a,
    lambda a, b, c: 2 * a + 0.5,
    lambda a, b, c: a + math.pi / 2,
    lambda a, b, c: math.pi - b,
    lambda a, b, c: (a - b) / 3,
    lambda a, b, c: a - (b - c),
    lambda a, b, c: 0.1 * a + 0.2 * b + 0.30000000000000004,
    lambda a, b, c: a * b / 7,
    lambda a, b, c: a + b,
    lambda a, b, c: 1e-300 * a + b,
    lambda a, b, c: 1e-12 * c,
    lambda a, b, c: 0 * a,
    lambda a, b, c: c**2,
    lambda a, b, c: (a.sin() + b.cos()).exp(),
    lambda a, b, c: c.abs() + c.sign() / 4,
    lambda a, b, c: 1 / (2 + a.sin()),
)
numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1e-12, -1e-12, 1e-300, -1e-300, math.pi / 2, -math.pi, 2 * math.pi, 7.5, -13.0, 1 / 3]),
    st.floats(-50, 50),
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Sweep:
    """A circuit with symbols and rows of values for them."""

    def __repr__(self) -> str:
        return f"{[(each.name, each.params) for each in self.circuit.data]}, {self.rows}"

    circuit: QuantumCircuit
    rows: tuple[Mapping[str, float], ...]

    def batch(self, program: Program, **options: object) -> Batch:
        items = [
            ItemSpec(label=str(number), program=program.hash, shots=8, parameters=tuple(row.items()))
            for number, row in enumerate(self.rows)
        ]
        return Batch(number=0, items=tuple(items), programs={program.hash: program}, options=ExecuteOptions(**options))


@st.composite
def sweeps(draw: st.DrawFn, n_rows: int = 3) -> Sweep:
    n_qubits = draw(st.integers(1, 4))
    symbols = tuple(map(Parameter, draw(st.sampled_from(NAMES))))
    fitting = [name for name, gate in GATES.items() if gate.num_qubits <= n_qubits]
    turning = [name for name in fitting if GATES[name].params]
    circuit = QuantumCircuit(n_qubits, n_qubits, global_phase=draw(st.sampled_from([0, 0.3, symbols[0] / 5])))
    for _ in range(draw(st.integers(1, 8))):
        gate = GATES[draw(st.one_of(st.sampled_from(turning), st.sampled_from(fitting)))]
        angles = []
        for _ in gate.params:
            made = draw(st.one_of(numbers, st.sampled_from(EXPRESSIONS)))
            angles.append(made(*symbols) if callable(made) else made)
        circuit.append(gate.base_class(*angles), draw(st.permutations(range(n_qubits)))[: gate.num_qubits])
    circuit.measure(range(n_qubits), draw(st.permutations(range(n_qubits))))
    names = sorted(each.name for each in circuit.parameters)
    rows = draw(st.lists(st.tuples(*[numbers] * len(names)), min_size=n_rows, max_size=n_rows))
    return Sweep(circuit=circuit, rows=tuple(dict(zip(names, row, strict=True)) for row in rows))


def unitary(circuit: QuantumCircuit) -> Operator:
    return Operator(circuit.remove_final_measurements(inplace=False))


def measured(circuit: QuantumCircuit) -> list[tuple[int, int]]:
    return [
        (circuit.find_bit(each.qubits[0]).index, circuit.find_bit(each.clbits[0]).index)
        for each in circuit.data
        if each.operation.name == "measure"
    ]


def check_alike(found: QuantumCircuit, slow: QuantumCircuit) -> None:
    """Equal unitaries up to global phase, and equal measurements."""
    assert measured(found) == measured(slow)
    assert unitary(found).equiv(unitary(slow), rtol=1e-9, atol=1e-8)


def check_openqasm(text: str, program: Program, row: Mapping[str, float]) -> None:
    """The same double for each angle with a symbol, and for the others what the slow way writes."""
    found = parse_openqasm2(text)
    bound = bind(program, row)
    slow = parse_openqasm2(qasm2.dumps(flat(bound)))
    template = to_qiskit(program)
    assert len(found.data) == len(slow.data) == len(bound.data)
    for ours, theirs, exact, symbolic in zip(found.data, slow.data, bound.data, template.data, strict=True):
        assert ours.operation.name == theirs.operation.name
        assert [found.find_bit(each).index for each in ours.qubits] == [
            slow.find_bit(each).index for each in theirs.qubits
        ]
        for angle, other, value, form in zip(
            ours.operation.params,
            theirs.operation.params,
            exact.operation.params,
            symbolic.operation.params,
            strict=True,
        ):
            if isinstance(form, ParameterExpression) and form.parameters:
                assert float(angle) == float(value) or (
                    len(form.parameters) > 1 and math.isclose(angle, value, rel_tol=1e-13, abs_tol=1e-13)
                )
            else:
                assert angle == other
    check_alike(found, slow)


@limited
@given(sweeps())
def test_openqasm(sweep: Sweep) -> None:
    """The portal, Qoro and objects of Divi get the text of the bound circuit, and every angle to its last digit."""
    program = read_circuit(sweep.circuit)
    batch = sweep.batch(program)
    form, texts = written(batch, None)
    assert form == "qasm"
    assert bound_texts(batch) == texts
    alone: dict[tuple[tuple[str, float], ...], str] = {}  # rows that are equal have one text: of 0.0 and -0.0 the first
    for text, row in zip(texts, sweep.rows, strict=True):
        assert text == alone.setdefault(tuple(sorted(row.items())), written_openqasm2(program, row))
        check_openqasm(text, program, row)


@limited
@given(sweeps())
def test_qoro_rows(sweep: Sweep) -> None:
    """A template of Qoro with the numbers of a row in the places of its names is the text of the bound circuit."""
    assume(sweep.circuit.parameters)
    program = read_circuit(sweep.circuit)
    (template,) = templates(sweep.batch(program)) or ()
    for (position, values), row in zip(template.rows, sweep.rows, strict=True):
        text = template.text
        for name, value in zip(template.names, values, strict=True):
            text = text.replace(name, openqasm2_number(value))
        assert sweep.rows[position] is row
        assert text == written_openqasm2(program, row)


@limited
@given(sweeps())
def test_pytket(sweep: Sweep) -> None:
    """Nexus gets the circuit that is converted after it is bound."""
    program = read_circuit(sweep.circuit)
    template = PytketTemplate(program)
    for row in sweep.rows:
        slow = qiskit_to_pytket(bind(program, row))
        found = load_pytket(template.bound(row).encode())
        assert not found.free_symbols()
        assert [each.op.type for each in found.get_commands()] == [each.op.type for each in slow.get_commands()]
        check_alike(pytket_to_qiskit(found), pytket_to_qiskit(slow))


@limited
@given(sweeps())
def test_pytket_digits(sweep: Sweep) -> None:
    """Nexus gets every angle with all of its digits, in half-turns: those of the bound circuit over pi."""
    program = read_circuit(sweep.circuit)
    names = set(_half_turns_alone(sweep.circuit))
    template = PytketTemplate(program)
    for row in sweep.rows:
        shown = [op["op"].get("params", []) for op in json.loads(template.bound(row))["commands"]]
        found = {float(text) for texts in shown for text in texts}
        assert {row[name] / math.pi for name in names} <= found


def _half_turns_alone(circuit: QuantumCircuit) -> list[str]:
    """Symbols that are the whole angle of an rx: pytket has a gate of its own for it."""
    return [
        each.operation.params[0].name
        for each in circuit.data
        if each.operation.name in {"rx", "ry", "rz"} and isinstance(each.operation.params[0], Parameter)
    ]


@few
@given(sweeps())
def test_aer(sweep: Sweep) -> None:
    """Aer, which binds by itself, gives what it gives for the bound circuits."""
    program = read_circuit(sweep.circuit)
    n_qubits = program.n_qubits
    observables = tuple(Observable(name=each * n_qubits, terms=((each * n_qubits, 1.0),)) for each in "XYZ")
    batch = sweep.batch(program, observables=observables)
    bound = [read_circuit(bind(program, row)) for row in sweep.rows]
    items = [replace(item, program=each.hash, parameters=()) for item, each in zip(batch.items, bound, strict=True)]
    slow = replace(batch, items=tuple(items), programs={each.hash: each for each in bound})
    for found, expected in zip(simulate(batch), simulate(slow), strict=True):
        assert found.expvals == pytest.approx(expected.expvals, abs=1e-9)


TARGETS = (
    Target(name="ions", basis_gates=("rz", "r", "rzz")),
    Target(name="chip", basis_gates=("rz", "sx", "x", "cx")),
    Target(name="grid", basis_gates=("r", "cz", "rz")),
    Target(name="any"),
)


@few
@given(sweeps(n_rows=1), st.sampled_from(TARGETS), st.sampled_from([Compiler.QISKIT, Compiler.TKET]), st.integers(0, 2))
def test_compiled(sweep: Sweep, target: Target, compiler: Compiler, level: int) -> None:
    """What the compilers make of a template is filled as it is written, too."""
    options = CompileOptions(compiler=compiler, level=level)
    program = compile_program(read_circuit(sweep.circuit), target, options)
    (row,) = sweep.rows
    row = {name: row[name] for name in program.parameters}
    check_openqasm(written_openqasm2(program, row), program, row)
    found = load_pytket(PytketTemplate(program).bound(row).encode())
    check_alike(pytket_to_qiskit(found), pytket_to_qiskit(qiskit_to_pytket(bind(program, row))))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number(value: float) -> None:
    """Any number is read as the same double, by strict readers too."""
    text = f'OPENQASM 2.0;include "qelib1.inc";qreg q[1];rx({openqasm2_number(value)}) q[0];'
    (angle,) = qasm2.loads(text, strict=True).data[0].operation.params
    assert np.float64(angle).tobytes() == np.float64(value).tobytes()
