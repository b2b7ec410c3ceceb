"""The web socket on which a client follows the status of a job (docs/nexus.md, "Status socket")."""

import asyncio
import contextlib
import json
import logging
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
from qjobs.service.web.cookies import session_of_cookies

logger = logging.getLogger(__name__)

_READ_AGAIN_S = 2.0
"""The status is read this often even if no change was announced, in real seconds; so is whether the user signed out."""

_NORMAL = 1000
_SIGNED_OUT = 1008
_FAILED = 1011
"""The client asks again at once; a status code then says what is wrong."""


async def follow(service: Service, websocket: WebSocket, job_id: str) -> None:
    """Send the status of a job at once and after each change, until it is final or the client leaves.

    Somebody who may not see the job is refused before the socket opens. It is closed normally only after a final
    status, because the client takes a normal end for the end of the job. It ends with the session of whoever opened it,
    and nothing is sent after that. uvicorn sends pings, every 20 s.
    """
    try:
        found = clean_id(job_id, "job")
        session = await run_in_threadpool(session_of_cookies, service, websocket.cookies)
        if session is None:
            raise Unauthorized
        user = session.user
        scope = scope_of(websocket.query_params.multi_items())
        visible = within(scope, service.accounts.projects_with(user.user_id, "READ"))
        await run_in_threadpool(service.jobs.status, visible, found)
    except ServiceError as error:
        await websocket.send_denial_response(JSONResponse({"message": error.message}, error.status_code))
        return
    await websocket.accept()
    leaving = asyncio.create_task(_receive_to_the_end(websocket))
    logger.debug("%s follows job %s", user.email, found)
    try:
        with contextlib.suppress(WebSocketDisconnect):
            await _send_changes(service, websocket, session.session_id, visible, found, leaving)
    finally:
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        logger.debug("%s no longer follows job %s", user.email, found)


async def _send_changes(
    service: Service,
    websocket: WebSocket,
    session_id: str,
    visible: Projects,
    job_id: str,
    leaving: asyncio.Task[None],
) -> None:
    sent: dict[str, Any] | None = None
    while not leaving.done():
        version = service.changes.version(job_id)  # before reading: a change after this wakes us
        try:
            if not await run_in_threadpool(service.accounts.is_open, session_id):
                await websocket.close(_SIGNED_OUT, "the session has ended")
                return
            status = await run_in_threadpool(service.jobs.status, visible, job_id)
        except (ServiceError, QJobsError):
            await websocket.close(_FAILED, "the job cannot be read any more")
            return
        if status != sent:
            await websocket.send_text(json.dumps(status))
            sent = status
        if JobStatus(status["status"]).is_final:
            await websocket.close(_NORMAL)
            return
        changed = asyncio.create_task(service.changes.wait(job_id, version, _READ_AGAIN_S))
        try:
            await asyncio.wait({changed, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()


async def _receive_to_the_end(websocket: WebSocket) -> None:
    """Return when the client is gone; what it sends until then is ignored."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
