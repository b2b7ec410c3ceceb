"""Waiting for one job by Nexus's status socket, for short waits; by polling where there is no socket to be had.

The socket only says when to ask: what counts is the answer to a request over HTTP.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from qjobs.backends.base import Snapshot
from qjobs.backends.limiter import back_off_s
from qjobs.backends.nexus.tokens import NexusTokens
from qjobs.backends.nexus.wire import JOBS, STATUSES, member
from qjobs.errors import QJobsError
from qjobs.model import RemoteId

logger = logging.getLogger(__name__)

_PING_S: Final = 40.0
"""Nexus's load balancer drops a socket that is idle for about 60 s."""
_LONGEST_SILENCE_S: Final = 60.0
"""A socket that has been silent for so long is not believed any more."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_LONGEST_NAP_S: Final = 0.5


class _Dropped(Exception):
    """The socket is gone, whatever its close code: before a final status that is a drop."""


@dataclass(slots=True, kw_only=True)
class StatusSocket:
    """Waits for jobs of one account.

    `read` reads a job over HTTP and may raise; None says that there is no such job.
    """

    url: str
    tokens: NexusTokens
    context: ssl.SSLContext
    read: Callable[[RemoteId], Snapshot | None]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def wait(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait until a job is final; the job as it then is, or as it was last when the time is over.

        `changed` is called with every snapshot that is another than the one before.

        Returns:
            The last snapshot; None if there is no such job.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: The job could not be read even once.
        """
        deadline = self.monotonic() + timeout_s
        seen: Snapshot | None = None
        failures = 0
        announced = False
        while True:
            problem: QJobsError | None = None
            now: Snapshot | None = None
            try:
                now = self.read(remote_id)
            except QJobsError as error:
                problem = error
            if now is None and problem is None:
                return None
            if now is not None and now != seen:
                changed(now)
                seen = now
                failures = 0
                announced = False
            if seen is not None and seen.status.is_final:
                return seen
            if self.monotonic() >= deadline:
                if seen is None and problem is not None:
                    raise problem
                return seen
            if announced:  # and cannot be read yet
                failures += 1
                self._pause(failures, deadline)
            try:
                announced = self._announces_change(remote_id, seen.remote_status if seen else "", deadline)
            except _Dropped as error:
                logger.debug("the status socket of job %s is gone: %s", remote_id, type(error.__cause__).__name__)
                failures += 1
                announced = False
                self._pause(failures, deadline)

    def _announces_change(self, remote_id: RemoteId, known: str, deadline: float) -> bool:
        """Whether the socket says another status than `known`; it has a minute to do so."""
        until = min(deadline, self.monotonic() + _LONGEST_SILENCE_S)
        for message in self._messages(remote_id, until):
            try:
                word = member(json.loads(message), "status")
            except ValueError as error:
                raise _Dropped from error
            if word != known and word in STATUSES:
                return True
        return False

    def _messages(self, remote_id: RemoteId, until: float) -> Iterator[str | bytes]:
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
                logger.debug("the status socket of job %s is open", remote_id)
                while self.monotonic() < until:
                    try:
                        yield socket.recv(timeout=min(1.0, max(0.0, until - self.monotonic())))
                    except TimeoutError:
                        continue
        except InvalidStatus as error:
            if error.response.status_code in {401, 403}:
                self._renew_token(token)
            raise _Dropped from error
        except (WebSocketException, OSError, EOFError, QJobsError) as error:
            raise _Dropped from error

    def _renew_token(self, refused: str) -> None:
        try:
            self.tokens.renewed(refused)
        except QJobsError as error:
            raise _Dropped from error

    def _pause(self, failures: int, deadline: float) -> None:
        pause_s = back_off_s(failures, first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        end = min(deadline, self.monotonic() + pause_s)
        while (left := end - self.monotonic()) > 0:
            self.sleep(min(_LONGEST_NAP_S, left))
