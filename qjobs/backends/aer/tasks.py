"""Tasks: consecutive items of a job that one worker simulates in one go, and what it sends back.

The parent cuts jobs into tasks; a worker runs them. Nothing here imports qiskit at module level: the
parent imports this module too.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qjobs.backends.aer import engine
from qjobs.backends.aer.engine import AerMethod, Rows
from qjobs.backends.aer.noise import NoiseSpec, noise_model, relaxed
from qjobs.circuits.counts import MAX_BITS, PackedCounts
from qjobs.errors import InvalidInput
from qjobs.model import Batch, ItemResult, Observable, Program, ProgramHash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

_TASK_ITEMS = 75
_TASK_S = 0.25
_MAX_EXACT_BITS = 12

_Row = tuple[Mapping[str, int] | None, dict[str, float] | None, float]
"""Counts, expectation values, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Consecutive items of one job that one worker simulates: all with the same `shots`.

    `items` holds, for each, the position of its program in `programs` and its parameters in the order
    of `Program.parameters`. `first` is the index of the first item in the job. `threads` changes no result.
    """

    programs: tuple[Program, ...] = field(repr=False)
    items: tuple[tuple[int, tuple[float, ...]], ...] = field(repr=False)
    first: int
    shots: int
    seed: int | None
    method: AerMethod
    noise: NoiseSpec | None
    observables: tuple[Observable, ...]
    threads: int = 1

    @property
    def is_wide(self) -> bool:
        """Whether threads can share the work on one state."""
        widest = max(program.n_qubits for program in self.programs)
        shares = self.noise is None and self.method in {AerMethod.AUTOMATIC, AerMethod.STATEVECTOR}
        return shares and widest >= engine.WIDE_QUBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one item failed: a sentence, and the simulator's own words."""

    message: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker sends back: failures by position in the task, and the results, pickled.

    The results stay pickled in the parent until somebody asks (about 3 bytes for each distinct bit
    string). `payload` holds one
    `(counts, expvals, duration_s)` for each item, or None where it failed.
    """

    failures: dict[int, Failure]
    payload: bytes = field(repr=False)

    def results(self) -> list[ItemResult | None]:
        """The results in the task's order; None where the item failed."""
        # Written by our own worker process, over a pipe that nobody else has.
        rows = pickle.loads(self.payload)  # noqa: S301
        return [row and ItemResult(counts=row[0], expvals=row[1], duration_s=row[2]) for row in rows]


def cut(batch: Batch, method: AerMethod, noise: NoiseSpec | None) -> Iterator[Task]:
    """Cut a batch into tasks; where it is cut depends on the batch and the device alone."""
    start = 0
    filled_s = 0.0
    for index, item in enumerate(batch.items):
        cost_s = _cost_s(batch.programs[item.program], item.shots, method, noise)
        full = index - start >= _TASK_ITEMS or filled_s + cost_s > _TASK_S
        if index > start and (full or item.shots != batch.items[start].shots):
            yield _task(batch, start, index, method, noise)
            start = index
            filled_s = 0.0
        filled_s += cost_s
    yield _task(batch, start, len(batch.items), method, noise)


def _cost_s(program: Program, shots: int, method: AerMethod, noise: NoiseSpec | None) -> float:
    """Rough time to simulate an item, in seconds: only the size of a task depends on it."""
    gates = max(len(program.payload) / 30, 1)
    if method in {AerMethod.STABILIZER, AerMethod.MATRIX_PRODUCT_STATE}:
        amplitudes = 100.0 * program.n_qubits**2
    elif method is AerMethod.DENSITY_MATRIX or (noise and program.n_qubits <= 10):
        amplitudes = 4.0**program.n_qubits
    else:
        amplitudes = 2.0**program.n_qubits * (shots if noise else 1)
    return 2e-4 + 1e-6 * shots * (noise is not None) + 5e-9 * gates * amplitudes


def _task(batch: Batch, start: int, stop: int, method: AerMethod, noise: NoiseSpec | None) -> Task:
    places: dict[ProgramHash, int] = {}
    items: list[tuple[int, tuple[float, ...]]] = []
    for item in batch.items[start:stop]:
        place = places.setdefault(item.program, len(places))
        values = dict(item.parameters)
        names = batch.programs[item.program].parameters
        items.append((place, tuple(float(values[name]) for name in names)))
    return Task(
        programs=tuple(batch.programs[program] for program in places),
        items=tuple(items),
        first=start,
        shots=batch.items[start].shots,
        seed=batch.options.seed,
        method=method,
        noise=noise,
        observables=batch.options.observables,
    )


def failed_task(n_items: int, error: BaseException) -> Outcome:
    """The outcome of a task that could not be run at all."""
    failure = Failure(message=f"the simulation failed: {error}", detail=f"{type(error).__name__}: {error}")
    return Outcome(failures=dict.fromkeys(range(n_items), failure), payload=pickle.dumps([None] * n_items))


def run_task(task: Task) -> Outcome:
    """Simulate a task. What fails is data: this raises nothing that an item caused."""
    engine.import_aer()
    failures: dict[int, Failure] = {}
    found: list[_Row | None] = []
    first = 0
    for which, group in groupby(which for which, _ in task.items):
        rows = [values for _, values in task.items[first : first + len(list(group))]]
        try:
            found += _run_program(task, task.programs[which], rows, first)
        except Exception:
            # Boundary: Aer fails in many ways, and one bad item fails its whole call. Find out which it was.
            for position, values in enumerate(rows, start=first):
                try:
                    found += _run_program(task, task.programs[which], [values], position)
                except Exception as error:  # boundary: the failure of one item
                    found.append(None)
                    failures[position] = _failure(error)
        first += len(rows)
    return Outcome(failures=failures, payload=pickle.dumps(found, protocol=5))


def _failure(error: Exception) -> Failure:
    detail = str(getattr(error, "message", "") or error).strip()
    if isinstance(error, InvalidInput):
        return Failure(message=detail, detail=detail)
    return Failure(message=f"the simulation failed: {detail}", detail=f"{type(error).__name__}: {detail}")


def _run_program(task: Task, program: Program, rows: Rows, position: int) -> list[_Row]:
    """Simulate consecutive items of one program, the first one at `position` of the task."""
    started = time.perf_counter()
    if task.observables:
        observed = _observed(program, task.observables, task.method, task.noise)
        expvals = engine.expectation_values(observed, names=program.parameters, rows=rows, threads=task.threads)
        pairs: list[Any] = [(None, values) for values in expvals]
    else:
        pairs = [(counts, None) for counts in _counts(task, program, rows, _seed(task, position))]
    share_s = (time.perf_counter() - started) / len(rows)
    return [(counts, expvals, share_s) for counts, expvals in pairs]


def _seed(task: Task, position: int) -> int | None:
    """Seed of a run of items: from the job's seed and the index of the run's first item."""
    if task.seed is None:
        return None
    digest = sha256(f"{task.seed}:{task.first + position}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1  # Aer adds 2113 for each circuit of a call: leave room


def _counts(task: Task, program: Program, rows: Rows, seed: int | None) -> Iterator[Mapping[str, int]]:
    import numpy as np

    noisy = task.noise is not None
    if engine.is_exact(task.method, program.n_qubits, noisy=noisy) and (exact := _exact(program)) is not None:
        weights = engine.probabilities_of_rows(exact.template, program.parameters, rows)
        return exact.counts(engine.draw_counts(weights, task.shots, np.random.default_rng(seed)))
    return engine.sample_counts(
        _native(program, task.noise),
        task.shots,
        names=program.parameters,
        rows=rows,
        method=task.method,
        noise=noise_model(task.noise) if task.noise else None,
        seed=seed,
        threads=task.threads,
    )


@lru_cache(maxsize=256)
def _native(program: Program, noise: NoiseSpec | None) -> QuantumCircuit:
    """The circuit in gates that Aer (and the noise model) knows, with its noisy delays; shared, not to be changed."""
    from qjobs.circuits.programs import to_qiskit

    circuit = engine.native(to_qiskit(program), noisy=noise is not None)
    return circuit if noise is None else relaxed(circuit, noise)


@lru_cache(maxsize=256)
def _observed(
    program: Program, observables: tuple[Observable, ...], method: AerMethod, noise: NoiseSpec | None
) -> engine.Observed:
    circuit = _native(program, noise if noise is not None and noise.on_gates else None)
    return engine.with_expectations(circuit, observables, method=method, noise=noise)


@dataclass(frozen=True, slots=True)
class _Exact:
    """A circuit that gives probabilities, and the bit string of each outcome, as a number."""

    template: engine.Template
    n_bits: int
    words: Any

    def counts(self, drawn: Any) -> Iterator[PackedCounts]:
        """The counts of each row that was drawn."""
        for row in drawn:
            seen = row.nonzero()[0]
            yield PackedCounts.of(self.n_bits, self.words[seen], row[seen])


@lru_cache(maxsize=256)
def _exact(program: Program) -> _Exact | None:

    split = engine.split_measurements(_native(program, None))
    if split is None or split.resets or len(split.measured) > _MAX_EXACT_BITS or program.n_bits > MAX_BITS:
        return None
    split = replace(split, measured=tuple(sorted(split.measured, key=_bit)))  # the order that seeds rest on
    words = _words(split.measured)
    return _Exact(engine.template(engine.with_probabilities(split)), program.n_bits, words)


def _bit(pair: tuple[int, int]) -> int:
    return pair[1]


def _words(measured: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The bit string of each outcome, as a number; bits that nothing is written to are 0."""
    import numpy as np

    outcomes = np.arange(2 ** len(measured), dtype=np.int64)
    words = np.zeros_like(outcomes)
    for place, (_, bit) in enumerate(measured):
        words |= (outcomes >> place & 1) << bit
    return words
