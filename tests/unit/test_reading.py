"""Reading, binding and checking circuits: every form in, one program out, one clear error for the rest."""

import io
import json
import pickle
import subprocess
import sys

import pytest
from pytket.circuit import Circuit as TketCircuit
from pytket.circuit import OpType
from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit import library as gates

from qjobs.circuits import programs as circuits
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
    t = ParameterVector("t", 3)
    x = Parameter("x")
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
def test_every_form_is_read(source, form):
    """One circuit is the same program in every form, and text is kept as given."""
    program = circuits.read_circuit(source)
    assert program.format is form
    assert program.hash == circuits.content_hash(bell())
    assert (program.n_qubits, program.n_bits, program.measured, program.parameters) == (2, 2, True, ())
    if isinstance(source, str):
        assert program.payload == source.encode()


@pytest.mark.parametrize("suffix", [".qasm", ".qpy", ".json"])
def test_files_are_read(tmp_path, suffix):
    """A file is read by its suffix, with or without a byte order mark."""
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
def test_unreadable_sources(source, words):
    """What cannot be read is refused with the reason and the field, at a bounded cost."""
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
def test_unreadable_files(tmp_path, name, content, words):
    """A file that cannot be read is refused with the reason."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidCircuit, match=words):
        circuits.read_circuit(tmp_path / name)


def test_infinite_angles():
    """An angle that is no finite number is refused."""
    circuit = QuantumCircuit(1)
    circuit.append(gates.RXGate(float("nan")), [0])
    with pytest.raises(InvalidCircuit, match="finite"):
        circuits.read_circuit(circuit)


def test_openqasm3_inputs():
    """`input float` and `input angle` are parameters."""
    text = BELL3.replace("qubit[2]", "input float a; input angle[32] b; qubit[2]").replace("h q", "U(a, b, 1) q")
    assert circuits.read_circuit(text).parameters == ("a", "b")


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
def test_bad_values_are_named(values, words):
    """A missing, unknown or unusable value is refused by name."""
    with pytest.raises(InvalidCircuit, match=words):
        circuits.bind(circuits.read_circuit(template()), values)


def test_binding_copies():
    """Binding leaves the shared template as it is."""
    program = circuits.read_circuit(template())
    circuits.bind(program, {"t[0]": 1, "t[2]": 1, "x": 1})
    assert len(circuits.to_qiskit(program).parameters) == 3


def test_what_can_be_run():
    """Counts need a measurement, and every parameter a value."""
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


def test_inner_measurements():
    """A measurement inside a block or an instruction is one."""
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
    """Nothing loads pytket before a pytket circuit comes."""
    code = "import sys, qjobs.circuits, qjobs.compiling.compiler; print('pytket' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_functions_of_inputs():
    """OpenQASM 3 text with functions of its inputs is refused with the way out."""
    with pytest.raises(InvalidCircuit, match="functions of inputs"):
        circuits.read_circuit(qasm3.dumps(template().assign_parameters({"x": 0.1 * Parameter("y").sin()})))


def test_escaped_names_come_back():
    """A name that OpenQASM cannot write and that was escaped is read as it was."""
    escaped = "t_u005b_0_u005d_"
    text = BELL3.replace("qubit[2]", f"input float {escaped}; qubit[2]").replace("h q", f"U({escaped}, 0, 1) q")
    assert circuits.read_circuit(text).parameters == ("t[0]",)


def test_lookalike_gates():
    """A gate that borrows a standard gate's name keeps its own meaning."""
    body = "gate rzz(t) a, b { cx a, b; rz(2*t) b; cx a, b; } gate outer(t) a, b { rzz(t) a, b; }"
    calls = "input float a; qubit[2] q; rzz(a) q[0], q[1]; outer(a) q[0], q[1];"
    text = f'OPENQASM 3.0; include "stdgates.inc"; {body} {calls}'
    circuit = circuits.to_qiskit(circuits.read_circuit(text))
    assert dict(circuit.count_ops()) == {"cx": 4, "rz": 2}


def test_restated_gates():
    """A definition that is the standard gate's own becomes the standard gate."""
    standard = QuantumCircuit(2)
    standard.rzz(Parameter("a"), 0, 1)
    text = qasm3.dumps(standard)
    assert "gate rzz" in text
    program = circuits.read_circuit(text)
    assert dict(circuits.to_qiskit(program).count_ops()) == {"rzz": 1}
    assert program.hash == circuits.content_hash(standard)
