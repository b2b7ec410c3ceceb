"""The batches of a program that asks for circuits as it goes: each follows from the results of the one before.

Such a program is not ours, and keeps its state in its own memory. It is entered again from the top, with the same seed,
and asks for the same batches again. A batch is known by its number and its content: the one that the ledger has is
answered by its jobs, and one that differs from it is refused, because sending it would pay for the same step twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qjobs.backends.base import Backend, Capability
from qjobs.compiling.compiler import CompileOn, CompileOptions, Compiler
from qjobs.errors import BackendUnavailable, InvalidInput, LedgerError, StaleJob
from qjobs.experiments.forms import RetryInput
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.ledger.planning import Seen
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    ExecuteOptions,
    ItemSpec,
    Job,
    JobId,
    JobKind,
    Observable,
    Program,
    RemoteRetryStrategy,
)
from qjobs.operations.execute import Stages, ToSubmit, finish, sort_failures, that_fit
from qjobs.operations.plan import newest_left_behind, plan
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy

__all__ = ["LabelledCircuit", "ProgramBatches", "interrupted_program"]

logger = logging.getLogger(__name__)

_NUMBER = "program_batch"
_CONTENT = "program_batch_content"
"""Properties of a job: the number of its batch, and the hash of what the batch asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCircuit:
    """A circuit that a program asks for: the label under which it wants the result, and the shots."""

    label: str
    circuit: Program
    shots: int


class ProgramBatches:
    """The batches of one logical run of a program, in the order in which it asks for them.

    `backend` is the name that `stages` know it by, and that opens it again. `run` is who enters the program now (a flow
    run's id), `logical_run` the name under which the same program finds its batches again. `options` say how circuits
    are compiled, and `compile_on` where. The strategy of `retries` is left aside: what a program asks for is never sent
    twice. One program at a time asks; batches that are asked for side by side have no order that could be found again.
    """

    def __init__(
        self,
        ledger: Ledger,
        stages: Stages,
        backend: str,
        *,
        run: str,
        logical_run: str,
        experiment: str,
        options: CompileOptions,
        retries: RetryInput,
        compile_on: CompileOn = CompileOn.AUTO,
    ) -> None:
        if options.compiler is Compiler.REMOTE:
            raise InvalidInput(
                "circuits of a program are compiled here; set the compiler to qiskit, tket or none", field="compiler"
            )
        self._ledger = ledger
        self._stages = stages
        self._name = backend
        self._run = run
        self._logical_run = logical_run
        self._experiment = experiment
        self._options = options
        self._compile_on = compile_on
        self._policy = RetryPolicy.from_form(retries, self.backend.lookup)
        self._lock = threading.Lock()
        self._number = 0
        self._recorded: dict[int, list[Job]] | None = None
        self._died: set[JobId] = set()

    @property
    def backend(self) -> Backend:
        """Where the batches run."""
        return self._stages.backend(self._name)

    @property
    def definition(self) -> str:
        """What all jobs of the run have in common."""
        text = json.dumps(["qjobs-program-1", self._logical_run, self._options.as_json()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plan(
        self, circuits: Sequence[LabelledCircuit], *, seed: int | None = None, observables: Sequence[Observable] = ()
    ) -> tuple[JobId, ...]:
        """The jobs of the next batch: those that the ledger has of it, else new ones. Sends nothing.

        `seed` makes a simulator repeatable; each batch draws numbers of its own from it. With `observables` the results
        are their exact expectation values instead of counts.

        Raises:
            InvalidInput: It cannot be run; or the ledger has another batch of this number, or has it of another
                backend or configuration. Nothing was written.
            StaleJob: Another process asks for batches of the same run.
        """
        if not circuits:
            raise InvalidInput("a batch needs a circuit", field="circuits")
        with self._lock:
            number = self._number
            options = ExecuteOptions(seed=_derived(seed, number), observables=tuple(observables))
            content = self._content(circuits, options)
            recorded = self._known().get(number)
            if recorded is None:
                job_ids = self._plan_new(number, content, circuits, options)
            else:
                self._check(number, content, recorded)
                job_ids = tuple(job.job_id for job in recorded)
                self._note_died(recorded)
                logger.info("run %s: batch %d is in the ledger: %s", self._logical_run, number, ", ".join(job_ids))
            self._number += 1
            return job_ids

    def _known(self) -> dict[int, list[Job]]:
        """The batches that the ledger has of this run, by number; the jobs of each in their order."""
        if self._recorded is None:
            found: dict[int, list[Job]] = defaultdict(list)
            for job in self._jobs():
                number = job.properties.get(_NUMBER)
                if isinstance(number, int):
                    found[number].append(job)
            for jobs in found.values():
                jobs.sort(key=lambda job: (len(job.name), job.name))  # "... 2/10" before "... 10/10"
            self._recorded = dict(found)
        return self._recorded

    def _jobs(self) -> list[Job]:
        return self._ledger.jobs(experiment=self._experiment, logical_run=self._logical_run, kind=JobKind.EXECUTE)

    def _content(self, circuits: Sequence[LabelledCircuit], options: ExecuteOptions) -> str:
        """A hash of what a batch asks for; the order of its circuits does not count, because labels tell them apart."""
        asked = sorted([circuit.label, circuit.circuit.hash, circuit.shots] for circuit in circuits)
        terms = [[observable.name, observable.terms] for observable in options.observables]
        text = json.dumps([asked, terms, options.seed, self._options.as_json()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _check(self, number: int, content: str, recorded: Sequence[Job]) -> None:
        backend = self.backend
        first = recorded[0]
        if (first.backend, first.device) != (backend.name, backend.device):
            raise InvalidInput(
                f"batch {number} of the run {self._logical_run} was measured on {first.device} of {first.backend}, and "
                f"this is {backend.device} of {backend.name}: go on there, or give the run another name",
                field="run",
            )
        if first.fingerprint not in {"", str(backend.fingerprint)}:
            raise InvalidInput(
                f"batch {number} of the run {self._logical_run} was measured with another configuration of "
                f"{first.device} ({first.fingerprint}) than it has now ({backend.fingerprint}): set it back, or give "
                "the run another name",
                field="run",
            )
        if first.properties.get(_CONTENT) != content:
            raise InvalidInput(
                f"batch {number} of the run {self._logical_run} is not what it was when {first.job_id} was made for "
                "it, so that nothing was sent: the program, its seed or its shots have changed. Put them back and seed "
                "the program, or give the run another name to begin anew",
                field="run",
            )

    def _plan_new(
        self, number: int, content: str, circuits: Sequence[LabelledCircuit], options: ExecuteOptions
    ) -> tuple[JobId, ...]:
        sources = {circuit.circuit.hash: circuit.circuit for circuit in circuits}
        self._ledger.add_programs(sources.values())
        compiled = self._stages.compile(self._name, list(sources), self._options, fresh=False, on=self._compile_on)
        programs = self._ledger.programs([*compiled, *compiled.values()])
        items = []
        for circuit in circuits:
            source = circuit.circuit.hash
            items.append(ItemSpec(label=circuit.label, program=compiled[source], source=source, shots=circuit.shots))
        backend = self.backend
        known = self._known()
        seen = Seen(
            experiment=self._experiment,
            backend=backend.name,
            device=backend.device,
            definition=self.definition,
            logical_run=self._logical_run,
            n_jobs=sum(len(jobs) for jobs in known.values()),
        )
        try:
            job_ids = plan(
                self._ledger,
                backend,
                items,
                programs,
                run=self._run,
                logical_run=self._logical_run,
                identity=f"program/{self._experiment}/{self._logical_run}/{number}",
                name=f"{self._experiment} batch {number}",
                experiment=self._experiment,
                options=options,
                opened_as=self._name,
                definition=self.definition,
                compiled_with=self._options.as_json(),
                properties={_NUMBER: number, _CONTENT: content},
                seen=seen,
            )
        except StaleJob as error:
            raise StaleJob(
                f"another process asks for batches of the run {self._logical_run}: end it, or give this one another "
                "name",
                job_id=error.job_id,
            ) from error
        known[number] = self._ledger.jobs(job_ids=job_ids)
        return tuple(job_ids)

    def _note_died(self, recorded: Iterable[Job]) -> None:
        """Simulations that ended with the process that ran them are run again; that costs nothing."""
        if Capability.DURABLE in self.backend.capabilities:
            return
        job_ids = [job.job_id for job in recorded]
        have = self._ledger.result_counts(job_ids)
        for job in recorded:
            if job.status is not JobStatus.CREATED and have.get(job.job_id, 0) < job.n_items:
                self._died.add(job.job_id)

    def _to_submit(self, job_ids: Sequence[JobId]) -> dict[JobId, ToSubmit]:
        """How these jobs are submitted; what died is asked for once."""
        default = RemoteRetryStrategy.DEFAULT
        found = {}
        for job_id in job_ids:
            strategy = RemoteRetryStrategy.FORCE_RESUBMIT if job_id in self._died else default
            found[job_id] = ToSubmit(backend=self._name, policy=self._policy, strategy=strategy)
        return found

    def send(self, job_ids: Sequence[JobId], stages: Stages | None = None) -> None:
        """Submit what was never sent, as far as the device has room now; the rest is sent by a later call.

        Raises:
            QJobsError: A job cannot be submitted, and trying again later would not help.
        """
        stages = stages or self._stages
        created = self._ledger.jobs(job_ids=job_ids, statuses=[JobStatus.CREATED])
        unsent = {job.job_id for job in created} | self._died.intersection(job_ids)
        ordered = [job_id for job_id in job_ids if job_id in unsent]
        chosen = that_fit(self._ledger, stages, ordered, dict.fromkeys(ordered, self._name))
        if not chosen:
            return
        later, lost = sort_failures(self._ledger, stages.submit(self._to_submit(chosen)))
        self._died -= set(chosen) - later
        for job_id, problem in lost.items():
            if not isinstance(problem, BackendUnavailable):
                raise problem
            logger.warning("%s is submitted later: %s", job_id, problem)

    def finish(self, job_ids: Sequence[JobId], stages: Stages | None = None) -> None:
        """Bring jobs to their results: submit, wait, collect. It may end the process where `stages` suspend the run.

        Raises:
            QJobsError: What went wrong with the first job that has a problem; what the others brought is kept.
        """
        unfinished = self._unfinished(job_ids)
        if not unfinished:
            return
        self._ledger.waits.register(self._run, unfinished, until="all", now=utc_now(), held_by=lease_owner())
        problems = finish(self._ledger, self._to_submit(unfinished), stages or self._stages)
        self._died -= set(job_ids)
        for problem in problems.values():
            raise problem

    def _unfinished(self, job_ids: Sequence[JobId]) -> list[JobId]:
        """Those of which a result is missing: a program that is entered again begins with many that are done."""
        have = self._ledger.result_counts(job_ids)
        jobs = self._ledger.jobs(job_ids=job_ids)
        return [job.job_id for job in jobs if not job.status.is_final or have.get(job.job_id, 0) < job.n_items]

    def end(self) -> None:
        """The program has come to its end in this process, and waits for nothing. One that is killed never says so."""
        with contextlib.suppress(LedgerError):  # a ledger that is away: the process ends soon, and is known to have
            self._ledger.waits.end(self._run, held_by=lease_owner())


def interrupted_program(ledger: Ledger, experiment: str) -> str | None:
    """The newest logical run of a program, if it was interrupted and nobody is at it.

    It was killed, or a job of it is not final.
    """
    jobs = [job for job in ledger.jobs(experiment=experiment, kind=JobKind.EXECUTE) if _NUMBER in job.properties]
    return newest_left_behind(ledger, jobs)


def _derived(seed: int | None, number: int) -> int | None:
    if seed is None:
        return None
    digest = hashlib.sha256(f"program/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
