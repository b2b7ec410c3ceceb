"""The web socket on which a client follows the status of a job (wire document, conclusion 4 and section 1.6)."""

import asyncio
import contextlib
import json
from typing import Any

from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from qjobs.errors import QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.service.assembly import Service
from qjobs.service.errors import ServiceError, Unauthorized
from qjobs.service.store.queries import clean_id, scope_of, within
from qjobs.service.store.records import Projects
from qjobs.service.web.cookies import user_of_cookies

__all__ = ["follow"]

_LOOK_S = 5.0
"""A status is read this often also without a sign of a change, in real seconds."""

_NORMAL = 1000
_FAILED = 1011
"""The client asks again at once, and is then told with a status code what is wrong."""


async def follow(service: Service, websocket: WebSocket, job_id: str) -> None:
    """Send the status of a job at once and after each change, until it is final or the client leaves.

    Who may not see the job is refused before the socket opens. It is closed normally after a final
    status only: the client takes a normal end for the job's. Pings are the server's (uvicorn, every 20 s).
    """
    try:
        found = clean_id(job_id, "job")
        user = await run_in_threadpool(user_of_cookies, service, websocket.cookies)
        if user is None:
            raise Unauthorized
        scope = scope_of(websocket.query_params.multi_items())
        visible = within(scope, service.accounts.readable_projects(user.user_id))
        await run_in_threadpool(service.jobs.status, visible, found)
    except ServiceError as error:
        await websocket.send_denial_response(JSONResponse({"message": error.message}, error.status_code))
        return
    await websocket.accept()
    leaving = asyncio.create_task(_left(websocket))
    try:
        with contextlib.suppress(WebSocketDisconnect):
            await _tell(service, websocket, visible, found, leaving)
    finally:
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving


async def _tell(
    service: Service, websocket: WebSocket, visible: Projects, job_id: str, leaving: asyncio.Task[None]
) -> None:
    told: dict[str, Any] | None = None
    while not leaving.done():
        version = service.changes.version(job_id)  # before reading: what changes meanwhile wakes us
        try:
            status = await run_in_threadpool(service.jobs.status, visible, job_id)
        except (ServiceError, QJobsError):
            await websocket.close(_FAILED, "the job cannot be read any more")
            return
        if status != told:
            await websocket.send_text(json.dumps(status))
            told = status
        if JobStatus(status["status"]).is_final:
            await websocket.close(_NORMAL)
            return
        changed = asyncio.create_task(service.changes.wait(job_id, version, _LOOK_S))
        await asyncio.wait({changed, leaving}, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()


async def _left(websocket: WebSocket) -> None:
    """Return when the client is gone; what it says is not listened to."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
