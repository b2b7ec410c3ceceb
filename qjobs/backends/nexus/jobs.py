"""Jobs at Nexus: found by their names, read from the list or one by one, cancelled.

Nothing depends on the list of jobs but finding by name: a job that the list does not show is read by its id.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from qjobs.backends.base import Answer, LiveJob, RemoteJob, Snapshot
from qjobs.backends.fan_out import FanOut, ask_each, raise_if_all_failed
from qjobs.backends.http import HttpClient, Refusal
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.projects import Projects
from qjobs.errors import BackendUnavailable, ProtocolError, QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.model import Key, RemoteId

logger = logging.getLogger(__name__)

_OPEN_WORDS: Final = ("SUBMITTED", "QUEUED", "RUNNING")
_NAMES_DEVICE: Final = ("type", "device_name", "system_name")
"""What of a job's configuration says which device it is for."""
_PAGE_SIZE: Final = 100
_MOST_PAGES: Final = 1_000
_FEW: Final = 4
"""Fewer jobs than these, or than the list had pages, are read by their ids, which shows their items too."""
_LIST_TIMEOUT: Final = httpx.Timeout(10.0, read=30.0)
_LIST_PAUSE_S: Final = 60.0
"""How long the list is left alone after it failed: it has failed for days while jobs could be read by their ids."""


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
        self._list_again_at = 0.0
        self._list_pages = 1

    def name_of(self, key: Key) -> str:
        """The name of the job that is made with a key."""
        return f"{self._prefix}{key}"

    def find(self, key: Key) -> RemoteId | None:
        """The oldest job with the name of a key, in any project; None if there is none."""
        name = self.name_of(key)
        found = [
            (wire.created_at(job), RemoteId(wire.text(job, "id")))
            for job in self._pages({"filter[name_exact]": name, **wire.OLDEST_FIRST})
            if wire.member(job, "attributes", "name") == name
        ]
        return min(found, key=lambda each: each[0])[1] if found else None  # of equal moments the first one listed

    def with_keys(self) -> list[RemoteJob]:
        """All jobs of the project whose names are made of our prefix and a key."""
        project = self._projects.find()
        if project is None:
            return []
        found = []
        params = {"filter[name_fuzzy]": self._prefix, "filter[project][id]": project.project_id, **wire.OLDEST_FIRST}
        for job in self._pages(params):
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

    def live(self, config: Mapping[str, Any]) -> list[LiveJob]:
        """All open jobs that Nexus shows to the user, in all projects; `config` is that of the device.

        One request where there are up to 100. The filter has no words for RETRYING and CANCELLING.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: The list fails, or has failed a moment ago.
        """
        if self._monotonic() < self._list_again_at:
            raise BackendUnavailable("the list of jobs has failed, and is left alone for a while")
        found = []
        try:
            params = {"filter[status][status]": list(_OPEN_WORDS), "sort": "-timestamps.created"}
            for job in self._pages(params, timeout=_LIST_TIMEOUT):
                if wire.member(job, "attributes", "status", "status") in _OPEN_WORDS:
                    remote_id = RemoteId(wire.text(job, "id"))
                    found.append(LiveJob(remote_id=remote_id, elsewhere=_is_elsewhere(job, config)))
        except (BackendUnavailable, ProtocolError) as error:
            self._leave_list_alone(error)
            raise
        return found

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        """The status of many jobs: open ones come from the list, the rest, or just a few, from a request each.

        Raises:
            BackendUnavailable, CredentialsRejected: None of them could be asked for.
        """
        wanted = list(dict.fromkeys(remote_ids))
        found: dict[RemoteId, Answer] = {}
        if len(wanted) >= max(_FEW, self._list_pages):
            found |= self._open_ones(set(wanted))
        rest = [remote_id for remote_id in wanted if remote_id not in found]
        found |= ask_each(self._fan_out, rest, self._answer)
        raise_if_all_failed(found, len(wanted))
        return {remote_id: found[remote_id] for remote_id in wanted if remote_id in found}

    def read(self, remote_id: RemoteId) -> Mapping[str, Any] | None:
        """The resource of a job; None if Nexus itself says that there is no such job.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: It cannot be read; a 403 is a ProtocolError.
        """
        body = self._http.read("GET", _path(remote_id), params=wire.USER, proves_refusal=wire.says_itself)
        if isinstance(body, Refusal):
            if wire.is_gone(body) or (body.lacks_route and self._has_routes()):
                return None
            raise ProtocolError(f"Nexus does not show job {remote_id} ({body.code}: {body.words})", code=body.code)
        job = wire.member(body, "data")
        if not isinstance(job, Mapping):
            raise ProtocolError(f"Nexus answered job {remote_id} without data")
        return job

    def cancel(self, remote_id: RemoteId) -> None:
        """Ask for the cancellation of a job; one that is final, is being cancelled, or is none, is left alone."""
        path = f"{_path(remote_id)}/rpc/cancel"
        try:
            body = self._http.read("POST", path, params=wire.USER, json={}, proves_refusal=wire.says_itself)
            if not isinstance(body, Refusal):
                return
            refused = ProtocolError(
                f"Nexus does not cancel job {remote_id} ({body.code}: {body.words})", code=body.code
            )
        except ProtocolError as error:
            refused = error
        answer = self._answer(remote_id)  # the code for a final job is not documented
        if isinstance(answer, Snapshot) and (answer.status.is_final or answer.status is JobStatus.CANCELLING):
            return
        if answer is not None:
            raise refused

    def _answer(self, remote_id: RemoteId) -> Answer | None:
        """A job by its id, or why it cannot be read; None if there is no such job."""
        try:
            job = self.read(remote_id)
            return None if job is None else wire.snapshot_of(job, with_items=True)
        except QJobsError as error:
            return error

    def _has_routes(self) -> bool:
        """Whether Nexus has routes of jobs in this version, so that what it does not find is the job."""
        try:
            body = self._http.read("GET", f"{wire.JOBS}/meta/count", params=wire.USER)
        except QJobsError:
            return False
        return type(wire.member(body, "count")) is int

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
            self._leave_list_alone(error)
        return found

    def _leave_list_alone(self, error: QJobsError) -> None:
        logger.warning("the list of jobs fails and is left alone for %.0f s: %.500s", _LIST_PAUSE_S, error)
        self._list_again_at = self._monotonic() + _LIST_PAUSE_S

    def _pages(self, params: Mapping[str, Any], **options: Any) -> Iterator[Mapping[str, Any]]:
        """The jobs that a filter lets through, page by page, each once.

        The number of pages that Nexus gives is believed only of a page that is not full.

        Raises:
            ProtocolError: A page shows nothing new, so that the end of the list cannot be seen.
        """
        seen: set[str] = set()
        for number in range(_MOST_PAGES):
            page = {"page[number]": number, "page[size]": _PAGE_SIZE}
            body = self._http.read("GET", wire.JOBS, params={**wire.USER, **params, **page}, **options)
            jobs = {wire.text(job, "id"): job for job in wire.resources(body)}
            if not jobs:
                return
            new = [job_id for job_id in jobs if job_id not in seen]
            if not new:
                raise ProtocolError(f"Nexus lists the same jobs again on page {number}: the list has no end")
            seen.update(new)
            for job_id in new:
                yield jobs[job_id]
            n_pages = wire.member(body, "meta", "total_pages")
            if type(n_pages) is int and number + 1 >= n_pages and len(jobs) < _PAGE_SIZE:
                return
        raise ProtocolError(f"Nexus lists more than {_MOST_PAGES} pages of jobs: the list has no end")


def _is_elsewhere(job: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a listed job shows the configuration of another device; a list may leave it out."""
    shown = wire.member(job, "attributes", "definition", "backend_config")
    if not isinstance(shown, Mapping):
        return False
    return any(shown.get(name) != config.get(name) for name in _NAMES_DEVICE if name in config)


def _path(remote_id: RemoteId) -> str:
    return f"{wire.JOBS}/{urllib.parse.quote(remote_id, safe='')}"
