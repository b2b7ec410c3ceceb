"""What the scripted provider remembers, and how it runs circuits. It uses nothing of the adapters."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qjobs.testing.faults import FaultScript

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Refused", "Store", "StoredJob"]

_MAX_SHOTS = 10_000
_MAX_QUBITS = 12
_LEAST_FINISHED = ("ACTIVE", "STOPPING", "WAITING", "BROKEN", "STOPPED", "DONE")


class Refused(Exception):
    """A request that the provider does not take: an HTTP code and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(slots=True, kw_only=True)
class StoredJob:
    """A job at the provider; the times are those of its clock, in seconds."""

    id: str
    key: str
    starts_at: float
    ends_at: float
    outcomes: list[dict[str, Any]]
    """For each item its counts, or why there are none."""
    stopped: dict[int, float] = field(default_factory=dict)


class Store:
    """Jobs and faults of one provider, with the options of `ScriptedProvider`. Safe to use from many threads."""

    def __init__(self, variant: str, *, queue_s: float, run_s: float, clock: Callable[[], float], token: str) -> None:
        self.variant = variant
        self.queue_s = queue_s
        self.run_s = run_s
        self.stop_s = 0.0
        """How long a cancellation takes, in seconds."""
        self.clock = clock
        self.token = token
        self.lock = threading.RLock()
        self.script = FaultScript()
        self.reset()

    def reset(self) -> None:
        """Forget all jobs, faults and counts."""
        with self.lock:
            self.jobs: dict[str, StoredJob] = {}
            self.deleted: list[StoredJob] = []
            self.broken: dict[int, str] = {}
            """The items of every new job that fail, each with its words."""
            self.script.reset()

    def do_late(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something when the provider's clock has gone on so far; nobody hears whether it is refused."""

        def unheard() -> None:
            with contextlib.suppress(Refused):
                act()

        self.script.do_at(self.clock() + seconds, unheard)

    def run_due(self) -> None:
        """Do what is late and due by now; to be called before anything is looked at."""
        with self.lock:
            self.script.run_due(self.clock())

    def create(self, body: Mapping[str, Any], key: str) -> str:
        """A new job, or the one of the same key where the provider deduplicates; its id."""
        with self.lock:
            if self.variant == "deduplicated" and key:
                for job in self.jobs.values():
                    if job.key == key:
                        return job.id
            outcomes = _outcomes(body, self.broken)  # takes a while
            now = self.clock()
            job = StoredJob(
                id=f"r{len(self.jobs) + len(self.deleted) + 1}",
                key="" if self.variant == "opaque" else key,
                starts_at=now + self.queue_s,
                ends_at=now + self.queue_s + self.run_s,
                outcomes=outcomes,
            )
            self.jobs[job.id] = job
            return job.id

    def job(self, job_id: str) -> StoredJob:
        """The job of an id; refuses with 404 if there is none."""
        with self.lock:
            if job_id not in self.jobs:
                raise Refused(404, f"there is no job {job_id}")
            return self.jobs[job_id]

    def stop(self, job: StoredJob, chosen: Sequence[int] | None) -> None:
        """Cancel the chosen items, or all, as far as they are not final; refuses with 409 for a final job."""
        with self.lock:
            if not self.is_live(job):
                raise Refused(409, f"{job.id} is final")
            for index in range(len(job.outcomes)) if chosen is None else chosen:
                if self.item_word(job, index) in {"WAITING", "ACTIVE"}:
                    job.stopped[index] = self.clock() + self.stop_s

    def delete(self, job: StoredJob) -> None:
        """Delete a job, as a person does at the provider's own page: nobody finds it any more."""
        with self.lock:
            self.deleted.append(self.jobs.pop(job.id))

    def retry(self, job: StoredJob) -> None:
        """Queue a final job again, as a person does who presses Retry there; items that are done stay so."""
        with self.lock:
            if self.is_live(job):
                raise Refused(409, f"{job.id} is not final")
            job.stopped.clear()
            job.starts_at = self.clock() + self.queue_s
            job.ends_at = job.starts_at + self.run_s

    def by_a_person(self, what: str) -> None:
        """Do "delete" or "retry" to every job that takes it."""
        for job in list(self.jobs.values()):
            with contextlib.suppress(Refused):
                self.delete(job) if what == "delete" else self.retry(job)

    def item_word(self, job: StoredJob, index: int) -> str:
        """Status of an item."""
        now = self.clock()
        if index in job.stopped:
            return "STOPPED" if now >= job.stopped[index] else "STOPPING"
        if now < job.ends_at:
            return "WAITING" if now < job.starts_at else "ACTIVE"
        return "DONE" if "counts" in job.outcomes[index] else "BROKEN"

    def word(self, job: StoredJob) -> str:
        """Status of a job: that of its least finished item."""
        words = self.item_words(job)
        return next(word for word in _LEAST_FINISHED if word in words)

    def item_words(self, job: StoredJob) -> list[str]:
        """Status of every item."""
        return [self.item_word(job, index) for index in range(len(job.outcomes))]

    def is_live(self, job: StoredJob) -> bool:
        """Whether a job is not final."""
        return self.word(job) in {"WAITING", "ACTIVE", "STOPPING"}

    def shown(self, job: StoredJob) -> dict[str, Any]:
        """A job, as the listing has it."""
        items = []
        for word, outcome in zip(self.item_words(job), job.outcomes, strict=True):
            items.append({"status": word, "message": outcome["error"] if word == "BROKEN" else ""})
        return {"id": job.id, "status": self.word(job), "items": items, "key": job.key or None}

    def results(self, job: StoredJob) -> list[dict[str, Any]]:
        """One entry per item: counts, or why there are none."""
        found = []
        for word, outcome in zip(self.item_words(job), job.outcomes, strict=True):
            found.append(outcome if word in {"DONE", "BROKEN"} else {"error": f"it is {word}"})
        return found

    def listed(self, *, ids: str | None, key: str | None) -> list[dict[str, Any]]:
        """Jobs by their ids, or by their key (None: all that have one)."""
        with self.lock:
            if ids is not None:
                return [self.shown(self.jobs[job_id]) for job_id in ids.split(",") if job_id in self.jobs]
            return [self.shown(job) for job in self.jobs.values() if job.key and key in {None, job.key}]


def _outcomes(body: Mapping[str, Any], broken: Mapping[int, str]) -> list[dict[str, Any]]:
    """What every item of a submission gives; refuses what cannot be run at all."""
    items = []
    try:
        programs = {}
        for name, program in body["programs"].items():
            programs[name] = _read(program["format"], base64.b64decode(program["payload"]))
        for item in body["items"]:
            items.append((programs[item["program"]], dict(item["parameters"]), int(item["shots"])))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(400, f"the body is not as the interface has it: {error!r}") from error
    if not items:
        raise Refused(400, "a job without items")
    if any(not 1 <= shots <= _MAX_SHOTS for _, _, shots in items):
        raise Refused(400, f"an item takes 1 to {_MAX_SHOTS} shots")
    outcomes = []
    for index, (circuit, parameters, shots) in enumerate(items):
        outcomes.append({"error": broken[index]} if index in broken else _run(circuit, parameters, shots))
    return outcomes


def _read(form: str, payload: bytes) -> QuantumCircuit:
    from qiskit import qasm2, qasm3, qpy
    from qiskit.exceptions import QiskitError

    try:
        match form:
            case "openqasm2":
                circuit = qasm2.loads(payload.decode(), custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
            case "openqasm3":
                circuit = qasm3.loads(payload.decode())
            case "qpy":
                (circuit,) = qpy.load(io.BytesIO(payload))
            case _:
                raise Refused(400, f"programs of the format {form} are not taken")
    except QiskitError as error:
        raise Refused(400, f"a program cannot be read: {error}") from error
    if circuit.num_qubits > _MAX_QUBITS:
        raise Refused(400, f"a program has {circuit.num_qubits} qubits and the device {_MAX_QUBITS}")
    return circuit


def _run(circuit: QuantumCircuit, parameters: Mapping[str, float], shots: int) -> dict[str, Any]:
    from qiskit.exceptions import QiskitError

    try:
        bound = circuit.assign_parameters({each: parameters[each.name] for each in circuit.parameters})
        counts = _simulator().run(bound, shots=shots).result().get_counts()
    except (QiskitError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        return {"error": f"it cannot be run: {error!r}"}
    return {"counts": {word.replace(" ", ""): count for word, count in counts.items()}}


@functools.cache
def _simulator() -> Any:
    from qiskit_aer import AerSimulator

    return AerSimulator(max_parallel_threads=1)
