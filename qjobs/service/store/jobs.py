"""Jobs of the service's users: created, read, cancelled, retried, rerun and deleted. The executor runs them."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import Accounts, User
from qjobs.service.changes import Changes
from qjobs.service.clock import ServiceClock
from qjobs.service.devices import Devices
from qjobs.service.errors import BadRequest, Forbidden, NotFound
from qjobs.service.settings import Settings
from qjobs.service.store.cancel_retry import cancel_move, chosen_for_retry, restart_move
from qjobs.service.store.definitions import OBSERVABLES, ItemObservables, NewItem, check_definition
from qjobs.service.store.deleted import record_deletion
from qjobs.service.store.job_moves import JOB_WORDS, apply_moves, locked, read_items, roll_up_jobs
from qjobs.service.store.job_records import ItemRecord, JobRecord, item_record, job_record, status_body, time_column
from qjobs.service.store.queries import clean_id

logger = logging.getLogger(__name__)

_ONLY_CIRCUITS = "this service runs circuits only"


class JobStore:
    """Jobs and their items in the database.

    `visible` and `writable` are subselects of project ids: a job in another project does not exist for the
    caller: it is `NotFound`. `work` is set whenever there may be something for the executor to do; `positions` are the
    places of QUEUED jobs in their queues, as the executor saw them last.
    """

    def __init__(
        self,
        db: Database,
        clock: ServiceClock,
        devices: Devices,
        changes: Changes,
        settings: Settings,
        accounts: Accounts,
    ) -> None:
        self._db = db
        self._clock = clock
        self._devices = devices
        self._changes = changes
        self._settings = settings
        self._accounts = accounts
        self.work = threading.Event()
        self.positions: Mapping[str, int] = {}

    def create(
        self,
        user: User,
        project_id: str,
        *,
        name: str,
        description: str = "",
        properties: Mapping[str, Any] | None = None,
        job_type: str,
        definition: Mapping[str, Any],
        observables: ItemObservables | None = None,
        job_id: str | None = None,
        delay_s: float | None = None,
    ) -> str:
        """Store a new job, every item SUBMITTED.

        A second call with the same `job_id` stores nothing. `delay_s`, in seconds of the service's clock, is how long
        it stays SUBMITTED; None for the time that the settings say. With `observables` the items get expectation values
        instead of counts, which a simulator without noise computes.

        Returns:
            Its id.

        Raises:
            ServiceError: It cannot be run, the project is not the user's to write to, or a program is
                not theirs to read.
        """
        checked = check_definition(job_type, definition, user, self._devices, max_items=self._settings.max_items)
        stored = dict(checked.definition)
        if observables is not None:
            stored[OBSERVABLES] = observables.stored()
        with self._db.write() as connection:
            writable = self._accounts.projects_with(user.user_id, "WRITE")
            readable = self._accounts.projects_with(user.user_id, "READ")
            if job_id is not None and self._exists(connection, job_id):
                return job_id
            self._check_project(connection, project_id, writable, readable)
            self._check_programs(connection, checked.items, readable)
            job_id = self._insert(
                connection,
                job_id or str(uuid.uuid4()),
                {
                    "project_id": project_id,
                    "owner_id": user.user_id,
                    "name": name,
                    "description": description,
                    "properties": dict(properties or {}),
                    "job_type": job_type,
                    "device": checked.device.name,
                    "definition": stored,
                },
                [asdict(item) for item in checked.items],
                delay_s,
            )
        logger.info(
            "job %s accepted from %s: %s on %s, items: %d",
            job_id,
            user.email,
            job_type,
            checked.device.name,
            len(checked.items),
        )
        self._announce(job_id)
        return job_id

    def _check_project(
        self, connection: sa.Connection, project_id: str, writable: sa.Select[Any], readable: sa.Select[Any]
    ) -> None:
        project = schema.project
        query = sa.select(project.c.archived).where(project.c.project_id == project_id)
        locking = query.with_for_update()  # nobody can delete it before the job is in it
        if connection.scalar(locking.where(project.c.project_id.in_(writable))) is not None:
            return
        if connection.scalar(query.where(project.c.project_id.in_(readable))) is not None:
            raise Forbidden("you may read this project, but not add jobs to it")
        raise NotFound(f"project {project_id} not found")

    def _check_programs(self, connection: sa.Connection, items: Sequence[NewItem], readable: sa.Select[Any]) -> None:
        document = schema.document
        wanted = sorted({item.program_id for item in items})
        query = sa.select(document.c.document_id, document.c.kind).where(
            document.c.document_id.in_(wanted), document.c.project_id.in_(readable)
        )
        kinds = {row.document_id: row.kind for row in connection.execute(query)}
        for number, item in enumerate(items, start=1):
            kind = kinds.get(item.program_id)
            if kind is None:
                raise NotFound(f"item {number}: program {item.program_id} not found")
            if kind != "circuit":
                raise BadRequest(f"item {number}: program {item.program_id} is of kind {kind}, but {_ONLY_CIRCUITS}")

    def _exists(self, connection: sa.Connection, job_id: str) -> bool:
        query = sa.select(sa.func.count()).select_from(schema.job).where(schema.job.c.job_id == job_id)
        return bool(connection.scalar(query))

    def _insert(
        self,
        connection: sa.Connection,
        job_id: str,
        job: dict[str, Any],
        items: Sequence[Mapping[str, Any]],
        delay_s: float | None,
    ) -> str:
        now = self._clock.now()
        ready_at = self._ready_at(now) if delay_s is None else now + timedelta(seconds=delay_s)
        table = schema.job
        self._db.lock(connection, "qjobs-job-sequence")
        last = connection.scalar(sa.select(sa.func.max(table.c.sequence)))
        status = {
            "status": JobStatus.SUBMITTED.value,
            "message": JOB_WORDS[JobStatus.SUBMITTED],
            "submitted_at": now,
        }
        connection.execute(
            table.insert().values(
                job_id=job_id, sequence=(last or 0) + 1, created_at=now, modified_at=now, **job, **status
            )
        )
        rows = [
            {
                **item,
                **status,
                "item_uuid": str(uuid.uuid4()),
                "job_id": job_id,
                "item_id": number,
                "ready_at": ready_at,
                "tries": 0,
            }
            for number, item in enumerate(items, start=1)
        ]
        connection.execute(schema.job_item.insert(), rows)
        project = schema.project
        connection.execute(
            project.update().where(project.c.project_id == job["project_id"]).values(contents_modified_at=now)
        )
        return job_id

    def _ready_at(self, now: datetime) -> datetime:
        return now + timedelta(seconds=min(self._clock.virtual_s(self._settings.submit_delay_s), 1e9))

    def record(self, visible: sa.Select[Any], job_id: str) -> JobRecord:
        """One job."""
        job = schema.job
        wanted = clean_id(job_id, "job")
        found = self.records(sa.and_(job.c.job_id == wanted, job.c.project_id.in_(visible)), (), 0, 1)
        if not found:
            raise NotFound(f"job {wanted} not found")
        return found[0]

    def records(
        self, clause: sa.ColumnElement[bool], order_by: Sequence[Any], offset: int, limit: int
    ) -> list[JobRecord]:
        """The jobs that a clause on `schema.job` selects; the order of arrival decides between equals."""
        job = schema.job
        query = sa.select(job).where(clause).order_by(*order_by, job.c.sequence).offset(offset).limit(limit)
        with self._db.read() as connection:
            return [job_record(row, self.positions) for row in connection.execute(query)]

    def count(self, clause: sa.ColumnElement[bool]) -> int:
        """How many jobs a clause on `schema.job` selects."""
        query = sa.select(sa.func.count()).select_from(schema.job).where(clause)
        with self._db.read() as connection:
            return int(connection.scalar(query) or 0)

    def status(self, visible: sa.Select[Any], job_id: str) -> dict[str, Any]:
        """The status object of docs/nexus.md, "Jobs"."""
        return status_body(self.record(visible, job_id))

    def items(self, job_id: str) -> list[ItemRecord]:
        """The items of a job, in order."""
        return self.items_of([job_id]).get(job_id, [])

    def items_of(self, job_ids: Collection[str]) -> dict[str, list[ItemRecord]]:
        """The items of several jobs, in order, by job."""
        item = schema.job_item
        found = {job_id: list[ItemRecord]() for job_id in job_ids}
        query = sa.select(item).where(item.c.job_id.in_(sorted(found))).order_by(item.c.job_id, item.c.item_id)
        with self._db.read() as connection:
            for row in connection.execute(query):
                found[row.job_id].append(item_record(row, self.positions))
        return found

    def cancel(self, writable: sa.Select[Any], job_id: str, item_ids: Collection[int] | None = None) -> None:
        """Cancel a job, or these of its items, as far as that is possible.

        Final items stay as they are; waiting items are CANCELLED at once; compilations that run are not
        interrupted; executions that run are CANCELLING until the executor has ended them.
        """
        now = self._clock.now()
        with self._db.write() as connection:
            job = self._locked(connection, writable, job_id)
            items = read_items(connection, [job_id])
            if item_ids is not None:
                items = _chosen(job_id, items, set(item_ids))
            moves = list(filter(None, (cancel_move(item, job.job_type) for item in items)))
            apply_moves(connection, moves, now)
            if item_ids is None and JobStatus(job.status) not in {JobStatus.COMPLETED, JobStatus.CANCELLED}:
                table = schema.job
                connection.execute(table.update().where(table.c.job_id == job_id).values(cancel_requested_at=now))
            roll_up_jobs(connection, [job], now)
        logger.info("job %s: cancellation requested, items that it moves: %d", job_id, len(moves))
        self._announce(job_id)

    def retry(
        self,
        writable: sa.Select[Any],
        job_id: str,
        strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
        statuses: Collection[JobStatus] | None = None,
        user_group: str | None = None,
        *,
        user: User | None = None,
    ) -> None:
        """Run items of a job again, under the same ids; if there are none to run, nothing changes.

        `statuses` says which items to consider: empty means ERROR, and with FULL_RESTART all (Nexus's route names
        ERROR there, too). `user_group` pays from now on, and `user`, who asks, must be a member of it.

        Raises:
            Forbidden: The user is not in the group.
            BadRequest: No item ever has such a status.
        """
        unknown = sorted(set(statuses or ()) - set(schema.TIMED))
        if unknown:
            raise BadRequest(f"no item has the status {unknown[0]}; there are {', '.join(schema.TIMED)}")
        if user_group is not None and user is not None and user_group not in user.groups:
            raise Forbidden(f"Not a member of any group with name: {user_group}")
        now = self._clock.now()
        with self._db.write() as connection:
            job = self._locked(connection, writable, job_id)
            items = chosen_for_retry(read_items(connection, [job_id]), strategy, frozenset(statuses or ()))
            if not items:
                return
            apply_moves(connection, [restart_move(item, strategy, self._ready_at(now)) for item in items], now)
            values: dict[str, Any] = {time_column(status): None for status in FINAL}
            values["cancel_requested_at"] = None
            if user_group is not None:
                definition = connection.scalar(sa.select(schema.job.c.definition).where(schema.job.c.job_id == job_id))
                values["definition"] = {**(definition or {}), "user_group": user_group}
            connection.execute(schema.job.update().where(schema.job.c.job_id == job_id).values(values))
            roll_up_jobs(connection, [job], now)
        logger.info("job %s: retry requested with %s, items to run: %d", job_id, strategy, len(items))
        self._announce(job_id)

    def rerun(self, writable: sa.Select[Any], job_id: str, name: str, user: User) -> str:
        """Create a new job with the same definition, whatever the status of the old one.

        Returns:
            Its id.

        Raises:
            ServiceError: There is no such job, or its definition would not be accepted any more.
        """
        with self._db.read() as connection:
            job = schema.job
            query = sa.select(job).where(job.c.job_id == job_id, job.c.project_id.in_(writable))
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotFound(f"job {job_id} not found")
            items = read_items(connection, [job_id])
        names = ("program_id", "n_shots", "max_cost", "n_qubits")
        posted = []
        for item in items:
            given = {name: getattr(item, name) for name in names}
            posted.append({name: value for name, value in given.items() if value is not None})
        new_id = self.create(
            user,
            row.project_id,
            name=name,
            description=row.description,
            properties=row.properties,
            job_type=row.job_type,
            definition={**row.definition, "items": posted},
        )
        logger.info("job %s is a rerun of job %s", new_id, job_id)
        return new_id

    def delete(self, writable: sa.Select[Any], job_id: str) -> None:
        """Delete a job with its results, whatever its status; what a worker still has of it is dropped."""
        with self._db.write() as connection:
            self._locked(connection, writable, job_id)
            record_deletion(connection, job_id=job_id)
            connection.execute(schema.job.delete().where(schema.job.c.job_id == job_id))
        logger.info("job %s deleted", job_id)
        self._announce(job_id)

    def _locked(self, connection: sa.Connection, writable: sa.Select[Any], job_id: str) -> sa.Row[Any]:
        job = schema.job
        query = sa.select(job.c.job_id).where(job.c.job_id == job_id, job.c.project_id.in_(writable))
        row = locked(connection, [job_id]).get(job_id) if connection.scalar(query) is not None else None
        if row is None:
            raise NotFound(f"job {job_id} not found")
        return row

    def _announce(self, job_id: str) -> None:
        self._changes.notify(job_id)
        self.work.set()


def _chosen(job_id: str, items: Sequence[ItemRecord], item_ids: Collection[int]) -> list[ItemRecord]:
    chosen = [item for item in items if item.item_id in item_ids]
    if len(chosen) < len(item_ids):
        unknown = set(item_ids).difference(item.item_id for item in items)
        raise NotFound(f"job {job_id} has no item {min(unknown)}")
    return chosen
