"""What runs in Aer's worker processes, and the values that cross to them and back.

Aer's `run` holds the GIL for the whole call, so it never runs in the process of the user. Nothing here
imports qiskit at module level: the parent imports this module too.
"""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from qjobs.errors import InvalidInput
from qjobs.model import ItemResult, Observable, Program

__all__ = [
    "BASIS_1Q",
    "BASIS_2Q",
    "BASIS_3Q",
    "BASIS_OTHER",
    "AerMethod",
    "Failure",
    "NoiseSpec",
    "Outcome",
    "Row",
    "Task",
    "import_aer",
    "run_task",
    "start_worker",
]


# fmt: off
BASIS_1Q = (
    "id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "t", "tdg",
    "p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3",
)
BASIS_2Q = (
    "cx", "cy", "cz", "ecr", "swap", "cp", "cu", "cu1", "cu3", "csx",
    "crx", "cry", "crz", "rxx", "ryy", "rzz", "rzx",
)
# fmt: on
BASIS_3Q = ("ccx", "ccz", "cswap")
BASIS_OTHER = ("measure", "reset", "delay", "if_else", "for_loop", "while_loop", "switch_case")


class AerMethod(StrEnum):
    """Simulation methods of Aer that qjobs offers."""

    AUTOMATIC = "automatic"
    STATEVECTOR = "statevector"
    DENSITY_MATRIX = "density_matrix"
    STABILIZER = "stabilizer"
    MATRIX_PRODUCT_STATE = "matrix_product_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSpec:
    """A noise model, in probabilities from 0 to 1.

    `depolarizing_1q` and `depolarizing_2q` follow every gate on one or two qubits (gates on more
    qubits are decomposed first); `readout` flips each measured bit, both ways.

    Raises:
        InvalidInput: A value is not a probability.
    """

    depolarizing_1q: float = 0.0
    depolarizing_2q: float = 0.0
    readout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depolarizing_1q", "depolarizing_2q", "readout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InvalidInput(f"noise: {name} must be a probability from 0 to 1, not {value!r}", field=name)

    @property
    def tag(self) -> str:
        """Short name of these values, for example `noise-0.001-0.01-0.02`."""
        return f"noise-{self.depolarizing_1q:g}-{self.depolarizing_2q:g}-{self.readout:g}"

    @property
    def on_gates(self) -> bool:
        """Whether any gate is noisy, which makes the state a mixed one."""
        return bool(self.depolarizing_1q or self.depolarizing_2q)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Consecutive items of one job that one worker simulates: all with the same `shots`.

    `items` holds, for each, the position of its program in `programs` and its parameters in the order
    of `Program.parameters`. `first` is the index of the first item in the job.
    """

    programs: tuple[Program, ...] = field(repr=False)
    items: tuple[tuple[int, tuple[float, ...]], ...] = field(repr=False)
    first: int
    shots: int
    seed: int | None
    method: AerMethod
    noise: NoiseSpec | None
    observables: tuple[Observable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one item failed: a sentence, and the simulator's own words."""

    message: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker sends back: failures by position in the task, and the results, pickled.

    The results stay pickled in the parent until somebody asks (about 4 bytes for each distinct bit
    string, because the strings are shared within a task). `payload` holds one
    `(counts, expvals, duration_s)` for each item, or None where it failed.
    """

    failures: dict[int, Failure]
    payload: bytes = field(repr=False)

    def results(self) -> list[ItemResult | None]:
        """The results in the task's order; None where the item failed."""
        # Written by our own worker process, over a pipe that nobody else has.
        rows = pickle.loads(self.payload)  # noqa: S301
        return [row and ItemResult(counts=row[0], expvals=row[1], duration_s=row[2]) for row in rows]


Row = tuple[dict[str, int] | None, dict[str, float] | None, float]
"""Counts, expectation values, seconds."""


def start_worker(parent_pid: int) -> None:
    """Initialise a worker: die with the parent, ignore Ctrl-C, import Aer, leave the imports to no GC."""
    import gc
    import signal
    import warnings

    _die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    warnings.simplefilter("ignore")  # failures travel as data; nobody reads a worker's stderr
    import_aer()
    gc.freeze()


def import_aer() -> None:
    """Import what a simulation needs, before the first one."""
    import logging

    import qiskit_aer.noise

    import qjobs.circuits  # noqa: F401

    logging.getLogger(qiskit_aer.__name__).setLevel(logging.CRITICAL)


def _die_with_parent(parent_pid: int) -> None:
    """End this process when the parent ends, however it ends.

    Linux kills us itself (prctl PR_SET_PDEATHSIG = 1), in the middle of a simulation too. Elsewhere a
    thread looks twice a second; it gets the GIL between two calls of Aer.
    """
    import ctypes
    import os
    import signal
    import sys
    import threading

    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="qjobs-aer-watch", daemon=True).start()


def run_task(task: Task) -> Outcome:
    """Simulate a task. What fails is data: this raises nothing that an item caused."""
    from qjobs.backends.aer.engine import run_program

    import_aer()  # gives circuits their save_... methods
    failures: dict[int, Failure] = {}
    rows: list[Row | None] = []
    for which, group in groupby(enumerate(task.items), key=lambda entry: entry[1][0]):
        program, members = task.programs[which], list(group)
        positions = [position for position, _ in members]
        parameters = [values for _, (_, values) in members]
        try:
            rows += run_program(task, program, parameters, positions[0])
        except Exception:
            # One bad item fails Aer's whole call: find out which, one at a time.
            for position, values in zip(positions, parameters, strict=True):
                try:
                    rows += run_program(task, program, [values], position)
                except Exception as error:
                    rows.append(None)
                    failures[position] = _failure(error)
    return Outcome(failures=failures, payload=pickle.dumps(rows, protocol=5))


def _failure(error: Exception) -> Failure:
    detail = str(getattr(error, "message", "") or error).strip()
    if isinstance(error, InvalidInput):
        return Failure(message=detail, detail=detail)
    return Failure(message=f"the simulation failed: {detail}", detail=f"{type(error).__name__}: {detail}")
