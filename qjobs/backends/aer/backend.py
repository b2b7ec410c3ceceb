"""Aer in worker processes of this one: real simulation without a server or an account.

A job lives as long as the process that made it. Another process that asks about it learns whether that
process still runs; what it did not finish is TERMINATED when it ends, and costs nothing to run again.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence

from qjobs.backends.aer.engine import AerMethod
from qjobs.backends.aer.gates import BASIS_1Q, BASIS_2Q, BASIS_3Q, BASIS_OTHER
from qjobs.backends.aer.job_queue import KEPT_JOBS, JobQueue
from qjobs.backends.aer.jobs import Origin, register
from qjobs.backends.aer.noise import NoiseSpec
from qjobs.backends.aer.tasks import cut
from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    Journal,
    Limits,
    Lookup,
    MissingResult,
    Pricing,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.errors import BackendUnavailable, InvalidInput, ProtocolError, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemSpec, Key, Observable, RemoteId

_MAX_QUBITS = {
    AerMethod.AUTOMATIC: 28,
    AerMethod.STATEVECTOR: 28,
    AerMethod.DENSITY_MATRIX: 14,
    AerMethod.STABILIZER: 1000,
    AerMethod.MATRIX_PRODUCT_STATE: 100,
}
"""A state vector of 28 qubits has 4 GiB, a density matrix of 14 as many."""

_ENDED = "the process that simulated it has ended; run the job again"


class AerBackend:
    """The Aer simulator, as a backend.

    Simulation runs in `n_workers` processes of one thread each, which start with the first job (or
    `warm`) and end with `close`, with this object, or with this process, however that ends. Items are
    cut into chunks of at most 75 consecutive ones, always at the same places, so that a seed gives the
    same counts on any number of workers (of one version of Aer and numpy). A chunk whose worker is killed
    runs again once, alone; after that its items are TERMINATED.

    A second submission with a key that this process knows returns the first job. Results are kept until
    `close`, or until 256 later jobs have finished; those that were read go first, and all but the
    unread ones when they exceed 1 GiB. One object serves a whole process: share it.

    Args:
        device: Name of the simulated device; noise adds a tag to it, so that results of different noise
            are never taken for one another.
        noise: Noise after gates, in measurements and during delays; None for an ideal device.
        method: Simulation method. `automatic` samples plain circuits of up to 16 qubits from the
            exact probabilities (same distribution, several times faster) and leaves others to Aer's choice.
        n_workers: Worker processes; None for as many as there are CPUs to use.
        max_qubits: Widest circuit; None for 28 (state vector), 14 (density matrix), 1000
            (stabilizer) or 100 (matrix product state).
        max_live_jobs: Unfinished jobs at a time.

    Raises:
        InvalidInput: An option is outside its range.
    """

    capabilities = frozenset({Capability.EXACT_EXPVALS})  # chunks of items run together, and end with this process
    settle_s = 0.0
    lookup = Lookup(token_lifetime_s=math.inf, by_key=True)  # within one process
    confirm = Confirmation(absent_times=1, absent_apart_s=0.0)  # the register of a process is never late
    poll_interval_s = (0.02, 0.5)  # a poll costs microseconds

    def __init__(
        self,
        name: str = "aer",
        device: str = "aer_simulator",
        *,
        noise: NoiseSpec | None = None,
        method: AerMethod | str = AerMethod.AUTOMATIC,
        n_workers: int | None = None,
        max_qubits: int | None = None,
        max_items: int = 3000,
        max_shots: int = 1_000_000,
        max_live_jobs: int = 64,
    ) -> None:
        for option, value in (
            ("n_workers", n_workers),
            ("max_qubits", max_qubits),
            ("max_items", max_items),
            ("max_shots", max_shots),
            ("max_live_jobs", max_live_jobs),
        ):
            if value is not None and value < 1:
                raise InvalidInput(f"{option} must be at least 1, not {value}", field=option)
        if max_live_jobs > KEPT_JOBS:
            raise InvalidInput(f"max_live_jobs must be at most {KEPT_JOBS}", field="max_live_jobs")
        try:
            self._method = AerMethod(method)
        except ValueError as error:
            known = ", ".join(AerMethod)
            raise InvalidInput(f"method must be one of {known}, not {method!r}", field="method") from error
        self._noise = None if noise == NoiseSpec() else noise
        self.name = name
        self.device = device if self._noise is None else f"{device}+{self._noise.tag}"
        self._n_workers = n_workers
        self._max_qubits = max_qubits or _MAX_QUBITS[self._method]
        self.limits = Limits(max_items=max_items, max_shots=max_shots, max_live_jobs=max_live_jobs)
        settings = f"device {self.device}, method {self._method}, {self._noise or 'no noise'}"
        self.fingerprint = Fingerprint(place="aer", settings=settings)
        self._open_queue()

    def _open_queue(self) -> None:
        self._queue = JobQueue(self._n_workers)
        self._drain = weakref.finalize(self, self._queue.drain)
        self._drain.atexit = False

    def _own_queue(self) -> JobQueue:
        if self._queue.pid != os.getpid():  # after a fork: the thread and the workers are the parent's
            self._drain.detach()
            self._open_queue()
        return self._queue

    def warm(self) -> None:
        """Start the workers and import Aer in them, in the background. Idempotent; does not wait."""
        self._own_queue().warm()

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Queue a job; waits neither for a simulation nor for a worker to start.

        Raises:
            SubmissionRejected: The batch breaks a limit, lacks a parameter or measures nothing, or the
                backend is closed; there is no job.
        """
        queue = self._own_queue()
        known = register().by_key(self.name, self.device, key)
        if known is not None:
            journal.sending()
            journal.accepted(known.remote_id)
            return
        if queue.is_closed:
            raise SubmissionRejected("this AerBackend is closed; make a new one", detail="closed")
        if problem := self._problem(batch):
            raise SubmissionRejected(f"{self.name} refused the batch: {problem}", detail=problem)
        tasks = list(cut(batch, self._method, self._noise))
        journal.sending()
        job, is_new = register().add(self.name, self.device, key, tasks, queue)
        try:
            journal.accepted(job.remote_id)
        finally:  # it has an id, so it exists, whatever the caller could do with the id
            if is_new:
                queue.add(job)

    def find(self, key: Key) -> RemoteId | None:
        """The job that this process made with `key`."""
        job = register().by_key(self.name, self.device, key)
        return None if job is None else job.remote_id

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        """The present status of jobs of any Aer backend on this machine.

        The answer for a job of another machine is an error: only that machine can tell. Ids of no Aer backend are
        left out.
        """
        found: dict[RemoteId, Answer] = {}
        for remote_id in remote_ids:
            if (job := register().by_id(remote_id)) is not None:
                found[remote_id] = job.snapshot()
            elif (origin := Origin.of(remote_id)) is not None:
                found[remote_id] = _elsewhere(origin) or BackendUnavailable(f"{remote_id}: {_ask_there(origin)}")
        return found

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait until a job of this process is final; `changed` is called then, and not before.

        Returns:
            The status after `timeout_s` seconds at the most; None at once for a job of another process.
        """
        job = register().by_id(remote_id)
        if job is None:
            return None
        is_final = job.wait(timeout_s)
        snapshot = job.snapshot()
        if is_final:
            changed(snapshot)
        return snapshot

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """One entry for each item, in order; also while the job runs.

        Raises:
            ProtocolError: The id is not one of an Aer backend.
        """
        if (job := register().by_id(remote_id)) is not None:
            return job.results(items)
        if (origin := Origin.of(remote_id)) is None:
            raise ProtocolError(f"{remote_id!r} is not a job of an Aer backend; check which backend made it")
        snapshot = _elsewhere(origin)
        why = snapshot.message if snapshot else _ask_there(origin)
        is_over = snapshot is not None and snapshot.status.is_final
        missing = MissingResult(reason=why, permanent=is_over)
        return iter([(index, missing) for index in (range(origin.n_items) if items is None else items)])

    def remote_jobs(self) -> list[RemoteJob]:
        """The jobs of this process."""
        return [
            RemoteJob(remote_id=job.remote_id, key=job.key, n_items=sum(chunk.n_items for chunk in job.chunks))
            for job in register().all(self.name, self.device)
        ]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Cancel what has not started; what runs ends by itself and its results are kept.

        A job of another process is left alone: only that process can stop it.
        """
        if (job := register().by_id(remote_id)) is not None:
            job.owner.cancel(job)

    def target(self) -> Target:
        """The gates that are simulated as they are; no coupling map."""
        wide = () if self._noise else BASIS_3Q
        gates = (*BASIS_1Q, *BASIS_2Q, *wide, *BASIS_OTHER)
        return Target(name=self.device, n_qubits=self._max_qubits, basis_gates=gates)

    def estimate(self, batch: Batch) -> float:
        """Simulating here costs nothing."""
        return 0.0

    @property
    def pricing(self) -> Pricing:
        """It is free."""
        return Pricing(unit="", words="free: this machine simulates")

    def link(self, remote_id: RemoteId) -> None:
        """There are no pages of jobs."""

    def close(self) -> None:
        """End the workers; what had not finished is TERMINATED, and results are gone. Idempotent."""
        self._drain.detach()
        if self._queue.pid == os.getpid():
            self._queue.close()

    def __enter__(self) -> AerBackend:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _problem(self, batch: Batch) -> str:
        """What is wrong with a batch, in words; empty if nothing is."""
        limit = self.limits.max_items or 0
        if not batch.items:
            return "the batch has no items"
        if len(batch.items) > limit:
            return f"the batch has {len(batch.items)} items; at most {limit} fit a job"
        if problem := _observables_problem(batch):
            return problem
        checked: set[tuple[str, tuple[str, ...]]] = set()
        for index, item in enumerate(batch.items):
            names = tuple(name for name, _ in item.parameters)
            problem = ""
            if (item.program, names) not in checked:
                problem = self._program_problem(item, batch, names)
                checked.add((item.program, names))
            if not problem:
                problem = self._item_problem(item, bool(batch.options.observables))
            if problem:
                return f"item {index} ({item.label!r}) {problem}"
        return ""

    def _widest(self, batch: Batch) -> int:
        noisy = self._noise is not None and self._noise.on_gates
        if batch.options.observables and noisy:
            return min(self._max_qubits, _MAX_QUBITS[AerMethod.DENSITY_MATRIX])
        return self._max_qubits

    def _program_problem(self, item: ItemSpec, batch: Batch, names: tuple[str, ...]) -> str:
        program = batch.programs.get(item.program)
        if program is None:
            return f"names the program {item.program}, which is not in the batch"
        if program.n_qubits > (widest := self._widest(batch)):
            return f"has {program.n_qubits} qubits; at most {widest} are simulated"
        if missing := sorted(set(program.parameters) - set(names)):
            return f"has unbound parameters: {', '.join(missing)}"
        if unknown := sorted(set(names) - set(program.parameters)):
            return f"binds parameters that its circuit does not have: {', '.join(unknown)}"
        if not program.measured and not batch.options.observables:
            return "measures nothing; add measurements or ask for observables"
        return ""

    def _item_problem(self, item: ItemSpec, exact: bool) -> str:
        limit = self.limits.max_shots or 0
        if not exact and not 1 <= item.shots <= limit:
            return f"asks for {item.shots} shots; from 1 to {limit} are simulated"
        if bad := [name for name, value in item.parameters if not math.isfinite(value)]:
            return f"binds {bad[0]} to a value that is not finite"
        return ""


def _observables_problem(batch: Batch) -> str:
    observables = batch.options.observables
    names = [observable.name for observable in observables]
    if len(set(names)) != len(names):
        return "two observables have the same name"
    widths = {program.n_qubits for program in batch.programs.values()} if observables else set()
    for observable in observables:
        if problem := _terms_problem(observable, widths):
            return f"observable {observable.name!r} {problem}"
    return ""


def _terms_problem(observable: Observable, widths: set[int]) -> str:
    if not observable.terms:
        return "has no terms"
    for pauli, value in observable.terms:
        if set(pauli) - set("IXYZ"):
            return f"has the term {pauli!r}; a Pauli string is made of I, X, Y and Z"
        if widths - {len(pauli)}:
            wrong = min(widths - {len(pauli)})
            return f"has the term {pauli!r} of {len(pauli)} letters for a circuit of {wrong} qubits"
        if not math.isfinite(value):
            return f"has a coefficient of {pauli!r} that is not finite"
    return ""


def _elsewhere(origin: Origin) -> Snapshot | None:
    """What can be said of a job that another process made; None where only another machine can tell."""
    if not origin.is_this_host:
        return None
    if origin.pid != os.getpid() and origin.is_alive:
        where = f"runs in process {origin.pid} on {origin.host}, which alone can return its results"
        return Snapshot(status=JobStatus.RUNNING, remote_status="ELSEWHERE", message=where)
    return Snapshot(status=JobStatus.TERMINATED, remote_status="ENDED", message=_ENDED)


def _ask_there(origin: Origin) -> str:
    return f"it ran on {origin.host}; ask there"
