"""Jobs of Qoro in the database, and their guarded moves."""

from __future__ import annotations

import logging
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Database, log_after_commit, parts
from qjobs.service.accounts.accounts import User
from qjobs.service.clock import ServiceClock
from qjobs.service.devices import Device
from qjobs.service.errors import BadRequest, Conflict, Forbidden, NotFound
from qjobs.service.qoro.fragments import MAX_CIRCUITS, Fragment
from qjobs.service.qoro.request_bodies import InitBody, JobType
from qjobs.service.store.queries import clean_id
from qjobs.service.tables import QoroStatus, qoro_circuit, qoro_job

__all__ = ["QoroJob", "QoroJobs", "StoredCircuit"]

logger = logging.getLogger(__name__)

_OPEN = (QoroStatus.PENDING.value, QoroStatus.RUNNING.value)
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class QoroJob:
    """A job as it is stored, without its circuits; moments are of the service's clock."""

    job_id: str
    owner_id: str
    tag: str
    job_type: JobType
    device: str
    settings: dict[str, Any] = field(repr=False)
    part_size: int
    observables: list[list[str]] | None = field(repr=False)
    circuit_ham_map: list[list[int]] | None = field(repr=False)
    n_circuits: int
    last_fragment: str | None
    status: QoroStatus
    message: str
    sent: int
    run_time_s: float | None
    created_at: datetime
    finalized_at: datetime | None
    ended_at: datetime | None

    @property
    def n_parts(self) -> int:
        """How many jobs of the service it becomes: each takes so many circuits at most."""
        return -(-self.n_circuits // self.part_size)

    def group_of(self, number: int) -> int | None:
        """The group of observables of a circuit, from 0; None for all of them: no range of the map has it."""
        for group, (start, end) in enumerate(self.circuit_ham_map or ()):
            if start <= number < end:
                return group
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCircuit:
    """A circuit of a job, as OpenQASM 2."""

    number: int
    label: str
    n_shots: int
    text: str = field(repr=False)


class QoroJobs:
    """The tables of Qoro in the service's database."""

    def __init__(self, db: Database, clock: ServiceClock, *, part_size: int) -> None:
        self._db = db
        self._clock = clock
        self._part_size = part_size

    def create(self, user: User, body: InitBody, device: Device) -> QoroJob:
        """A new job, PENDING and without circuits; nothing of it runs before it is finalised."""
        given = body.model_dump(include={"use_packing", "execution_configuration", "maestro_config", "device_config"})
        job = QoroJob(
            job_id=str(uuid.uuid4()),
            owner_id=user.user_id,
            tag=body.tag,
            job_type=body.job_type,
            device=device.name,
            settings={name: value for name, value in given.items() if value is not None},
            part_size=self._part_size,
            observables=None,
            circuit_ham_map=None,
            n_circuits=0,
            last_fragment=None,
            status=QoroStatus.PENDING,
            message="",
            sent=0,
            run_time_s=None,
            created_at=self._clock.now(),
            finalized_at=None,
            ended_at=None,
        )
        row = {name: getattr(job, name) for name in qoro_job.columns.keys()}  # noqa: SIM118 - not a dict
        with self._db.write() as connection:
            connection.execute(qoro_job.insert().values(row))
            log_after_commit(connection, "qoro job %s accepted from %s: %s on %s", job.job_id, user.email, *_what(job))
        return job

    def of(self, user: User, job_id: str, *, owner_only: bool = False) -> QoroJob:
        """A job of the user's.

        Raises:
            NotFound: They have none of this id.
            Forbidden: With `owner_only` instead: somebody else has.
        """
        wanted = clean_id(job_id, "job")
        rows = self._db.rows(sa.select(qoro_job).where(qoro_job.c.job_id == wanted))
        if rows and rows[0].owner_id == user.user_id:
            return _job(rows[0])
        if rows and owner_only:
            raise Forbidden("the job is not yours to cancel")
        raise NotFound(f"you have no job {wanted}")

    def open(self) -> list[QoroJob]:
        """Jobs that are finalised and have not ended, in the order in which they were finalised."""
        job = qoro_job
        query = sa.select(job).where(job.c.status.in_(_OPEN), job.c.finalized_at.is_not(None))
        return [_job(row) for row in self._db.rows(query.order_by(job.c.finalized_at, job.c.job_id))]

    def cancelled(self) -> list[QoroJob]:
        """Jobs that were finalised, and then cancelled."""
        job = qoro_job
        query = sa.select(job).where(job.c.status == QoroStatus.CANCELLED.value, job.c.finalized_at.is_not(None))
        return [_job(row) for row in self._db.rows(query)]

    def add(self, job: QoroJob, fragment: Fragment) -> bool:
        """Append a fragment, and finalise the job with the last one, all in one transaction.

        Returns:
            Whether it was new: one that comes a second time, because the reply to the first was lost, adds nothing.

        Raises:
            Conflict: The job takes no more circuits.
            BadRequest: A label is there already, the observables are others than before, or there are no circuits.
        """
        now = self._clock.now()
        with self._db.write() as connection:
            locked = self._locked(connection, job.job_id)
            if locked.last_fragment == fragment.hash:
                return False
            if locked.finalized_at is not None or locked.status is not QoroStatus.PENDING:
                raise Conflict(_closed(locked))
            changed = _grown(locked, fragment)
            self._check_labels(connection, job.job_id, [circuit.label for circuit in fragment.circuits])
            rows = [
                {
                    "job_id": job.job_id,
                    "number": number,
                    "label": circuit.label,
                    "n_shots": circuit.n_shots,
                    "body": zlib.compress(circuit.text.encode(), 1),
                }
                for number, circuit in enumerate(fragment.circuits, start=locked.n_circuits)
            ]
            if rows:
                connection.execute(qoro_circuit.insert(), rows)
            if fragment.is_last:
                changed["finalized_at"] = now
            connection.execute(qoro_job.update().where(qoro_job.c.job_id == job.job_id).values(changed))
            words = "qoro job %s: %d circuits added%s"
            log_after_commit(connection, words, job.job_id, len(rows), ", finalised" if fragment.is_last else "")
        return True

    def _locked(self, connection: sa.Connection, job_id: str) -> QoroJob:
        row = connection.execute(sa.select(qoro_job).where(qoro_job.c.job_id == job_id).with_for_update()).one_or_none()
        if row is None:
            raise NotFound(f"you have no job {job_id}")
        return _job(row)

    def _check_labels(self, connection: sa.Connection, job_id: str, labels: Sequence[str]) -> None:
        for some in parts(labels):
            query = sa.select(qoro_circuit.c.label).where(
                qoro_circuit.c.job_id == job_id, qoro_circuit.c.label.in_(some)
            )
            twice = connection.scalar(query.limit(1))
            if twice is not None:
                raise BadRequest(f"the job has a circuit {twice[:_SHOWN]!r} already; labels name the results of a job")

    def configure(self, job: QoroJob, settings: dict[str, Any]) -> None:
        """Replace the settings of a job.

        Raises:
            Conflict: It has begun to run, or has ended.
        """
        with self._db.write() as connection:
            locked = self._locked(connection, job.job_id)
            if locked.status is not QoroStatus.PENDING:
                raise Conflict("Can only configure a PENDING job")
            kept = {"use_packing": locked.settings.get("use_packing"), **settings}
            connection.execute(qoro_job.update().where(qoro_job.c.job_id == job.job_id).values(settings=kept))

    def circuits(self, job_id: str, start: int, end: int) -> list[StoredCircuit]:
        """The circuits of these numbers, in order."""
        table = qoro_circuit
        query = sa.select(table).where(table.c.job_id == job_id, table.c.number >= start, table.c.number < end)
        found = []
        for row in self._db.rows(query.order_by(table.c.number)):
            text = zlib.decompress(row.body).decode()
            found.append(StoredCircuit(number=row.number, label=row.label, n_shots=row.n_shots, text=text))
        return found

    def labels(self, job_id: str, numbers: Sequence[int]) -> dict[int, str]:
        """The labels of these circuits, by number."""
        table = qoro_circuit
        query = sa.select(table.c.number, table.c.label).where(table.c.job_id == job_id)
        return {row.number: row.label for row in self._db.rows_among(query, table.c.number, numbers)}

    def advance(self, job_id: str, *, status: QoroStatus, sent: int) -> bool:
        """Record how far an open job is; whether it was open."""
        return self._move(job_id, {"status": status.value, "sent": sent})

    def end(self, job_id: str, status: QoroStatus, message: str = "", run_time_s: float | None = None) -> bool:
        """End an open job; whether it was open: the first end stands."""
        values = {"message": message, "run_time_s": run_time_s, "ended_at": self._clock.now()}
        return self._move(job_id, {"status": status.value, **values})

    def _move(self, job_id: str, values: dict[str, Any]) -> bool:
        which = (qoro_job.c.job_id == job_id) & qoro_job.c.status.in_(_OPEN)
        with self._db.write() as connection:
            moved = connection.execute(qoro_job.update().where(which).values(values)).rowcount > 0
            if moved:
                log_after_commit(
                    connection, "qoro job %s is %s %s", job_id, values["status"], values.get("message", "")
                )
        return moved

    def delete(self, job_id: str) -> None:
        """Delete a job with its circuits; what works for it is the caller's to end."""
        with self._db.write() as connection:
            connection.execute(qoro_circuit.delete().where(qoro_circuit.c.job_id == job_id))
            connection.execute(qoro_job.delete().where(qoro_job.c.job_id == job_id))
            log_after_commit(connection, "qoro job %s deleted", job_id)


def _job(row: sa.Row[Any]) -> QoroJob:
    values = dict(row._mapping)
    return QoroJob(**{**values, "status": QoroStatus(row.status), "job_type": JobType(row.job_type)})


def _what(job: QoroJob) -> tuple[str, str]:
    return job.job_type.value, job.device


def _closed(job: QoroJob) -> str:
    if job.status is QoroStatus.CANCELLED:
        return "the job was cancelled and takes no circuits; start a new one"
    return "the job is finalised and takes no more circuits; start a new one"


def _grown(job: QoroJob, fragment: Fragment) -> dict[str, Any]:
    """The columns of a job that a fragment changes, checked against what came before."""
    n_circuits = job.n_circuits + len(fragment.circuits)
    if n_circuits > MAX_CIRCUITS:
        raise BadRequest(f"a job has at most {MAX_CIRCUITS} circuits; send several jobs")
    if fragment.is_last and not n_circuits:
        raise BadRequest("a job needs at least one circuit")
    groups = None if fragment.observables is None else [list(group) for group in fragment.observables]
    ham_map = None if fragment.circuit_ham_map is None else [list(each) for each in fragment.circuit_ham_map]
    if job.last_fragment is not None and (job.observables, job.circuit_ham_map) != (groups, ham_map):
        raise BadRequest("observables and circuit_ham_map must be the same in all fragments of a job")
    _check_widths(job, fragment)
    if fragment.is_last:
        for start, end in fragment.circuit_ham_map or ():
            if not 0 <= start <= end <= n_circuits:
                raise BadRequest(f"circuit_ham_map: [{start}, {end}] is no range of {n_circuits} circuits")
    return {
        "n_circuits": n_circuits,
        "last_fragment": fragment.hash,
        "observables": groups,
        "circuit_ham_map": ham_map,
    }


def _check_widths(job: QoroJob, fragment: Fragment) -> None:
    """No observable is wider than a circuit for which it is computed."""
    groups = fragment.observables
    if groups is None:
        return
    widths = [len(group[0]) for group in groups]
    for number, circuit in enumerate(fragment.circuits, start=job.n_circuits):
        inside = [
            width
            for width, (start, end) in zip(widths, fragment.circuit_ham_map or (), strict=False)
            if start <= number < end
        ]
        width = inside[0] if inside else max(widths)
        if width > circuit.n_qubits:
            raise BadRequest(
                f"the circuit {circuit.label[:_SHOWN]!r} has {circuit.n_qubits} qubits, "
                f"and its observables are {width} qubits wide"
            )
