"""The pages for people: the service's state, signing in and out, and approving a device.

Somebody who is not signed in sees counts only; a signed-in user also sees their own jobs.
"""

import functools
import re
from collections import Counter
from datetime import datetime
from typing import Any

import jinja2
import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import Session, User
from qjobs.service.assembly import Service
from qjobs.service.errors import ServiceError, Unauthorized
from qjobs.service.web.cookies import (
    ACCESS_COOKIE,
    REFRESH_COOKIE,
    Serving,
    SignedIn,
    clear_cookies,
    session_of_cookies,
    set_cookies,
)
from qjobs.service.web.forms import Form, form_fields, form_key, require_own_form
from qjobs.service.web.sign_in_first import address_of

router = APIRouter(tags=["pages"], include_in_schema=False)

_SHOWN_JOBS = 50
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a browser would not say where our own forms come from
}
_WAITING = frozenset({JobStatus.SUBMITTED, JobStatus.QUEUED, JobStatus.RETRYING})
_RUNNING = frozenset({JobStatus.RUNNING, JobStatus.CANCELLING})
_USER_CODE = re.compile("[A-Za-z]{4}-[A-Za-z]{4}")
_DEVICE_PAGE = "/auth/device?user_code="
_DEVICE_TITLE = "Approve a device"


@router.get("/")
def _overview(request: Request, service: Serving) -> HTMLResponse:
    session = session_of_cookies(service, request.cookies)
    values = _state(service)
    user = session.user if session else None
    values["jobs"] = _last_jobs(service, user) if user else []
    page = _page("overview.html", "Job service", user=user, after="/", key=form_key(session), **values)
    return _renewed(page, request, service, session)


@router.get("/openapi.json")
def _description(request: Request, _: SignedIn) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/auth/device")
def _device(request: Request, service: Serving, user_code: str = "") -> HTMLResponse:
    session = session_of_cookies(service, request.cookies)
    code = _clean_code(user_code)
    if session is None:
        return _page("sign_in.html", _DEVICE_TITLE, after=_DEVICE_PAGE + code)
    page = _page("device.html", _DEVICE_TITLE, email=session.user.email, user_code=code, key=form_key(session))
    return _renewed(page, request, service, session)


@router.post("/auth/device")
def _decide(request: Request, service: Serving, body: Form = b"") -> HTMLResponse:
    session = session_of_cookies(service, request.cookies)
    fields = form_fields(body)
    if session is None:
        raise Unauthorized
    require_own_form(fields, session)
    user = session.user
    approve = fields.get("decision") == "approve"
    try:
        service.sessions.decide_device(user, fields.get("user_code", ""), approve=approve)
    except ServiceError as error:
        return _page("message.html", _DEVICE_TITLE, error, message=error.message)
    done = f"The device is signed in as {user.email}." if approve else "The device was denied."
    return _page("message.html", _DEVICE_TITLE, message=f"{done} You can close this page.")


@router.post("/auth/signin")
def _sign_in(request: Request, service: Serving, body: Form = b"") -> Response:
    fields = form_fields(body)
    after = _own_page(fields.get("next", "/"))
    try:
        tokens = service.sessions.login(
            fields.get("email", ""), fields.get("password", ""), address=address_of(request), rotates=True
        )
    except ServiceError as error:
        return _page("sign_in.html", "Sign in", error, after=after, message=error.message)
    response = RedirectResponse(after, 303)
    set_cookies(response, request, tokens.access, tokens.refresh, access_age_s=int(service.settings.access_ttl_s))
    return response


@router.post("/auth/signout")
def _sign_out(request: Request, service: Serving, body: Form = b"") -> Response:
    require_own_form(form_fields(body), session_of_cookies(service, request.cookies))
    access = request.cookies.get(ACCESS_COOKIE)
    service.sessions.logout(access=access, refresh=request.cookies.get(REFRESH_COOKIE))
    response = RedirectResponse("/", 303)
    clear_cookies(response, request)
    return response


def _renewed(page: HTMLResponse, request: Request, service: Service, session: Session | None) -> HTMLResponse:
    """The page, with new tokens for a browser whose access token has ended and whose session rotates."""
    if session is not None and session.rotates and not request.cookies.get(ACCESS_COOKIE):
        renewed = service.sessions.refresh(request.cookies.get(REFRESH_COOKIE, ""))
        age_s = int(service.settings.access_ttl_s)
        set_cookies(page, request, renewed.access, renewed.refresh, access_age_s=age_s)
    return page


def _page(template: str, title: str, error: ServiceError | None = None, **values: Any) -> HTMLResponse:
    """A page made of a template; with the status and the headers of an error, if there was one."""
    text = _templates().get_template(template).render(title=title, **values)
    if error is None:
        return HTMLResponse(text, headers=_HEADERS)
    return HTMLResponse(text, error.status_code, {**_HEADERS, **error.headers})


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("qjobs.service.web")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["moment"] = _moment
    return environment


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _state(service: Service) -> dict[str, Any]:
    """The devices with their queues, how many jobs there are of each status, and the time."""
    job = schema.job
    query = sa.select(job.c.device, job.c.status, sa.func.count()).group_by(job.c.device, job.c.status)
    waiting: Counter[str] = Counter()
    running: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    with service.db.read() as connection:
        for device, status, count in connection.execute(query):
            counts[status] += count
            if status in _WAITING:
                waiting[device] += count
            elif status in _RUNNING:
                running[device] += count
    now = service.clock.now()
    devices = [
        (device.name, device.state_at(now), waiting[device.name], running[device.name])
        for device in service.devices.all
    ]
    return {"devices": devices, "counts": sorted(counts.items()), "now": now}


def _last_jobs(service: Service, user: User) -> list[tuple[str, ...]]:
    job = schema.job
    query = (
        sa.select(job.c.name, job.c.job_type, job.c.device, job.c.status, job.c.message, job.c.created_at)
        .where(job.c.owner_id == user.user_id)
        .order_by(job.c.sequence.desc())
        .limit(_SHOWN_JOBS)
    )
    with service.db.read() as connection:
        return [(*row[:-1], _moment(row.created_at)) for row in connection.execute(query)]


def _clean_code(text: str) -> str:
    return text if _USER_CODE.fullmatch(text) else ""


def _own_page(text: str) -> str:
    """Where to go after signing in: a page of ours, never a place that a link chose."""
    after = text.removeprefix(_DEVICE_PAGE)
    return _DEVICE_PAGE + _clean_code(after) if after != text else "/"
