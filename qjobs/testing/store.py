"""What the scripted provider remembers, and how it runs circuits. Nothing of the adapters is used here."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qjobs.testing.faults import Fault

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Refused", "RemoteJob", "Store"]

MAX_SHOTS = 10_000
_MAX_QUBITS = 12


class Refused(Exception):
    """A request that the provider does not take: an HTTP code and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(slots=True)
class RemoteJob:
    """A job at the provider; the times are those of its clock, in seconds."""

    id: str
    key: str
    items: list[dict[str, Any]]
    made_at: float
    starts_at: float
    ends_at: float
    outcomes: list[dict[str, Any]]
    stopped: dict[int, float] = field(default_factory=dict)


class Store:
    """Jobs, rules and counters of one provider.

    Args:
        variant: "deduplicated", "findable" or "opaque".
        queue_s: How long a new job waits, in seconds.
        run_s: How long it then runs, in seconds.
        clock: The provider's clock.
        token: What requests must carry; empty for nothing.
    """

    def __init__(self, variant: str, *, queue_s: float, run_s: float, clock: Callable[[], float], token: str) -> None:
        self.variant, self.queue_s, self.run_s, self.clock, self.token = variant, queue_s, run_s, clock, token
        self.stop_s = 0.0
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget all jobs, rules and counts."""
        with self.lock:
            self.jobs: dict[str, RemoteJob] = {}
            self.asked: Counter[str] = Counter()
            self.broken: dict[int, str] = {}
            self._rules: list[tuple[Fault, list[int]]] = []
            self._pending: list[tuple[float, Callable[[], object]]] = []

    def inject(self, faults: Sequence[Fault]) -> None:
        """Have these faults from now on, instead of the earlier ones."""
        with self.lock:
            self._rules = [(fault, [0]) for fault in faults]

    def rule_for(self, route: str) -> Fault | None:
        """Count a request, and say what goes wrong with it."""
        with self.lock:
            self.asked[route] += 1
            due = None
            for fault, seen in self._rules:
                if fault.route == route:
                    seen[0] += 1
                    if due is None and fault.skip < seen[0] <= fault.skip + fault.times:
                        due = fault
            return due

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something when the provider's clock has gone on so far; nobody can tell it from doing it then."""
        with self.lock:
            self._pending.append((self.clock() + seconds, act))

    def settle(self) -> None:
        """Do what is due; to be called before anything is looked at."""
        with self.lock:
            due = [act for at, act in self._pending if at <= self.clock()]
            self._pending = [(at, act) for at, act in self._pending if at > self.clock()]
            for act in due:
                with contextlib.suppress(Refused):  # nobody is there to hear it
                    act()

    def create(self, body: Mapping[str, Any], key: str) -> str:
        """A new job, or the one of the same key where the provider deduplicates; its id."""
        with self.lock:
            if self.variant == "deduplicated" and key:
                for job in self.jobs.values():
                    if job.key == key:
                        return job.id
            outcomes = _outcomes(body, self.broken)
            job_id, now = f"r{len(self.jobs) + 1}", self.clock()
            starts_at = now + self.queue_s
            kept = "" if self.variant == "opaque" else key
            self.jobs[job_id] = RemoteJob(job_id, kept, body["items"], now, starts_at, starts_at + self.run_s, outcomes)
            return job_id

    def job(self, job_id: str) -> RemoteJob:
        """The job of an id."""
        with self.lock:
            if job_id not in self.jobs:
                raise Refused(404, f"there is no job {job_id}")
            return self.jobs[job_id]

    def stop(self, job: RemoteJob, chosen: Sequence[int] | None) -> None:
        """Cancel what is not final; confirmed after `stop_s`."""
        with self.lock:
            if self.word(job) in {"DONE", "STOPPED", "BROKEN"}:
                raise Refused(409, f"{job.id} is final")
            for index in range(len(job.items)) if chosen is None else chosen:
                if self.item_word(job, index) in {"WAITING", "ACTIVE"}:
                    job.stopped[index] = self.clock() + self.stop_s

    def item_word(self, job: RemoteJob, index: int) -> str:
        """Status of an item."""
        now = self.clock()
        if index in job.stopped:
            return "STOPPED" if now >= job.stopped[index] else "STOPPING"
        if now < job.ends_at:
            return "WAITING" if now < job.starts_at else "ACTIVE"
        return "DONE" if "counts" in job.outcomes[index] else "BROKEN"

    def word(self, job: RemoteJob) -> str:
        """Status of a job: that of its least finished item."""
        words = {self.item_word(job, index) for index in range(len(job.items))}
        return next(w for w in ("ACTIVE", "STOPPING", "WAITING", "BROKEN", "STOPPED", "DONE") if w in words)

    def shown(self, job: RemoteJob) -> dict[str, Any]:
        """A job, as the listing has it."""
        items = []
        for index, outcome in enumerate(job.outcomes):
            word = self.item_word(job, index)
            items.append({"status": word, "message": outcome["error"] if word == "BROKEN" else ""})
        return {"id": job.id, "status": self.word(job), "items": items, "key": job.key or None}

    def results(self, job: RemoteJob) -> list[dict[str, Any]]:
        """One entry per item: counts, or why there are none."""
        words = [self.item_word(job, index) for index in range(len(job.items))]
        final = {"DONE", "BROKEN"}
        return [
            outcome if word in final else {"error": f"it is {word}"}
            for word, outcome in zip(words, job.outcomes, strict=True)
        ]

    def listed(self, *, ids: str | None, key: str | None) -> list[dict[str, Any]]:
        """Jobs by their ids, or by their key (None: all that have one)."""
        with self.lock:
            if ids is not None:
                return [self.shown(self.jobs[job_id]) for job_id in ids.split(",") if job_id in self.jobs]
            return [self.shown(job) for job in self.jobs.values() if job.key and key in {None, job.key}]


def _outcomes(body: Mapping[str, Any], broken: Mapping[int, str]) -> list[dict[str, Any]]:
    """What every item of a submission gives; refuses what cannot be run at all."""
    try:
        programs = {
            name: _read(each["format"], base64.b64decode(each["payload"])) for name, each in body["programs"].items()
        }
        items = [(programs[item["program"]], dict(item["parameters"]), int(item["shots"])) for item in body["items"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(400, f"the body is not as the interface has it: {error!r}") from error
    if not items:
        raise Refused(400, "a job without items")
    if any(not 1 <= shots <= MAX_SHOTS for _, _, shots in items):
        raise Refused(400, f"an item takes 1 to {MAX_SHOTS} shots")
    return [
        {"error": broken[index]} if index in broken else _run(circuit, parameters, shots)
        for index, (circuit, parameters, shots) in enumerate(items)
    ]


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
        values = {each: parameters[each.name] for each in circuit.parameters}
        bound = circuit.assign_parameters(values)
        counts = _simulator().run(bound, shots=shots).result().get_counts()
    except (QiskitError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        return {"error": f"it cannot be run: {error!r}"}
    return {"counts": {word.replace(" ", ""): count for word, count in counts.items()}}


@functools.cache
def _simulator() -> Any:
    from qiskit_aer import AerSimulator

    return AerSimulator(max_parallel_threads=1)
