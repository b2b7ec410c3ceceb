"""Watching one job by Nexus's status socket, for short waits; by polling where there is no socket to be had.

The socket only says when to look: what counts is what is then read over HTTP.
"""

from __future__ import annotations

import json
import random
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from qjobs.backends.base import Snapshot
from qjobs.backends.nexus.tokens import NexusTokens
from qjobs.backends.nexus.wire import JOBS, STATUSES, member
from qjobs.errors import QJobsError
from qjobs.model import RemoteId

__all__ = ["Watch"]

_PING_S = 40.0
"""Nexus's load balancer drops a socket that is idle for about 60 s."""
_LOOK_AGAIN_S = 60.0
"""A socket that has been silent for so long is not believed any more."""
_LONGEST_PAUSE_S = 30.0
_SLICE_S = 0.5


class _Dropped(Exception):
    """The socket is gone, whatever its close code: before a final status that is a drop."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """Waits for one job.

    `ask` reads the job over HTTP and may raise; None says that there is no such job.
    """

    url: str
    tokens: NexusTokens
    context: ssl.SSLContext
    ask: Callable[[RemoteId], Snapshot | None]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    sockets: int = 0
    """How many were opened."""

    def until_final(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """The job when it is final, or as it was seen last when the time is over; None if there is none.

        Args:
            remote_id: The job.
            timeout_s: Give up after so many seconds.
            changed: Called with every snapshot that is another than the one before.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It could not be read even once.
        """
        deadline = self.monotonic() + timeout_s
        seen: Snapshot | None = None
        failures, ahead = 0, False
        while True:
            now, problem = self._read(remote_id)
            if now is None and problem is None:
                return None
            if now is not None and now != seen:
                changed(now)
                seen, failures, ahead = now, 0, False
            if seen is not None and seen.status.is_final:
                return seen
            if self.monotonic() >= deadline:
                if seen is None and problem is not None:
                    raise problem
                return seen
            if ahead:  # the socket told of what cannot be read yet
                failures += 1
                self._pause(failures, deadline)
            try:
                ahead = self._tells_more(remote_id, seen.remote_status if seen else "", deadline)
            except _Dropped:
                failures, ahead = failures + 1, False
                self._pause(failures, deadline)

    def _read(self, remote_id: RemoteId) -> tuple[Snapshot | None, QJobsError | None]:
        try:
            return self.ask(remote_id), None
        except QJobsError as error:
            return None, error

    def _tells_more(self, remote_id: RemoteId, known: str, deadline: float) -> bool:
        """Whether the socket tells another status than `known`; it has a minute to do so."""
        until = min(deadline, self.monotonic() + _LOOK_AGAIN_S)
        for frame in self._frames(remote_id, until):
            try:
                word = member(json.loads(frame), "status")
            except ValueError as error:
                raise _Dropped from error
            if word != known and word in STATUSES:
                return True
        return False

    def _frames(self, remote_id: RemoteId, until: float) -> Iterator[str | bytes]:
        try:
            from websockets.exceptions import InvalidStatus, WebSocketException
            from websockets.sync.client import connect
        except ImportError as error:  # comes with the extra `service`
            raise _Dropped from error
        path = f"{JOBS}/{urllib.parse.quote(remote_id, safe='')}/attributes/status/ws"
        address = f"ws{self.url.removeprefix('http').rstrip('/')}{path}"
        try:
            token = self.tokens.access()
            with connect(
                address,
                ssl=self.context if address.startswith("wss") else None,
                additional_headers={"Cookie": f"myqos_id={token}"},
                open_timeout=10.0,
                ping_interval=_PING_S,
                close_timeout=1.0,
            ) as socket:
                self.sockets += 1
                while self.monotonic() < until:
                    try:
                        yield socket.recv(timeout=min(1.0, max(0.0, until - self.monotonic())))
                    except TimeoutError:
                        continue
        except InvalidStatus as error:
            if error.response.status_code in {401, 403}:
                self._renew(token)
            raise _Dropped from error
        except (WebSocketException, OSError, EOFError, QJobsError) as error:
            raise _Dropped from error

    def _renew(self, refused: str) -> None:
        try:
            self.tokens.renewed(refused)
        except QJobsError as error:
            raise _Dropped from error

    def _pause(self, failures: int, deadline: float) -> None:
        pause = min(_LONGEST_PAUSE_S, 0.25 * 2 ** min(failures, 10)) * self.rng.uniform(0.5, 1.0)
        end = min(deadline, self.monotonic() + pause)
        while (left := end - self.monotonic()) > 0:
            self.sleep(min(_SLICE_S, left))
