"""The process of Prefect's server on this machine: it listens, says where, and ends when nobody needs it.

`flows._support.local_server` starts it, and hands it the lock that says that it lives. Prefect has no way to end a
server that nobody uses, so this one counts its requests. A page that is open in a browser asks every few seconds; a
command that uses the server holds a lock for as long as it lives, however quiet it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from flows._support.local_server import FILE, IDENTITY, USERS, database_id
from qjobs.ledger.liveness import lease_owner

ADDRESS = "127.0.0.1"
_LOOK_S = 2.0
_GRACE_S = 5

SETTINGS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}
"""Unless they are set otherwise. On SQLite a server takes three times as many task runs with them."""


class Watched:
    """Prefect's application, with a route of ours, and the time of its last request."""

    def __init__(self, app: Any, identity: Mapping[str, object]) -> None:
        self._app = app
        self._identity = json.dumps(identity).encode()
        self.n_open = 0
        self.last_used = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] == IDENTITY:
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": self._identity})
            return
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        self.n_open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.n_open -= 1
            self.last_used = time.monotonic()

    def idle_s(self) -> float:
        """For how long nobody has asked for anything, in seconds."""
        return 0.0 if self.n_open else time.monotonic() - self.last_used


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end, until nobody has used it for `--idle-s` seconds, or until its folder is gone.

    Returns:
        Exit code: 0, or 1 where it cannot listen.
    """
    parser = argparse.ArgumentParser(description="Prefect's server of a directory.")
    parser.add_argument("home", type=Path)
    parser.add_argument("lock", type=int, help="file descriptor of the lock, which it keeps")
    parser.add_argument("--port", type=int, default=0, help="the port, if it is free")
    parser.add_argument("--idle-s", type=float)
    parser.add_argument("--here", action="store_true", help="in a terminal: at this port and no other")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.lock, False)
    os.umask(0o077)  # the server's database, with its key, its log and the token of this process are the owner's alone
    try:
        place = _listening(options.port, only=options.here)
    except OSError as error:
        print(f"error: port {options.port} cannot be had ({error.strerror}); give another --port", file=sys.stderr)
        return 1
    with place:
        url = f"http://{ADDRESS}:{place.getsockname()[1]}"
        os.environ.pop("PREFECT_API_URL", None)
        os.environ["PREFECT_SERVER_UI_API_URL"] = f"{url}/api"  # else its pages look for it at port 4200
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises again what it was told to end by
            signal.signal(number, lambda *_: None)
        if options.here:
            print(f"Prefect's UI: {url} (stop it with Ctrl-C)", flush=True)
        asyncio.run(_serve(place, url, options.home, options.idle_s))
    return 0


def _listening(port: int, *, only: bool) -> socket.socket:
    """The port of the last server where it is free, so that open pages and printed addresses stay right; else any."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((ADDRESS, port))
    except OSError:
        if only:
            place.close()
            raise
        place.bind((ADDRESS, 0))
    return place


async def _serve(place: socket.socket, url: str, home: Path, idle_s: float | None) -> None:
    from prefect import __version__
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL as DATABASE

    identity = {
        "url": url,
        "pid": os.getpid(),
        "owner": lease_owner(),
        "started_at": time.time(),
        "token": secrets.token_hex(16),
        "version": __version__,
        "database": database_id(str(DATABASE.value())),
    }
    app = Watched(create_app(final=True), identity)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=_GRACE_S))
    watch = asyncio.create_task(_watch(server, app, home, identity, idle_s))
    try:
        await server.serve(sockets=[place])
    finally:
        watch.cancel()
        if _is_ours(home, identity):
            (home / FILE).unlink(missing_ok=True)


async def _watch(
    server: uvicorn.Server, app: Watched, home: Path, identity: Mapping[str, object], idle_s: float | None
) -> None:
    """Say where it is once it serves; end it when it is not needed."""
    while not server.started:
        await asyncio.sleep(0.05)
    part = home / f".{FILE}.{os.getpid()}"
    part.write_text(json.dumps(identity), encoding="utf-8")
    part.replace(home / FILE)
    while not server.should_exit:
        await asyncio.sleep(_LOOK_S if idle_s is None else min(_LOOK_S, max(idle_s / 4, 0.1)))
        is_idle = idle_s is not None and app.idle_s() > idle_s
        if not _is_ours(home, identity) or (is_idle and _nobody_uses(home)):  # its folder is gone, or nobody needs it
            server.should_exit = True


def _is_ours(home: Path, identity: Mapping[str, object]) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(json.loads((home / FILE).read_text(encoding="utf-8"))["token"] == identity["token"])
    return False


def _nobody_uses(home: Path) -> bool:
    """Whether no command uses it; from then on none can, until this process has ended."""
    try:
        users = os.open(home / USERS, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return True
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(users)
        return False
    return True  # it stays open


if __name__ == "__main__":
    sys.exit(main())
