"""Circuit lists: labels, shots, parameters, files, and what is refused with its place named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qjobs.circuits.programs import program_from_qiskit, to_qiskit
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list, load_circuit_list
from qjobs.experiments.forms import explain

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
ROTATION = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] phi;
qubit[1] q;
bit[1] c;
ry(phi) q[0];
c = measure q;
"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "bell" / "circuits.yaml"


def spec(*circuits: dict[str, Any], **values: Any) -> CircuitList:
    return CircuitList.model_validate({"circuits": list(circuits), **values})


def test_items() -> None:
    """A circuit is an item, in order, with its own or the common shots."""
    plan = expand_circuit_list(
        spec(
            {"openqasm": BELL, "label": "bell"},
            {"openqasm": ROTATION, "parameters": {"phi": -0.0}, "shots": 5},
            {"openqasm": BELL},
            shots=70,
        )
    )
    items = plan.items(plan.programs)
    assert [(item.label, item.shots, item.parameters) for item in items] == [
        ("bell", 70, ()),
        ("c1", 5, (("phi", 0.0),)),
        ("c2", 70, ()),
    ]
    assert str(items[1].parameters[0][1]) == "0.0"
    assert items[0].program == items[2].program != items[1].program
    assert len(plan.programs) == 2
    assert [item.source for item in items] == list(plan.sources)


def test_compiled_items() -> None:
    """An item names the compiled circuit and its source."""
    plan = expand_circuit_list(spec({"openqasm": BELL}))
    source = plan.programs[plan.sources[0]]
    compiled = program_from_qiskit(to_qiskit(source).decompose())
    item = plan.items({source.hash: compiled})[0]
    assert (item.program, item.source) == (compiled.hash, source.hash)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"openqasm": ROTATION}, r"circuits\.1: the circuit's parameters phi have no value"),
        ({"openqasm": ROTATION, "label": "turn", "parameters": {"phi": 1, "u": 2}}, "turn: .*no parameters u"),
        ({"openqasm": BELL.replace("measure q -> c;\n", "")}, r"circuits\.1: .*no measurement"),
        ({"openqasm": "nonsense"}, r"circuits\.1: "),
        ({"file": "gone.qasm"}, r"circuits\.1: .*gone\.qasm"),
        ({"builder": "gone"}, r"circuits\.1: .*no circuit builder 'gone'"),
    ],
)
def test_impossible_circuits(tmp_path: Path, second: dict[str, Any], words: str) -> None:
    """A circuit that cannot be run is named by its label or its place."""
    with pytest.raises(InvalidInput, match=words) as caught:
        expand_circuit_list(spec({"openqasm": BELL}, second), tmp_path)
    assert caught.value.field == "circuits.1"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"circuits": []}, "circuits: "),
        ({"circuits": [{"openqasm": BELL, "label": "c1"}, {"openqasm": BELL}]}, "label 'c1' is used twice"),
        ({"circuits": [{"openqasm": BELL, "label": "x"}] * 2}, "label 'x' is used twice"),
        ({"circuits": [{"openqasm": BELL, "shots": 0}]}, "circuits.0.shots"),
        ({"circuits": [{"openqasm": BELL, "parameters": {"phi": float("nan")}}]}, "finite"),
        ({"circuits": [{"openqasm": BELL, "label": "x" * 201}]}, "circuits.0.label"),
        ({"circuits": [{"openqasm": BELL, "shot": 3}]}, "circuits.0.shot: there is no such field"),
        ({"circuits": [{"openqasm": BELL}], "backends": ["aer", "b"]}, "run on one backend"),
        ({"circuits": [{"openqasm": BELL, "builder": "ghz"}]}, "give the circuit in one way"),
        ({}, "circuits: it is missing"),
    ],
)
def test_bad_lists(given: dict[str, Any], words: str) -> None:
    """A bad list is refused with the place of the problem."""
    with pytest.raises(ValidationError) as caught:
        CircuitList.model_validate(given)
    assert words in str(explain(caught.value, "x"))


def test_files_beside_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Circuit files are found beside the list from any working directory."""
    (tmp_path / "bell.qasm").write_text(BELL)
    (tmp_path / "list.yaml").write_text("circuits:\n- {file: bell.qasm}\n- {builder: ghz, arguments: {n_qubits: 2}}\n")
    monkeypatch.chdir(tmp_path)
    loaded = load_circuit_list(Path("list.yaml"))
    monkeypatch.chdir("/")
    assert [program.n_qubits for program in expand_circuit_list(loaded).programs.values()] == [2, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bell.qasm", "bell"), ("über_bell 2.qasm", "ber-bell-2"), ("_.qasm", "circuits"), ("-x-.qasm", "x")],
)
def test_circuit_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str) -> None:
    """A circuit file is a list of one, named after it."""
    (tmp_path / name).write_text(BELL)
    monkeypatch.chdir(tmp_path)
    loaded = load_circuit_list(Path(name))
    monkeypatch.chdir("/")
    assert loaded.name == expected
    assert CircuitList.model_validate(loaded.model_dump()) == loaded
    plan = expand_circuit_list(loaded)
    assert [item.label for item in plan.items(plan.programs)] == [Path(name).stem]


def test_bad_files(tmp_path: Path) -> None:
    """A file that is no circuit list is refused with its path."""
    path = tmp_path / "list.yaml"
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        load_circuit_list(path)
    path.write_text("circuits: 3")
    with pytest.raises(InvalidInput, match=r"list\.yaml cannot be used: line 1, circuits: "):
        load_circuit_list(path)
    (tmp_path / "bad.qpy").write_bytes(b"QISKIT\x01")
    with pytest.raises(InvalidCircuit, match="bad"):
        expand_circuit_list(load_circuit_list(tmp_path / "bad.qpy"))


def test_example() -> None:
    """The example loads with its three forms of circuits."""
    plan = expand_circuit_list(load_circuit_list(EXAMPLE))
    items = plan.items(plan.programs)
    assert [(item.label, item.shots) for item in items] == [("bell", 1000), ("rotation", 2000), ("ghz", 1000)]
    assert items[1].parameters[0][0] == "theta"
    assert [plan.programs[source].format.value for source in plan.sources] == ["openqasm2", "openqasm3", "qpy"]
