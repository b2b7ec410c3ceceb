"""What was deleted with a project or a job, so that its owner is told 410 instead of 404."""

from __future__ import annotations

import sqlalchemy as sa

from qjobs.service import tables as schema

__all__ = ["bury", "is_buried"]


def bury(connection: sa.Connection, *, project_id: str | None = None, job_id: str | None = None) -> None:
    """Remember the ids of what goes with a project, or with a job, before it is deleted."""
    job, document = schema.job, schema.document
    jobs = sa.select(job.c.job_id).where(job.c.project_id == project_id if job_id is None else job.c.job_id == job_id)
    result, compilation = schema.result, schema.compilation
    sources = [
        sa.select(result.c.result_id, result.c.owner_id).where(result.c.job_id.in_(jobs)),
        sa.select(compilation.c.compilation_id, compilation.c.owner_id).where(compilation.c.job_id.in_(jobs)),
    ]
    if job_id is None:
        sources.append(
            sa.select(document.c.document_id, document.c.owner_id).where(document.c.project_id == project_id)
        )
    grave = schema.grave
    connection.execute(jobs.with_for_update()).all()  # who adds a result to one of them came before, or finds it gone
    connection.execute(grave.delete().where(sa.or_(*(grave.c.resource_id.in_(_ids(source)) for source in sources))))
    for source in sources:
        connection.execute(grave.insert().from_select([grave.c.resource_id, grave.c.owner_id], source))


def _ids(source: sa.Select[tuple[str, str]]) -> sa.Select[tuple[str]]:
    return source.with_only_columns(source.selected_columns[0])


def is_buried(connection: sa.Connection, user_id: str, resource_id: str) -> bool:
    """Whether it was the user's, and was deleted."""
    grave = schema.grave
    mine = sa.and_(grave.c.resource_id == resource_id, grave.c.owner_id == user_id)
    return bool(connection.scalar(sa.select(sa.func.count()).select_from(grave).where(mine)))
