"""Hamiltonian jobs: the hybrid loop minimises each, and its circuits run as jobs of the service.

The jobs of an epoch have ids that follow from the Hamiltonian job and the number of the epoch. A loop that goes on
after a restart begins at its first epoch again: it asks for the same points, finds the results of the epochs that were
done, and the job of the one that was under way.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import sqlalchemy as sa

from qjobs.circuits.programs import bind, to_qiskit
from qjobs.errors import InvalidInput, LedgerError, StaleJob
from qjobs.experiments.hamiltonian import HamiltonianInput, ground_energy
from qjobs.experiments.hybrid import HybridPlan, HybridSpec, expand_hybrid
from qjobs.lifecycle import JobStatus
from qjobs.operations.hybrid import Epoch, Evaluation, Minimised, Params, from_counts, minimise
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import Device
from qjobs.service.errors import ServiceError
from qjobs.service.executions import Executions, execution_id
from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.circuit_texts import pytket_body
from qjobs.service.mqp.database import JobDatabase, using
from qjobs.service.mqp.device_resources import DeviceResources
from qjobs.service.mqp.reasons import Reason
from qjobs.service.mqp.records import HamiltonianJob, Kind, MqpStatus
from qjobs.service.tables import mqp_job

__all__ = ["EPOCHS", "SHOTS", "HamiltonianRuns"]

logger = logging.getLogger(__name__)

EPOCHS = 50
SHOTS = 1000
"""Of each point; fewer where the device takes no more."""

_AT_ONCE = 4
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 0.5
_AFTER_ERROR_S = 1.0


class _Stopped(Exception):
    """The service ends, or the job was cancelled: the loop stops where it is."""


class _Failed(Exception):
    """A circuit of an epoch could not be run."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """A loop: its job, what its circuits run on, and the job of the service that it waits for."""

    job: HamiltonianJob
    plan: HybridPlan
    device: Device
    user: User
    shots: int
    awaited: str | None = field(default=None)


class HamiltonianRuns:
    """Loops that run now, a few side by side; the others wait for them."""

    def __init__(self, service: Service, jobs: JobDatabase, resources: DeviceResources, executions: Executions) -> None:
        self._service = service
        self._jobs = jobs
        self._resources = resources
        self._executions = executions
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._runs: dict[int, _Run] = {}
        self._pool: ThreadPoolExecutor | None = None

    def take(self, job: HamiltonianJob) -> None:
        """Run a job that this process has claimed, or that a service before this one ran."""
        with self._lock:
            if self._stopping.is_set() or job.id in self._taken:
                return
            self._taken.add(job.id)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="qjobs-mqp-hybrid")
            self._pool.submit(self._serve, job)

    def is_ours(self, job: HamiltonianJob) -> bool:
        """Whether a service ran the job, and no scheduler of somebody else's."""
        return job.remote == _remote(job)

    def cancel(self, job_id: int) -> None:
        """End what runs for a job that was cancelled."""
        run = self._runs.get(job_id)
        awaited = None if run is None else run.awaited
        if awaited is not None:
            self._executions.cancel([awaited])

    def start(self) -> None:
        """Take jobs again. Idempotent."""
        self._stopping.clear()

    def stop(self) -> None:
        """End all loops; they go on after the next start. Idempotent."""
        self._stopping.set()
        with self._lock:
            pool = self._pool
            self._pool = None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self._taken.clear()

    def _serve(self, job: HamiltonianJob) -> None:
        """Run a loop to its end; while the database is away, it waits and begins again."""
        try:
            with using(self._jobs):
                while not self._stopping.is_set():
                    try:
                        self._minimise(job)
                        break
                    except LedgerError as error:
                        logger.error("mqp job %s: the database cannot be reached: %s", job.id, error)  # noqa: TRY400
                        self._stopping.wait(_AFTER_ERROR_S)
        except Exception:  # boundary: the thread of a pool; the job is found again after a restart
            logger.exception("mqp job %s: its loop failed", job.id)
        finally:
            self._runs.pop(job.id, None)
            self._taken.discard(job.id)

    def _minimise(self, job: HamiltonianJob) -> None:
        try:
            run = self._prepared(job)
            if run is None:
                return
            self._runs[job.id] = run
            done = minimise(
                run.plan,
                lambda number, points: self._evaluate(run, number, points),
                logical_run=_remote(job),
                record=lambda epoch: self._record(run, epoch),
                now=self._service.clock.now,
            )
            text = json.dumps(_result_of(run.plan, done))
            note = f"energy {done.best.energy:.9g} after {len(done.epochs)} epochs"
            mqp.complete_hamiltonian_job_with_result(job.id, text, run.device.name, _text_of(run.plan), note)
        except _Stopped:
            logger.info("mqp job %s: its loop stopped", job.id)
        except StaleJob as error:
            logger.info("mqp job %s: its loop ended: %s", job.id, error)
        except LedgerError:
            raise
        except (InvalidInput, ServiceError) as error:
            self._fail(job, getattr(error, "message", "") or str(error), Reason.REFUSED)
        except Exception as error:  # boundary: whatever the circuits of an epoch meet is the job's failure
            logger.warning("mqp job %s fails", job.id, exc_info=not isinstance(error, _Failed))
            self._fail(job, str(error) or type(error).__name__, Reason.EXECUTION)

    def _fail(self, job: HamiltonianJob, note: str, reason: Reason) -> None:
        try:
            mqp.fail_hamiltonian_job(job.id, note, reason=reason)
        except StaleJob as error:
            logger.info("mqp job %s does not fail: %s", job.id, error)

    def _prepared(self, job: HamiltonianJob) -> _Run | None:
        """What the loop needs; None where the job ended without one."""
        name = job.target_specification
        device = self._service.devices.get(name)
        if job.dispatched_at is None:
            away = self._resources.away(name)
            if device is not None and device.reserved_for and job.owner not in device.reserved_for:
                mqp.cancel_hamiltonian_job(job.id, f"The resource {name} is reserved.", reason=Reason.REFUSED)
                return None
            if away is not None:
                mqp.cancel_hamiltonian_job(job.id, f"The resource {name} is {away.words}.", reason=away.reason)
                return None
            mqp.mark_dispatched(job.id, _remote(job), kind=Kind.HAMILTONIAN)
        if device is None:
            raise InvalidInput(f"there is no device {name} any more")
        shots = min(SHOTS, device.max_shots)
        spec = HybridSpec(
            name=_remote(job),
            hamiltonian=HamiltonianInput(interaction_str=job.interaction_str, coefficients_str=job.coefficients_str),
            epochs=EPOCHS,
            shots=shots,
            seed=job.id,
        )
        user = self._service.accounts.user(job.owner)
        return _Run(job=job, plan=expand_hybrid(spec), device=device, user=user, shots=shots)

    def _evaluate(self, run: _Run, number: int, points: Sequence[Params]) -> Evaluation:
        """The energies of an epoch's points; its circuits are one job of the service."""
        name = f"portal job {run.job.id}, epoch {number}"
        execute = execution_id(run.job.id, f"epoch {number}")
        distinct = list(dict.fromkeys(points))
        if execute not in self._executions.states([execute]):
            bodies = _bodies(run.plan, distinct)
            if run.device.needs_compilation:
                compiling = execution_id(run.job.id, f"compile epoch {number}")
                self._executions.compile(compiling, run.user, run.device, bodies, name=name)
                self._wait(run, compiling)
                bodies = self._executions.compiled(compiling)
            self._executions.execute(execute, run.user, run.device, bodies, [run.shots] * len(bodies), name=name)
        self._wait(run, execute)
        counts = self._executions.counts(execute)
        per_basis = [counts[first : first + len(distinct)] for first in range(0, len(counts), len(distinct))]
        once = from_counts(run.plan, per_basis)
        places = [distinct.index(point) for point in points]
        return Evaluation(
            energies=tuple(once.energies[place] for place in places),
            std_errors=tuple(once.std_errors[place] for place in places),
        )

    def _wait(self, run: _Run, awaited: str) -> None:
        """Wait until a job of the service is COMPLETED."""
        run.awaited = awaited
        wait_s = _FIRST_WAIT_S
        while True:
            state = self._executions.states([awaited]).get(awaited)
            if state is not None and state.status is JobStatus.COMPLETED:
                return
            if self._stopping.is_set():
                raise _Stopped
            if not self._is_waiting(run.job.id):
                self._executions.cancel([awaited])
                raise _Stopped
            if state is None:
                raise _Failed("its job in the service was deleted")
            if state.status.is_final:
                raise _Failed(state.message)
            self._stopping.wait(wait_s)
            wait_s = min(_LONGEST_WAIT_S, 1.5 * wait_s)

    def _is_waiting(self, job_id: int) -> bool:
        rows = self._service.db.rows(sa.select(mqp_job.c.status).where(mqp_job.c.id == job_id))
        return bool(rows) and rows[0].status == MqpStatus.WAITING

    def _record(self, run: _Run, epoch: Epoch) -> None:
        """Tell how far the loop is; epochs that were told before the service ended are not told again."""
        if run.job.epochs is not None and epoch.number <= run.job.epochs:
            return
        params = dict(zip(run.plan.circuit.parameters, epoch.params, strict=True))
        error = "" if epoch.std_error is None else f" +- {epoch.std_error:.6g}"
        note = f"epoch {epoch.number}: energy {epoch.energy:.9g}{error}"
        mqp.update_hybrid_job(run.job.id, epoch.number, json.dumps(params), _text_of(run.plan), note)


def _remote(job: HamiltonianJob) -> str:
    """The name of the loop."""
    return f"portal-job-{job.id}"


def _bodies(plan: HybridPlan, points: Sequence[Params]) -> list[bytes]:
    """The circuits of an epoch: for each measurement basis one for each point."""
    names = plan.circuit.parameters
    found = []
    for template in plan.templates.values():
        for point in points:
            found.append(pytket_body(bind(template, dict(zip(names, point, strict=True)))))
    return found


def _text_of(plan: HybridPlan) -> str:
    """The parametric circuit as OpenQASM 3."""
    from qiskit import qasm3

    return str(qasm3.dumps(to_qiskit(plan.circuit)))


def _result_of(plan: HybridPlan, done: Minimised) -> dict[str, object]:
    """What a Hamiltonian job gives: the lowest energy that was measured, where, and the way there."""
    best = done.best
    return {
        "energy": best.energy,
        "std_error": best.std_error,
        "params": dict(zip(plan.circuit.parameters, best.params, strict=True)),
        "epochs": len(done.epochs),
        "energies": [epoch.energy for epoch in done.epochs],
        "exact_energy": ground_energy(plan.hamiltonian),
    }
