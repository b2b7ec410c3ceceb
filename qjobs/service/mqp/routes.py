"""The REST interface of the Munich Quantum Portal (docs/mqp.md, "REST").

Beside what its clients know there are an `Idempotency-Key` on the requests that create a job, and `GET /v1/jobs`.
"""

import logging
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import JSONResponse

from qjobs.service.errors import BadRequest, NotFound
from qjobs.service.mqp import catalogue
from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.caller import Caller, Who
from qjobs.service.mqp.checks import job_number
from qjobs.service.mqp.records import CircuitJob, HamiltonianJob, Kind, MqpStatus
from qjobs.service.mqp.request_bodies import CircuitJobBody, HamiltonianJobBody
from qjobs.service.mqp.response_bodies import ROUTES, listed_body, resource_body, result_body
from qjobs.service.tables import mqp_job
from qjobs.service.web.bodies import LongBodies
from qjobs.service.web.lost_reply import LostReply

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1", tags=["portal"], route_class=LongBodies)

_KINDS = {word: kind for kind, word in ROUTES.items()}
_LONGEST_PAGE = 200
_CANCELLED = "The job was cancelled by its owner."

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Route = Annotated[Literal["job", "hamiltonian_job"], Path()]


@router.get("/resources")
def _resources(caller: Who) -> JSONResponse:
    now = caller.portal.service.clock.now()
    return JSONResponse({each.name: resource_body(each, now) for each in catalogue.resources(caller.portal.jobs)})


@router.get("/resources/{resource_name}")
def _resource(caller: Who, resource_name: str) -> JSONResponse:
    return JSONResponse(resource_body(_named(caller, resource_name), caller.portal.service.clock.now()))


@router.get("/resources/{resource_name}/num_pending_jobs")
def _num_pending_jobs(caller: Who, resource_name: str) -> dict[str, int]:
    name = _named(caller, resource_name).name
    with caller.jobs():
        return {"num_pending_jobs": mqp.count_pending_jobs(name)}


def _named(caller: Caller, name: str) -> mqp.Resource:
    for each in catalogue.resources(caller.portal.jobs):
        if each.name == name:
            return each
    raise NotFound(f"there is no resource {name[:80]!r}; GET /v1/resources lists them")


@router.post("/job")
def _create_circuit_job(caller: Who, body: CircuitJobBody, key: Key = None) -> Response:
    is_new = _is_new(caller, key)
    if is_new:
        caller.portal.service.quotas.take_job(caller.user)
    with caller.jobs():
        job = mqp.create_job(
            body.shots,
            body.circuit,
            caller.user.email,
            caller.budget(),
            body.resource_name,
            body.circuit_format,
            body.no_modify,
            body.queued,
            key=key,
        )
    return _created(caller, job, is_new)


@router.post("/hamiltonian_job")
def _create_hamiltonian_job(caller: Who, body: HamiltonianJobBody, key: Key = None) -> Response:
    is_new = _is_new(caller, key)
    if is_new:
        caller.portal.service.quotas.take_job(caller.user)
    with caller.jobs():
        job = mqp.create_hamiltonian_job(
            body.interaction_str,
            body.coefficients_str,
            caller.user.email,
            caller.budget(),
            body.resource_name,
            key=key,
        )
    return _created(caller, job, is_new)


def _is_new(caller: Caller, key: str | None) -> bool:
    """Whether the caller has no job of this key yet."""
    if key is None:
        return True
    query = sa.select(mqp_job.c.id).where(mqp_job.c.owner == caller.user.email, mqp_job.c.key == key)
    with caller.portal.service.db.read() as connection:
        return connection.scalar(query) is None


def _created(caller: Caller, job: CircuitJob | HamiltonianJob, is_new: bool) -> Response:
    caller.portal.scheduler.wake()
    device = caller.portal.service.devices.get(job.target_specification)
    if is_new and device is not None and device.drops(str(job.id)):
        logger.info("mqp job %s: the reply is dropped, as the device file says", job.id)
        return LostReply(status_code=200)
    return JSONResponse({"uuid": str(job.id)})


@router.get("/jobs")
def _listed(
    caller: Who,
    limit: Annotated[int, Query(ge=1, le=_LONGEST_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=30)] = None,
) -> JSONResponse:
    which = mqp_job.c.owner == caller.user.email
    if cursor is not None:
        before = job_number(cursor)
        if before is None:
            raise BadRequest("cursor is the next_cursor of the page before")
        which &= mqp_job.c.id < before
    names = ("id", "kind", "status", "target_specification", "key", "note")
    times = ("timestamp_submitted", "timestamp_scheduled", "timestamp_completed")
    columns = [mqp_job.c[name] for name in (*names, *times)]
    query = sa.select(*columns).where(which).order_by(mqp_job.c.id.desc()).limit(limit + 1)
    rows = caller.portal.service.db.rows(query)
    shown = rows[:limit]
    more = str(shown[-1].id) if len(rows) > limit else None
    return JSONResponse({"jobs": [listed_body(row) for row in shown], "next_cursor": more})


@router.get("/{kind}/{uuid}/status")
def _status(caller: Who, kind: Route, uuid: str) -> dict[str, str]:
    return {"status": _row(caller, kind, uuid).status}


@router.get("/{kind}/{uuid}/result")
def _result(caller: Who, kind: Route, uuid: str) -> JSONResponse:
    find = (
        mqp.fetch_result_by_job_id_and_identity
        if _KINDS[kind] is Kind.CIRCUIT
        else mqp.fetch_hamiltonian_result_by_job_id_and_identity
    )
    with caller.jobs():
        job = find(uuid, caller.user.email)
    if job is None:
        raise _no_job(kind, uuid)
    return JSONResponse(result_body(job))


@router.get("/{kind}/{uuid}/cancel_reason")
def _cancel_reason(caller: Who, kind: Route, uuid: str) -> dict[str, str]:
    row = _row(caller, kind, uuid)
    return {"cancel_reason": row.note if row.status == MqpStatus.CANCELLED else ""}


@router.delete("/{kind}/{uuid}")
def _cancel(caller: Who, kind: Route, uuid: str) -> dict[str, str]:
    row = _row(caller, kind, uuid)
    if row.status == MqpStatus.CANCELLED:
        return {"status": row.status}
    cancel = mqp.cancel_job if _KINDS[kind] is Kind.CIRCUIT else mqp.cancel_hamiltonian_job
    with caller.jobs():
        cancel(row.id, _CANCELLED, reason=mqp.Reason.OWNER)
    caller.portal.scheduler.cancel(row.id)
    return {"status": MqpStatus.CANCELLED}


def _row(caller: Caller, kind: str, uuid: str) -> sa.Row[Any]:
    """A job of the caller's, without its circuits and its result, which can be long."""
    number = job_number(uuid)
    if number is not None:
        mine = (mqp_job.c.owner == caller.user.email) & (mqp_job.c.kind == _KINDS[kind])
        query = sa.select(mqp_job.c.id, mqp_job.c.status, mqp_job.c.note).where(mqp_job.c.id == number, mine)
        rows = caller.portal.service.db.rows(query)
        if rows:
            return rows[0]
    raise _no_job(kind, uuid)


def _no_job(kind: str, uuid: str) -> NotFound:
    return NotFound(f"you have no {kind} {uuid[:40]!r}")
