"""The service's state on one page of HTML: devices, queues, jobs.

Who is not signed in sees counts only; a signed-in user also sees their own jobs.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.signin import ACCESS_COOKIE, REFRESH_COOKIE, user_of_cookies

__all__ = ["decision_form", "document", "form_key", "router", "signin_form"]

_SHOWN_JOBS = 50
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
form { margin: .5rem 0 } label { display: block; margin: .4rem 0 } input { font: inherit; padding: .2rem .4rem }
button { font: inherit; padding: .3rem .9rem } .none { color: #666 }
"""
_WAITING = (JobStatus.SUBMITTED, JobStatus.QUEUED, JobStatus.RETRYING)


def router(service: Service) -> APIRouter:
    """The page at `/`."""
    routes = APIRouter(tags=["page"], include_in_schema=False)

    @routes.get("/")
    def overview(request: Request) -> HTMLResponse:
        user = user_of_cookies(service, request.cookies)
        content = [_devices(service), _counts(service)]
        if user is None:
            content.append(f"<h2>Sign in</h2>{signin_form('/')}")
        else:
            content.append(_own_jobs(service, user))
            content.append(
                f'<form method="post" action="/auth/signout">{_hidden("key", form_key(request.cookies))}'
                f"<button>Sign out {html.escape(user.email)}</button></form>"
            )
        return document("Job service", "".join(content))

    return routes


def document(
    title: str, content: str, *, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A whole page around content that is HTML already."""
    name = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name} - qjobs</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>{content}</body></html>"
    )
    return HTMLResponse(text, status_code, {**_HEADERS, **(headers or {})})


def signin_form(after: str) -> str:
    """Asks who is there; `after` is the page of ours that comes next."""
    return (
        f'<form method="post" action="/auth/signin">{_hidden("next", after)}'
        '<label>E-mail <input name="email" type="email" autocomplete="username" required></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
        "<button>Sign in</button></form>"
    )


def decision_form(email: str, user_code: str, cookies: Mapping[str, str]) -> str:
    """Asks a signed-in person whether to let a device in."""
    return (
        f"<p>A device asks to be signed in as <b>{html.escape(email)}</b>. "
        "Let it in only if you started it yourself and it shows this code.</p>"
        f'<form method="post" action="/auth/device">{_hidden("key", form_key(cookies))}'
        f'<label>Code <input name="user_code" value="{html.escape(user_code)}" required></label>'
        '<button name="decision" value="approve">Let it in</button> '
        '<button name="decision" value="deny">Turn it away</button></form>'
    )


def form_key(cookies: Mapping[str, str]) -> str:
    """What a form of ours carries and another site cannot know: a hash of the visitor's own token."""
    token = cookies.get(REFRESH_COOKIE) or cookies.get(ACCESS_COOKIE) or ""
    return hashlib.sha256(b"form:" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{html.escape(value)}">'


def _devices(service: Service) -> str:
    job = schema.job
    now = service.clock.now()
    query = sa.select(job.c.device, job.c.status, sa.func.count()).group_by(job.c.device, job.c.status)
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}
    with service.db.read() as connection:
        for device, status, count in connection.execute(query):
            if status in _WAITING:
                waiting[device] = waiting.get(device, 0) + count
            elif status in {JobStatus.RUNNING, JobStatus.CANCELLING}:
                running[device] = running.get(device, 0) + count
    rows = [
        (name, service.devices.state(name, now), waiting.get(name, 0), running.get(name, 0))
        for name in (device.name for device in service.devices.all)
    ]
    return f"<h2>Devices and queues</h2>{_table(('Device', 'State', 'Jobs waiting', 'Jobs running'), rows)}"


def _counts(service: Service) -> str:
    job = schema.job
    query = sa.select(job.c.status, sa.func.count()).group_by(job.c.status).order_by(job.c.status)
    with service.db.read() as connection:
        rows = [(status, count) for status, count in connection.execute(query)]
    return f"<h2>Jobs</h2>{_table(('Status', 'Jobs'), rows)}<p>The service's clock: {_moment(service.clock.now())}.</p>"


def _own_jobs(service: Service, user: User) -> str:
    job = schema.job
    query = (
        sa.select(job.c.name, job.c.job_type, job.c.device, job.c.status, job.c.message, job.c.created_at)
        .where(job.c.owner_id == user.user_id)
        .order_by(job.c.sequence.desc())
        .limit(_SHOWN_JOBS)
    )
    with service.db.read() as connection:
        rows = [(*row[:-1], _moment(row[-1])) for row in connection.execute(query)]
    heads = ("Name", "Type", "Device", "Status", "Message", "Created")
    return f"<h2>Your last jobs</h2>{_table(heads, rows)}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    lines = [line("td", row) for row in rows]
    if not lines:
        return '<p class="none">None.</p>'
    return f"<table>{line('th', heads)}{''.join(lines)}</table>"
