# ruff: noqa: S101 - these are steps of tests, shipped
"""Hooks that an adapter may override, and the steps and small circuits that the tests of the contract are made of."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import pytest

from qjobs.backends.base import Backend, MissingResult, Result, Snapshot, nothing
from qjobs.circuits.programs import CircuitSource, read_circuit
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, Key, Observable, ProgramHash, RemoteId

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from qjobs.model import Program

__all__ = [
    "ContractSteps",
    "ItemForm",
    "RecordingJournal",
    "Stopped",
    "bits_of",
    "flips",
    "new_key",
    "rotations",
    "stop",
    "top",
]

ItemForm = tuple[CircuitSource, int] | tuple[CircuitSource, int, Mapping[str, float]]
"""A circuit, its shots and, if it has any, its parameters."""

HEAD = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


class Stopped(Exception):
    """What a journal raises in order to stop a submission."""


def stop() -> None:
    """Raise `Stopped`."""
    raise Stopped("stopped here")


@dataclass(slots=True, kw_only=True)
class RecordingJournal:
    """Keeps what a submission says, and raises where it is told to, by the three functions."""

    on_preparing: Callable[[], None] = nothing
    on_sending: Callable[[], None] = nothing
    on_accepted: Callable[[], None] = nothing
    said: list[str] = field(default_factory=list)
    ids: list[RemoteId] = field(default_factory=list)
    """The ids that were accepted."""
    reserved_ids: list[RemoteId] = field(default_factory=list)

    def preparing(self) -> None:
        """Keep nothing: it may be said as often as one likes."""
        self.on_preparing()

    def sending(self) -> None:
        """Keep the word."""
        self.said.append("sending")
        self.on_sending()

    def reserved(self, remote_id: RemoteId) -> None:
        """Keep the id."""
        self.said.append("reserved")
        self.reserved_ids.append(remote_id)

    def accepted(self, remote_id: RemoteId) -> None:
        """Keep the id."""
        self.said.append("accepted")
        self.ids.append(remote_id)
        self.on_accepted()


class ContractSteps:
    """Hooks and steps; `qjobs.testing.contract.BackendContract` has the tests, and says what the attributes are."""

    timeout_s: ClassVar[float] = 60.0
    is_seeded: ClassVar[bool] = False
    expval_tolerance: ClassVar[float] = 1e-6

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test; every subclass overrides this."""
        raise NotImplementedError("override the `backend` fixture")

    @pytest.fixture
    def closable(self, backend: Backend) -> Backend:
        """A backend that a test may close; override it where `backend` is shared by several tests."""
        return backend

    def slow_batch(self) -> Batch | None:
        """A batch that is not final at the moment when `submit` returns; None to skip what needs it."""
        return None

    def failing_batch(self) -> Batch | None:
        """A batch that is accepted and whose item 1 alone fails; None to skip what needs it."""
        return None

    def refused_batch(self, backend: Backend) -> Batch | None:
        """A batch that the backend refuses; the default asks for one shot too many."""
        if backend.limits.max_shots is None:
            return None
        return self.make_batch([(flips(1, on=[0]), backend.limits.max_shots + 1)])

    def secrets(self, backend: Backend) -> Sequence[str]:
        """Texts that must not appear in a fingerprint: tokens, passwords."""
        return ()

    def otherwise(self, backend: Backend) -> Backend | None:
        """A backend of the same provider whose answers mean something else, by its configuration; None to skip."""
        return None

    def forget(self, backend: Backend, remote_id: RemoteId) -> bool:
        """Let the provider know a job no longer; False where that cannot be done, to skip what needs it."""
        return False

    def refuse_status(self, backend: Backend, remote_id: RemoteId) -> bool:
        """Let the provider refuse to tell the status of one job; False where that cannot be done."""
        return False

    def stranger(self, backend: Backend) -> Backend:
        """A backend of the same account and device as somebody else opens it; the default is this one."""
        return backend

    def elsewhere(self, backend: Backend) -> Backend | None:
        """A backend of another device of the account, where the provider tells them apart; None to leave that out."""
        return None

    def make_batch(
        self,
        items: Sequence[ItemForm],
        *,
        seed: int | None = None,
        observables: Sequence[Observable] = (),
    ) -> Batch:
        """Make a batch; override it to compile for your device."""
        programs: dict[ProgramHash, Program] = {}
        specs = []
        for index, (source, shots, *parameters) in enumerate(items):
            program = read_circuit(source)
            programs[program.hash] = program
            values = tuple(parameters[0].items()) if parameters else ()
            specs.append(ItemSpec(label=f"item {index}", program=program.hash, shots=shots, parameters=values))
        options = ExecuteOptions(seed=seed, observables=tuple(observables))
        return Batch(number=0, items=tuple(specs), programs=programs, options=options)

    def submit(self, backend: Backend, batch: Batch, key: Key | None = None) -> RemoteId:
        """Submit a batch; returns its remote id."""
        if backend.limits.max_items is not None and len(batch.items) > backend.limits.max_items:
            pytest.skip(f"a job of {backend.name} holds {backend.limits.max_items} items")
        journal = RecordingJournal()
        backend.submit(batch, key or new_key(), journal)
        said = [word for word in journal.said if word != "reserved"]
        assert said == ["sending", "accepted"], f"each once, in this order; it said {journal.said}"
        return journal.ids[0]

    def snapshot(self, backend: Backend, remote_id: RemoteId) -> Snapshot:
        """The present status of one job, which must be known."""
        answer = backend.status([remote_id])[remote_id]
        assert isinstance(answer, Snapshot), answer
        return answer

    def wait(self, backend: Backend, remote_id: RemoteId) -> Snapshot:
        """Poll until the job is final."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            snapshot = self.snapshot(backend, remote_id)
            if snapshot.status.is_final:
                return snapshot
            if time.monotonic() > deadline:
                pytest.fail(f"not final after {self.timeout_s} s: {snapshot}")
            time.sleep(min(backend.poll_interval_s[0], 1.0))

    def entries(self, backend: Backend, remote_id: RemoteId, n_items: int) -> list[Result]:
        """What each item of a job gave, in their order."""
        stream = list(backend.results(remote_id))
        positions = [position for position, _ in stream]
        assert sorted(positions) == list(range(n_items)), f"one entry for each item; it gave {positions}"
        found = dict(stream)
        for entry in found.values():
            assert isinstance(entry, ItemResult) or entry.reason, "an item without a result says why"
        return [found[position] for position in range(n_items)]

    def run(self, backend: Backend, batch: Batch) -> list[ItemResult]:
        """Submit, wait and collect a batch that must complete."""
        if not backend.limits.gives_results:
            pytest.skip("the device gives no results")
        remote_id = self.submit(backend, batch)
        snapshot = self.wait(backend, remote_id)
        assert snapshot.status is JobStatus.COMPLETED, snapshot
        results = self.entries(backend, remote_id, len(batch.items))
        for result in results:
            assert isinstance(result, ItemResult), result
        return [result for result in results if isinstance(result, ItemResult)]

    def outcomes(self, backend: Backend, *items: ItemForm) -> list[str]:
        """The most frequent bit string of each item."""
        return [top(result) for result in self.run(backend, self.make_batch(items))]

    def given(self, batch: Batch | None, hook: str) -> Batch:
        """The batch that a hook gives; skips the test where it gives none."""
        if batch is None:
            pytest.skip(f"{hook} gives no batch")
        return batch


def new_key() -> Key:
    """A key that was never used."""
    return Key(f"contract-{uuid.uuid4()}")


def flips(n_qubits: int, *, on: Sequence[int]) -> str:
    """OpenQASM 2 text that flips qubits and measures all into the bits of the same numbers."""
    gates = "".join(f"x q[{qubit}];\n" for qubit in on)
    return f"{HEAD}qreg q[{n_qubits}];\ncreg c[{n_qubits}];\n{gates}measure q -> c;\n"


def bits_of(word: int) -> list[int]:
    """Positions of the ones in a number of 3 bits."""
    return [bit for bit in range(3) if word >> bit & 1]


def top(entry: ItemResult | MissingResult) -> str:
    """The most frequent bit string of a result."""
    assert isinstance(entry, ItemResult), entry
    counts = entry.counts
    assert counts, "counts were asked for"
    return max(counts, key=lambda word: counts[word])


def rotations() -> QuantumCircuit:
    """Two qubits turned about Y by `alpha` (qubit 0) and `beta` (qubit 1), measured."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    circuit = QuantumCircuit(2, 2)
    circuit.ry(Parameter("alpha"), 0)
    circuit.ry(Parameter("beta"), 1)
    circuit.measure([0, 1], [0, 1])
    return circuit
