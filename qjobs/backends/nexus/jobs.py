"""Jobs at Nexus: found by their names, read from the list or one by one, cancelled.

Nothing depends on the list of jobs but finding by name: a job that the list does not show is read by its id.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from qjobs.backends.base import RemoteJob, Snapshot
from qjobs.backends.http import HttpClient
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.fan_out import FanOut
from qjobs.backends.nexus.lru import LruCache
from qjobs.backends.nexus.projects import Projects
from qjobs.errors import BackendUnavailable, ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import Key, RemoteId

logger = logging.getLogger(__name__)

_OPEN_WORDS: Final = ("SUBMITTED", "QUEUED", "RUNNING")
_PAGE_SIZE: Final = 100
_FEW: Final = 4
"""Fewer jobs than these, or than the list had pages, are read by their ids, which shows their items too."""
_LIST_TIMEOUT: Final = httpx.Timeout(10.0, read=30.0)
_LIST_PAUSE_S: Final = 60.0
"""How long the list is left alone after it failed: it has failed for days while jobs could be read by their ids."""
_REMEMBERED: Final = 10_000


class Jobs:
    """The jobs of one account. Safe to use from many threads.

    `prefix` precedes the key in the name of a job of ours.
    """

    def __init__(
        self, http: HttpClient, projects: Projects, fan_out: FanOut, *, prefix: str, monotonic: Callable[[], float]
    ) -> None:
        self._http = http
        self._projects = projects
        self._fan_out = fan_out
        self._prefix = prefix
        self._monotonic = monotonic
        self._last: LruCache[RemoteId, JobStatus] = LruCache(_REMEMBERED)
        self._list_again_at = 0.0
        self._list_pages = 1

    def name_of(self, key: Key) -> str:
        """The name of the job that is made with a key."""
        return f"{self._prefix}{key}"

    def remember(self, remote_id: RemoteId, status: JobStatus) -> None:
        """Keep the last status of a job, which holds while Nexus answers a word that we do not know."""
        self._last.put(remote_id, status)

    def find(self, key: Key) -> RemoteId | None:
        """The oldest job with the name of a key, in any project; None if there is none."""
        name = self.name_of(key)
        for job in self._pages({"filter[name_exact]": name, **wire.OLDEST_FIRST}):
            if wire.member(job, "attributes", "name") == name:
                return RemoteId(wire.text(job, "id"))
        return None

    def with_keys(self) -> list[RemoteJob]:
        """All jobs of the project whose names are made of our prefix and a key."""
        project = self._projects.find()
        if project is None:
            return []
        found = []
        for job in self._pages({"filter[name_fuzzy]": self._prefix, "filter[project][id]": project.project_id}):
            name = wire.member(job, "attributes", "name")
            if not isinstance(name, str) or not name.startswith(self._prefix) or name == self._prefix:
                continue
            items = wire.member(job, "attributes", "definition", "items")
            found.append(
                RemoteJob(
                    remote_id=RemoteId(wire.text(job, "id")),
                    key=Key(name.removeprefix(self._prefix)),
                    n_items=len(items) if isinstance(items, list) else None,
                )
            )
        return found

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """The status of many jobs: open ones come from the list, the rest, or just a few, from a request each.

        A job whose status is a word that we do not know keeps the last status that was seen here, and the word. One
        that cannot be read is left out, unless none can be.
        """
        wanted = list(dict.fromkeys(remote_ids))
        found: dict[RemoteId, Snapshot] = {}
        if len(wanted) >= max(_FEW, self._list_pages):
            found = self._open_ones(set(wanted))
        rest = [remote_id for remote_id in wanted if remote_id not in found]
        failures = []
        for remote_id, answer in zip(rest, self._fan_out.map(self._answer, rest), strict=True):
            if isinstance(answer, Snapshot):
                found[remote_id] = answer
            elif answer is not None:
                failures.append(answer)
        if failures and not found:
            raise failures[0]
        for remote_id, snapshot in found.items():
            self.remember(remote_id, snapshot.status)
        return {remote_id: found[remote_id] for remote_id in wanted if remote_id in found}

    def read(self, remote_id: RemoteId) -> Any:
        """The resource of a job; None if there is no such job."""
        return wire.member(self._http.read("GET", _path(remote_id), params=wire.USER, ignore={404}), "data")

    def cancel(self, remote_id: RemoteId) -> None:
        """Ask for the cancellation of a job; one that is final, or is none, is left alone."""
        try:
            self._http.read("POST", f"{_path(remote_id)}/rpc/cancel", params=wire.USER, json={}, ignore={404, 409})
        except ProtocolError:  # the code for a final job is not documented
            answer = self._answer(remote_id)
            if not isinstance(answer, Snapshot) or not answer.status.is_final:
                raise

    def _answer(self, remote_id: RemoteId) -> Snapshot | BackendUnavailable | ProtocolError | None:
        """A job by its id, or why it cannot be read; None if there is no such job."""
        try:
            job = self.read(remote_id)
        except (BackendUnavailable, ProtocolError) as error:
            return error
        if job is None:
            return None
        try:
            return wire.snapshot_of(job, with_items=True)
        except ProtocolError as error:
            word = wire.member(job, "attributes", "status", "status")
            last = self._last.get(remote_id)
            if last is None or not isinstance(word, str) or word in wire.STATUSES:
                return error
            logger.warning("job %s has the unknown status %.50r and stays %s", remote_id, word, last)
            return Snapshot(status=last, remote_status=word, message=str(error))

    def _open_ones(self, wanted: Collection[RemoteId]) -> dict[RemoteId, Snapshot]:
        """Those that are open, as far as the list shows them; none while the list fails."""
        found: dict[RemoteId, Snapshot] = {}
        if self._monotonic() < self._list_again_at:
            return found
        try:
            project = self._projects.find()
            if project is None:
                return found
            params = {
                "filter[project][id]": project.project_id,
                "filter[name_fuzzy]": self._prefix,
                "filter[status][status]": list(_OPEN_WORDS),
                "sort": "-timestamps.created",
            }
            self._list_pages = 1
            for position, job in enumerate(self._pages(params, timeout=_LIST_TIMEOUT)):
                self._list_pages = position // _PAGE_SIZE + 1
                remote_id = RemoteId(wire.text(job, "id"))
                word = wire.member(job, "attributes", "status", "status")
                if remote_id in wanted and word in _OPEN_WORDS:
                    found[remote_id] = wire.snapshot_of(job, with_items=False)
                if len(found) == len(wanted):
                    break
        except (BackendUnavailable, ProtocolError) as error:
            logger.warning("the list of jobs fails and is left alone for %.0f s: %.500s", _LIST_PAUSE_S, error)
            self._list_again_at = self._monotonic() + _LIST_PAUSE_S
        return found

    def _pages(self, params: Mapping[str, Any], **options: Any) -> Iterator[Mapping[str, Any]]:
        """The jobs that a filter lets through, page by page."""
        number = 0
        n_pages: int | None = None
        while n_pages is None or number < n_pages:
            page = {"page[number]": number, "page[size]": _PAGE_SIZE}
            body = self._http.read("GET", wire.JOBS, params={**wire.USER, **params, **page}, **options)
            jobs = wire.resources(body)
            if not jobs:
                return
            yield from jobs
            total = wire.member(body, "meta", "total_pages")
            n_pages = total if type(total) is int else None
            number += 1


def _path(remote_id: RemoteId) -> str:
    return f"{wire.JOBS}/{urllib.parse.quote(remote_id, safe='')}"
