"""Circuits and files that others wrote to do harm: each is refused at once, in words."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pytket.circuit import Circuit
from qiskit import QuantumCircuit, qpy

from qjobs.circuits.programs import read_circuit
from qjobs.circuits.pytket import dump_pytket, load_pytket
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.yaml_file import read_file

QASM2 = 'OPENQASM 2.0; include "qelib1.inc"; '
QASM3 = 'OPENQASM 3.0; include "stdgates.inc"; '


def nested(head: str, register: str, n: int, call: str = "") -> str:
    """A gate that stands for 2**n gates."""
    levels = [f"gate g{level} a {{ g{level - 1} a; g{level - 1} a; }}" for level in range(1, n)]
    return f"{head} gate g0 a {{ x a; }} {' '.join(levels)} {register}; {call} g{n - 1} q[0];"


def refuses(source: Any, words: str) -> None:
    """Refused by a check that comes before the parser, which would never end."""
    with pytest.raises(InvalidCircuit, match=words):
        read_circuit(source)


@pytest.mark.parametrize(
    "include",
    [
        "include '//etc/passwd';",
        'include "//etc/passwd";',
        "include '/etc/passwd';",
        "include\n'/etc/passwd';",
        "include /* ' */ '/etc/passwd';",
        "include // '\n'/etc/passwd';",
        'include "./qelib1.inc";',
        'include "../../../etc/passwd";',
        "include x;",
    ],
)
@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_only_shipped_includes(version: str, include: str) -> None:
    """A text opens no file of this machine, whatever the quotes and comments."""
    refuses(f"OPENQASM {version}; {include}", "is not read, only qelib1.inc and stdgates.inc")


def test_shipped_includes() -> None:
    """The shipped libraries are read, in quotes of both kinds, and comments may say what they like."""
    said = "// don't include 'mine'\n"
    read_circuit(f"OPENQASM 2.0; {said} include 'qelib1.inc'; qreg q[1]; h q[0];")
    read_circuit(f'OPENQASM 3.0; {said} /* include "x" */ include "stdgates.inc"; qubit[1] q; h q[0];')


@pytest.mark.parametrize(
    "text",
    [
        nested(QASM2, "qreg q[1]", 60),
        nested(QASM3, "qubit[1] q", 60),
        nested(QASM2, "creg c[1]; qreg q[1]", 60, "if (c == 1)"),
        QASM2 + "qreg q[100000]; " + "x q; " * 1000,
        QASM3 + "qubit[50000] q; " + "x q; " * 1000,
        QASM3 + "qubit[1] q; gate g a { pow(9999) @ x a; } gate h2 a { pow(9999) @ g a; } h2 q[0];",
    ],
    ids=["gates 2", "gates 3", "behind if", "register 2", "register 3", "powers"],
)
def test_repetition(text: str) -> None:
    """A short text does not stand for endless gates."""
    refuses(text, "stand for more than 200,000 operations")


def test_ordinary_definitions() -> None:
    """Gates of gates and whole registers of the usual size are read."""
    assert read_circuit(nested(QASM2, "qreg q[1]", 8)).n_qubits == 1
    assert read_circuit(nested(QASM3, "qubit[1] q", 6)).n_qubits == 1
    assert read_circuit(QASM2 + "qreg q[100]; creg c[100]; h q; measure q -> c;").measured


@pytest.mark.parametrize(
    "text",
    [QASM3 + "qubit[1] q; pow(1000000000) @ x q[0];", QASM3 + "qubit[2] q; ctrl(1000000000) @ x q[0], q[1];"],
)
def test_modifiers(text: str) -> None:
    """Modifiers of gates take numbers within bounds."""
    refuses(text, "write a number of at most")


@pytest.mark.parametrize("text", ["gate " * 200_000, "/*" * 200_000 + "*/", "'" * 400_001, "const a " * 100_000])
def test_linear_checks(text: str) -> None:
    """The checks themselves take no longer than the text is long."""
    with pytest.raises(InvalidCircuit):
        read_circuit(QASM2 + text)


def rotation(angle: str) -> bytes:
    """Pytket's JSON of one rotation by an angle."""
    content = Circuit(1).Rx(0.5, 0).to_dict()
    content["commands"][0]["op"]["params"] = [angle]
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("angle", "words"),
    [
        ("10**(10**9)", "a power is at most"),
        ("10^(10^9)", "a power is at most"),
        ("99**30", "18 digits"),
        ("9**9**9**9", "a power is at most"),
        ("factorial(10**8)", "factorial is not one of"),
        ("gamma(a)", "gamma is not one of"),
        ("Abs(a)", "Abs is not one of"),
        ("99999999999999999999*a", "18 digits"),
        ("(a+b+c)**40", "10,000 terms"),
        ("(((a+b)**5)**5)**5", "10,000 terms"),
        ("*".join(["(a+b)"] * 20), "10,000 terms"),
        ("(" * 200 + "a" + ")" * 200, "nested too deeply"),
        ("-" * 500 + "a", "not expected"),
        ("a**" * 200 + "a", "nested too deeply"),
        ("a < b", "not expected"),
        ("sin(a, b)", "number of arguments"),
        ("a+" * 60_000 + "a", "more than 100,000 characters"),
    ],
)
def test_angles(angle: str, words: str) -> None:
    """An angle that would keep or end the process is refused before pytket and sympy see it."""
    with pytest.raises(InvalidCircuit, match=words):
        load_pytket(rotation(angle))


@pytest.mark.parametrize(
    "angle",
    [
        "0.25",
        "-1e-05",
        "2*a/pi",
        "(1/3)*a + exp(b)",
        "-sqrt(2)*a**(-1.5) + sin(b)**2",
        "2**a",
        "a^2",
        "E*a",
        "pi",
        "2**59",
    ],
)
def test_usual_angles(angle: str) -> None:
    """Angles that people have are read."""
    load_pytket(rotation(angle))


@pytest.mark.parametrize("place", ["phase", "conditional", "box", "definition"])
def test_angles_anywhere(place: str) -> None:
    """An angle is checked wherever pytket would read it."""
    content = Circuit(1).Rx(0.5, 0).to_dict()
    op = {"type": "Rx", "params": ["factorial(10**8)"]}
    match place:
        case "phase":
            content["phase"] = "factorial(10**8)"
        case "conditional":
            content["commands"][0]["op"] = {"type": "Conditional", "conditional": {"op": op, "width": 1, "value": 1}}
        case "box":
            box = {"type": "QControlBox", "n_controls": 1, "control_state": 1, "op": op}
            content["commands"][0]["op"] = {"type": "QControlBox", "box": box}
        case "definition":
            gate = {"name": "g", "args": ["factorial(10**8)"], "definition": Circuit(1).to_dict()}
            content["commands"][0]["op"] = {"type": "CustomGate", "box": {"type": "CustomGate", "gate": gate}}
    with pytest.raises(InvalidCircuit, match="factorial is not one of"):
        load_pytket(json.dumps(content).encode())


def test_wide_boxes() -> None:
    """A box has no more wires than a circuit may have."""
    content = json.loads(dump_pytket(Circuit(1).Rx(0.5, 0)))
    content["commands"][0]["op"] = {"type": "QControlBox", "box": {"type": "QControlBox", "n_controls": 10**9}}
    with pytest.raises(InvalidCircuit, match="n_controls is 1,000,000,000"):
        load_pytket(json.dumps(content).encode())


def aliases(values: str) -> str:
    """Eight levels of nine aliases each."""
    lines = [f"a0: &a0 {values}"]
    for level in range(1, 9):
        inner = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{inner}]}}" if "{" in values else f"[{inner}]"))
    return "name: bomb\n" + "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (aliases("[1, 2]"), "stand for more than 100,000 values"),
        (aliases("{k: 1}"), "stand for more than 100,000 values"),
        ("name: x\na: &a [*a]", "line 2: an alias .* itself a part"),
    ],
)
def test_aliases(tmp_path: Path, text: str, words: str) -> None:
    """Aliases of YAML are counted before what they stand for is made."""
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_file(path)


def test_usual_aliases(tmp_path: Path) -> None:
    """An alias that people write is read, also where it is merged."""
    path = tmp_path / "usual.yaml"
    path.write_text("name: x\nbase: &base {shots: 10}\nfirst: {<<: *base, seed: 1}\nlist: [*base, *base]\n")
    assert read_file(path).data["first"] == {"shots": 10, "seed": 1}


def qpy_bytes(circuit: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    qpy.dump(circuit, stream)
    return stream.getvalue()


def test_hungry_qpy(tmp_path: Path) -> None:
    """A file of some bytes that asks for gigabytes ends another process, is refused in words, and the next is read."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    good = qpy_bytes(circuit)
    place = good.index(b"meas") + 11  # numbers of what follows the registers
    bad = good[:place] + b"\x05\xff\xff\xff" + good[place + 4 :]
    path = tmp_path / "bad.qpy"
    path.write_bytes(bad)
    for source in (bad, path):
        with pytest.raises(InvalidCircuit, match="needs more than 1024 MB to read"):
            read_circuit(source)
    assert read_circuit(good).hash == read_circuit(circuit).hash


@pytest.mark.parametrize("payload", [b"", b"QISKIT", b"no QPY at all, but long enough for a header"])
def test_no_qpy(payload: bytes) -> None:
    """What is no QPY is refused without another process."""
    with pytest.raises(InvalidCircuit, match="the bytes are not QPY"):
        read_circuit(payload)
