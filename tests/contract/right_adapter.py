"""A small adapter that keeps the contract, for wrong ones to be made of."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from qiskit.quantum_info import Pauli, Statevector
from qiskit_aer import AerSimulator

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    ItemSnapshot,
    Journal,
    Limits,
    LiveJob,
    Lookup,
    MissingResult,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.circuits.programs import bind
from qjobs.errors import ProtocolError, SubmissionRejected
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import Batch, ItemResult, ItemSpec, JobKind, Key, ProgramHash, RemoteId

BAD_SHOTS = 13
BAD_LABEL = "item 1"
SIMULATOR = AerSimulator(max_parallel_threads=1)


class Job:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.polls_left = 2
        self.cancelled: set[int] = set()
        self.results: list[Result] = []


class RightAdapter:
    """Each job takes two polls, in this thread; an item of `BAD_SHOTS` named `BAD_LABEL` fails."""

    name = "right"
    device = "fake"
    settle_s = 0.0
    poll_interval_s = (0.0001, 0.1)
    limits = Limits(max_items=100, max_shots=10_000)
    lookup = Lookup(token_lifetime_s=math.inf, by_key=True)
    confirm = Confirmation()
    capabilities = frozenset({Capability.EXACT_EXPVALS, Capability.CANCEL_ITEMS, Capability.COMPILE})

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.jobs: dict[RemoteId, Job] = {}
        self.keys: dict[Key, RemoteId] = {}
        self.refused: set[RemoteId] = set()
        self.lock = threading.RLock()

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(place="here", settings=f"noise {self.noise}")

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        journal.preparing()
        if problem := self.problem(batch):
            raise SubmissionRejected("refused", detail=problem)
        journal.sending()
        journal.accepted(self.create(batch, key))

    def create(self, batch: Batch, key: Key) -> RemoteId:
        with self.lock:
            if key not in self.keys:
                self.keys[key] = RemoteId(f"job-{len(self.jobs)}")
                self.jobs[self.keys[key]] = Job(batch)
            return self.keys[key]

    def problem(self, batch: Batch) -> str:
        return "shots" if any(item.shots > 10_000 for item in batch.items) else ""

    def find(self, key: Key) -> RemoteId | None:
        return self.keys.get(key)

    def live_jobs(self) -> list[LiveJob]:
        with self.lock:
            return [LiveJob(remote_id=each) for each, job in self.jobs.items() if self.is_live(job)]

    def is_live(self, job: Job) -> bool:
        return not job.results and len(job.cancelled) < len(job.batch.items)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        with self.lock:
            return {each: self.answer(each) for each in remote_ids if each in self.jobs}

    def answer(self, remote_id: RemoteId) -> Answer:
        if remote_id in self.refused:
            return ProtocolError("not for you", code=403)
        return self.poll(self.jobs[remote_id])

    def poll(self, job: Job) -> Snapshot:
        """Items that were cancelled are so at once; the others run for two polls."""
        if job.polls_left:
            job.polls_left -= 1
        elif not job.results:
            job.results = [self.result(job, index) for index, _ in enumerate(job.batch.items)]
        items = tuple(self.item(job, index) for index, _ in enumerate(job.batch.items))
        status = roll_up(item.status for item in items)
        return Snapshot(status=status, remote_status=status.value, items=items)

    def item(self, job: Job, index: int) -> ItemSnapshot:
        if index in job.cancelled:
            return ItemSnapshot(status=JobStatus.CANCELLED, message="cancelled")
        if not job.results:
            return ItemSnapshot(status=JobStatus.RUNNING)
        result = job.results[index]
        if isinstance(result, MissingResult):
            return ItemSnapshot(status=JobStatus.ERROR, message=result.reason)
        return ItemSnapshot(status=JobStatus.COMPLETED)

    def result(self, job: Job, index: int) -> Result:
        if index in job.cancelled:
            return MissingResult(reason="cancelled")
        return self.simulate(job, job.batch.items[index])

    def simulate(self, job: Job, item: ItemSpec) -> Result:
        if item.shots == BAD_SHOTS and item.label == BAD_LABEL:
            return MissingResult(reason="a cosmic ray")
        if job.batch.kind is JobKind.COMPILE:
            given = job.batch.programs[item.program]
            return ItemResult(program=replace(given, hash=ProgramHash("compiled"), payload=b"compiled"))
        circuit = bind(job.batch.programs[item.program], dict(item.parameters))
        options = job.batch.options
        if options.observables:
            state = Statevector(circuit.remove_final_measurements(inplace=False))
            expvals = {}
            for observable in options.observables:
                terms = [factor * state.expectation_value(Pauli(pauli)).real for pauli, factor in observable.terms]
                expvals[observable.name] = sum(terms)
            return ItemResult(expvals=expvals)
        seed = None if options.seed is None else options.seed + 1000 * job.batch.items.index(item)
        counts = SIMULATOR.run(circuit, shots=item.shots, seed_simulator=seed).result().get_counts()
        return ItemResult(counts={word.replace(" ", ""): count for word, count in counts.items()})

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        found = self.entries(remote_id, items)
        for position in range(len(found)) if items is None else items:
            yield position, found[position]

    def entries(self, remote_id: RemoteId, items: Sequence[int] | None) -> list[Result]:
        if remote_id not in self.jobs:
            return [MissingResult(reason="it is gone", permanent=True)] * (max(items or (0,)) + 1)
        job = self.jobs[remote_id]
        return job.results or [MissingResult(reason="it runs") for _ in job.batch.items]

    def remote_jobs(self) -> list[RemoteJob] | None:
        return [RemoteJob(remote_id=remote_id, key=key) for key, remote_id in self.keys.items()]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        job = self.jobs[remote_id]
        if not job.results:
            job.cancelled |= set(range(len(job.batch.items)) if items is None else items)

    def estimate(self, batch: Batch) -> float | None:
        return 1.0 * len(batch.items)

    def target(self) -> Target:
        return Target(name=self.device)

    def link(self, remote_id: RemoteId) -> str | None:
        return f"http://right.test/{remote_id}"

    def close(self) -> None:
        pass
