"""The scheduler: it claims pending jobs, sends them to the service's own queues, and ends them with what came back.

All that lasts is in the database. A job is claimed by the job module, marked as dispatched, and then started under an
id that its own id decides (`executions`): a scheduler that ended anywhere on the way is followed by one that finds what
was sent, starts what was not, and starts nothing twice.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from qjobs.errors import InvalidInput, LedgerError, StaleJob
from qjobs.ledger.liveness import display_owner, lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import Device
from qjobs.service.errors import ServiceError
from qjobs.service.executions import Execution, Executions, execution_id
from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.checks import circuits_of
from qjobs.service.mqp.circuit_texts import compiled_texts, pytket_bodies
from qjobs.service.mqp.database import JobDatabase, using
from qjobs.service.mqp.device_resources import DeviceResources
from qjobs.service.mqp.hamiltonian_runs import HamiltonianRuns
from qjobs.service.mqp.reasons import Reason
from qjobs.service.mqp.records import CircuitJob, Kind, MqpStatus, job_of

__all__ = ["Scheduler"]

logger = logging.getLogger(__name__)

_IDLE_S = 0.5
_SHORTEST_S = 0.02
_AFTER_ERROR_S = 1.0
_REAP_S = 30.0
_COMPILE = "compile"
_EXECUTE = "execute"


@dataclass(slots=True, kw_only=True)
class _Sent:
    """A circuit job that was sent, and the job of the service that works for it now."""

    job_id: int
    device: Device
    stage: str

    @property
    def execution(self) -> str:
        return execution_id(self.job_id, self.stage)


class Scheduler:
    """Runs the portal's jobs; one for a service."""

    def __init__(self, service: Service, jobs: JobDatabase, resources: DeviceResources, executions: Executions) -> None:
        self._service = service
        self._jobs = jobs
        self._resources = resources
        self._executions = executions
        self._hamiltonians = HamiltonianRuns(service, jobs, resources, executions)
        self._claimed: deque[CircuitJob] = deque()
        self._sent: dict[int, _Sent] = {}
        self._awaited: frozenset[str] = frozenset()
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._recovered = False
        self._reaped_at = 0.0
        service.changes.listen(self._heard)

    def start(self) -> None:
        """Begin to work, first on what a scheduler before left. Idempotent."""
        if self._thread is not None:
            return
        self._stopping = False
        self._recovered = False
        self._hamiltonians.start()
        self._thread = threading.Thread(target=self._serve, name="qjobs-mqp-scheduler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Send nothing new; what was sent goes on, and is looked up after the next start. Idempotent."""
        self._stopping = True
        self._woken.set()
        self._hamiltonians.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def wake(self) -> None:
        """Say that there may be a new job, or that one was cancelled."""
        self._woken.set()

    def cancel(self, job_id: int) -> None:
        """Have what runs for a job that is CANCELLED ended."""
        self._end_executions(job_id)
        self._hamiltonians.cancel(job_id)
        self.wake()

    def _heard(self, changed: Collection[str]) -> None:
        if not self._awaited.isdisjoint(changed):
            self._woken.set()

    def _serve(self) -> None:
        while not self._stopping and threading.main_thread().is_alive():
            self._woken.clear()
            try:
                with using(self._jobs):
                    self.step()
                wait_s = _IDLE_S
            except LedgerError as error:
                logger.error("the portal's scheduler cannot reach the database: %s", error)  # noqa: TRY400
                wait_s = _AFTER_ERROR_S
            except Exception:  # boundary: the thread goes on; what it left is looked up again
                logger.exception("a step of the portal's scheduler failed")
                wait_s = _AFTER_ERROR_S
            if not self._stopping:
                time.sleep(_SHORTEST_S)
                self._woken.wait(wait_s)
        self._give_back()

    def step(self) -> None:
        """Do everything that can be done now."""
        self._resources.save_changes(self._service.clock.now())
        if not self._recovered:
            self._recover()
            self._recovered = True
        if time.monotonic() - self._reaped_at > _REAP_S:
            self._reap()
        if self._pending(Kind.CIRCUIT):
            self._claimed.extend(self._claim())
        while self._claimed and not self._stopping:
            self._dispatch(self._claimed[0])
            self._claimed.popleft()
        self._follow()
        if self._pending(Kind.HAMILTONIAN) and not self._stopping:
            for job in mqp.fetch_all_pending_hamiltonian_jobs():
                self._hamiltonians.take(job)

    def _pending(self, kind: Kind) -> bool:
        job = schema.mqp_job
        query = sa.select(job.c.id).where(job.c.kind == kind, job.c.status == MqpStatus.PENDING).limit(1)
        with self._service.db.read() as connection:
            return connection.scalar(query) is not None

    def _claim(self) -> list[CircuitJob]:
        """Pending jobs, as users and resources may have them: a reserved device is for those that it names."""
        reserved = {device.name: device.reserved_for for device in self._service.devices.all if device.reserved_for}
        if not reserved:
            return mqp.fetch_all_pending_jobs()
        found = mqp.fetch_all_pending_jobs_except_for_resources(list(reserved))
        for name, users in reserved.items():
            found += mqp.fetch_all_pending_jobs_for_resource_from_users(name, list(users))
        return sorted(found, key=lambda job: job.id)

    def _dispatch(self, job: CircuitJob) -> None:
        """Send a job that this process has; a second call, after an error on the way, goes on."""
        try:
            device = self._device_for(job)
            if device is not None:
                self._send(job, device, self._service.accounts.user(job.owner))
        except StaleJob as error:  # its owner cancelled it, maybe while it was sent
            logger.info("mqp job %s is not sent: %s", job.id, error)
            self._end_executions(job.id)
        except (InvalidInput, ServiceError) as error:
            words = getattr(error, "message", "") or str(error)
            self._fail(job.id, words, Reason.REFUSED)
        except LedgerError:
            raise
        except Exception as error:  # boundary: one job never stops the others
            self._give_up(job.id, error)

    def _device_for(self, job: CircuitJob) -> Device | None:
        """The device that a job is for; None where it is away, and the job ended or went back to its queue."""
        name = job.target_specification
        away = self._resources.away(name)
        if away is None:
            return self._service.devices.get(name)
        mqp.cancel_job(job.id, f"The resource {name} is {away.words}.", reason=away.reason)
        return None

    def _send(self, job: CircuitJob, device: Device, user: User) -> None:
        bodies = pytket_bodies(circuits_of(job.circuit))
        mqp.mark_dispatched(job.id)
        name = f"portal job {job.id}"
        if device.needs_compilation and not job.no_modify:
            sent = _Sent(job_id=job.id, device=device, stage=_COMPILE)
            self._executions.compile(sent.execution, user, device, bodies, name=name)
        else:
            sent = _Sent(job_id=job.id, device=device, stage=_EXECUTE)
            self._executions.execute(sent.execution, user, device, bodies, [job.shots] * len(bodies), name=name)
        self._sent[job.id] = sent
        mqp.mark_dispatched(job.id, execution_id(job.id, _EXECUTE))

    def _follow(self) -> None:
        """Look at what runs, and end the jobs of what has ended."""
        self._awaited = frozenset(sent.execution for sent in self._sent.values())
        if not self._sent:
            return
        states = self._executions.states(self._awaited)
        for sent in list(self._sent.values()):
            state = states.get(sent.execution)
            if state is not None and not state.status.is_final:
                continue
            try:
                if self._settle(sent, state):
                    del self._sent[sent.job_id]
            except StaleJob as error:  # its owner cancelled it
                logger.info("mqp job %s: what came back is not kept: %s", sent.job_id, error)
                del self._sent[sent.job_id]
            except LedgerError:
                raise
            except Exception as error:  # boundary: one job never stops the others
                self._give_up(sent.job_id, error)
                del self._sent[sent.job_id]

    def _settle(self, sent: _Sent, state: Execution | None) -> bool:
        """Whether the job has ended; after its compilation it goes on."""
        if state is None:
            self._fail(sent.job_id, "Its job in the service was deleted.", Reason.EXECUTION)
        elif state.status is JobStatus.CANCELLED:
            mqp.cancel_job(sent.job_id, "Its job in the service was cancelled.", reason=Reason.OTHER)
        elif state.status is not JobStatus.COMPLETED:
            self._fail(sent.job_id, state.message, Reason.EXECUTION)
        elif sent.stage == _COMPILE:
            return not self._execute_compiled(sent)
        else:
            self._complete(sent)
        return True

    def _execute_compiled(self, sent: _Sent) -> bool:
        """Whether it runs now."""
        job = self._job(sent.job_id)
        if job is None or job.status is not MqpStatus.WAITING:
            return False
        bodies = self._executions.compiled(sent.execution)
        running = _Sent(job_id=sent.job_id, device=sent.device, stage=_EXECUTE)
        try:
            user = self._service.accounts.user(job.owner)
            name = f"portal job {job.id}"
            self._executions.execute(running.execution, user, sent.device, bodies, [job.shots] * len(bodies), name=name)
        except (InvalidInput, ServiceError) as error:
            self._fail(job.id, getattr(error, "message", "") or str(error), Reason.REFUSED)
            return False
        self._sent[sent.job_id] = running
        self._woken.set()
        return True

    def _complete(self, sent: _Sent) -> None:
        job = self._job(sent.job_id)
        if job is None:
            return
        found = self._executions.counts(sent.execution)
        result = json.dumps(found[0] if len(found) == 1 else found)
        compiled = self._executions.compiled(execution_id(job.id, _COMPILE))
        texts = compiled_texts(compiled) if compiled else circuits_of(job.circuit)
        mqp.complete_job_with_result(job.id, result, sent.device.name, json.dumps(texts))

    def _fail(self, job_id: int, note: str, reason: Reason) -> None:
        try:
            mqp.fail_job(job_id, note, reason=reason)
        except StaleJob as error:
            logger.info("mqp job %s does not fail: %s", job_id, error)

    def _give_up(self, job_id: int, error: Exception) -> None:
        logger.exception("the portal's scheduler failed at mqp job %s", job_id)
        self._fail(job_id, f"The service failed at it: {type(error).__name__}.", Reason.EXECUTION)
        self._end_executions(job_id)

    def _end_executions(self, job_id: int) -> None:
        self._executions.cancel([execution_id(job_id, stage) for stage in (_COMPILE, _EXECUTE)])

    def _job(self, job_id: int) -> CircuitJob | None:
        job = schema.mqp_job
        rows = self._service.db.rows(sa.select(job).where(job.c.id == job_id, job.c.kind == Kind.CIRCUIT))
        found = job_of(rows[0]) if rows else None
        return found if isinstance(found, CircuitJob) else None

    def _recover(self) -> None:
        """Take up what the service had when it ended: only one works on a database, so all of it is of a dead one."""
        mqp.reap()
        for job in mqp.fetch_all_waiting_jobs():
            if job.dispatched_at is None and _is_of_this_process(job.claimed_by):
                mqp.release_job(job.id)
            elif job.dispatched_at is not None:
                self._take_up(job)
        for hamiltonian in mqp.fetch_all_waiting_hamiltonian_jobs():
            if hamiltonian.dispatched_at is None and _is_of_this_process(hamiltonian.claimed_by):
                mqp.release_job(hamiltonian.id, kind=Kind.HAMILTONIAN)
            elif self._hamiltonians.is_ours(hamiltonian):
                self._hamiltonians.take(hamiltonian)
        self._end_leftovers()
        self._reaped_at = time.monotonic()

    def _reap(self) -> None:
        reaped = mqp.reap()
        for job in reaped.dispatched:
            if isinstance(job, CircuitJob):
                self._take_up(job)
            elif self._hamiltonians.is_ours(job):
                self._hamiltonians.take(job)
        self._reaped_at = time.monotonic()

    def _take_up(self, job: CircuitJob) -> None:
        """Go on with a job that was sent before; one that another scheduler sent elsewhere is left to it."""
        if job.id in self._sent:
            return
        execute = execution_id(job.id, _EXECUTE)
        found = self._executions.states([execute, execution_id(job.id, _COMPILE)])
        if job.remote not in (None, "", execute) or (not found and not self._adopted(job)):
            logger.warning("mqp job %s was sent by %s as %r", job.id, display_owner(job.claimed_by), job.remote)
            return
        device = self._service.devices.get(job.target_specification)
        if device is None:
            self._fail(job.id, f"There is no device {job.target_specification} any more.", Reason.EXECUTION)
        elif found:
            stage = _EXECUTE if execute in found else _COMPILE
            self._sent[job.id] = _Sent(job_id=job.id, device=device, stage=stage)
        elif job.remote:
            self._fail(job.id, "Its job in the service was deleted.", Reason.EXECUTION)
        else:
            self._claimed.append(job)

    def _adopted(self, job: CircuitJob) -> bool:
        """Whether a job that may not have been sent is this process's to send."""
        if _is_of_this_process(job.claimed_by):
            return True
        try:
            mqp.adopt_job(job.id)
        except StaleJob:
            return False
        return True

    def _end_leftovers(self) -> None:
        """Cancel what runs for jobs whose cancellation the service did not survive."""
        job = schema.mqp_job
        running = schema.job
        query = (
            sa.select(job.c.id)
            .join(running, running.c.job_id == job.c.remote)
            .where(
                job.c.status == MqpStatus.CANCELLED,
                running.c.status.not_in([status.value for status in JobStatus if status.is_final]),
            )
        )
        for row in self._service.db.rows(query):
            self.cancel(row.id)

    def _give_back(self) -> None:
        """Jobs that were claimed and not sent go back to the queue."""
        with using(self._jobs):
            for job in self._claimed:
                try:
                    mqp.release_job(job.id)
                except (StaleJob, LedgerError) as error:
                    logger.info("mqp job %s is not given back: %s", job.id, error)
        self._claimed.clear()
        self._sent.clear()


def _is_of_this_process(claimant: str | None) -> bool:
    """Whether it is a claim of this process, of whichever thread."""
    name, mine = display_owner(claimant), display_owner(lease_owner())
    return name.rpartition(":")[0] == mine.rpartition(":")[0]
