"""Reading circuits: every form in, one program out, one clear error for what cannot be read."""

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sympy
from pytket.circuit import Circuit as TketCircuit
from pytket.circuit import OpType
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Gate, Parameter, ParameterVector
from qiskit.circuit import library as gates
from qiskit.quantum_info import Operator, random_unitary

from qjobs.circuits import programs as circuits
from qjobs.circuits import pytket as convert
from qjobs.circuits.parameter_names import decode, encode_for_openqasm3, encode_for_pytket
from qjobs.errors import InvalidCircuit
from qjobs.model import ProgramFormat

BELL3 = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
BELL2 = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"""


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def as_qpy(*many: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    qpy.dump(list(many), stream)
    return stream.getvalue()


def template() -> QuantumCircuit:
    t, x = ParameterVector("t", 3), Parameter("x")
    circuit = QuantumCircuit(2, 2)
    circuit.rx(t[0] * 2 + x.sin() / 3, 0)
    circuit.ry(t[2], 1)
    circuit.cp(x / (t[0] + 4), 0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (BELL3, ProgramFormat.OPENQASM3),
        ("// OPENQASM 3.0;\n" + BELL2, ProgramFormat.OPENQASM2),
        (bell(), ProgramFormat.QPY),
        (as_qpy(bell()), ProgramFormat.QPY),
        (TketCircuit(2, 2).H(0).CX(0, 1).Measure(0, 0).Measure(1, 1), ProgramFormat.PYTKET),
    ],
)
def test_every_form_is_the_same_circuit(source, form):
    program = circuits.read_circuit(source)
    assert program.format is form
    assert program.hash == circuits.content_hash(bell())
    assert (program.n_qubits, program.n_bits, program.measured, program.parameters) == (2, 2, True, ())
    if isinstance(source, str):
        assert program.payload == source.encode()


@pytest.mark.parametrize("suffix", [".qasm", ".qpy", ".json"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"bell{suffix}"
    json_text = json.dumps(TketCircuit(2, 2).H(0).CX(0, 1).Measure(0, 0).Measure(1, 1).to_dict())
    content = {".qasm": ("\ufeff" + BELL3).encode(), ".qpy": as_qpy(bell()), ".json": json_text.encode()}
    path.write_bytes(content[suffix])
    program = circuits.read_circuit(path)
    assert program.hash == circuits.content_hash(bell())
    assert circuits.to_qiskit(program).num_qubits == 2


DEEP = "(" * 5000 + "1" + ")" * 5000
LONG_SUM = "OPENQASM 2.0; gate g(a) q { U(" + "+".join("a" * 100_000) + ",0,0) q; } qreg q[1]; g(1) q[0];"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("h q[0];", "begin with OPENQASM 3.0; or OPENQASM 2.0;"),
        ("bell.qasm", "pathlib.Path"),
        ("OPENQASM 4.0;", "OpenQASM 4 is not known"),
        ("OPENQASM 3.0;\nqubit q;\nU(0,0 q;", "line 3"),
        ("OPENQASM 3.0;\nqubit q;\nh q;", "line 3.*stdgates.inc"),
        ("OPENQASM 2.0;\nqreg q[1];\nfoo q[0];", "line 3"),
        ('OPENQASM 2.0; include "/etc/passwd";', "is not read"),
        ('OPENQASM 3.0; include "/etc/passwd";', "is not read"),
        ("OPENQASM 2.0; qreg q[1000000000];", "100,000 bits"),
        ("OPENQASM 3.0; const int n = 1000000000; qubit[n] q;", "100,000 bits"),
        ("OPENQASM 3.0; const int n = 1000; qubit[n*n*n] q;", "write it as a number"),
        (f"OPENQASM 3.0; const float x = {DEEP};", "nested too deeply"),
        (f"OPENQASM 2.0; qreg q[1]; U({DEEP},0,0) q[0];", "nested too deeply"),
        (LONG_SUM, "nested too deeply"),
        ("OPENQASM 3.0;" + " " * 11_000_000, "bytes"),
        ("OPENQASM 3.0;\ud800", "UTF-8"),
        ("OPENQASM 2.0; qreg q[1]; U(1/0,0,0) q[0];", "."),
        (b"OPENQASM 3.0;", "not QPY"),
        (as_qpy(bell())[:-30], "damaged"),
        (as_qpy(bell())[:30], "damaged"),
        (as_qpy(bell(), bell()), "2 circuits"),
        (b"QISKIT\x05" + bytes(50), "version 5 is too old"),
        (42, "int is not a circuit"),
        (OpType.X, "not a circuit"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) < 60 else "-",
)
def test_unreadable_sources_say_why(source, words):
    with pytest.raises(InvalidCircuit, match=words) as caught:
        circuits.read_circuit(source, field="circuit")
    assert caught.value.field == "circuit"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "must end in"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b"{}", "not a pytket circuit"),
        ("a.json", b'{"commands": [], "qubits": 3}', "not a pytket circuit"),
        ("a.qasm", b"\xff\xfe", "UTF-8"),
        ("missing.qasm", None, "check the path"),
    ],
)
def test_unreadable_files_say_why(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidCircuit, match=words):
        circuits.read_circuit(tmp_path / name)


def test_not_finite_angles_are_refused():
    circuit = QuantumCircuit(1)
    circuit.append(gates.RXGate(float("nan")), [0])
    with pytest.raises(InvalidCircuit, match="finite"):
        circuits.read_circuit(circuit)


def test_symbols_survive_every_form_that_has_them():
    program = circuits.read_circuit(template())
    assert program.parameters == ("t[0]", "t[2]", "x")
    values = {"t[0]": 0.3, "t[2]": -1.2, "x": 0.7}
    expected = Operator(circuits.bind(program, values).remove_final_measurements(inplace=False))
    other = circuits.read_circuit(circuits.to_pytket(program))
    assert other.parameters == program.parameters
    bound = circuits.bind(other, values).remove_final_measurements(inplace=False)
    assert np.allclose(Operator(bound).data, expected.data)
    with pytest.raises(InvalidCircuit, match="functions of inputs"):
        circuits.read_circuit(circuits.to_openqasm3(program))
    assert circuits.read_circuit(as_qpy(template())).parameters == program.parameters


def test_symbols_survive_openqasm3():
    t, x = ParameterVector("t", 12), Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.u(t[0] * 2 + x / 3, (t[11] - 1) * (x + 2), -t[3], 0)
    program = circuits.read_circuit(circuit)
    text = circuits.read_circuit(circuits.to_openqasm3(program))
    assert text.parameters == program.parameters == ("t[0]", "t[11]", "t[3]", "x")
    assert text.hash == program.hash


def test_symbols_of_openqasm3_inputs():
    text = BELL3.replace("qubit[2]", "input float a; input angle[32] b; qubit[2]").replace("h q", "U(a, b, 1) q")
    assert circuits.read_circuit(text).parameters == ("a", "b")


def test_pytket_symbol_that_its_json_cannot_hold():
    symbol = sympy.Symbol("t[0]")
    program = circuits.read_circuit(TketCircuit(1, 1).Rx(symbol / 2, 0).Measure(0, 0))
    assert program.parameters == ("t[0]",)
    assert circuits.bind(program, {"t[0]": 1.0}).data[0].operation.params[0] == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("name", ["theta", "t[0]", "x", "pi", "E", "θ", "a b", "1st", "_u005b_", "lambda"])
def test_escaped_names_come_back(name):
    for escaped in (encode_for_openqasm3(name, {"q"}), encode_for_pytket(name)):
        assert escaped.isidentifier()
        assert escaped.isascii()
        assert decode(escaped) == name


def test_a_hostile_parameter_name_is_a_name():
    name = "__import__('os').abort()"
    circuit = QuantumCircuit(1)
    circuit.rx(2 * Parameter(name) + 1, 0)
    program = circuits.read_circuit(circuit)
    assert circuits.read_circuit(circuits.to_pytket(program)).parameters == (name,)


def test_openqasm2_needs_every_value():
    program = circuits.read_circuit(template())
    with pytest.raises(InvalidCircuit, match=r"t\[0\], t\[2\], x have no value"):
        circuits.to_openqasm2(program)
    text = circuits.to_openqasm2(program, {"t[0]": 0.1, "t[2]": 0.2, "x": 0.3})
    assert circuits.read_circuit(text).n_bits == 2
    assert circuits.to_openqasm2(circuits.read_circuit(BELL2)) == BELL2


def test_what_a_format_cannot_hold_is_named():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    program = circuits.read_circuit(circuit)
    assert circuits.read_circuit(circuits.to_openqasm3(program)).hash == program.hash
    with pytest.raises(InvalidCircuit, match="OpenQASM 2"):
        circuits.to_openqasm2(program)
    with pytest.raises(InvalidCircuit, match="if_else; compile it with qiskit"):
        circuits.to_pytket(program)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"t[0]": 1, "x": 1}, r"t\[2\] have no value"),
        ({"t[0]": 1, "t[2]": 1, "x": 1, "y": 1}, "no parameters y"),
        ({"t[0]": 1, "t[2]": 1, "x": float("nan")}, "parameter x is nan"),
        ({"t[0]": 1, "t[2]": 1, "x": "1"}, "parameter x is '1'"),
        ({"t[0]": -4, "t[2]": 1, "x": 1}, "cannot be evaluated"),
    ],
)
def test_binding_says_what_is_wrong(values, words):
    with pytest.raises(InvalidCircuit, match=words):
        circuits.bind(circuits.read_circuit(template()), values)


def test_bind_leaves_the_template_alone():
    program = circuits.read_circuit(template())
    circuits.bind(program, {"t[0]": 1, "t[2]": 1, "x": 1})
    assert len(circuits.to_qiskit(program).parameters) == 3


def test_check_runs():
    unmeasured = circuits.read_circuit(QuantumCircuit(1, 1))
    with pytest.raises(InvalidCircuit, match="no measurement"):
        circuits.check_runs(unmeasured)
    circuits.check_runs(unmeasured, need_counts=False)
    program = circuits.read_circuit(template())
    circuits.check_runs(program, parameters=["x", "t[0]", "t[2]"])
    with pytest.raises(InvalidCircuit, match=r"t\[0\]"):
        circuits.check_runs(program, parameters=["x", "t[2]"])
    with pytest.raises(InvalidCircuit, match="no parameters y"):
        circuits.check_runs(program, parameters=["x", "t[0]", "t[2]", "y"])


def test_measurements_are_found_inside_blocks_and_instructions():
    inner = QuantumCircuit(1, 1)
    inner.measure(0, 0)
    outer = QuantumCircuit(1, 1)
    outer.append(inner.to_instruction(), [0], [0])
    assert circuits.read_circuit(outer).measured
    looped = QuantumCircuit(1, 1)
    with looped.for_loop(range(2)):
        looped.measure(0, 0)
    assert circuits.read_circuit(looped).measured


def test_pytket_stays_unloaded():
    code = "import sys, qjobs.circuits, qjobs.compiling.compiler; print('pytket' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


ONE_OF_EACH = [
    *(g() for g in (gates.HGate, gates.SXdgGate, gates.CHGate, gates.ECRGate, gates.iSwapGate, gates.CSwapGate)),
    *(gates.CCZGate(), gates.CSdgGate(), gates.DCXGate(), gates.RCCXGate(), gates.C3XGate(), gates.PauliGate("XYZ")),
    *(gates.RGate(0.3, 1.1), gates.UGate(0.3, 0.2, 0.1), gates.U2Gate(0.3, 0.1), gates.CU3Gate(0.3, 0.2, 0.1)),
    *(gates.CUGate(0.4, 0.3, 0.2, 0.1), gates.RZXGate(0.3), gates.RYYGate(0.3), gates.GlobalPhaseGate(0.3)),
    *(gates.XGate().control(3, ctrl_state=2), *(gates.UnitaryGate(random_unitary(2**n, seed=n)) for n in (1, 2, 3, 4))),
]


@pytest.mark.parametrize("gate", ONE_OF_EACH, ids=lambda gate: gate.name)
def test_gates_keep_their_unitary_in_pytket(gate):
    circuit = QuantumCircuit(max(gate.num_qubits, 1))
    circuit.append(gate, range(gate.num_qubits)[::-1])
    there = convert.qiskit_to_pytket(circuit)
    assert np.allclose(there.get_unitary(), Operator(circuit.reverse_bits()).data)
    assert np.allclose(Operator(convert.pytket_to_qiskit(there)).data, Operator(circuit).data)


PYTKET_ONLY = [("TK1", 3, 1), ("TK2", 3, 2), ("ZZMax", 0, 2), ("ISWAP", 1, 2), ("FSim", 2, 2), ("CV", 0, 2)]
PYTKET_ONLY += [("CnX", 0, 4), ("CnRy", 1, 3), ("PhaseGadget", 1, 3), ("XXPhase3", 1, 3), ("GPI2", 1, 1)]


@pytest.mark.parametrize(("name", "n_angles", "n_qubits"), PYTKET_ONLY)
def test_gates_keep_their_unitary_in_qiskit(name, n_angles, n_qubits):
    circuit = TketCircuit(n_qubits)
    circuit.add_gate(OpType.from_name(name), [0.3, 0.7, 1.1][:n_angles], list(range(n_qubits)))
    back = convert.pytket_to_qiskit(circuit)
    assert np.allclose(Operator(back.reverse_bits()).data, circuit.get_unitary())


def test_zzmax_can_stay_one_gate():
    """A noise model sees one gate where there was one."""
    circuit = TketCircuit(2).ZZMax(0, 1)
    kept = convert.pytket_to_qiskit(circuit, keep_zzmax=True)
    assert dict(kept.count_ops()) == {"rzz": 1}
    assert np.allclose(Operator(kept).data, circuit.get_unitary())


def test_pytket_implicit_swaps_and_conditions():
    circuit = TketCircuit(2).SWAP(0, 1).H(0)
    circuit.replace_SWAPs()
    assert np.allclose(Operator(convert.pytket_to_qiskit(circuit).reverse_bits()).data, circuit.get_unitary())
    conditional = TketCircuit(1, 2).Measure(0, 1)
    conditional.X(0, condition_bits=[0, 1], condition_value=2)
    assert "if_else" in circuits.to_qiskit(circuits.read_circuit(conditional)).count_ops()


def test_opaque_gates_and_delays_are_refused_by_pytket():
    opaque = QuantumCircuit(1)
    opaque.append(Gate("mystery", 1, []), [0])
    with pytest.raises(InvalidCircuit, match="mystery has no definition"):
        circuits.to_pytket(circuits.read_circuit(opaque))
    delayed = QuantumCircuit(1)
    delayed.delay(100, 0)
    with pytest.raises(InvalidCircuit, match="delay"):
        circuits.to_pytket(circuits.read_circuit(delayed))


def test_a_gate_that_borrows_a_standard_name_keeps_its_own_meaning():
    body = "gate rzz(t) a, b { cx a, b; rz(2*t) b; cx a, b; } gate outer(t) a, b { rzz(t) a, b; }"
    calls = "input float a; qubit[2] q; rzz(a) q[0], q[1]; outer(a) q[0], q[1];"
    text = f'OPENQASM 3.0; include "stdgates.inc"; {body} {calls}'
    circuit = circuits.to_qiskit(circuits.read_circuit(text))
    assert dict(circuit.count_ops()) == {"cx": 4, "rz": 2}
    standard = QuantumCircuit(2)
    standard.rzz(Parameter("a"), 0, 1)
    program = circuits.read_circuit(standard)
    again = circuits.read_circuit(circuits.to_openqasm3(program))
    assert dict(circuits.to_qiskit(again).count_ops()) == {"rzz": 1}
    assert again.hash == program.hash
