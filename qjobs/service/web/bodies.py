"""Routes that take long bodies: JSON is read in a thread of its own, and not where all connections are served."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio.to_thread
from fastapi import Request, Response
from fastapi.routing import APIRoute

from qjobs.service.web.json_checks import parsed_json

__all__ = ["LongBodies"]

_THREAD_BYTES: Final = 64 * 1024


class _Read(Request):
    """A request whose JSON is parsed in a thread when it is long."""

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= _THREAD_BYTES:
            return parsed_json(body)
        return await anyio.to_thread.run_sync(parsed_json, body)


class LongBodies(APIRoute):
    """A route whose body may be long."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(_Read(request.scope, request.receive))

        return read
