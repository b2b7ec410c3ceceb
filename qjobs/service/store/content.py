"""What users keep in the service: projects, definitions of properties, and the programs in projects.

Every method takes the projects that its user may see as a subselect and uses it in its query: what lies outside is
`NotFound`, whether it exists or not. A listing has them in its clause.
"""

from __future__ import annotations

import logging
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qjobs.ledger.database import Database
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import ADMINISTRATOR, Accounts, User
from qjobs.service.clock import ServiceClock
from qjobs.service.errors import Conflict, Forbidden, NotFound
from qjobs.service.store.deleted import record_deletion
from qjobs.service.store.queries import Listing, Resource, clean_id
from qjobs.service.store.records import (
    Document,
    DocumentKind,
    Project,
    Projects,
    PropertyDefinition,
    PropertyValue,
    document_of,
)

R = TypeVar("R")

logger = logging.getLogger(__name__)

_DOCUMENT_COLUMNS = [column for column in schema.document.c if column.name != "body"]
"""Contents can be large, and are read only where they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCircuit:
    """A circuit to store: the id that it gets, its name, and pytket's JSON of it."""

    document_id: str
    name: str
    body: bytes = field(repr=False)


class Content:
    """Projects and what is in them.

    Methods raise `NotFound` where `visible` does not have the project or the document, and `Forbidden` where the user's
    role in the project allows no such change.
    """

    def __init__(self, db: Database, clock: ServiceClock, accounts: Accounts) -> None:
        self._db = db
        self._clock = clock
        self._accounts = accounts

    def create_project(
        self, user: User, *, name: str, description: str = "", properties: Mapping[str, PropertyValue] | None = None
    ) -> Project:
        """Make a project; its maker is its owner and its first administrator.

        Raises:
            Conflict: The user has a project of this name.
        """
        now = self._clock.now()
        project = Project(
            project_id=str(uuid.uuid4()),
            owner_id=user.user_id,
            name=name,
            description=description,
            properties=dict(properties or {}),
            created_at=now,
            modified_at=now,
            archived=False,
            contents_modified_at=now,
        )
        role = {"resource_id": project.project_id, "role_id": ADMINISTRATOR.role_id, "user_id": user.user_id}
        try:
            with self._db.write() as connection:
                connection.execute(schema.project.insert().values(asdict(project)))
                connection.execute(schema.assignment.insert().values(role))
        except IntegrityError as error:
            raise _taken(name) from error
        logger.info("project %s created by %s", project.project_id, user.email)
        return project

    def project(self, visible: Projects, project_id: str) -> Project:
        """One project."""
        with self._db.read() as connection:
            return _project(connection, visible, project_id)

    def page(self, resource: Resource, record: Callable[..., R], listing: Listing) -> list[R]:
        """A page of a list, each row as a record, without the contents of documents."""
        columns = [column for column in resource.table.c if column.name != "body"]
        query = sa.select(*columns).where(listing.clause).order_by(*listing.order_by)
        with self._db.read() as connection:
            rows = connection.execute(query.offset(listing.offset).limit(listing.page_size)).mappings()
            return [record(**row) for row in rows]

    def count(self, resource: Resource, listing: Listing) -> int:
        """How many there are on all pages of a list."""
        query = sa.select(sa.func.count()).select_from(resource.table).where(listing.clause)
        with self._db.read() as connection:
            return connection.scalar(query) or 0

    def projects_of(self, project_ids: Collection[str]) -> list[Project]:
        """The projects of these ids, each once; for answers about what is in them."""
        wanted = sorted(set(project_ids))
        if not wanted:
            return []
        query = sa.select(schema.project).where(schema.project.c.project_id.in_(wanted))
        with self._db.read() as connection:
            return [Project(**row) for row in connection.execute(query).mappings()]

    def update_project(self, user: User, visible: Projects, project_id: str, changes: Mapping[str, Any]) -> Project:
        """Change these columns.

        Raises:
            Conflict: Its owner has another project of this name.
        """
        table = schema.project
        try:
            with self._db.write() as connection:
                found = self._allowed(connection, user, visible, project_id, "WRITE")
                if changes:
                    values = {**changes, "modified_at": self._clock.now()}
                    connection.execute(table.update().where(table.c.project_id == found.project_id).values(values))
                return _project(connection, visible, found.project_id)
        except IntegrityError as error:
            raise _taken(changes["name"]) from error

    def delete_project(self, user: User, visible: Projects, project_id: str) -> None:
        """Delete an archived project with all that is in it.

        Raises:
            Conflict: It is not archived.
        """
        table = schema.project
        given = schema.assignment
        with self._db.write() as connection:
            found = self._allowed(connection, user, visible, project_id, "DELETE")
            _lock_jobs(connection, found.project_id)
            _touch(connection, found.project_id, found.contents_modified_at)  # locks its row: only one deletes it
            record_deletion(connection, project_id=found.project_id)
            still = sa.and_(table.c.project_id == found.project_id, table.c.archived.is_(True))
            if not connection.execute(table.delete().where(still)).rowcount:
                raise Conflict("Project must be archived before it can be deleted")
            connection.execute(given.delete().where(given.c.resource_id == found.project_id))
        logger.info("project %s deleted by %s", found.project_id, user.email)

    def define_property(
        self,
        user: User,
        visible: Projects,
        project_id: str,
        *,
        name: str,
        description: str,
        property_type: str,
        required: bool,
        color: str,
    ) -> PropertyDefinition:
        """Define a property in a project.

        Raises:
            Conflict: The project has a property of this name.
        """
        table = schema.property_definition
        now = self._clock.now()
        with self._db.write() as connection:
            project = self._allowed(connection, user, visible, project_id, "WRITE")
            _touch(connection, project.project_id, now)  # locks its row: the second of one name waits, and is refused
            same = sa.and_(table.c.project_id == project.project_id, table.c.name == name)
            if connection.scalar(sa.select(sa.func.count()).where(same)):
                raise Conflict(f"the project has a property {name!r} already")
            definition = PropertyDefinition(
                property_id=str(uuid.uuid4()),
                project_id=project.project_id,
                name=name,
                description=description,
                property_type=property_type,
                required=required,
                color=color,
                created_at=now,
                modified_at=now,
            )
            connection.execute(table.insert().values(asdict(definition)))
        logger.info("property %s created in project %s by %s", definition.property_id, project_id, user.email)
        return definition

    def create_document(
        self,
        user: User,
        visible: Projects,
        project_id: str,
        kind: DocumentKind,
        *,
        name: str,
        description: str = "",
        properties: Mapping[str, PropertyValue] | None = None,
        body: bytes,
    ) -> Document:
        """Store a document; names need not be unique."""
        now = self._clock.now()
        packed = zlib.compress(body)
        with self._db.write() as connection:
            project = self._allowed(connection, user, visible, project_id, "WRITE")
            _touch(connection, project.project_id, now)
            document = Document(
                document_id=str(uuid.uuid4()),
                kind=kind,
                project_id=project.project_id,
                owner_id=user.user_id,
                name=name,
                description=description,
                properties=dict(properties or {}),
                created_at=now,
                modified_at=now,
            )
            connection.execute(schema.document.insert().values(asdict(document) | {"body": packed}))
        logger.info("%s %s stored in project %s by %s", kind, document.document_id, project_id, user.email)
        return document

    def store_circuits(self, user: User, visible: Projects, project_id: str, circuits: Sequence[NewCircuit]) -> None:
        """Store circuits under ids that the caller chose; those that are there already stay as they are."""
        now = self._clock.now()
        table = schema.document
        with self._db.write() as connection:
            project = self._allowed(connection, user, visible, project_id, "WRITE")
            _touch(connection, project.project_id, now)  # locks its row: a second caller waits, and finds them
            ids = [each.document_id for each in circuits]
            known = set(connection.scalars(sa.select(table.c.document_id).where(table.c.document_id.in_(ids))))
            rows = [
                {
                    "document_id": each.document_id,
                    "kind": DocumentKind.CIRCUIT,
                    "project_id": project.project_id,
                    "owner_id": user.user_id,
                    "name": each.name,
                    "description": "",
                    "properties": {},
                    "created_at": now,
                    "modified_at": now,
                    "body": zlib.compress(each.body),
                }
                for each in circuits
                if each.document_id not in known
            ]
            if rows:
                connection.execute(table.insert(), rows)
        logger.info("%d circuits stored in project %s by %s", len(rows), project_id, user.email)

    def document(self, visible: Projects, kind: DocumentKind, document_id: str) -> Document:
        """One document."""
        with self._db.read() as connection:
            return _document(connection, visible, kind, document_id)

    def update_document(
        self,
        user: User,
        visible: Projects,
        kind: DocumentKind,
        document_id: str,
        changes: Mapping[str, Any],
    ) -> Document:
        """Change these columns; properties are added to those that it has."""
        table = schema.document
        with self._db.write() as connection:
            project_id = _document(connection, visible, kind, document_id).project_id
            self._allowed(connection, user, visible, project_id, "WRITE")
            now = self._clock.now()
            _touch(connection, project_id, now)  # the project is locked before its documents, as a deletion does it
            found = _document(connection, visible, kind, document_id, lock=True)
            values = {**changes, "modified_at": now}
            values["properties"] = {**found.properties, **changes.get("properties", {})}
            connection.execute(table.update().where(table.c.document_id == found.document_id).values(values))
            return _document(connection, visible, kind, found.document_id)

    def document_body(self, document_id: str) -> bytes:
        """The contents: of a circuit the UTF-8 JSON of pytket, of other kinds the file.

        Raises:
            NotFound: There is no such document.
        """
        table = schema.document
        with self._db.read() as connection:
            packed = connection.scalar(sa.select(table.c.body).where(table.c.document_id == document_id))
        if packed is None:
            raise NotFound(f"document {document_id} not found")
        return zlib.decompress(packed)

    def kinds_of(self, document_ids: Collection[str]) -> dict[str, DocumentKind]:
        """The kind of each of these documents; those that are gone are left out."""
        table = schema.document
        wanted = sorted(set(document_ids))
        query = sa.select(table.c.document_id, table.c.kind).where(table.c.document_id.in_(wanted))
        with self._db.read() as connection:
            return {row.document_id: DocumentKind(row.kind) for row in connection.execute(query)}

    def _allowed(
        self, connection: sa.Connection, user: User, visible: Projects, project_id: str, permission: str
    ) -> Project:
        project = _project(connection, visible, project_id)
        subset = self._accounts.projects_with(user.user_id, permission)
        if connection.scalar(subset.where(schema.project.c.project_id == project.project_id)) is None:
            raise Forbidden(f"your role in the project does not let you {_VERBS[permission]}")
        return project


_VERBS = {"WRITE": "change anything in it", "DELETE": "delete it"}


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a project {name!r} already")


def _project(connection: sa.Connection, visible: Projects, project_id: str) -> Project:
    table = schema.project
    wanted = clean_id(project_id, "project")
    query = sa.select(table).where(table.c.project_id == wanted, table.c.project_id.in_(visible))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"project {wanted} not found")
    return Project(**row)


def _document(
    connection: sa.Connection, visible: Projects, kind: DocumentKind, document_id: str, *, lock: bool = False
) -> Document:
    table = schema.document
    wanted = clean_id(document_id, kind)
    query = sa.select(*_DOCUMENT_COLUMNS).where(
        table.c.document_id == wanted, table.c.kind == kind, table.c.project_id.in_(visible)
    )
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"{kind} {wanted} not found")
    return document_of(**row)


def _lock_jobs(connection: sa.Connection, project_id: str) -> None:
    """Lock a project's jobs, in the executor's order: jobs by their ids, then their project."""
    job = schema.job
    query = sa.select(job.c.job_id).where(job.c.project_id == project_id).order_by(job.c.job_id)
    connection.execute(query.with_for_update()).all()


def _touch(connection: sa.Connection, project_id: str, now: datetime) -> None:
    """Lock the project's row and record the change; on PostgreSQL somebody may have deleted it meanwhile."""
    table = schema.project
    update = table.update().where(table.c.project_id == project_id).values(contents_modified_at=now)
    if not connection.execute(update).rowcount:
        raise NotFound(f"project {project_id} not found")
