"""Jobs, as Nexus serves them (docs/nexus.md, "Jobs")."""

import logging
from typing import Any

from fastapi import APIRouter, Response, WebSocket
from fastapi.responses import JSONResponse

from qjobs.lifecycle import JobStatus
from qjobs.service.errors import Forbidden, NotFound
from qjobs.service.nexus.caller import Caller, Who
from qjobs.service.nexus.request_bodies import CancelBody, JobAttributes, Posted, RerunBody, RetryBody
from qjobs.service.nexus.response_bodies import job_body, system_body
from qjobs.service.nexus.status_socket import follow
from qjobs.service.store.job_records import JobRecord
from qjobs.service.store.queries import JOBS, clean_id
from qjobs.service.web.bodies import LongBodies
from qjobs.service.web.cookies import Serving
from qjobs.service.web.lost_reply import LostReply

logger = logging.getLogger(__name__)

router = APIRouter(tags=["jobs"], route_class=LongBodies)

URL = "/api/jobs/v1beta3"


@router.websocket(f"{URL}/{{job_id}}/attributes/status/ws")
async def _watch(websocket: WebSocket, service: Serving, job_id: str) -> None:
    await follow(service, websocket, job_id)


def _whole(caller: Caller, job: JobRecord) -> dict[str, Any]:
    """A job with its items, and what goes with it."""
    service = caller.service
    items = service.jobs.items(job.job_id)
    kinds = service.content.kinds_of([item.program_id for item in items])
    device = service.devices.get(job.device)
    systems = [] if device is None else [system_body(device)]
    return {"data": job_body(job, device, items, kinds), "included": [*caller.projects_of([job]), *systems]}


@router.get(URL)
def _listed(caller: Who) -> JSONResponse:
    listing = caller.listing(JOBS)
    jobs = caller.service.jobs.records(listing.clause, listing.order_by, listing.offset, listing.page_size)
    devices = {name: caller.service.devices.get(name) for name in dict.fromkeys(job.device for job in jobs)}
    systems = [system_body(device) for device in devices.values() if device is not None]
    body = {
        "data": [job_body(job, devices[job.device]) for job in jobs],
        "included": [*caller.projects_of(jobs), *systems],
        "meta": listing.meta(caller.service.jobs.count(listing.clause)),
    }
    return JSONResponse(body)


@router.get(f"{URL}/meta/count")
def _counted(caller: Who) -> dict[str, int]:
    return {"count": caller.service.jobs.count(caller.listing(JOBS).clause)}


def _stored(caller: Caller, job_id: str) -> Response:
    job = caller.service.jobs.record(caller.visible, job_id)
    device = caller.service.devices.get(job.device)
    if device is not None and device.drops(job_id):
        logger.info("job %s: the reply is dropped, as the device file says", job_id)
        return LostReply(status_code=202)
    return JSONResponse(_whole(caller, job), 202)


@router.post(URL, status_code=202)
def _create(caller: Who, body: Posted[JobAttributes]) -> Response:
    given = body.attributes
    project = caller.service.content.project(caller.visible, body.project_id)  # in the scope of the answer
    caller.service.quotas.take_job(caller.user)
    job_id = caller.service.jobs.create(
        caller.user,
        project.project_id,
        name=given.name,
        description=given.description or "",
        properties=given.properties,
        job_type=given.job_type,
        definition=given.definition,
    )
    return _stored(caller, job_id)


@router.post(f"{URL}/{{job_id}}/rpc/rerun", status_code=202)
def _rerun(caller: Who, job_id: str, body: RerunBody) -> Response:
    old = _changeable(caller, job_id)
    caller.service.quotas.take_job(caller.user)
    return _stored(caller, caller.service.jobs.rerun(caller.writable, old, body.name, caller.user))


@router.get(f"{URL}/{{job_id}}")
def _one(caller: Who, job_id: str) -> JSONResponse:
    return JSONResponse(_whole(caller, caller.service.jobs.record(caller.visible, job_id)))


@router.get(f"{URL}/{{job_id}}/attributes/status")
def _status(caller: Who, job_id: str) -> JSONResponse:
    return JSONResponse(caller.service.jobs.status(caller.visible, job_id))


@router.post(f"{URL}/{{job_id}}/rpc/cancel", status_code=202)
def _cancel(caller: Who, job_id: str, body: CancelBody | None = None) -> JSONResponse:
    found = _changeable(caller, job_id)
    caller.service.jobs.cancel(caller.writable, found, body.item_ids if body else None)
    return JSONResponse({}, 202)


@router.post(f"{URL}/{{job_id}}/rpc/retry", status_code=202)
def _retry(caller: Who, job_id: str, body: RetryBody | None = None) -> JSONResponse:
    found = _changeable(caller, job_id)
    given = body or RetryBody()
    caller.service.jobs.retry(
        caller.writable,
        found,
        given.remote_retry_strategy,
        given.retry_status or [JobStatus.ERROR],  # "By default, jobs with the ERROR status will be retried" (qnexus)
        given.user_group,
        user=caller.user,
    )
    return JSONResponse({}, 202)


@router.delete(f"{URL}/{{job_id}}", status_code=204)
def _delete(caller: Who, job_id: str) -> Response:
    caller.service.jobs.delete(caller.writable, _changeable(caller, job_id))
    return Response(status_code=204)


def _changeable(caller: Caller, job_id: str) -> str:
    """The job's id, if the user may change the job."""
    found = clean_id(job_id, "job")
    try:
        caller.service.jobs.record(caller.writable, found)
    except NotFound:
        caller.service.jobs.record(caller.visible, found)
        raise Forbidden("your role in the project does not let you change its jobs") from None
    return found
