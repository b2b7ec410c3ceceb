"""What the portal's website asks: signing in, and the list of one's circuit jobs (docs/mqp.md, "Website")."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.caller import Serving, Who
from qjobs.service.mqp.request_bodies import LoginBody
from qjobs.service.mqp.response_bodies import portal_row
from qjobs.service.web.sign_in_first import address_of

router = APIRouter(tags=["portal"])

_MOST_JOBS = 1000
_LAST_PAGE = 2**31 - 1


@router.post("/login")
def _login(request: Request, portal: Serving, body: LoginBody) -> dict[str, Any]:
    tokens = portal.service.sessions.login(body.identity, body.secret, address=address_of(request))
    return {"access_token": tokens.access, "force_secret_reset": False}


@router.get("/jobs")
def _jobs(
    caller: Who,
    p: Annotated[int, Query(ge=0, le=_LAST_PAGE)] = 0,
    jpp: Annotated[int, Query(ge=1, le=_MOST_JOBS)] = 20,
    order: Annotated[str, Query(max_length=10)] = "ASC",
    order_by: Annotated[str, Query(max_length=40)] = "ID",
    status: Annotated[str, Query(alias="filter", max_length=100)] = "",
) -> JSONResponse:
    with caller.jobs():
        found = mqp.fetch_by_identity_pages(
            caller.user.email, p, jpp, order or "ASC", (order_by or "ID").lower(), status
        )
    rows = found["jobs"]
    assert isinstance(rows, list)  # noqa: S101 - for the type
    return JSONResponse({"jobs": [portal_row(job) for job in rows], "totaljob_nr": found["totaljob_nr"]})


@router.get("/jobs/{uuid}")
def _job(caller: Who, uuid: str) -> JSONResponse:
    with caller.jobs():
        found = mqp.fetch_result_by_job_id_and_identity(uuid, caller.user.email)
    return JSONResponse({"job": None if found is None else portal_row(found)})
