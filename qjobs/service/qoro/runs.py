"""Jobs of Qoro become jobs of the service, part by part, and end with what comes back.

All that lasts is in the database. A job that is finalised is cut into parts, each of as many circuits as a job of the
service takes, and the id of a part follows from the job's: whoever goes on after the service ended finds what was
started, and starts nothing twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from qjobs.errors import InvalidInput, LedgerError
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import Device
from qjobs.service.errors import ServiceError
from qjobs.service.executions import Execution, Executions, execution_id
from qjobs.service.qoro.credits import balance_of
from qjobs.service.qoro.fragments import pytket_body
from qjobs.service.qoro.jobs import QoroJob, QoroJobs, StoredCircuit
from qjobs.service.store.definitions import ItemObservables
from qjobs.service.tables import QoroStatus

__all__ = ["PROJECT", "Runs", "compile_ids", "execute_ids"]

logger = logging.getLogger(__name__)

PROJECT = "Qoro"
"""The project of a user in which the jobs are that work for those of Qoro."""
_IDLE_S = 0.5
_SHORTEST_S = 0.02
_AFTER_ERROR_S = 1.0
_NO_CREDITS = "The credits of this month are used up."
_HAS_RUN = frozenset({JobStatus.RUNNING, JobStatus.RETRYING, JobStatus.CANCELLING})


class _Refused(Exception):
    """A part cannot be run; says why."""


def execute_ids(job: QoroJob) -> list[str]:
    """The ids of the jobs of the service that run a job's parts, in order."""
    return [execution_id(job.job_id, f"execute {part}") for part in range(job.n_parts)]


def compile_ids(job: QoroJob) -> list[str]:
    """The ids of those that compile them, where the device wants that."""
    return [execution_id(job.job_id, f"compile {part}") for part in range(job.n_parts)]


class Runs:
    """Runs the jobs that are finalised; one for a service."""

    def __init__(self, service: Service, jobs: QoroJobs, executions: Executions) -> None:
        self._service = service
        self._jobs = jobs
        self._executions = executions
        self._awaited: frozenset[str] = frozenset()
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        service.changes.listen(self._heard)

    def start(self) -> None:
        """Begin to work, first on what was left when the service ended. Idempotent."""
        if self._thread is not None:
            return
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="qjobs-qoro-runs", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Start nothing new; what was started goes on, and is looked up after the next start. Idempotent."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def wake(self) -> None:
        """Say that a job was finalised."""
        self._woken.set()

    def cancel(self, job: QoroJob) -> None:
        """Have what runs for a job that is CANCELLED ended."""
        self._executions.cancel([*execute_ids(job), *compile_ids(job)])

    def _heard(self, changed: Collection[str]) -> None:
        if not self._awaited.isdisjoint(changed):
            self._woken.set()

    def _serve(self) -> None:
        recovered = False
        while not self._stopping and threading.main_thread().is_alive():
            self._woken.clear()
            wait_s = _IDLE_S
            try:
                if not recovered:
                    self._end_leftovers()
                    recovered = True
                self.step()
            except LedgerError as error:
                logger.error("the runs of Qoro's jobs cannot reach the database: %s", error)  # noqa: TRY400
                wait_s = _AFTER_ERROR_S
            except Exception:  # boundary: the thread goes on; what it left is looked up again
                logger.exception("a step of the runs of Qoro's jobs failed")
                wait_s = _AFTER_ERROR_S
            if not self._stopping:
                time.sleep(_SHORTEST_S)
                self._woken.wait(wait_s)

    def _end_leftovers(self) -> None:
        """Cancel what runs for jobs whose cancellation the service did not survive."""
        for job in self._jobs.cancelled():
            self.cancel(job)

    def step(self) -> None:
        """Do everything that can be done now."""
        jobs = self._jobs.open()
        ids: list[str] = []
        for job in jobs:
            ids += [*execute_ids(job), *compile_ids(job)]
        self._awaited = frozenset(ids)
        states = self._executions.states(ids) if ids else {}
        for job in jobs:
            if self._stopping:
                return
            try:
                self._advance(job, states)
            except LedgerError:
                raise
            except _Refused as error:
                self._fail(job, str(error))
            except Exception as error:  # boundary: one job never stops the others
                logger.exception("qoro job %s: the service failed at it", job.job_id)
                self._fail(job, f"The service failed at it: {type(error).__name__}.")

    def _fail(self, job: QoroJob, message: str) -> None:
        self._jobs.end(job.job_id, QoroStatus.FAILED, message)
        self.cancel(job)

    def _advance(self, job: QoroJob, states: Mapping[str, Execution]) -> None:
        """Start the parts of a job that can be started, and end it when all of them have ended."""
        executes = execute_ids(job)
        if any(each not in states for each in executes[: job.sent]):
            raise _Refused("Its job in the service was deleted.")
        found = [states[each] for each in executes[: job.sent]]
        if job.status is QoroStatus.PENDING and any(_has_run(state) for state in found):
            job = replace(job, status=QoroStatus.RUNNING)
            self._jobs.advance(job.job_id, status=job.status, sent=job.sent)
        if job.sent < job.n_parts:
            self._start(job, states)
        elif all(state.status.is_final for state in found):
            self._end(job, found)

    def _start(self, job: QoroJob, states: Mapping[str, Execution]) -> None:
        device = self._service.devices.get(job.device)
        if device is None:
            raise _Refused(f"There is no device {job.device} any more.")
        executes = execute_ids(job)
        try:
            user = self._service.accounts.user(job.owner_id)
            if states.keys().isdisjoint([*executes, *compile_ids(job)]) and not balance_of(self._service, user).left:
                self._jobs.end(job.job_id, QoroStatus.INSUFFICIENT_CREDITS, _NO_CREDITS)
                return
            if self._start_parts(job, states, user, device):
                self._woken.set()
        except (InvalidInput, ServiceError) as error:
            raise _Refused(getattr(error, "message", "") or str(error)) from error

    def _start_parts(self, job: QoroJob, states: Mapping[str, Execution], user: User, device: Device) -> bool:
        """Start one part of a job, so that jobs take turns; whether there was one that could be started.

        Parts are compiled side by side, and executed in order.
        """
        for part in range(job.sent, job.n_parts):
            compiling = states.get(compile_ids(job)[part]) if device.needs_compilation else None
            if device.needs_compilation and compiling is not None and not compiling.status.is_final:
                continue
            if part > job.sent and (compiling is not None or not device.needs_compilation):
                continue
            circuits = self._jobs.circuits(job.job_id, part * job.part_size, (part + 1) * job.part_size)
            bodies = self._bodies(job, part, circuits, user, device, compiling)
            if bodies is not None:
                self._execute(job, part, circuits, bodies, user, device)
            sent = job.sent if bodies is None else part + 1
            if not self._jobs.advance(job.job_id, status=job.status, sent=sent):
                self.cancel(job)  # its owner cancelled it while it was started
            return True
        return False

    def _bodies(
        self,
        job: QoroJob,
        part: int,
        circuits: Sequence[StoredCircuit],
        user: User,
        device: Device,
        compiling: Execution | None,
    ) -> list[bytes] | None:
        """The circuits as they run, as pytket's JSON; None where their compilation was started instead."""
        if compiling is None:
            bodies = [pytket_body(circuit.label, circuit.text) for circuit in circuits]
            if not device.needs_compilation:
                return bodies
            self._executions.compile(compile_ids(job)[part], user, device, bodies, name=_name(job, part))
            return None
        if compiling.status is not JobStatus.COMPLETED:
            raise _Refused(f"The circuits cannot be compiled for {device.name}: {compiling.message}")
        return self._executions.compiled(compile_ids(job)[part])

    def _execute(
        self,
        job: QoroJob,
        part: int,
        circuits: Sequence[StoredCircuit],
        bodies: Sequence[bytes],
        user: User,
        device: Device,
    ) -> None:
        shots = [circuit.n_shots for circuit in circuits]
        observables = _observables(job, circuits)
        self._executions.execute(
            execute_ids(job)[part], user, device, bodies, shots, name=_name(job, part), observables=observables
        )

    def _end(self, job: QoroJob, found: Sequence[Execution]) -> None:
        statuses = {state.status for state in found}
        message = next((state.message for state in found if state.status is not JobStatus.COMPLETED), "")
        if statuses == {JobStatus.COMPLETED}:
            status = QoroStatus.COMPLETED
        elif JobStatus.CANCELLED in statuses:
            status = QoroStatus.CANCELLED
        elif JobStatus.DEPLETED in statuses:
            status = QoroStatus.INSUFFICIENT_CREDITS
        else:
            status = QoroStatus.FAILED
        self._jobs.end(job.job_id, status, message, self._run_time_s(job))

    def _run_time_s(self, job: QoroJob) -> float | None:
        """From the first start to the last end, in seconds of the service's clock."""
        table = schema.job
        query = sa.select(table.c.running_at, table.c.completed_at)
        rows = self._service.db.rows_among(query, table.c.job_id, execute_ids(job))
        starts = [row.running_at for row in rows if row.running_at is not None]
        ends = [row.completed_at for row in rows if row.completed_at is not None]
        return max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else None


def _name(job: QoroJob, part: int) -> str:
    shown = f"Qoro job {job.job_id}"
    return shown if job.n_parts == 1 else f"{shown}, part {part + 1} of {job.n_parts}"


def _has_run(state: Execution) -> bool:
    return state.status.is_final or state.status in _HAS_RUN


def _observables(job: QoroJob, circuits: Sequence[StoredCircuit]) -> ItemObservables | None:
    """Those of a part's circuits: of its range each, or all, as the last group, where no range has it."""
    if job.observables is None:
        return None
    every = [word for group in job.observables for word in group]
    groups = [*map(tuple, job.observables), tuple(dict.fromkeys(every))]
    of_items = []
    for circuit in circuits:
        group = job.group_of(circuit.number)
        of_items.append(len(groups) - 1 if group is None else group)
    return ItemObservables(groups=tuple(groups), of_items=tuple(of_items))
