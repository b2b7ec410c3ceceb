"""Builders: found by name and by name alone; their circuits; what they refuse."""

from __future__ import annotations

import sys

import pytest
from qiskit.quantum_info import Statevector

from qjobs.circuits.builders import BUILDERS, build_circuit, ghz, qaoa_maxcut
from qjobs.circuits.programs import to_qiskit
from qjobs.errors import InvalidInput


def test_registered_names() -> None:
    """The project's own builders are registered."""
    assert {"ghz", "qaoa-maxcut"} <= set(BUILDERS.names())


def test_ghz() -> None:
    """A GHZ circuit gives all zeros or all ones."""
    program = build_circuit("ghz", {"n_qubits": 4})
    assert (program.n_qubits, program.n_bits, program.measured, program.parameters) == (4, 4, True, ())
    bare = to_qiskit(program).remove_final_measurements(inplace=False)
    assert Statevector(bare).probabilities_dict(decimals=9) == {"0000": 0.5, "1111": 0.5}


def test_qaoa_maxcut() -> None:
    """The ansatz has two angles a layer and a qubit per vertex, isolated ones included."""
    program = build_circuit("qaoa-maxcut", {"edges": [[0, 1], [1, 3]]})
    assert (program.n_qubits, program.parameters) == (4, ("beta", "gamma"))
    deep = build_circuit("qaoa-maxcut", {"edges": [[0, 1]], "layers": 2})
    assert deep.parameters == ("beta_0", "beta_1", "gamma_0", "gamma_1")
    assert build_circuit("qaoa-maxcut", {"edges": [[0, 1], [1, 3]]}).hash == program.hash


@pytest.mark.parametrize("n_qubits", [1, 0, -1, "3", 2.5, None, [3], 10**9])
def test_bad_ghz(n_qubits: object) -> None:
    """A number of qubits that cannot be is refused."""
    with pytest.raises(InvalidInput, match="'ghz' does not take these arguments") as caught:
        build_circuit("ghz", {"n_qubits": n_qubits})
    assert caught.value.field == "circuit.arguments"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"edges": []},
        {"edges": [[0, 0]]},
        {"edges": [[0, 1], [1, 0]]},
        {"edges": [[0, 1.5]]},
        {"edges": [[0, -1]]},
        {"edges": [[0, 1, 2]]},
        {"edges": 3},
        {"edges": "ab"},
        {"edges": [[0, 10**9]]},
        {"edges": [[0, 1]], "layers": 0},
        {"edges": [[0, 1]], "layers": 1.5},
        {"edges": [[0, 1]], "layers": 10**9},
        {"edges": [[0, 1]], "depth": 1},
    ],
)
def test_bad_qaoa_maxcut(arguments: dict[str, object]) -> None:
    """Arguments that describe no ansatz are refused."""
    with pytest.raises(InvalidInput, match="'qaoa-maxcut' does not take these arguments"):
        build_circuit("qaoa-maxcut", arguments)


@pytest.mark.parametrize(
    "name", ["nothing", "", "qjobs.circuits.builders:ghz", "os:system", "antigravity", "antigravity:x"]
)
def test_unregistered_names(name: str) -> None:
    """A name that is not registered is refused and never imported."""
    with pytest.raises(InvalidInput, match=r"there is no circuit builder .* registered are: .*ghz") as caught:
        build_circuit(name, {})
    assert caught.value.field == "circuit.builder"
    assert "antigravity" not in sys.modules


def test_direct_calls() -> None:
    """Builders can be called as functions."""
    assert ghz(2).num_qubits == 2
    assert qaoa_maxcut([(0, 1)], layers=3).num_parameters == 6
    with pytest.raises(ValueError, match="2 to"):
        ghz(1)
