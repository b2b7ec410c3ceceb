"""A small adapter that keeps the contract, for wrong ones to be made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from qiskit.quantum_info import Pauli, Statevector
from qiskit_aer import AerSimulator

from qjobs.backends.base import ItemSnapshot, Limits, LostReply, MissingResult, RemoteJob, Snapshot, Target, nothing
from qjobs.circuits.programs import bind
from qjobs.errors import SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, ItemSpec, Key, RemoteId

BAD_SHOTS = 13
BAD_LABEL = "item 1"
SIMULATOR = AerSimulator(max_parallel_threads=1)


class Job:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.polls_left = 2
        self.cancelled = False
        self.results: list[ItemResult | MissingResult] = []


class RightAdapter:
    """Each job takes two polls, in this thread; an item of `BAD_SHOTS` named `BAD_LABEL` fails."""

    name = "right"
    device = "fake"
    exact_expvals = True
    cancels_items = False
    compiles = False
    outlives_us = False
    settle_s = 0.0
    poll_interval_s = (0.0001, 0.1)
    limits = Limits(max_items=100, max_shots=10_000)
    lost_reply = LostReply.DEDUPLICATED

    def __init__(self) -> None:
        self.jobs: dict[RemoteId, Job] = {}
        self.keys: dict[Key, RemoteId] = {}
        self.lock = threading.RLock()

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        with self.lock:
            if problem := self.problem(batch):
                raise SubmissionRejected("refused", detail=problem)
            sending()
            if key not in self.keys:
                self.keys[key] = RemoteId(f"job-{len(self.jobs)}")
                self.jobs[self.keys[key]] = Job(batch)
        created(self.keys[key])

    def problem(self, batch: Batch) -> str:
        return "shots" if any(item.shots > 10_000 for item in batch.items) else ""

    def find(self, key: Key) -> RemoteId | None:
        return self.keys.get(key)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        with self.lock:
            return {each: self.poll(self.jobs[each]) for each in remote_ids if each in self.jobs}

    def poll(self, job: Job) -> Snapshot:
        if job.polls_left:
            job.polls_left -= 1
            return Snapshot(status=JobStatus.RUNNING, remote_status="RUNNING")
        if not job.results:
            job.results = [self.simulate(job, item) for item in job.batch.items]
        items = []
        status = JobStatus.COMPLETED
        for result in job.results:
            if isinstance(result, ItemResult):
                items.append(ItemSnapshot(status=JobStatus.COMPLETED))
            else:
                status = JobStatus.CANCELLED if job.cancelled else JobStatus.ERROR
                items.append(ItemSnapshot(status=status, message=result.reason))
        return Snapshot(status=status, remote_status=status.value, items=tuple(items))

    def simulate(self, job: Job, item: ItemSpec) -> ItemResult | MissingResult:
        if job.cancelled:
            return MissingResult(reason="cancelled")
        if item.shots == BAD_SHOTS and item.label == BAD_LABEL:
            return MissingResult(reason="a cosmic ray")
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

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        job = self.jobs[remote_id]
        return list(job.results) or [MissingResult(reason="it runs") for _ in job.batch.items]

    def remote_jobs(self) -> list[RemoteJob]:
        return [RemoteJob(remote_id=remote_id, key=key) for key, remote_id in self.keys.items()]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        if not self.jobs[remote_id].results:
            self.jobs[remote_id].cancelled = True

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass
