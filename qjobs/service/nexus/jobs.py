"""Jobs, as Nexus serves them (wire document, section 1.6)."""

import logging
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Response, WebSocket
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from qjobs.service import tables as schema
from qjobs.service.assembly import Service
from qjobs.service.errors import Forbidden, NotFound
from qjobs.service.nexus.caller import Caller, caller_of
from qjobs.service.nexus.request_bodies import CancelBody, JobAttributes, Posted, RerunBody, RetryBody
from qjobs.service.nexus.response_bodies import job_body, project_body, system_body
from qjobs.service.nexus.status_socket import follow
from qjobs.service.store.job_records import JobRecord
from qjobs.service.store.queries import JOBS, Listing, clean_id

logger = logging.getLogger(__name__)

_URL = "/api/jobs/v1beta3"


class _LostReply(Response):
    """A reply that never arrives: it announces a body and sends none.

    Every client takes that for an error of the connection.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})


def router(service: Service) -> APIRouter:
    """Routes of jobs."""
    routes = APIRouter(tags=["jobs"])
    _add_lists(routes, service)
    _add_posts(routes, service)
    _add_one(routes, service)
    _add_changes(routes, service)

    @routes.websocket(f"{_URL}/{{job_id}}/attributes/status/ws")
    async def watch(websocket: WebSocket, job_id: str) -> None:
        await follow(service, websocket, job_id)

    return routes


def _whole(service: Service, job: JobRecord) -> dict[str, Any]:
    """A job with its items, and what goes with it."""
    items = service.jobs.items(job.job_id)
    kinds = service.content.kinds_of([item.program_id for item in items])
    device = service.devices.get(job.device)
    included = [project_body(project) for project in service.content.projects_of([job.project_id])]
    if device is not None:
        included.append(system_body(device))
    return {"data": job_body(job, device, items, kinds), "included": included}


def _add_lists(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    def clause(caller: Caller, listing: Listing) -> Any:
        return schema.job.c.project_id.in_(caller.visible) & listing.clause

    @routes.get(_URL)
    def listed(caller: who) -> JSONResponse:
        listing = caller.listing(JOBS)
        wanted = clause(caller, listing)
        jobs = service.jobs.records(wanted, listing.order_by, listing.offset, listing.page_size)
        devices = {name: service.devices.get(name) for name in dict.fromkeys(job.device for job in jobs)}
        projects = service.content.projects_of([job.project_id for job in jobs])
        included = [project_body(project) for project in projects]
        included += [system_body(device) for device in devices.values() if device is not None]
        body = {
            "data": [job_body(job, devices[job.device]) for job in jobs],
            "included": included,
            "meta": listing.meta(service.jobs.count(wanted)),
        }
        return JSONResponse(body)

    @routes.get(f"{_URL}/meta/count")
    def counted(caller: who) -> dict[str, int]:
        return {"count": service.jobs.count(clause(caller, caller.listing(JOBS)))}


def _add_posts(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    def stored(caller: Caller, job_id: str) -> Response:
        job = service.jobs.record(caller.visible, job_id)
        device = service.devices.get(job.device)
        if device is not None and device.drops(job_id):
            logger.info("job %s: the reply is dropped, as the device file says", job_id)
            return _LostReply(status_code=202)
        return JSONResponse(_whole(service, job), 202)

    @routes.post(_URL, status_code=202)
    def create(caller: who, body: Posted[JobAttributes]) -> Response:
        given = body.attributes
        project = service.content.project(caller.visible, body.project_id)  # in the scope of the answer
        job_id = service.jobs.create(
            caller.user,
            project.project_id,
            name=given.name,
            description=given.description or "",
            properties=given.properties,
            job_type=given.job_type,
            definition=given.definition,
        )
        return stored(caller, job_id)

    @routes.post(f"{_URL}/{{job_id}}/rpc/rerun", status_code=202)
    def rerun(caller: who, job_id: str, body: RerunBody) -> Response:
        old = _changeable(service, caller, job_id)
        return stored(caller, service.jobs.rerun(caller.writable, old, body.name, caller.user))


def _add_one(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.get(f"{_URL}/{{job_id}}")
    def one(caller: who, job_id: str) -> JSONResponse:
        return JSONResponse(_whole(service, service.jobs.record(caller.visible, clean_id(job_id, "job"))))

    @routes.get(f"{_URL}/{{job_id}}/attributes/status")
    def status(caller: who, job_id: str) -> JSONResponse:
        return JSONResponse(service.jobs.status(caller.visible, clean_id(job_id, "job")))


def _add_changes(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.post(f"{_URL}/{{job_id}}/rpc/cancel", status_code=202)
    def cancel(caller: who, job_id: str, body: CancelBody | None = None) -> JSONResponse:
        found = _changeable(service, caller, job_id)
        service.jobs.cancel(caller.writable, found, body.item_ids if body else None)
        return JSONResponse({}, 202)

    @routes.post(f"{_URL}/{{job_id}}/rpc/retry", status_code=202)
    def retry(caller: who, job_id: str, body: RetryBody | None = None) -> JSONResponse:
        found = _changeable(service, caller, job_id)
        given = body or RetryBody()
        service.jobs.retry(
            caller.writable,
            found,
            given.remote_retry_strategy,
            given.retry_status,
            given.user_group,
            user=caller.user,
        )
        return JSONResponse({}, 202)

    @routes.delete(f"{_URL}/{{job_id}}", status_code=204)
    def delete(caller: who, job_id: str) -> Response:
        service.jobs.delete(caller.writable, _changeable(service, caller, job_id))
        return Response(status_code=204)


def _changeable(service: Service, caller: Caller, job_id: str) -> str:
    """The job's id, if the user may change the job."""
    found = clean_id(job_id, "job")
    try:
        service.jobs.record(caller.writable, found)
    except NotFound:
        service.jobs.record(caller.visible, found)
        raise Forbidden("your role in the project does not let you change its jobs") from None
    return found
