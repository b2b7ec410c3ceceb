"""Results and compilations, as Nexus serves them (docs/nexus.md, "Results")."""

import json
import zlib
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest, NotFound
from qjobs.service.nexus.caller import Caller, Who
from qjobs.service.nexus.response_bodies import json_response, pointer, snapshot_body
from qjobs.service.store.queries import check_parameters, clean_id

router = APIRouter(tags=["results"])

_FILTER = "filter[compilation][id]"
_USER_TAG_PARTS = 2
"""A raw tag is `USER:BOOL:tag`; version 3 has the last part alone."""


@router.get("/api/results/v1beta3/{result_id}")
def _pytket_result(caller: Who, result_id: str) -> Response:
    with caller.gone_if_deleted(result_id):
        row = _result(caller, result_id, "PYTKET")
    data, included = _parts(caller, row, "result")
    return json_response(data, zlib.decompress(row.body), included=included)  # it was stored as it is sent


@router.get("/api/qsys_results/v1beta2/partial/{result_id}")
def _qsys_result(
    caller: Who,
    result_id: str,
    version: Literal["3", "4"] = "3",
    chunk_number: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> JSONResponse:
    with caller.gone_if_deleted(result_id):
        row = _result(caller, result_id, "QSYS")
    if chunk_number > 0:  # the client asks for chunks until this answer
        raise NotFound("No more chunks")
    stored = json.loads(zlib.decompress(row.body))["results"]
    results = stored if version == "4" else _plain_tags(stored)
    data, included = _parts(caller, row, "qsys_result")
    return JSONResponse({"data": {**data, "attributes": {"results": results}}, "included": included})


@router.get("/api/job_items/v1beta/{item_uuid}/runtime_traces")
def _runtime_traces(caller: Who, item_uuid: str) -> JSONResponse:
    raise NotFound(f"job item {clean_id(item_uuid, 'job item')} has no runtime traces")


def _result(caller: Caller, result_id: str, result_type: str) -> sa.Row[Any]:
    result = schema.result
    job = schema.job
    document = schema.document
    wanted = clean_id(result_id, "result")
    query = (
        sa.select(result, job.c.project_id, job.c.device, document.c.kind.label("program_kind"))
        .join(job, job.c.job_id == result.c.job_id)
        .outerjoin(document, document.c.document_id == result.c.program_id)
        .where(
            result.c.result_id == wanted,
            result.c.result_type == result_type,
            job.c.project_id.in_(caller.visible),
        )
    )
    with caller.service.db.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"result {wanted} not found")
    return row


def _parts(caller: Caller, row: sa.Row[Any], kind: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A result without its attributes, and what an answer includes with it."""
    relationships = {
        "project": pointer("project", row.project_id),
        "program": pointer(row.program_kind or "circuit", row.program_id),
    }
    included = [*caller.projects_of([row]), snapshot_body(caller.service.devices, row.device)]
    return {"id": row.result_id, "type": kind, "relationships": relationships}, included


def _plain_tags(results: Any) -> Any:
    """Shots with the tags of version 3, made of those of version 4; the text of a QIR result stays as it is."""
    if isinstance(results, str):
        return results
    return [_plain_shot(shot) for shot in results]


def _plain_shot(shot: Any) -> list[list[Any]]:
    return [[tag.split(":", _USER_TAG_PARTS)[-1], value] for tag, value in shot]


@router.get("/api/compilations/v1beta3/{compilation_id}")
def _compilation(caller: Who, compilation_id: str) -> JSONResponse:
    with caller.gone_if_deleted(compilation_id):
        row = _compilation_row(caller, compilation_id)
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
    return JSONResponse({"data": data, "included": caller.projects_of([row])})


@router.get("/api/compilation_passes/v1beta2")
def _passes(caller: Who) -> JSONResponse:
    check_parameters(caller.params, {_FILTER})
    wanted = [value for name, value in caller.params if name == _FILTER]
    if len(wanted) != 1:
        raise BadRequest(f"{_FILTER} is needed, once")
    try:
        row = _compilation_row(caller, wanted[0])
    except NotFound:
        return JSONResponse({"data": []})
    table = schema.compilation_pass
    query = sa.select(table).where(table.c.compilation_id == row.compilation_id).order_by(table.c.number)
    with caller.service.db.read() as connection:
        found = connection.execute(query).all()
    return JSONResponse({"data": [_pass_body(one, row.project_id) for one in found]})


def _compilation_row(caller: Caller, compilation_id: str) -> sa.Row[Any]:
    table = schema.compilation
    wanted = clean_id(compilation_id, "compilation")
    query = sa.select(table).where(table.c.compilation_id == wanted, table.c.project_id.in_(caller.visible))
    with caller.service.db.read() as connection:
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
