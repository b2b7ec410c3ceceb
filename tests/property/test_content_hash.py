"""Laws of the content hash, of the conversion to pytket, and of compilation."""

import copy
import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qasm3, qpy
from qiskit.circuit import Gate, Parameter
from qiskit.circuit import library as gates
from qiskit.quantum_info import Operator, Statevector

from qjobs.circuits.content_hash import _Walk
from qjobs.circuits.programs import bind, content_hash, read_circuit, to_qiskit
from qjobs.circuits.pytket import pytket_to_qiskit, qiskit_to_pytket
from qjobs.compiling.compiler import CompileOptions, Compiler, compile_program
from qjobs.errors import InvalidCircuit
from qjobs.model import Target

N = 3
VALUES = {"a": 0.37, "b[1]": -1.9}
limited = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
few = settings(limited, max_examples=8)

N_ANGLES = {
    **dict.fromkeys((gates.HGate, gates.XGate, gates.SGate, gates.TdgGate, gates.SXGate), 0),
    **dict.fromkeys((gates.RXGate, gates.RYGate, gates.RZGate, gates.PhaseGate), 1),
    **dict.fromkeys((gates.CXGate, gates.CZGate, gates.SwapGate, gates.ECRGate, gates.iSwapGate), 0),
    **dict.fromkeys((gates.CRXGate, gates.CPhaseGate, gates.RZZGate, gates.RXXGate, gates.RZXGate), 1),
    **dict.fromkeys((gates.CCXGate, gates.CSwapGate), 0),
    gates.UGate: 3,
    gates.RGate: 2,
    gates.CUGate: 4,
}
angles = st.floats(-7, 7, allow_nan=False).map(lambda value: round(value, 6))


@st.composite
def steps(draw):
    gate, n_angles = draw(st.sampled_from(list(N_ANGLES.items())))
    size = gate(*[0.0] * n_angles).num_qubits
    qubits = draw(st.permutations(range(N)))[:size]
    kinds = st.one_of(angles, st.sampled_from([0, 1, 2, 3]))
    return gate, tuple(draw(kinds) for _ in range(n_angles)), tuple(qubits)


def build(plan, names=("a", "b[1]"), registers=None, phase=0.0):
    """A circuit from a plan; angles 0 to 3 (integers) stand for symbolic expressions."""
    a, b = map(Parameter, names)
    symbolic = [2 * a + 0.5, a / 3 - b, b, a * b]
    circuit = QuantumCircuit(*(registers or (N, N)), global_phase=phase)
    for gate, values, qubits in plan:
        circuit.append(gate(*(symbolic[v] if isinstance(v, int) else v for v in values)), qubits)
    circuit.measure(range(N), range(N))
    return circuit


plans = st.lists(steps(), min_size=1, max_size=8)


@limited
@given(plans, angles)
def test_what_is_not_content(plan, phase):
    """UUIDs, names, registers, metadata and the way through QPY leave the hash alone."""
    circuit = build(plan, phase=phase)
    expected = content_hash(circuit)
    assert content_hash(build(plan, phase=phase)) == expected  # new parameter UUIDs
    assert content_hash(copy.deepcopy(circuit)) == expected
    split = (QuantumRegister(1, "p"), QuantumRegister(N - 1, "r"), ClassicalRegister(2, "u"), ClassicalRegister(1, "v"))
    other = build(plan, registers=split, phase=phase)
    other.name = "other"
    other.metadata = {"a": 1}
    assert content_hash(other) == expected
    stream = io.BytesIO()
    qpy.dump(circuit, stream)
    assert read_circuit(stream.getvalue()).hash == expected


@limited
@given(plans)
def test_openqasm3_keeps_the_hash(plan):
    """What qiskit writes as OpenQASM 3 is read as the same circuit."""
    # Qiskit's exporter loses the global phase of ecr's definition: what is read back is no ecr.
    circuit = build([step for step in plan if step[0] is not gates.ECRGate], names=("a", "b"))
    assert read_circuit(qasm3.dumps(circuit)).hash == content_hash(circuit)


@limited
@given(plans, st.data())
def test_what_is_content(plan, data):
    """A step less, more or elsewhere, another angle, phase or symbol changes the hash."""
    before = content_hash(build(plan))
    where = data.draw(st.integers(0, len(plan) - 1))
    gate, values, qubits = plan[where]
    changes = [[*plan[:where], *plan[where + 1 :]], [*plan[: where + 1], *plan[where:]]]
    if values:
        old = values[0]
        new = (old + 1) % 4 if isinstance(old, int) else math.nextafter(old, 100)
        changes.append([*plan[:where], (gate, (new, *values[1:]), qubits), *plan[where + 1 :]])
    moved = tuple((qubit + 1) % N for qubit in qubits)
    changes.append([*plan[:where], (gate, values, moved), *plan[where + 1 :]])
    for changed in changes:
        assert content_hash(build(changed)) != before
    assert content_hash(build(plan, phase=0.1)) != before
    if read_circuit(build(plan)).parameters:
        assert content_hash(build(plan, names=("c", "d"))) != before


def one(operation, n_qubits=2):
    circuit = QuantumCircuit(n_qubits, 2)
    circuit.append(operation, range(operation.num_qubits))
    return circuit


def custom(angle, name="mine"):
    inner = QuantumCircuit(2, name=name)
    inner.rx(angle, 0)
    inner.cx(0, 1)
    return inner.to_gate()


def branching(value=1, otherwise=False, bit=0):
    circuit = QuantumCircuit(2, 2)
    with circuit.if_test((circuit.clbits[bit], value)) as orelse:
        circuit.x(0)
    if otherwise:
        with orelse:
            circuit.x(1)
    return circuit


def looping(times, outer="i"):
    circuit = QuantumCircuit(2, 2)
    with circuit.for_loop(range(times), Parameter(outer)) as counter:
        circuit.rx(counter * 0.1, 0)
    return circuit


DIFFERENT = [
    *(one(custom(angle)) for angle in (0.1, 0.2)),
    one(custom(0.1, "yours")),
    *(one(gates.UnitaryGate(np.diag([1, 1, 1, phase]))) for phase in (1, -1, 1j)),
    *(one(gates.CXGate(ctrl_state=state)) for state in (0, 1)),
    *(one(Gate("opaque", 2, [angle])) for angle in (1, 2)),
    *(branching(*each) for each in ((1,), (0,), (1, True), (1, False, 1))),
    *map(looping, (2, 3)),
    *(QuantumCircuit(*wires) for wires in ((1, 2), (2, 1), (2, 2))),
    one(gates.RXGate(0 * Parameter("a") + 0.1), 1 + 1),
    one(gates.RXGate(0.1), 1 + 1),
    one(gates.RXGate(Parameter("a") + Parameter("b"))),
    one(gates.RXGate(Parameter("a + b"))),
    one(gates.RXGate(Parameter("a") ** 2)),
    one(gates.RXGate(2 ** Parameter("a"))),
]


def test_hashes_differ():
    """No two of these circuits have the same hash."""
    hashes = list(map(content_hash, DIFFERENT))
    for (i, left), (j, right) in itertools.combinations(enumerate(hashes), 2):
        assert left != right, f"{DIFFERENT[i]}\n{DIFFERENT[j]}"


@pytest.mark.parametrize("index", range(len(DIFFERENT)))
def test_qpy_keeps_the_hash(index):
    """A circuit that is stored as QPY keeps its hash, whatever it holds."""
    program = read_circuit(DIFFERENT[index])
    assert program.hash == content_hash(DIFFERENT[index]) == content_hash(to_qiskit(program))


@pytest.mark.parametrize("circuit", [branching(1, True), branching(0), looping(3)])
def test_openqasm3_keeps_control_flow(circuit):
    """Branches and loops keep their hash as OpenQASM 3."""
    assert read_circuit(qasm3.dumps(circuit)).hash == content_hash(circuit)


def test_equal_numbers():
    """Zeros of every type, names of loop counters and the order of sums make no difference."""
    assert len({content_hash(one(gates.RXGate(zero))) for zero in (0, 0.0, -0.0, np.float64(0))}) == 1
    assert content_hash(looping(2, "i")) == content_hash(looping(2, "j"))
    a, b = Parameter("a"), Parameter("b")
    assert content_hash(one(gates.RXGate(a + b * 2))) == content_hash(one(gates.RXGate(2 * b + a)))


@limited
@given(plans, angles)
def test_pytket_keeps_the_unitary(plan, phase):
    """The way to pytket and back keeps symbols, unitary and phase."""
    circuit = build(plan, phase=phase)
    circuit.data = [each for each in circuit.data if each.operation.name != "measure"]
    back = pytket_to_qiskit(qiskit_to_pytket(circuit))
    assert {p.name for p in back.parameters} == {p.name for p in circuit.parameters}
    there, again = (c.assign_parameters({p: VALUES[p.name] for p in c.parameters}) for c in (circuit, back))
    assert np.allclose(Operator(there).data, Operator(again).data, atol=1e-9)


def probabilities(program):
    """Exact distribution of the counts of a circuit whose measurements come last."""
    circuit = bind(program, {name: VALUES[name] for name in program.parameters})
    measured = {}
    unitary = QuantumCircuit(circuit.num_qubits)
    for each in circuit.data:
        qubits = [circuit.find_bit(bit).index for bit in each.qubits]
        if each.operation.name == "measure":
            measured[circuit.find_bit(each.clbits[0]).index] = qubits[0]
        elif each.operation.name != "barrier":
            assert not set(qubits) & set(measured.values())
            unitary.append(each.operation, qubits)
    return Statevector(unitary).probabilities([measured[bit] for bit in sorted(measured)])


BASIS = ("cx", "rz", "sx", "x")
TARGETS = [
    Target(name="all", basis_gates=BASIS),
    Target(name="line", basis_gates=BASIS, coupling=((0, 1), (2, 1), (2, 3))),
]


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("compiler", [Compiler.QISKIT, Compiler.TKET])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@few
@given(plan=plans)
def test_compiling_keeps_the_distribution(target, compiler, level, plan):
    """Counts of a compiled circuit have the distribution of the circuit's own."""
    program = read_circuit(build(plan))
    try:
        compiled = compile_program(program, target, CompileOptions(compiler=compiler, level=level))
    except InvalidCircuit as error:
        # Qiskit 2.6 fails at level 3 where a symbol cancels out of an angle; the error says to use another level.
        assume("is not numeric" not in str(error))
        raise
    # Symbols may cancel out, and never appear.
    assert set(compiled.parameters) <= set(program.parameters)
    # Qiskit drops rotations of less than about 1e-4 at level 3.
    assert np.allclose(probabilities(compiled), probabilities(program), atol=1e-4 if level == 3 else 1e-7)


@limited
@given(st.one_of(st.floats(-1e9, 1e9), st.integers(-(2**62), 2**62)))
def test_products_without_sympy(factor):
    """A number times a symbol is packed as the walk through sympy packs it."""
    symbol = Parameter("p0")
    expression = factor * symbol
    names = {"p0": "name theta"}
    assert _Walk._product(expression, names) in {b"", _Walk._tree(expression, {symbol: symbol}, names)}


def test_common_products():
    """The factors that circuits have are packed without sympy; sums, divisions and products of symbols are not."""
    symbol = Parameter("p0")
    names = {"p0": "name theta"}
    for factor in (2, -1, 0.5, -1.5, 2.0):
        assert _Walk._product(factor * symbol, names) == _Walk._tree(factor * symbol, {symbol: symbol}, names)
    for other in (symbol + 1, symbol / 3, symbol * symbol, 2 * symbol.sin()):
        assert _Walk._product(other, names) == b""
