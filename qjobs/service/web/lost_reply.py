"""A reply that never arrives, for devices that are told to drop some (`drop_rate` in the device file)."""

from __future__ import annotations

from fastapi import Response
from starlette.types import Receive, Scope, Send


class LostReply(Response):
    """A reply that never arrives: it announces a body and sends none.

    Every client takes that for an error of the connection.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers alone."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
