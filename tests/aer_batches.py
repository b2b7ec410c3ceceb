"""Batches for the Aer backend, and looking at what becomes of them and of its workers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.aer import AerBackend, AerMethod, NoiseSpec
from qjobs.backends.aer.tasks import cut, run_task
from qjobs.backends.base import PlainJournal, Result, Snapshot
from qjobs.circuits.programs import read_circuit
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, Key, Observable, RemoteId

DEADLINE_S = 30.0
_keys = itertools.count()


def batch_of(
    *items: tuple[QuantumCircuit | str, int] | tuple[QuantumCircuit | str, int, Mapping[str, float]],
    seed: int | None = None,
    observables: Sequence[Observable] = (),
) -> Batch:
    programs, specs, read = {}, [], {}
    for index, (source, shots, *values) in enumerate(items):
        program = read.get(id(source)) or read_circuit(source)
        read[id(source)] = programs[program.hash] = program
        parameters = tuple(values[0].items()) if values else ()
        specs.append(ItemSpec(label=f"i{index}", program=program.hash, shots=shots, parameters=parameters))
    options = ExecuteOptions(seed=seed, observables=tuple(observables))
    return Batch(number=0, items=tuple(specs), programs=programs, options=options)


def submit(backend: AerBackend, batch: Batch) -> RemoteId:
    ids: list[RemoteId] = []
    backend.submit(batch, Key(f"unit-{next(_keys)}"), PlainJournal(accepted=ids.append))
    return ids[0]


def entries(backend: AerBackend, remote_id: RemoteId) -> list[Result]:
    """What each item gave, in their order."""
    return [entry for _, entry in backend.results(remote_id)]


def until(condition, what: str = "it never came true"):
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return value


def snapshot_of(backend: AerBackend, remote_id: RemoteId) -> Snapshot:
    return backend.status([remote_id])[remote_id]


def wait(backend: AerBackend, remote_id: RemoteId) -> Snapshot:
    until(lambda: snapshot_of(backend, remote_id).status.is_final)
    return snapshot_of(backend, remote_id)


def run(backend: AerBackend, batch: Batch) -> list[ItemResult]:
    remote_id = submit(backend, batch)
    snapshot = wait(backend, remote_id)
    assert snapshot.status is JobStatus.COMPLETED, snapshot.message
    return entries(backend, remote_id)


def simulate(batch: Batch, method: AerMethod = AerMethod.AUTOMATIC, noise: NoiseSpec | None = None) -> list[ItemResult]:
    """The results of a batch without a worker process; none of its items may fail."""
    found = []
    for task in cut(batch, method, noise):
        outcome = run_task(task)
        assert not outcome.failures
        found += [replace(result, duration_s=None) for result in outcome.results()]
    return found


def turning() -> QuantumCircuit:
    """Two parameters, `a` and `b`."""
    circuit = QuantumCircuit(3, 3)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    circuit.rx(Parameter("b") * 2 + 0.1, 2)
    circuit.cx(1, 2)
    circuit.measure(range(3), range(3))
    return circuit


def sweep(n: int, shots: int = 200, **options) -> Batch:
    """Many points of `turning`."""
    template = turning()
    rows = [{"a": 0.1 * index, "b": 1.0 - 0.01 * index} for index in range(n)]
    return batch_of(*[(template, shots, row) for row in rows], **options)


def superposition(n_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits)
    circuit.h(range(n_qubits))
    circuit.measure_all()
    return circuit


def heavy(n_items: int = 2) -> Batch:
    """A chunk for each item, and each takes some 0.1 s: 20 qubits are beyond the exact form."""
    return batch_of(*[(superposition(20), 50_000)] * n_items)


def children_of(pid: int) -> list[int]:
    """Worker processes (not loky's resource tracker)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and b"popen_loky" in command:
            found.append(int(path.parent.name))
    return found
