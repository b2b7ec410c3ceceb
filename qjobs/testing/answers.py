"""What the scripted provider, or a gateway before it, answers when something goes wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import uuid
from typing import TYPE_CHECKING, Any

from qjobs.testing.faults import Action, Fault

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["TRANSPORT", "coded", "dropped", "echoed", "faulty", "refused"]

TRANSPORT = "qjobs.transport"
"""Where the scope of a request has its connection."""


def refused(code: int, words: str) -> Response:
    """The provider's own refusal, and the proof of it."""
    from starlette.responses import JSONResponse

    return JSONResponse({"refused": True, "message": words}, code)


def echoed(fault: Fault, request: Request) -> Response:
    """The page of a gateway that repeats the headers of the request, those with credentials too."""
    from starlette.responses import HTMLResponse

    lines = [f"<li>{name}: {value}</li>" for name, value in request.headers.items()]
    padding = "<!-- -->" * (fault.size // 8)
    return HTMLResponse(f"<html><h1>Bad gateway</h1><ul>{''.join(lines)}</ul>{padding}</html>", fault.code)


async def faulty(fault: Fault, body: dict[str, Any], code: int) -> Response:
    """The answer to a request that was carried out, gone wrong."""
    from starlette.responses import JSONResponse, Response

    text = json.dumps(body)
    match fault.action:
        case Action.DROP_AFTER:
            return dropped(reset=True)
        case Action.CODE_AFTER:
            return coded(fault)
        case Action.LATE:
            await asyncio.sleep(fault.seconds)
        case Action.CUT:
            return Response(text[: max(1, len(text) // 2)], code, media_type="application/json")
        case Action.NOT_JSON:
            return Response("<html>gateway</html>", code, media_type="text/html")
        case _:
            _spoil(fault.action, body)
    return JSONResponse(body, code)


def _spoil(action: Action, body: dict[str, Any]) -> None:
    """Let the body of an answer say something else."""
    jobs = body.get("jobs", [body])
    match action:
        case Action.UNKNOWN_WORD:
            for job in jobs:
                job["status"] = "PONDERING"
                for item in job.get("items", []):
                    item["status"] = "PONDERING"
        case Action.NOTHING:
            body.update({name: [] for name in ("jobs", "results") if name in body})
            body.pop("next", None)
        case Action.NO_ITEMS:
            for job in jobs:
                job.pop("items", None)
        case Action.ENDLESS:
            body["next"] = uuid.uuid4().hex  # read as a page that begins after nothing
        case _:
            pass


def coded(fault: Fault) -> Response:
    """An HTTP error, of a gateway or (a proved one) of the provider itself."""
    from starlette.responses import JSONResponse

    headers = {"retry-after": fault.retry_after} if fault.retry_after else None
    body: dict[str, Any] = {"message": f"scripted {fault.code}"}
    if fault.proved:
        body["refused"] = True
    return JSONResponse(body, fault.code, headers)


def dropped(*, reset: bool = False) -> Response:
    """An answer that closes the connection instead, with a TCP reset or (another error at the client) without."""
    from starlette.responses import Response

    class Dropped(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            transport = scope[TRANSPORT]
            if reset:
                no_linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            transport.abort()
            while (await receive())["type"] != "http.disconnect":  # else uvicorn answers 500 by itself
                pass

    return Dropped()
