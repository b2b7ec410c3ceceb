"""An ASGI application in a thread, on a real socket, whose answers may cut their connections."""

from __future__ import annotations

import threading
import time
from typing import Any

from qjobs.testing.answers import TRANSPORT

__all__ = ["Served"]

_START_TIMEOUT_S = 30.0


class Served:
    """A uvicorn server of one application, on 127.0.0.1; it needs starlette and uvicorn (the extra `prefect`).

    Args:
        app: The application; the scope of a request has its connection, for `qjobs.testing.answers.dropped`.
        name: Of the thread, and in messages.
        port: 0 for a free one.

    Raises:
        RuntimeError: It did not start.
    """

    def __init__(self, app: Any, *, name: str, port: int = 0) -> None:
        import uvicorn

        config = uvicorn.Config(
            _with_transport(app),
            host="127.0.0.1",
            port=port,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_level="critical",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the server {name} did not start on port {port}")
            time.sleep(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop. Idempotent."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)


def _with_transport(app: Any) -> Any:
    """Give the application its connection: `send` is a method of uvicorn's cycle, which has the transport."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, TRANSPORT: send.__self__.transport}, receive, send)

    return serve
