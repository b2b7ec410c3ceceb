"""Laws of observables: what the bases give is the expectation value, and what is written is read again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qjobs.circuits.observables import Estimator, measured_in, parse_observable
from qjobs.model import Observable

WEIGHT = 10**15
"""Counts in proportion to exact probabilities: shots so many that rounding them to whole ones is not seen."""

N_QUBITS = 3
angles = st.floats(-7, 7, allow_nan=False)
qubits = st.integers(0, N_QUBITS - 1)
rotations = st.tuples(st.sampled_from(["rx", "ry", "rz"]), angles, qubits)
entanglers = st.tuples(st.sampled_from(["cx", "cz", "swap"]), st.permutations(range(N_QUBITS)))
coefficients = st.floats(-10, 10, allow_nan=False, allow_subnormal=False)
observables = st.dictionaries(
    st.text("IXYZ", min_size=N_QUBITS, max_size=N_QUBITS), coefficients, min_size=1, max_size=8
)


@st.composite
def circuits(draw: st.DrawFn) -> QuantumCircuit:
    made = QuantumCircuit(N_QUBITS, draw(st.integers(0, 2)))
    for step in draw(st.lists(st.one_of(rotations, entanglers), max_size=12)):
        if len(step) == 3:
            getattr(made, step[0])(step[1], step[2])
        else:
            getattr(made, step[0])(*step[1][:2])
    if draw(st.booleans()):
        made.measure_all()
    return made


def text_of(terms: dict[str, float]) -> str:
    return " ".join(f"{'-' if c < 0 else '+'} {abs(c)!r}*{pauli}" for pauli, c in terms.items())


@settings(max_examples=60)
@given(made=circuits(), wanted=st.lists(observables, min_size=1, max_size=2))
def test_exact_probabilities(made: QuantumCircuit, wanted: list[dict[str, float]]) -> None:
    """Exact probabilities in every basis give the expectation value."""
    parsed = [parse_observable(f"h{n}", text_of(one), N_QUBITS) for n, one in enumerate(wanted)]
    estimator = Estimator(parsed)
    counts = []
    for basis in estimator.bases:
        state = Statevector(measured_in(made, basis).remove_final_measurements(inplace=False))
        words = np.rint(state.probabilities() * WEIGHT).astype(np.int64)
        counts.append([{format(word, f"0{N_QUBITS}b"): int(n) for word, n in enumerate(words) if n}])
    state = Statevector(made.remove_final_measurements(inplace=False))
    found = estimator.estimate(counts)
    for observable in parsed:
        values, _ = found[observable.name]
        value = state.expectation_value(SparsePauliOp.from_list(list(observable.terms))).real
        assert abs(values[0] - value) < 1e-9 * (1 + sum(abs(c) for _, c in observable.terms))


@given(terms=observables)
def test_text_is_read_back(terms: dict[str, float]) -> None:
    """Terms that are written as text are read as they were."""
    assert parse_observable("h", text_of(terms), N_QUBITS) == Observable(name="h", terms=tuple(terms.items()))


@given(terms=observables)
def test_letters_with_qubits(terms: dict[str, float]) -> None:
    """Letters with their qubits mean the same as one letter per qubit."""
    spelt = " ".join(
        f"{'-' if c < 0 else '+'} {abs(c)!r} "
        + " ".join(f"{letter}{qubit}" for qubit, letter in enumerate(reversed(pauli)) if letter != "I")
        for pauli, c in terms.items()
    )
    assert parse_observable("h", spelt, N_QUBITS).terms == tuple(terms.items())
