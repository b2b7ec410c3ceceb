"""The REST interface of the Qoro service (docs/qoro-service.md)."""

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from qjobs.backends.qoro.histograms import encode
from qjobs.service.errors import BadRequest, Conflict
from qjobs.service.executions import StoredResult, counts_of, expectations_of
from qjobs.service.qoro.caller import Caller, Who
from qjobs.service.qoro.credits import balance_body
from qjobs.service.qoro.fragments import read_fragment
from qjobs.service.qoro.jobs import QoroJob
from qjobs.service.qoro.request_bodies import FragmentBody, InitBody, JobType, SettingsBody
from qjobs.service.qoro.runs import compile_ids, execute_ids
from qjobs.service.qoro.targets import cluster_bodies, system_bodies, target_of
from qjobs.service.tables import QoroStatus
from qjobs.service.web.bodies import LongBodies
from qjobs.service.web.lost_reply import LostReply

logger = logging.getLogger(__name__)

PREFIX = "/qoro/api"
"""What follows the address of the service in the base URL of a client."""
MAX_FRAGMENT_BYTES = 1024 * 1024
"""Of the body of any request here: clients cut theirs below 0.95 MiB."""

router = APIRouter(prefix=PREFIX, tags=["qoro"], route_class=LongBodies)

_LONGEST_PAGE = 1000
_LAST_RESULT = 2**31 - 1
_CANCELLABLE = "Can only cancel a PENDING or RUNNING job"
_OLD_WORDS = {QoroStatus.INSUFFICIENT_CREDITS: QoroStatus.FAILED.value}
_SCHEDULED = "SCHEDULED"


@router.get("")
def _ping(caller: Who) -> dict[str, str]:
    return {"status": "ok", "user": caller.user.email}


@router.get("/qpusystem")
def _qpu_systems(caller: Who) -> list[dict[str, Any]]:
    service = caller.qoro.service
    return system_bodies(service.devices, service.clock.now())


@router.get("/simulatorcluster")
def _simulator_clusters(caller: Who) -> list[dict[str, Any]]:
    return cluster_bodies(caller.qoro.service.devices)


@router.get("/vendor-config-blueprint")
def _vendor_blueprints(caller: Who) -> dict[str, Any]:
    return {}


@router.get("/credits")
def _credits(caller: Who) -> dict[str, str]:
    return balance_body(caller.qoro.service, caller.user)


@router.post("/job/init")
def _init(caller: Who, body: InitBody) -> Response:
    device = target_of(body, caller.qoro.service.devices)
    caller.qoro.service.quotas.take_job(caller.user)
    job = caller.qoro.jobs.create(caller.user, body, device)
    return _reply(caller, job, "init", JSONResponse({"job_id": job.job_id}, 201))


@router.post("/job/{qoro_id}/add_circuits")
def _add_circuits(caller: Who, qoro_id: str, body: FragmentBody) -> Response:
    qoro = caller.qoro
    job = qoro.jobs.of(caller.user, qoro_id)
    device = qoro.service.devices.get(job.device)
    if device is None:
        raise Conflict(f"there is no device {job.device} any more; start a new job on another one")
    fragment = read_fragment(body, job.job_type, device)
    is_new = qoro.jobs.add(job, fragment)
    if fragment.is_last:
        qoro.runs.wake()
    answer = JSONResponse({"job_id": job.job_id, "circuits_added": len(fragment.circuits)})
    return _reply(caller, job, fragment.hash, answer) if is_new else answer


def _reply(caller: Caller, job: QoroJob, step: str, answer: Response) -> Response:
    """The answer to a step, or none where the device file says that it is lost."""
    device = caller.qoro.service.devices.get(job.device)
    if device is not None and device.drops(f"{job.job_id} {step}"):
        logger.info("qoro job %s: the reply is dropped, as the device file says", job.job_id)
        return LostReply(status_code=answer.status_code)
    return answer


@router.get("/job/{qoro_id}/status")
def _status(caller: Who, qoro_id: str) -> dict[str, Any]:
    job = caller.qoro.jobs.of(caller.user, qoro_id)
    body: dict[str, Any] = {"status": _word(job, knows_all=caller.knows_all_words)}
    if job.run_time_s is not None:
        body["run_time"] = job.run_time_s
    if job.message:
        body["message"] = job.message
    return body


def _word(job: QoroJob, *, knows_all: bool) -> str:
    """The status in a word that the client reads."""
    if not knows_all:
        return _OLD_WORDS.get(job.status, job.status.value)
    waits = job.status is QoroStatus.PENDING and job.finalized_at is not None
    return _SCHEDULED if waits else job.status.value


@router.get("/job/{qoro_id}/resultsV2")
def _results(
    caller: Who,
    qoro_id: str,
    limit: Annotated[int, Query(ge=1, le=_LONGEST_PAGE)] = 100,
    offset: Annotated[int, Query(ge=0, le=_LAST_RESULT)] = 0,
) -> JSONResponse:
    job = caller.qoro.jobs.of(caller.user, qoro_id)
    if not job.status.is_final:
        raise BadRequest(f"Job results not available, the job is {job.status}")
    parts = {job_id: number for number, job_id in enumerate(execute_ids(job))}
    count, found = caller.qoro.executions.results(list(parts), offset, limit)
    if not count:
        raise BadRequest(f"Job results not available, the job is {job.status}: {job.message or 'nothing of it ran'}")
    numbers = [parts[each.job_id] * job.part_size + each.item_id - 1 for each in found]
    labels = caller.qoro.jobs.labels(job.job_id, numbers)
    results = [
        {"label": labels[number], "results": _result(job, each)} for number, each in zip(numbers, found, strict=True)
    ]
    end = offset + len(found)
    address = f"{caller.base_url}{PREFIX}/job/{job.job_id}/resultsV2/?limit={limit}&offset={end}"
    return JSONResponse({"count": count, "next": address if end < count else None, "results": results})


def _result(job: QoroJob, stored: StoredResult) -> dict[str, Any]:
    if job.job_type is JobType.EXPECTATION:
        return dict(expectations_of(stored.body))
    counts = counts_of(stored.body)
    return encode(counts, len(next(iter(counts), "")))


@router.post("/job/{qoro_id}/cancel")
def _cancel(caller: Who, qoro_id: str) -> dict[str, Any]:
    qoro = caller.qoro
    job = qoro.jobs.of(caller.user, qoro_id, owner_only=True)
    if not qoro.jobs.end(job.job_id, QoroStatus.CANCELLED, "The job was cancelled by its owner."):
        raise Conflict(_CANCELLABLE)
    finished, _ = qoro.executions.results(execute_ids(job), 0, 1)
    qoro.runs.cancel(job)
    return {"status": "cancelled", "job_id": job.job_id, "circuits_cancelled": max(0, job.n_circuits - finished)}


@router.delete("/job/{qoro_id}", status_code=204)
def _delete(caller: Who, qoro_id: str) -> Response:
    qoro = caller.qoro
    job = qoro.jobs.of(caller.user, qoro_id)
    qoro.jobs.end(job.job_id, QoroStatus.CANCELLED, "The job was deleted by its owner.")
    qoro.executions.delete([*execute_ids(job), *compile_ids(job)])
    qoro.jobs.delete(job.job_id)
    return Response(status_code=204)


@router.get("/job/{qoro_id}/execution_config")
def _settings(caller: Who, qoro_id: str) -> dict[str, Any]:
    job = caller.qoro.jobs.of(caller.user, qoro_id)
    return {"status": "ok", "job_id": job.job_id, **job.settings}


@router.post("/job/{qoro_id}/execution_config")
def _configure(caller: Who, qoro_id: str, body: SettingsBody) -> dict[str, Any]:
    job = caller.qoro.jobs.of(caller.user, qoro_id)
    given = body.model_dump(exclude_unset=True)
    caller.qoro.jobs.configure(job, {"execution_configuration": given})
    return {"status": "ok", "job_id": job.job_id, "execution_configuration": given}
