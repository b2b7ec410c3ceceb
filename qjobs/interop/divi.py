"""Any backend of ours as a backend of Divi (https://pypi.org/project/qoro-divi): `AsyncJobBackend` over the ledger.

What Divi's programs send becomes jobs of the ledger, which `qjobs jobs list` and the sensor see as any others. A
program that ended in between is entered again with the same seed and the same `run`, and gets the same jobs.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qjobs.backends.base import Backend, Capability
from qjobs.backends.opening import opened
from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import InvalidCircuit, InvalidInput, JobFailed, QJobsError
from qjobs.experiments.forms import CompileInput, Name, RetryInput
from qjobs.interop.divi_circuits import by_label, by_observables, shots_of_each
from qjobs.interop.divi_types import Response, divi_types
from qjobs.interop.patient_stages import PatientStages
from qjobs.ledger import Ledger
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.cancel import cancel
from qjobs.operations.collect import collect, results_by_label, store_ready
from qjobs.operations.execute import Stages
from qjobs.operations.poll import poll_each, utc_now
from qjobs.operations.program_batches import LabelledCircuit, ProgramBatches

__all__ = ["QjobsBackend"]

logger = logging.getLogger(__name__)

_BETWEEN = ","
"""Between the job ids of a handle: a batch that is larger than one job of the device is several."""


class QjobsBackend:
    """A backend of ours in the words of Divi: `AsyncJobBackend`, and a `CircuitRunner` where Divi is installed.

    `backend` is a name (`aer`, `nexus/H1-1E`, `mqp/RESOURCE`, a saved block such as `nexus-backend/NAME`) or an open
    adapter; `opened_as` is then the name that opens it again, for the sensor and the command. `run` names the logical
    run. The same program under the same `run` is answered from the ledger as far as it came before: nothing is sent
    twice. It has to ask for the same batches again, so give it a seed; a batch that differs from the recorded one is
    refused. A new run needs a new name. One program asks at a time: an ensemble needs a name, and so a backend, for
    each of its programs.

    `shots` is for each circuit that no `shot_groups` names. `exact` tells Divi that expectation values are computed
    exactly (simulators only) instead of being sampled. `ledger` is its URL or an open one. `compiling` is how circuits
    are compiled, `retries` what may be done about a submission that fails; its strategy is left aside. `stages` and
    `entry` are for flows: how stages are entered, and the id of the flow run.
    """

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """An instance that is also of Divi's abstract runner class, if Divi is there."""
        runner = divi_types().runner
        return super().__new__(cls if runner is None or issubclass(cls, runner) else _joined(cls, runner))

    def __init__(
        self,
        backend: str | Backend,
        *,
        run: str,
        shots: int = 1000,
        ledger: str | Ledger | None = None,
        experiment: str = "",
        opened_as: str = "",
        seed: int | None = None,
        exact: bool = False,
        compiling: CompileInput | None = None,
        retries: RetryInput | None = None,
        track_depth: bool = False,
        stages: Stages | None = None,
        entry: str = "",
    ) -> None:
        if shots < 1:
            raise InvalidInput(f"shots is {shots}; give 1 or more", field="shots")
        if not run:
            raise InvalidInput("give the run a name: the same program finds its jobs again by it", field="run")
        _check_name(experiment or run)
        self._types = divi_types()
        if self._types.runner is not None:
            self._types.runner.__init__(self, shots=shots, track_depth=track_depth)
        self._shots = shots
        self._seed = seed
        self._exact = exact
        self._stages = stages
        self._is_closed = False
        self._closing = contextlib.ExitStack()
        try:
            self._ledger = ledger if isinstance(ledger, Ledger) else self._closing.enter_context(Ledger(ledger))
            self._name = backend if isinstance(backend, str) else opened_as or backend.name
            if stages is not None:
                self._backend = stages.backend(self._name)
            elif isinstance(backend, str):
                self._backend = self._closing.enter_context(opened(backend))
            else:
                self._backend = backend
            _check_exact(self._backend, exact)
            self._batches = ProgramBatches(
                self._ledger,
                stages or self._patient(None),
                self._name,
                run=entry or run,
                logical_run=run,
                experiment=experiment or run,
                options=(compiling or CompileInput()).options(),
                retries=retries or RetryInput(),
                compile_on=(compiling or CompileInput()).compile_on,
            )
        except BaseException:
            self._closing.close()
            raise

    def close(self) -> None:
        """Close what was opened here. Jobs that were sent go on, except on a simulator in this process. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._batches.end()
        self._closing.close()

    def __enter__(self) -> QjobsBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shots(self) -> int:
        """Shots of each circuit for which nothing else is said."""
        return self._shots

    @property
    def supports_expval(self) -> bool:
        """Whether Divi may ask for expectation values instead of counts: with `exact`."""
        return self._exact

    @property
    def is_async(self) -> bool:
        """True: results are fetched by a handle."""
        return True

    @property
    def resolves_parameters(self) -> bool:
        """False: Divi binds parameters before it sends circuits."""
        return False

    @property
    def max_retries(self) -> None:
        """None: a wait polls as often as it takes. Divi 0.13 shows it beside the number of the poll."""
        return None

    def set_seed(self, seed: int) -> None:
        """Make a simulator repeatable from the next batch on; devices ignore it."""
        self._seed = seed

    def submit_circuits(
        self,
        circuits: Any,
        *,
        ham_ops: str | None = None,
        circuit_ham_map: Sequence[Sequence[int]] | None = None,
        shot_groups: Sequence[Sequence[int]] | None = None,
        cancellation_event: threading.Event | None = None,
    ) -> Any:
        """Plan the next batch of the program and send it; what the device has no room for is sent while polling.

        Entered again, it gives the handle of the jobs that the ledger has of this batch. A provider that cannot be
        reached is waited for.

        Args:
            circuits: From label to circuit, where a circuit is OpenQASM 2 or 3 or a `QuantumCircuit`; or a sequence of
                them, labelled by position; or a sequence of Divi's own payloads without free parameters.
            ham_ops: Pauli strings joined by `;`, first letter on qubit 0, whose exact expectation values are wanted
                instead of counts. Groups of them are joined by `|`.
            circuit_ham_map: For each group the `[start, end)` of the circuits that it is for; all groups are for all
                circuits without it.
            shot_groups: `[start, end, shots]` for circuits in their order; every circuit is in one of them.
            cancellation_event: When it is set, nothing (more) is sent.

        Returns:
            Divi's `ExecutionResult` with a `job_id`: the ids of the ledger's jobs, joined by commas.

        Raises:
            ExecutionCancelledError: The event was set (Divi's class, where Divi is installed).
            InvalidInput: It cannot be run, or it is not the batch that the ledger has of this run (a `ValueError`).
            TypeError: A single circuit was given instead of a collection, or something that is no circuit.
            QJobsError: It cannot be sent, and trying again does not help; the message says what does.
        """
        self._raise_if_set(cancellation_event, "nothing was sent")
        if ham_ops is not None and shot_groups is not None:
            raise InvalidInput("expectation values are exact and need no shots; give ham_ops or shot_groups")
        labelled = self._labelled(by_label(circuits), shot_groups)
        self._note_depths(labelled)
        job_ids: list[JobId] = []
        for part, observables in by_observables(labelled, ham_ops, circuit_ham_map):
            job_ids += self._batches.plan(part, seed=self._seed, observables=observables)
        if self._stages is None:  # a flow sends and waits in one go: a task run less for each job
            self._batches.send(job_ids, self._patient(cancellation_event))
        return self._types.result(job_id=_BETWEEN.join(job_ids))

    def poll_job_status(
        self,
        execution_result: Any,
        loop_until_complete: bool = False,
        on_complete: Callable[[Any], object] | None = None,
        verbose: bool = True,
        progress_callback: Callable[[int, str], object] | None = None,
        cancellation_event: threading.Event | None = None,
    ) -> Any:
        """Ask once for the status, or wait until it is final.

        CREATED, SUBMITTING, SUBMITTED and QUEUED are PENDING; RUNNING, RETRYING and CANCELLING are RUNNING; ERROR and
        TERMINATED are FAILED, and so is DEPLETED where Divi has no INSUFFICIENT_CREDITS. UNKNOWN (the reply to the
        submission was lost) and LOST (the provider no longer knows the job) are PENDING to one query, never a final
        status: the job may be alive. A wait cannot move them, and raises what says how to decide. COMPLETED
        means that every result is in the ledger.

        Args:
            execution_result: The handle; one of an earlier process does as well.
            loop_until_complete: Wait for a final status. Otherwise one query, which also sends what the device now has
                room for.
            on_complete: Called once when the status is final, with a `Response` (`status_code`, `ok`, `text`, `json()`
                with `job_id` and `status`): one handle stands for any number of requests, and has no response of its
                own.
            verbose: Log the status of each poll, where there is no `progress_callback`.
            progress_callback: Called after each poll with its number, counted from 1, and Divi's status.
            cancellation_event: When it is set the wait ends, within a second beyond a request that is under way; the
                jobs go on, and the caller may cancel them. A wait in a flow ends when the flow run is cancelled.

        Returns:
            Divi's `JobStatus`.

        Raises:
            ExecutionCancelledError: The event was set.
            JobFailed: With Divi 0.14 or later, whose protocol asks for it: the wait ended without success.
            QJobsError: The jobs cannot be brought to an end; the message says what to do.
        """
        job_ids = _job_ids(execution_result)
        watch = _Watch(self, job_ids, verbose, progress_callback)
        self._raise_if_set(cancellation_event, f"{_BETWEEN.join(job_ids)} goes on")
        failure: JobFailed | None = None
        if loop_until_complete:
            try:
                self._batches.finish(job_ids, self._stages or self._patient(cancellation_event, watch.note))
            except JobFailed as error:
                failure = error
        else:
            self._batches.send(job_ids, self._stages or self._patient(cancellation_event))
            self._poll(job_ids)
            watch.note()
        status = self._status(job_ids)
        is_final = status in FINAL
        if is_final and on_complete is not None:
            on_complete(self._response(200, job_ids))
        if loop_until_complete and status is not JobStatus.COMPLETED and (self._types.raises or not is_final):
            raise failure or self._unfinished(job_ids, status)
        return self._types.status_of(status)

    def get_job_results(self, execution_result: Any) -> Any:
        """Results of a completed batch, a dictionary with `label` and `results` for each circuit.

        `results` are counts, bit 0 rightmost, or expectation values by Pauli string. A second call gives the same.

        Raises:
            Busy: A job is not final.
            JobFailed: A circuit has no result; what there is stays in the ledger.
        """
        job_ids = _job_ids(execution_result)
        for job_id in job_ids:
            if self._ledger.missing_items(job_id):
                collect(self._ledger, self._backend, job_id)
        results = []
        run_time_s = 0.0
        for label, result in results_by_label(self._ledger, job_ids).items():
            values = result.counts if result.expvals is None else result.expvals
            results.append({"label": label, "results": dict(values or {})})
            run_time_s += result.duration_s or 0.0
        return self._types.with_results(execution_result, results, run_time_s)

    def cancel_job(self, execution_result: Any) -> Response:
        """Ask for the cancellation of a batch. Idempotent; jobs that are final stay as they are, and nothing is raised.

        Returns:
            Status code 200, or 409 where every job was final already; its JSON has `circuits_cancelled`, those of the
            jobs that were not final.

        Raises:
            BackendUnavailable: The wish is in the ledger, and the next poll passes it on.
        """
        job_ids = _job_ids(execution_result)
        open_jobs = [job for job in self._known(job_ids) if not job.status.is_final]
        for (
            job
        ) in open_jobs:  # the wishes first: one that cannot be passed on must not keep the others from being written
            self._ledger.request_cancel(job.job_id, now=utc_now())
        for job in open_jobs:
            cancel(self._ledger, self._backend, job.job_id)
        if not open_jobs:
            return self._response(409, job_ids, error="every job was final already")
        return self._response(200, job_ids, circuits_cancelled=sum(job.n_items for job in open_jobs))

    def _labelled(
        self, circuits: Mapping[str, Any], shot_groups: Sequence[Sequence[int]] | None
    ) -> list[LabelledCircuit]:
        shots = [self._shots] * len(circuits) if shot_groups is None else shots_of_each(shot_groups, len(circuits))
        found = []
        for (label, circuit), n_shots in zip(circuits.items(), shots, strict=True):
            try:
                program = read_circuit(circuit)
            except InvalidCircuit as error:
                raise InvalidCircuit(f"{label}: {error}", field="circuits") from error
            if program.parameters:
                raise InvalidInput(
                    f"{label}: the parameter {program.parameters[0]} has no value; bind it first", field="circuits"
                )
            found.append(LabelledCircuit(label=label, circuit=program, shots=n_shots))
        return found

    def _note_depths(self, circuits: Sequence[LabelledCircuit]) -> None:
        """As Divi's own backends do where they are asked to track depths."""
        if getattr(self, "track_depth", False):
            depths: list[list[int]] = self._depth_history  # type: ignore[attr-defined]  # of Divi's class
            depths.append([to_qiskit(circuit.circuit).depth() for circuit in circuits])

    def _poll(self, job_ids: Sequence[JobId]) -> None:
        jobs = self._known(job_ids)
        poll_each(self._ledger, self._backend, [job.job_id for job in jobs], utc_now, {})
        store_ready(self._ledger, self._backend, job_ids)

    def _known(self, job_ids: Sequence[JobId]) -> list[Job]:
        """The jobs.

        Raises:
            JobNotFound: The ledger has one of them not.
        """
        return [self._ledger.job(job_id) for job_id in job_ids]

    def _status(self, job_ids: Sequence[JobId]) -> JobStatus:
        """One status for all of them: that of the one that has most to go, and of several ends the worst."""
        statuses = {job.status for job in self._known(job_ids)}
        if self._ledger.jobs_awaiting_results(job_ids):
            return JobStatus.RUNNING  # COMPLETED says that results can be read
        for status in _FURTHEST_FIRST:
            if status in statuses:
                begun = statuses & {*FINAL, JobStatus.RUNNING, JobStatus.RETRYING}
                return JobStatus.RUNNING if begun and status in _WAITS else status
        return JobStatus.COMPLETED

    def _unfinished(self, job_ids: Sequence[JobId], status: JobStatus) -> QJobsError:
        jobs = {job.job_id: job for job in self._known(job_ids)}
        job = next(job for job in jobs.values() if job.status is not JobStatus.COMPLETED)
        reason = job.message or "no reason is given"
        return JobFailed(
            f"{job.job_id} on {job.device} is {job.status}: {reason}; see: qjobs jobs show {job.job_id}",
            job_id=job.job_id,
            status=status,
            failed={},
        )

    def _response(self, status_code: int, job_ids: Sequence[JobId], **more: int | str) -> Response:
        status = str(self._types.status_of(self._status(job_ids)).value)
        return Response(status_code=status_code, body={"job_id": _BETWEEN.join(job_ids), "status": status, **more})

    def _raise_if_set(self, event: threading.Event | None, what: str) -> None:
        if event is not None and event.is_set():
            raise self._types.cancelled(f"the run is cancelled; {what}")

    def _patient(self, event: threading.Event | None, passed: Callable[[], object] = lambda: None) -> PatientStages:
        def pause(seconds: float) -> None:
            if event is None:
                time.sleep(seconds)
            elif event.wait(seconds):
                self._raise_if_set(event, "what was sent goes on")

        return PatientStages(self._ledger, self._name, self._backend, pause, passed)


class _Watch:
    """What is said of a wait: to the program, or in the log."""

    def __init__(
        self,
        backend: QjobsBackend,
        job_ids: Sequence[JobId],
        verbose: bool,
        callback: Callable[[int, str], object] | None,
    ) -> None:
        self._backend = backend
        self._job_ids = job_ids
        self._verbose = verbose
        self._callback = callback
        self._n_polls = 0

    def note(self) -> None:
        """One poll more."""
        self._n_polls += 1
        status = str(self._backend._types.status_of(self._backend._status(self._job_ids)).value)
        if self._callback is not None:
            self._callback(self._n_polls, status)
        elif self._verbose:
            logger.info("%s is %s, poll %d", _BETWEEN.join(self._job_ids), status, self._n_polls)


_WAITS = frozenset({JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.SUBMITTED, JobStatus.QUEUED})
_FURTHEST_FIRST = (
    JobStatus.UNKNOWN,
    JobStatus.LOST,
    JobStatus.CREATED,
    JobStatus.SUBMITTING,
    JobStatus.SUBMITTED,
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    JobStatus.RETRYING,
    JobStatus.CANCELLING,
    JobStatus.ERROR,
    JobStatus.DEPLETED,
    JobStatus.TERMINATED,
    JobStatus.CANCELLED,
    JobStatus.COMPLETED,
)


_classes: dict[type, Any] = {}


def _joined(cls: type[QjobsBackend], runner: Any) -> Any:
    """The class as one that is Divi's abstract runner too, with what that brings along (depths of circuits)."""
    if cls not in _classes:
        _classes[cls] = type(cls.__name__, (cls, runner), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return _classes[cls]


def _check_name(experiment: str) -> None:
    try:
        TypeAdapter(Name).validate_python(experiment)
    except ValidationError as error:
        raise InvalidInput(
            f"{experiment!r} cannot name an experiment: use up to 200 letters, digits, blanks, '.', '_' and '-', with "
            "a letter or digit first",
            field="run",
        ) from error


def _check_exact(backend: Backend, exact: bool) -> None:
    if exact and Capability.EXACT_EXPVALS not in backend.capabilities:
        raise InvalidInput(f"{backend.name} has no exact expectation values; set exact to false", field="exact")


def _job_ids(handle: Any) -> list[JobId]:
    job_id = getattr(handle, "job_id", None)
    if not job_id:
        raise InvalidInput("the result has no job_id: it is no handle of a submission", field="execution_result")
    return [JobId(each) for each in str(job_id).split(_BETWEEN)]
