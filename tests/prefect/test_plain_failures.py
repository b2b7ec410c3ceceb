"""A user's mistake in a flow: plain words, the line of the file, and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from given import a_sweep
from prefect.exceptions import ParameterTypeError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows._support.command import run_flow
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.experiments.circuit_list import load_circuit_list
from qjobs.experiments.sweep import load_sweep
from qjobs.ledger import Ledger

CIRCUIT = "name: s\ncircuit: {builder: ghz}\naxes:\n- {name: n_qubits, values: [2]}\n- {name: phi, values: [pi/2]}\n"
LIST = "circuits:\n- {builder: ghz, arguments: {n_qubits: 2}}\n- {builder: ghz, arguments: {n_qubits: 1}}\n"


@pytest.mark.parametrize(
    ("flow", "load", "text", "words"),
    [
        (sweep, load_sweep, CIRCUIT, "line 3: none of the sweep's circuits has a parameter 'phi'; leave it out"),
        (run_circuits, load_circuit_list, LIST, "line 3: circuits.1: the circuit builder 'ghz' does not take"),
        (sweep, load_sweep, CIRCUIT + "shotz: 3\n", "line 6, shotz: there is no such field; did you mean shots?"),
    ],
    ids=["sweep", "circuits", "key"],
)
def test_before_a_server(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flow: object, load: object, text: str, words: str
) -> None:
    """What cannot be run is refused with its line before a server is asked or anything is written."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert run_flow(flow, lambda path: load(Path(path)), [str(file)], experiment=True) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {file}")
    assert words in line
    assert not home.exists()


def test_failed_run(api: str, store: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """A run that cannot be run fails with the plain words as its message, and logs no traceback."""
    spec = a_sweep("plain", axes=[{"name": "phi", "values": [1.0]}])
    state = sweep(spec, return_state=True)
    assert state.is_failed()
    assert "the circuit's parameters theta have no value" in state.message
    assert "theta have no value" in caplog.text
    assert "Traceback" not in caplog.text
    assert store.jobs() == []


def test_bad_parameters(api: str, store: Ledger) -> None:
    """Parameters that are refused are told in the words of files."""
    given = {**a_sweep("bad").model_dump(mode="json"), "shotz": 10, "repetitions": 0}
    with pytest.raises(ParameterTypeError) as caught:
        sweep.validate_parameters({"spec": given})
    words = str(caught.value)
    assert "spec.repetitions: it must be 1 or more, not 0" in words
    assert "spec.shotz: there is no such field; did you mean shots?" in words
