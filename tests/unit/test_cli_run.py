"""`qjobs plan` and `qjobs run`: what they print, return and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support import AXIS, ROTATED, SWEEP, jobs_in

from qjobs.cli.run import _will_simulate

BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"""
BATCH = {"name": "b", "circuits": [{"openqasm": BELL, "label": "bell"}, {"openqasm": BELL}], "shots": 40, "seed": 2}
Said = tuple[int, str, str]
UNMEASURED = ROTATED.replace("c[0] = measure q[0];", "")
TWO_AXES = [*AXIS, {"name": "phi", "values": [1.0]}]
NO_THETA = {"openqasm": ROTATED}
WIDE = BELL.replace("[2]", "[29]").replace("measure q -> c;", "measure q[0] -> c[0];")


def test_plan(qjobs: Callable[..., Said], write: Callable[..., Path], home: Path) -> None:
    """A plan says what would run."""
    code, out, _ = qjobs("plan", write(SWEEP), "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["circuits"], shown["jobs"], shown["shots"], shown["points"], shown["qubits"]) == (2, 1, 100, 2, 1)
    code, out, _ = qjobs("plan", write(BATCH))
    assert code == 0
    assert "circuits\t2" in out
    code, out, _ = qjobs("plan", write(BELL, "bell.qasm"), "--json")
    assert code == 0
    assert (json.loads(out)["name"], json.loads(out)["qubits"]) == ("bell", 2)


def test_sweep(
    ran: dict[str, object], qjobs: Callable[..., Said], write: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    """A sweep that is run again runs nothing."""
    assert (ran["run"], ran["jobs"], ran["rows"], ran["missing"]) == ("first", {"COMPLETED": 1}, 2, 0)
    assert len(pd.read_parquet(str(ran["data frame"]))) == 2
    before = jobs_in(home)
    code, out, _ = qjobs("run", write(SWEEP), "--out", tmp_path / "out")
    assert code == 0
    assert "2 of 2 circuits are there" in out
    assert jobs_in(home) == before
    assert (tmp_path / "out" / str(SWEEP["name"]) / "latest" / "results.parquet").exists()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (SWEEP, False),
        ({**SWEEP, "fresh": True}, True),
        ({**SWEEP, "name": "another"}, True),
        ({**SWEEP, "backends": ["nexus/H1-1E"]}, False),
        (BATCH, True),
        ({**BATCH, "backend": "mqp/QExa20"}, False),
        (BELL, True),
        ("no: [mapping", False),
        ("words", False),
    ],
    ids=["again", "fresh", "first", "elsewhere", "circuits", "circuits elsewhere", "circuit", "no YAML", "no mapping"],
)
def test_early_start(
    ran: dict[str, object], home: Path, write: Callable[..., Path], form: object, expected: bool
) -> None:
    """The simulator starts before the file is read in earnest where it will be needed, as far as its words tell."""
    file = write(form, "bell.qasm") if form is BELL else write(form)
    assert _will_simulate(file, f"sqlite:///{home / 'ledger.db'}") is expected


def test_circuits(qjobs: Callable[..., Said], write: Callable[..., Path], tmp_path: Path) -> None:
    """A circuit list and a bare circuit are run; the same run id runs nothing again."""
    path = tmp_path / "ledger.db"
    code, out, _ = qjobs("run", write(BATCH), "--json", "--run-id", "r", "--ledger", path, "--create")
    assert code == 0
    assert (json.loads(out)["jobs"], json.loads(out)["rows"]) == ({"COMPLETED": 1}, 2)
    code, out, _ = qjobs("run", write(BATCH), "--json", "--run-id", "r", "--ledger", path)  # nothing is run again
    assert code == 0
    assert len(jobs_in(tmp_path)) == 1
    code, out, _ = qjobs("run", write(BELL, "bell.qasm"), "--ledger", f"sqlite:///{path}")
    assert code == 0
    assert "COMPLETED" in out
    assert len(jobs_in(tmp_path)) == 2


def sweep(**changes: object) -> dict[str, object]:
    return {**SWEEP, **changes}


def circuit(openqasm: str, **changes: object) -> dict[str, object]:
    return {"name": "b", "circuits": [{"openqasm": openqasm}], **changes}


BAD = {
    "not OpenQASM": (circuit("this is no program"), "OpenQASM"),
    "no measurement, batch": (circuit(BELL.replace("measure q -> c;", "")), "no measurement"),
    "unbound, batch": ({"circuits": [NO_THETA]}, "theta"),
    "NaN axis": (
        json.dumps(sweep(axes=[{"name": "theta", "values": ["NUMBER"]}])).replace('"NUMBER"', ".nan"),
        "finite",
    ),
    "zip": (sweep(mode="zip", axes=[*AXIS, {"name": "phi", "values": [1.0]}]), "theta has 2, phi has 1"),
    "shots 0": (sweep(shots=0), "shots"),
    "shots above the limit": (sweep(shots=1_000_001), "1000001 shots"),
    "qubits": (circuit(WIDE), "29 qubits"),
    "gate": (circuit(BELL.replace("h q[0]", "u0(1) q[0]"), compiler="none"), "no gate u0"),
    "observable": (sweep(observables=[{"name": "o", "terms": "ZZ"}]), "2 qubits wide"),
    "not YAML": ("name: [1, 2\ncircuit: }", "neither YAML nor JSON"),
    "not a mapping": ("- 1\n- 2", "mapping"),
    "misspelt": (sweep(shot=5), "shot"),
    "no backend": (sweep(backends=["nobody"]), "no backend 'nobody'"),
    "no circuit file": (sweep(circuit={"file": "gone.qasm"}), "gone.qasm"),
    "no builder": (sweep(circuit={"builder": "nobody"}), "nobody"),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input(
    qjobs: Callable[..., Said], write: Callable[..., Path], tmp_path: Path, command: str, case: str
) -> None:
    """Bad input is one line of error and code 2, before anything is stored."""
    content, words = BAD[case]
    code, out, err = qjobs(command, write(content), "--ledger", tmp_path / "ledger.db", "--create")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert words in err
    assert jobs_in(tmp_path) == []


@pytest.mark.parametrize("name", ["gone.yaml", "gone.qasm", "gone.qpy"])
def test_missing_file(qjobs: Callable[..., Said], tmp_path: Path, name: str) -> None:
    """A missing file is refused by its name."""
    code, _, err = qjobs("run", tmp_path / name, "--ledger", tmp_path / "ledger.db", "--create")
    assert code == 2
    assert err.count("\n") == 1
    assert name in err
    assert jobs_in(tmp_path) == []


@pytest.mark.parametrize("name", ["_bell.qasm", "été.qasm", "-.qasm", "x" * 230 + ".qasm"])
def test_file_names(qjobs: Callable[..., Said], write: Callable[..., Path], name: str) -> None:
    """A circuit file of any name is run, or refused in one line."""
    code, _, err = qjobs("plan", write(BELL, name))
    assert (code, err) == (0, "") or (code == 2 and err.startswith("error: ") and err.count("\n") == 1)
