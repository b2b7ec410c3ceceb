"""The portal's own list of jobs, which its signed-in users see: there a lost submission is found by its key.

The list is that of the open MQP-Dashboard-Backend. It is read in ascending order and in small pages, because one
version of it has a faulty descending order. That a job is not in it is believed only when it showed as many jobs as it
says that there are, each with its circuit, and a comment of ours in one of them: else nobody knows whether it keeps
comments.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from qjobs.backends.base import LiveJob, RemoteJob
from qjobs.backends.http import HttpClient
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import circuits, wire
from qjobs.backends.mqp.resources import literal
from qjobs.errors import CredentialsRejected, InvalidInput, ProtocolError
from qjobs.model import Key, RemoteId
from qjobs.redaction import remember

logger = logging.getLogger(__name__)

_LIVE: Final = ("PENDING", "WAITING")
_PAGE_SIZE: Final = 50
_MOST_PAGES: Final = 400
_FRESH_S: Final = 13 * 60.0
"""An access token is valid for 15 minutes."""
_TIMEOUT: Final = httpx.Timeout(10.0, read=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalLogin:
    """A login to the portal itself.

    `url` is the address of its backend, below which `/login` and `/jobs` are.
    """

    identity: str
    secret: str = field(repr=False)
    url: str

    def __post_init__(self) -> None:
        if not self.identity or not self.secret or not self.url:
            raise InvalidInput("a login to the portal needs an identity, a secret and its address", field="identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    remote_id: RemoteId
    circuit: str | None
    status: str
    resource: str | None
    submitted_at: datetime | None

    @property
    def key(self) -> Key | None:
        return None if self.circuit is None else circuits.key_in(self.circuit)

    @property
    def n_circuits(self) -> int | None:
        texts = literal(self.circuit)
        return len(texts) if isinstance(texts, list) else None


class PortalList:
    """The list of one account. Safe to use from many threads; close it when done.

    Args:
        login: Whose jobs are listed.
        name: The backend's name, for messages.
        limiter: Another limiter than the one of this process for the account.
        max_per_s: The most requests a second, sustained; None for no limit.
        verify: Whose certificates are trusted, as `tls_context` has it.
    """

    def __init__(
        self,
        login: PortalLogin,
        *,
        name: str,
        limiter: Limiter | None = None,
        max_per_s: float | None = None,
        verify: bool | str = True,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login = login
        self._name = f"the portal of {name}"
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token = ""
        self._given_at = 0.0
        options: dict[str, Any] = {
            "name": self._name,
            "limiter": limiter,
            "max_per_s": max_per_s,
            "verify": verify,
            "sleep": sleep,
        }
        self._signing_in = HttpClient(login.url, keeps_words=False, **options)
        self._http = HttpClient(login.url, headers=self._headers, **options)

    def find(self, key: Key) -> RemoteId | None:
        """The oldest job whose first circuit has a key; None if no job of the whole list has.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: The list cannot be read now, or not all of it; or
                it has jobs, and none with a comment of ours.
        """
        rows = list(self._rows())
        found = [row for row in rows if row.key == key]
        if found:
            return min(found, key=_age).remote_id
        hidden = [row.remote_id for row in rows if row.circuit is None]
        if hidden:
            raise ProtocolError(f"{self._name} lists {len(hidden)} jobs without their circuits, such as {hidden[0]}")
        if rows and not any(row.key for row in rows):
            raise ProtocolError(
                f"none of the {len(rows)} jobs that {self._name} lists has a comment of qjobs, so it may not keep "
                "comments, and proves nothing; look for the job there yourself"
            )
        return None

    def with_keys(self) -> list[RemoteJob]:
        """All jobs whose first circuit has a key of ours.

        Raises:
            As `find`.
        """
        found = []
        for row in self._rows():
            if (key := row.key) is not None:
                found.append(RemoteJob(remote_id=row.remote_id, key=key, n_items=row.n_circuits))
        return found

    def live(self, resource: str) -> list[LiveJob]:
        """All jobs that wait or run, in one request; of those whose row names another resource it is told.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: The list cannot be read now; or it shows only a part
                of them, or others too.
        """
        body = self._page(0, statuses=_LIVE)
        rows = _rows_in(body)
        if len(rows) < _total_in(body):
            raise ProtocolError(f"{self._name} shows {len(rows)} of its {_total_in(body)} live jobs on a page")
        found = []
        for row in rows:
            if row.status not in _LIVE:
                raise ProtocolError(f"{self._name} was asked for live jobs and shows one that is {row.status:.40}")
            found.append(LiveJob(remote_id=row.remote_id, elsewhere=row.resource not in {None, resource}))
        return found

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._signing_in.close()
        self._http.close()

    def _rows(self) -> Iterator[_Row]:
        """Every job of the account once, the oldest first.

        Raises:
            ProtocolError: The list is too long, or shows fewer jobs than it says that there are.
        """
        seen: set[RemoteId] = set()
        for number in range(_MOST_PAGES + 1):
            body = self._page(number)
            rows = _rows_in(body)
            n_jobs = _total_in(body)
            n_pages = math.ceil(n_jobs / _PAGE_SIZE)
            if n_pages > _MOST_PAGES:
                raise ProtocolError(
                    f"{self._name} lists {n_jobs} jobs, and more than {_MOST_PAGES * _PAGE_SIZE} are not looked through"
                )
            for row in rows:
                if row.remote_id not in seen:
                    seen.add(row.remote_id)
                    yield row
            if len(seen) >= n_jobs:
                return
            if number >= n_pages:  # one page more than there are, for a list that counts them from 1
                break
        raise ProtocolError(f"{self._name} shows {len(seen)} of the {n_jobs} jobs that it says it has")

    def _page(self, number: int, statuses: Sequence[str] = ()) -> Any:
        filtered = ",".join(statuses)
        params = {"p": number, "jpp": _PAGE_SIZE, "order": "ASC", "order_by": "ID", "filter": filtered}
        try:
            return self._http.read("GET", "/jobs", params=params, timeout=_TIMEOUT)
        except CredentialsRejected as error:
            logger.info("%s: signs in again: %.500s", self._name, error)
            self._forget_token()
            return self._http.read("GET", "/jobs", params=params, timeout=_TIMEOUT)

    def _headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._access()}"}

    def _access(self) -> str:
        with self._lock:
            if not self._token or self._monotonic() >= self._given_at + _FRESH_S:
                self._token = self._signed_in()
                self._given_at = self._monotonic()
            return self._token

    def _forget_token(self) -> None:
        with self._lock:
            self._token = ""

    def _signed_in(self) -> str:
        remember(self._login.secret)
        body = {"identity": self._login.identity, "secret": self._login.secret}
        answer = self._signing_in.read("POST", "/login", json=body, timeout=_TIMEOUT)
        token = answer.get("access_token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str) or not token:
            raise ProtocolError(f"{self._name} answered a login without an access_token")
        remember(token, passing=True)
        logger.debug("%s: signed in", self._name)
        return token


def _age(row: _Row) -> tuple[datetime, int, str]:
    """What sorts rows by their age: the moment if it is known, then the number in the database."""
    number = int(row.remote_id) if row.remote_id.isdecimal() else 0
    return (row.submitted_at or datetime.max, number, row.remote_id)  # noqa: DTZ901 - the list says no zone


def _rows_in(body: object) -> list[_Row]:
    rows = body.get("jobs") if isinstance(body, Mapping) else None
    if not isinstance(rows, list):
        raise ProtocolError("the portal answered without a list of jobs")
    found = []
    for row in rows:
        if not isinstance(row, Mapping):
            raise ProtocolError("the portal listed a job that is no object")
        number = row.get("uuid", row.get("id"))
        circuit = row.get("circuit")
        resource = row.get("target_specification")
        found.append(
            _Row(
                remote_id=wire.id_in({"uuid": number}),
                circuit=circuit if isinstance(circuit, str) else None,
                status=str(row.get("status")),
                resource=resource if isinstance(resource, str) else None,
                submitted_at=wire.moment_in(row.get("timestamp_submitted")),
            )
        )
    return found


def _total_in(body: Mapping[str, Any]) -> int:
    total = body.get("totaljob_nr")
    if type(total) is not int or total < 0:
        raise ProtocolError("the portal does not say how many jobs it lists")
    return total
