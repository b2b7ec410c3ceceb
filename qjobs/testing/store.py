"""What the scripted provider remembers, and how it runs circuits. It uses nothing of the adapters."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qjobs.testing.faults import FaultScript

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Habits", "Refused", "Store", "StoredJob"]

_MAX_SHOTS = 10_000
_MAX_QUBITS = 12
_LEAST_FINISHED = ("ACTIVE", "STOPPING", "WAITING", "BROKEN", "STOPPED", "DONE")


class Refused(Exception):
    """A request that the provider does not take: an HTTP code and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Habits:
    """What becomes of new jobs, as far as it is out of the ordinary; all but the last by positions of items."""

    broken: dict[int, str] = field(default_factory=dict)
    """Items that fail, each with its words."""
    details: dict[int, str] = field(default_factory=dict)
    """What more is said of items that fail."""
    withheld: dict[int, str] = field(default_factory=dict)
    """Items that are done and whose results never come (410), each with its words."""
    stuck: set[int] = field(default_factory=set)
    """Items that stay ACTIVE in a job that is final."""
    requeues: int = 0
    """How often a job that was BROKEN or STOPPED is queued again by the provider itself."""
    requeue_s: float = 0.0
    """How long after that, in seconds."""


@dataclass(slots=True, kw_only=True)
class StoredJob:
    """A job at the provider; the times are those of its clock, in seconds."""

    id: str
    key: str
    starts_at: float
    ends_at: float
    outcomes: list[dict[str, Any]]
    """For each item its counts, or why there are none."""
    habits: Habits
    is_open: bool = False
    """Whether it is made in steps and was not finalised; it never runs."""
    requeued: int = 0
    stopped: dict[int, float] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    """Items that were done before the job was queued again."""
    is_forgotten: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    """Codes by which requests about this job alone are refused, by route."""
    refuses_lists: bool = False
    """Whether a refused status refuses the whole list, and not only the entry in it."""


class Store:
    """Jobs and faults of one provider, with the options of `ScriptedProvider`. Safe to use from many threads."""

    def __init__(self, variant: str, *, queue_s: float, run_s: float, clock: Callable[[], float], token: str) -> None:
        self.variant = variant
        self.queue_s = queue_s
        self.run_s = run_s
        self.stop_s = 0.0
        """How long a cancellation takes, in seconds."""
        self.results_late_s = 0.0
        """How long after an item its result follows, in seconds."""
        self.results_kept_s: float | None = None
        """How long a result is kept after its job has ended; 0 for a device that gives none, None for ever."""
        self.list_items = True
        """Whether lists tell the items of jobs; the job itself always does."""
        self.page_size = 1000
        self.clock = clock
        self.token = token
        self.lock = threading.RLock()
        self.script = FaultScript()
        self.reset()

    def reset(self) -> None:
        """Forget all jobs, faults and counts."""
        with self.lock:
            self.jobs: dict[str, StoredJob] = {}
            self.habits = Habits()
            self.script.reset()

    @property
    def broken(self) -> dict[int, str]:
        """The items of every new job that fail, each with its words."""
        return self.habits.broken

    @broken.setter
    def broken(self, broken: dict[int, str]) -> None:
        self.habits.broken = broken

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
            for job in self.jobs.values():
                self._requeue(job)

    def _requeue(self, job: StoredJob) -> None:
        """Queue a job again by itself, as far as its habits say; in the moments when that was to be done."""
        while job.requeued < job.habits.requeues and self.word(job) in {"BROKEN", "STOPPED"}:
            moment = max([*job.stopped.values(), 0.0 if self._all_stopped(job) else job.ends_at])
            if self.clock() < moment + job.habits.requeue_s:
                return
            job.requeued += 1
            self._queue_again(job, moment + job.habits.requeue_s, heals=job.requeued == job.habits.requeues)

    def _all_stopped(self, job: StoredJob) -> bool:
        return all(index in job.stopped or index in job.kept for index in range(len(job.outcomes)))

    def _queue_again(self, job: StoredJob, moment: float, *, heals: bool) -> None:
        job.kept |= {index for index in range(len(job.outcomes)) if self.item_word(job, index) == "DONE"}
        job.stopped.clear()
        if heals:
            job.habits.broken.clear()
        job.starts_at = moment + self.queue_s
        job.ends_at = job.starts_at + self.run_s

    def revive(self, job_id: str) -> None:
        """Queue a final job again, as somebody does who presses Retry at the provider; what failed will do now."""
        with self.lock:
            job = self._any(job_id)
            if self.is_live(job) or job.is_open:
                raise Refused(409, f"{job_id} is not final")
            self._queue_again(job, self.clock(), heals=True)

    def forget(self, job_id: str, *, forgotten: bool = True) -> None:
        """Know a job no longer, or know it again; it goes on all the same."""
        with self.lock:
            self._any(job_id).is_forgotten = forgotten

    def refuse(self, job_id: str, codes: Mapping[str, int], *, lists: bool = False) -> None:
        """Refuse requests about one job, by route ("status", "results", "cancel"), instead of what was before.

        A status is refused in the job's entry of a list; with `lists`, the whole list is.
        """
        with self.lock:
            job = self._any(job_id)
            job.refused = dict(codes)
            job.refuses_lists = lists

    def create(self, body: Mapping[str, Any], key: str) -> str:
        """A new job, or the one of the same key where the provider deduplicates; its id."""
        with self.lock:
            if self.variant == "deduplicated" and key:
                for job in self.jobs.values():
                    if job.key == key:
                        return job.id
            outcomes = outcomes_of(body)  # takes a while
            if not outcomes:
                raise Refused(400, "a job without items")
            return self._new(outcomes, key=key).id

    def _new(self, outcomes: list[dict[str, Any]], *, key: str = "", is_open: bool = False) -> StoredJob:
        now = self.clock()
        job = StoredJob(
            id=f"r{len(self.jobs) + 1}",
            key="" if self.variant == "opaque" else key,
            starts_at=now + self.queue_s,
            ends_at=now + self.queue_s + self.run_s,
            outcomes=outcomes,
            habits=copy.deepcopy(self.habits),
            is_open=is_open,
        )
        self.jobs[job.id] = job
        return job

    def init(self) -> str:
        """The id of a job in steps, which has no items yet and does not run."""
        with self.lock:
            return self._new([], is_open=True).id

    def add(self, job_id: str, body: Mapping[str, Any]) -> None:
        """Add items to a job in steps; the last ones let it run."""
        with self.lock:
            job = self.job(job_id)
            if not job.is_open:
                raise Refused(409, f"{job_id} is final, or runs")
            outcomes = outcomes_of(body)
            if body.get("final") and not job.outcomes + outcomes:
                raise Refused(400, "a job without items")
            job.outcomes += outcomes
            if body.get("final"):
                job.is_open = False
                job.starts_at = self.clock() + self.queue_s
                job.ends_at = job.starts_at + self.run_s

    def abandon(self, job_id: str) -> None:
        """Delete a job in steps that was not finalised."""
        with self.lock:
            job = self.job(job_id)
            if not job.is_open:
                raise Refused(409, f"{job_id} has run, or runs")
            self._end_open(job)
            job.is_forgotten = True

    def _end_open(self, job: StoredJob) -> None:
        job.is_open = False
        job.stopped = dict.fromkeys(range(len(job.outcomes)), self.clock())

    def job(self, job_id: str, route: str = "") -> StoredJob:
        """The job of an id; refuses with 404 if there is none, and as the job itself is refused on a route."""
        with self.lock:
            job = self.jobs.get(job_id)
            if job is None or job.is_forgotten:
                raise Refused(404, f"there is no job {job_id}")
            if route in job.refused:
                raise Refused(job.refused[route], f"{route} of {job_id} is not for you")
            return job

    def _any(self, job_id: str) -> StoredJob:
        """The job of an id, a forgotten one too."""
        if job_id not in self.jobs:
            raise Refused(404, f"there never was a job {job_id}")
        return self.jobs[job_id]

    def stop(self, job: StoredJob, chosen: Sequence[int] | None) -> None:
        """Cancel the chosen items, or all, as far as they are not final; refuses with 409 for a final job."""
        with self.lock:
            if not self.is_live(job) and not job.is_open:
                raise Refused(409, f"{job.id} is final")
            if job.is_open:
                self._end_open(job)
            for index in range(len(job.outcomes)) if chosen is None else chosen:
                if self.item_word(job, index) in {"WAITING", "ACTIVE"}:
                    job.stopped[index] = self.clock() + self.stop_s

    def item_word(self, job: StoredJob, index: int) -> str:
        """Status of an item."""
        now = self.clock()
        if job.is_open:
            return "OPEN"
        if index in job.kept:
            return "DONE"
        if index in job.stopped:
            return "STOPPED" if now >= job.stopped[index] else "STOPPING"
        if now < job.ends_at:
            return "WAITING" if now < job.starts_at else "ACTIVE"
        if index in job.habits.stuck:
            return "ACTIVE"
        is_done = "counts" in job.outcomes[index] and index not in job.habits.broken
        return "DONE" if is_done else "BROKEN"

    def word(self, job: StoredJob) -> str:
        """Status of a job: that of its least finished item, those apart that are stuck."""
        words = self.item_words(job)
        if job.is_open:
            return "OPEN"
        if self.clock() >= job.ends_at:
            moving = [word for index, word in enumerate(words) if index not in job.habits.stuck]
            words = moving or ["DONE" for _ in words[:1]]
        return next((word for word in _LEAST_FINISHED if word in words), "STOPPED")

    def item_words(self, job: StoredJob) -> list[str]:
        """Status of every item."""
        return [self.item_word(job, index) for index in range(len(job.outcomes))]

    def is_live(self, job: StoredJob) -> bool:
        """Whether a job runs, or will run."""
        return self.word(job) in {"WAITING", "ACTIVE", "STOPPING"}

    def shown(self, job: StoredJob, *, in_list: bool = False) -> dict[str, Any]:
        """A job, as it is shown alone or in a list."""
        if in_list and "status" in job.refused:
            return {"id": job.id, "error": {"code": job.refused["status"], "message": f"{job.id} is not for you"}}
        found: dict[str, Any] = {"id": job.id, "status": self.word(job), "key": job.key or None}
        if self.list_items or not in_list:
            items = []
            for index, word in enumerate(self.item_words(job)):
                words = self._why(job, index) if word == "BROKEN" else ""
                item = {"status": word, "message": words}
                if word == "BROKEN" and index in job.habits.details:
                    item["detail"] = job.habits.details[index]
                items.append(item)
            found["items"] = items
        return found

    def _why(self, job: StoredJob, index: int) -> str:
        return job.habits.broken.get(index) or str(job.outcomes[index].get("error", ""))

    def results(self, job: StoredJob, chosen: str | None = None) -> list[dict[str, Any]]:
        """One entry per item, or per chosen item ("0,3"): counts, or why there are none."""
        found = []
        for index in range(len(job.outcomes)) if chosen is None else map(int, chosen.split(",")):
            if 0 <= index < len(job.outcomes):
                found.append({"item": index, **self._result(job, index)})
            else:
                found.append({"item": index, "error": f"{job.id} has no such item"})
        return found

    def _result(self, job: StoredJob, index: int) -> dict[str, Any]:
        now = self.clock()
        match self.item_word(job, index):
            case "DONE":
                if index in job.habits.withheld:
                    return {"gone": job.habits.withheld[index]}
                if self.results_kept_s == 0:
                    return {"gone": "this device gives no results"}
                if self.results_kept_s is not None and now >= job.ends_at + self.results_kept_s:
                    return {"gone": f"results are kept for {self.results_kept_s:g} s"}
                if now < job.ends_at + self.results_late_s:
                    return {"error": "its result is not there yet"}
                return job.outcomes[index]
            case "BROKEN":
                return {"error": self._why(job, index)}
            case word:
                return {"error": f"it is {word}"}

    def listed(self, *, ids: str | None, key: str | None) -> list[dict[str, Any]]:
        """Jobs by their ids, or by their key (None: all that have one)."""
        with self.lock:
            jobs = [job for job in self.jobs.values() if not job.is_forgotten]
            if ids is None:
                return [self.shown(job, in_list=True) for job in jobs if job.key and key in {None, job.key}]
            wanted = ids.split(",")
            chosen = [job for job in jobs if job.id in wanted]
            for job in chosen:
                if job.refuses_lists and "status" in job.refused:
                    raise Refused(job.refused["status"], f"{job.id} is not for you")
            return [self.shown(job, in_list=True) for job in sorted(chosen, key=lambda job: wanted.index(job.id))]

    def page(self, name: str, entries: list[dict[str, Any]], after: str | None) -> dict[str, Any]:
        """The page of a list that begins after so many entries."""
        start = int(after) if after is not None and after.isdecimal() else 0
        end = start + self.page_size
        body: dict[str, Any] = {name: entries[start:end]}
        if end < len(entries):
            body["next"] = str(end)
        return body


def outcomes_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
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
    if any(not 1 <= shots <= _MAX_SHOTS for _, _, shots in items):
        raise Refused(400, f"an item takes 1 to {_MAX_SHOTS} shots")
    return [_run(circuit, parameters, shots) for circuit, parameters, shots in items]


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
