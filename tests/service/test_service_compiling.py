"""What the executor compiles does the same, with the gates and couplings of the device."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from executor_circuits import entangled, expected_of, passes_chi_square
from own_service import AER, OwnService, quantinuum
from pytket.circuit import Bit, Circuit
from sympy import Symbol

from qjobs.service import tables as schema


def compiled(own: OwnService, circuit: Circuit, config, level: int, **more) -> tuple[Circuit, str]:
    (item,) = own.run([circuit], config, job_type="compile", optimisation_level=level, **more)
    assert item.status == "COMPLETED", item.message
    (row,) = own.rows(schema.compilation, compilation_id=item.compilation_id)
    assert (row.original_id, row.owner_id, row.project_id) == (item.program_id, own.user.user_id, own.project)
    return own.circuit(row.compiled_id), str(item.compilation_id)


def same_up_to_phase(first: Circuit, second: Circuit) -> bool:
    overlap = abs(np.vdot(first.get_unitary(), second.get_unitary())) / 2**first.n_qubits
    return bool(overlap > 1 - 1e-6)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("device", ["Aer", "H1-1E"])
def test_compiled_does_the_same(own: OwnService, device: str, level: int) -> None:
    """A compiled circuit does the same with the device's gates."""
    config = AER if device == "Aer" else quantinuum(device)
    original = entangled()
    circuit, _ = compiled(own, original, config, level)
    assert same_up_to_phase(circuit, original)
    kinds = {command.op.type.name for command in circuit.get_commands()}
    assert kinds <= set(own.service.devices.get(device).gate_set)
    if device == "H1-1E":
        assert kinds <= {"PhasedX", "Rz", "ZZPhase"}
        plain, _ = compiled(own, original, config, 0)
        assert (circuit.n_gates < plain.n_gates) is (level > 0)


@pytest.mark.parametrize("gate", ["ZZPhase", "ZZMax", "TK2"])
def test_two_qubit_gate_is_chosen(own: OwnService, gate: str) -> None:
    """`target_2qb_gate` chooses it."""
    circuit, _ = compiled(own, entangled(), quantinuum("H2-1", target_2qb_gate=gate), 2)
    assert {command.op.type.name for command in circuit.get_commands() if len(command.qubits) == 2} == {gate}
    assert same_up_to_phase(circuit, entangled())


def test_passes_are_a_chain(own: OwnService) -> None:
    """Recorded passes lead from the original to the compiled circuit."""
    original = entangled()
    _, compilation_id = compiled(own, original, quantinuum("H1-1E"), 2)
    passes = sorted(own.rows(schema.compilation_pass, compilation_id=compilation_id), key=lambda row: row.number)
    (compilation,) = own.rows(schema.compilation, compilation_id=compilation_id)
    assert [row.pass_name for row in passes][:3] == ["DecomposeBoxes", "FullPeepholeOptimise", "AutoRebase"]
    assert passes[0].original_id == compilation.original_id
    assert passes[-1].compiled_id == compilation.compiled_id
    assert all(first.compiled_id == second.original_id for first, second in pairwise(passes))
    for row in passes:
        assert same_up_to_phase(own.circuit(row.compiled_id), original)
    _, quiet = compiled(own, original, quantinuum("H1-1E"), 2, skip_store_intermediate_passes=True)
    assert own.rows(schema.compilation_pass, compilation_id=quiet) == []


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_symbols_are_kept(own: OwnService, level: int) -> None:
    """A circuit with symbols is compiled and keeps them."""
    a = Symbol("a")
    b = Symbol("b")
    circuit = Circuit(2).Rx(a, 0).CX(0, 1).Rz(2 * b + a, 1).H(1).CX(1, 0)
    result, _ = compiled(own, circuit, quantinuum("H1-1E"), level)
    assert result.free_symbols() == {a, b}
    for each in (circuit, result):
        each.symbol_substitution({a: 0.37, b: 0.81})
    assert same_up_to_phase(circuit, result)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_couplings_are_kept(own: OwnService, level: int) -> None:
    """A device with few couplings gets circuits that it can run."""
    original = entangled().measure_all()
    _, compilation_id = compiled(own, original, {"type": "LineConfig"}, level)
    (row,) = own.rows(schema.compilation, compilation_id=compilation_id)
    refused, ran = own.run([row.original_id, row.compiled_id], {"type": "LineConfig", "seed": 2}, shots=20_000)
    assert "its native gates are CX, Rz, SX, X" in refused.message
    counts = own.result(ran).get_counts([Bit(n) for n in range(4)])
    assert passes_chi_square(counts, expected_of(entangled()), 20_000)
    far = Circuit(4, 4).CX(0, 3).measure_all()
    (item,) = own.run([far], {"type": "LineConfig"})
    assert "cannot couple qubits 0, 3" in item.message


def test_too_wide_is_an_item_error(own: OwnService) -> None:
    """A circuit that is too wide is an error of its item."""
    (item,) = own.run([Circuit(21)], quantinuum("H1-1"), job_type="compile")
    assert item.message == "the circuit has 21 qubits, and H1-1 has 20"
    (item,) = own.run([Circuit(3)], {**AER, "n_qubits": 2}, job_type="compile")
    assert item.message == "the circuit has 3 qubits, and n_qubits of the configuration is 2"
    (item,) = own.run([Circuit(3).measure_all()], {**AER, "n_qubits": 2})
    assert "runs at most 2" in item.message
