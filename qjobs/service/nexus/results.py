"""Results and compilations, as Nexus serves them (wire document, section 1.7)."""

import json
import zlib
from typing import Annotated, Any, Literal, TypeAlias

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from qjobs.service import tables as schema
from qjobs.service.assembly import Service
from qjobs.service.errors import BadRequest, NotFound
from qjobs.service.nexus.caller import Caller, caller_of, gone_if_deleted
from qjobs.service.nexus.response_bodies import pointer, project_body, snapshot_body
from qjobs.service.store.queries import clean_id

_FILTER = "filter[compilation][id]"
_USER_TAG_PARTS = 2
"""A raw tag is `USER:BOOL:tag`; version 3 has the last part alone."""


def router(service: Service) -> APIRouter:
    """Routes of results and compilations."""
    routes = APIRouter(tags=["results"])
    _add_results(routes, service)
    _add_compilations(routes, service)
    return routes


def _add_results(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.get("/api/results/v1beta3/{result_id}")
    def pytket_result(caller: who, result_id: str) -> JSONResponse:
        with gone_if_deleted(service, caller, result_id):
            row = _result(service, caller, result_id, "PYTKET")
        return JSONResponse(_result_body(service, row, "result", json.loads(zlib.decompress(row.body))))

    @routes.get("/api/qsys_results/v1beta2/partial/{result_id}")
    def qsys_result(
        caller: who,
        result_id: str,
        version: Literal["3", "4"] = "3",
        chunk_number: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> JSONResponse:
        with gone_if_deleted(service, caller, result_id):
            row = _result(service, caller, result_id, "QSYS")
        if chunk_number > 0:  # the client asks for chunks until this answer
            raise NotFound("No more chunks")
        stored = json.loads(zlib.decompress(row.body))["results"]
        results = stored if version == "4" else _plain_tags(stored)
        return JSONResponse(_result_body(service, row, "qsys_result", {"results": results}))

    @routes.get("/api/job_items/v1beta/{item_uuid}/runtime_traces")
    def runtime_traces(caller: who, item_uuid: str) -> JSONResponse:
        raise NotFound(f"job item {clean_id(item_uuid, 'job item')} has no runtime traces")


def _result(service: Service, caller: Caller, result_id: str, result_type: str) -> sa.Row[Any]:
    result = schema.result
    job = schema.job
    wanted = clean_id(result_id, "result")
    query = (
        sa.select(result, job.c.project_id, job.c.device)
        .join(job, job.c.job_id == result.c.job_id)
        .where(
            result.c.result_id == wanted,
            result.c.result_type == result_type,
            job.c.project_id.in_(caller.visible),
        )
    )
    with service.db.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"result {wanted} not found")
    return row


def _result_body(service: Service, row: sa.Row[Any], kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    program_kind = service.content.kinds_of([row.program_id]).get(row.program_id, "circuit")
    included = [project_body(project) for project in service.content.projects_of([row.project_id])]
    return {
        "data": {
            "id": row.result_id,
            "type": kind,
            "attributes": attributes,
            "relationships": {
                "project": pointer("project", row.project_id),
                "program": pointer(str(program_kind), row.program_id),
            },
        },
        "included": [*included, snapshot_body(service.devices, row.device)],
    }


def _plain_tags(results: Any) -> Any:
    """Shots with the tags of version 3, made of those of version 4; the text of a QIR result stays as it is."""
    if isinstance(results, str):
        return results
    return [_plain_shot(shot) for shot in results]


def _plain_shot(shot: Any) -> list[list[Any]]:
    return [[tag.split(":", _USER_TAG_PARTS)[-1], value] for tag, value in shot]


def _add_compilations(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.get("/api/compilations/v1beta3/{compilation_id}")
    def compilation(caller: who, compilation_id: str) -> JSONResponse:
        with gone_if_deleted(service, caller, compilation_id):
            row = _compilation(service, caller, compilation_id)
        projects = service.content.projects_of([row.project_id])
        data = {
            "id": row.compilation_id,
            "type": "compilation",
            "attributes": {
                "name": row.name,
                "description": row.description or None,
                "properties": row.properties,
                "timestamps": {"created": row.created_at.isoformat(), "modified": row.modified_at.isoformat()},
            },
            "relationships": _relationships(row, row.project_id),
        }
        return JSONResponse({"data": data, "included": [project_body(project) for project in projects]})

    @routes.get("/api/compilation_passes/v1beta2")
    def passes(caller: who) -> JSONResponse:
        wanted = [value for name, value in caller.params if name == _FILTER]
        if len(wanted) != 1:
            raise BadRequest(f"{_FILTER} is needed, once")
        try:
            row = _compilation(service, caller, wanted[0])
        except NotFound:
            return JSONResponse({"data": []})
        table = schema.compilation_pass
        query = sa.select(table).where(table.c.compilation_id == row.compilation_id).order_by(table.c.number)
        with service.db.read() as connection:
            found = connection.execute(query).all()
        return JSONResponse({"data": [_pass_body(one, row.project_id) for one in found]})


def _compilation(service: Service, caller: Caller, compilation_id: str) -> sa.Row[Any]:
    table = schema.compilation
    wanted = clean_id(compilation_id, "compilation")
    query = sa.select(table).where(table.c.compilation_id == wanted, table.c.project_id.in_(caller.visible))
    with service.db.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"compilation {wanted} not found")
    return row


def _pass_body(row: sa.Row[Any], project_id: str) -> dict[str, Any]:
    return {
        "id": row.pass_id,
        "type": "compilation_pass",
        "attributes": {"pass_name": row.pass_name},
        "relationships": _relationships(row, project_id),
    }


def _relationships(row: sa.Row[Any], project_id: str) -> dict[str, Any]:
    return {
        "project": pointer("project", project_id),
        "original_circuit": pointer("circuit", row.original_id),
        "compiled_circuit": pointer("circuit", row.compiled_id),
    }
