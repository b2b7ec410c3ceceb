"""Records of what was deleted with a project or a job, so that its owner is told 410 instead of 404."""

from __future__ import annotations

import sqlalchemy as sa

from qjobs.service import tables as schema


def record_deletion(connection: sa.Connection, *, project_id: str | None = None, job_id: str | None = None) -> None:
    """Record the ids of what is deleted with a project, or with a job, before it goes."""
    job = schema.job
    result = schema.result
    compilation = schema.compilation
    document = schema.document
    jobs = sa.select(job.c.job_id).where(job.c.project_id == project_id if job_id is None else job.c.job_id == job_id)
    sources = [
        sa.select(result.c.result_id, result.c.owner_id).where(result.c.job_id.in_(jobs)),
        sa.select(compilation.c.compilation_id, compilation.c.owner_id).where(compilation.c.job_id.in_(jobs)),
    ]
    if job_id is None:
        sources.append(
            sa.select(document.c.document_id, document.c.owner_id).where(document.c.project_id == project_id)
        )
    # Whoever adds a result to one of these jobs did so before this lock, or will find the job gone.
    connection.execute(jobs.with_for_update()).all()
    deleted = schema.deleted
    for source in sources:
        ids = source.with_only_columns(source.selected_columns[0])
        connection.execute(deleted.delete().where(deleted.c.resource_id.in_(ids)))
        connection.execute(deleted.insert().from_select([deleted.c.resource_id, deleted.c.owner_id], source))


def was_deleted(connection: sa.Connection, user_id: str, resource_id: str) -> bool:
    """Whether it was the user's, and was deleted."""
    deleted = schema.deleted
    mine = sa.and_(deleted.c.resource_id == resource_id, deleted.c.owner_id == user_id)
    return bool(connection.scalar(sa.select(sa.func.count()).select_from(deleted).where(mine)))
