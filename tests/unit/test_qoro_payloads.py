"""What is sent to Qoro: bound circuits, templates, fragments, observables and labels."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qoro_cloud import circuits_in, terms_in, unpacked

from qjobs.backends.qoro.circuits import bound_texts, templates
from qjobs.backends.qoro.fragments import MAX_BYTES, fragments_of, observables_text
from qjobs.backends.qoro.labels import labels_of, read_label
from qjobs.circuits.openqasm import parse_openqasm2
from qjobs.circuits.programs import bind, read_circuit
from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, ExecuteOptions, ItemSpec, Observable

ZZ = Observable(name="zz", terms=(("ZZ", 1.0), ("IZ", -0.5)))


def batch_of(*items: tuple[QuantumCircuit, int, dict[str, float]], observables: tuple[Observable, ...] = ()) -> Batch:
    programs = {}
    specs = []
    for number, (circuit, shots, parameters) in enumerate(items):
        program = read_circuit(circuit)
        programs[program.hash] = program
        values = tuple(parameters.items())
        specs.append(ItemSpec(label=f"i{number}", program=program.hash, shots=shots, parameters=values))
    return Batch(number=0, items=tuple(specs), programs=programs, options=ExecuteOptions(observables=observables))


def ansatz(*, late: bool = False) -> QuantumCircuit:
    """Angles that are symbols, multiples and differences of them, and numbers."""
    a, b = Parameter("θ[0]"), Parameter("p00000")
    circuit = QuantumCircuit(2, 2, global_phase=a)
    circuit.ry(a, 0)
    circuit.rz(2 * a - b, 1)
    circuit.u(b, 0.25, a, 0)
    circuit.ry(a, 1)
    circuit.rx(math.pi / 2, 1)
    circuit.measure([0, 1], [0, 1])
    if late:
        circuit.x(0)
    return circuit


def sweep(n_points: int, shots: int = 100) -> Batch:
    circuit = ansatz()
    rows = [{"θ[0]": -0.1 * n, "p00000": 1e-7 * n} for n in range(n_points)]
    return batch_of(*((circuit, shots, row) for row in rows))


def test_template() -> None:
    """A template with a row put in is the bound circuit, whatever its angles are made of."""
    batch = sweep(5)
    (template,) = templates(batch) or ()
    assert template.names == ("p00000", "p00001", "p00002")
    for position, values in template.rows:
        text = template.text
        for name, value in zip(template.names, values, strict=True):
            text = text.replace(name, str(value))
        item = batch.items[position]
        expected = bind(batch.programs[item.program], dict(item.parameters))
        found = parse_openqasm2(text)
        for ours, theirs in zip(expected.data, found.data, strict=True):
            assert ours.operation.name == theirs.operation.name
            assert list(ours.operation.params) == pytest.approx(list(theirs.operation.params))


def test_sweep_is_small() -> None:
    """A sweep sends its circuit once in each fragment, and each point once."""
    batch = sweep(300)
    whole = fragments_of(batch)
    assert [body["finalized"] for body in whole] == ["true"]
    parts = fragments_of(batch, 4_000)
    assert len(parts) > 3
    assert [body["finalized"] for body in parts] == ["false"] * (len(parts) - 1) + ["true"]
    labels = [row["label"] for body in parts for row in body["parameter_sets"]]
    assert labels == labels_of(batch)
    assert all(len(json.dumps(body)) <= 4_000 for body in parts)


@pytest.mark.parametrize("reason", ["shots differ", "one item each", "no symbol", "a gate of its own"])
def test_bound(reason: str) -> None:
    """What a template cannot say is sent bound."""
    circuit = ansatz()
    values = {"θ[0]": 0.1, "p00000": 0.2}
    plain = QuantumCircuit(1, 1)
    plain.measure(0, 0)
    inner = QuantumCircuit(1, name="mine")
    inner.rx(Parameter("t"), 0)
    own = QuantumCircuit(1, 1)
    own.append(inner.to_gate(), [0])
    own.measure(0, 0)
    batch = {
        "shots differ": batch_of((circuit, 1, values), (circuit, 2, values)),
        "one item each": batch_of((circuit, 1, values), (plain, 1, {})),
        "no symbol": batch_of((plain, 1, {}), (plain, 1, {})),
        "a gate of its own": batch_of((own, 1, {"t": 0.1}), (own, 1, {"t": 0.2})),
    }[reason]
    assert templates(batch) is None
    (body,) = fragments_of(batch)
    assert list(body["circuits"]) == labels_of(batch)
    assert [unpacked(text) for text in body["circuits"].values()] == bound_texts(batch)


def test_shot_groups() -> None:
    """Items with shots of their own keep them, counted anew in each fragment."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    shots = [5, 5, 7, 7, 7, 2]
    batch = batch_of(*((circuit, number, {}) for number in shots))
    for max_bytes in (MAX_BYTES, 900, 750):
        found = []
        for body in fragments_of(batch, max_bytes):
            assert len(json.dumps(body)) <= max_bytes
            found += [number for _, number in circuits_in(body).values()]
        assert found == shots


def test_fragments_hold() -> None:
    """Whatever is sent stays under 0.95 MiB; a circuit that alone is bigger is refused."""
    big = QuantumCircuit(4, 4)
    for step in range(3_000):
        big.rx(0.123456789 * step * step, step % 4)
    big.measure(range(4), range(4))
    once = batch_of((big, 10, {}))
    bodies = fragments_of(replace(once, items=once.items * 60))
    assert len(bodies) > 1
    assert all(len(json.dumps(body)) <= MAX_BYTES == int(0.95 * 1024 * 1024) for body in bodies)
    with pytest.raises(InvalidCircuit, match="make it smaller"):
        fragments_of(batch_of((big, 10, {})), 5_000)


def test_observables() -> None:
    """Terms are sent once, with qubit 0 first; the last measurements are left out."""
    assert terms_in(observables_text((ZZ, Observable(name="x", terms=(("XI", 1.0), ("II", 2.0)))))) == [
        "ZZ",
        "ZI",
        "IX",
        "II",
    ]
    batch = batch_of((ansatz(), 1, {"θ[0]": 0.1, "p00000": 0.2}), observables=(ZZ,))
    (body,) = fragments_of(batch)
    assert "shots" not in body
    assert "measure" not in bound_texts(batch)[0]


def test_measured_in_the_middle() -> None:
    """Expectation values of a circuit that goes on after a measurement are refused."""
    with pytest.raises(InvalidCircuit, match="at its end"):
        fragments_of(batch_of((ansatz(late=True), 1, {"θ[0]": 0.1, "p00000": 0.2}), observables=(ZZ,)))


def test_control_flow() -> None:
    """OpenQASM 2 has no words for it."""
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    circuit.measure(0, 0)
    with pytest.raises(InvalidCircuit, match="control flow"):
        fragments_of(batch_of((circuit, 1, {})))


def test_labels() -> None:
    """A label says what another process has to know; many terms are in the first one alone."""
    terms = [(f"{n:010b}".translate({ord("0"): "I", ord("1"): "Z"}), 0.1 * n) for n in range(99)]
    many = Observable(name="many", terms=tuple(terms))
    values = {"θ[0]": 0.1, "p00000": 0.2}
    few = batch_of((ansatz(), 7, values), (ansatz(), 7, values), observables=(ZZ,))
    lots = batch_of((ansatz(), 7, values), (ansatz(), 7, values), observables=(many,))
    assert [read_label(text).observables for text in labels_of(few)] == [(ZZ,), (ZZ,)]
    assert [read_label(text).observables for text in labels_of(lots)] == [(many,), ()]
    label = read_label(labels_of(few)[1])
    assert (label.position, label.shots, label.n_bits) == (1, 7, 2)
    cut = labels_of(lots)[0][:100]
    assert read_label(cut).observables == ()
    for text in ("", "1", "a:1:1", "1:1:1:!", "-1:1:1", None, 7):
        assert read_label(text) is None
