"""The reference adapter: a small REST provider, in each of the three variants of `LostReply`.

It speaks to `qjobs.testing.servers` and is the shortest complete example of an adapter: one total
status table, no state of its own, and the remote id handed over before anything else is done.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import httpx

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    ItemSnapshot,
    Journal,
    Limits,
    Lookup,
    MissingResult,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.backends.http import TRANSIENT_CODES, HttpClient, Refusal, place_of
from qjobs.backends.limiter import Limiter
from qjobs.errors import BackendUnavailable, ProtocolError, QJobsError, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, RemoteId
from qjobs.redaction import bounded, redacted

__all__ = ["LIMITS", "LostReply", "RestBackend", "proves_refusal"]

logger = logging.getLogger(__name__)

STATUSES: dict[str, JobStatus] = {
    "OPEN": JobStatus.SUBMITTED,  # a job in steps, before its last one
    "WAITING": JobStatus.QUEUED,
    "ACTIVE": JobStatus.RUNNING,
    "STOPPING": JobStatus.CANCELLING,
    "DONE": JobStatus.COMPLETED,
    "STOPPED": JobStatus.CANCELLED,
    "BROKEN": JobStatus.ERROR,
}
_IDS_PER_REQUEST = 200
_ITEMS_PER_REQUEST = 100
_MOST_PAGES = 1_000
_MOST_FAILURES = 31
"""So many requests for parts of a list fail, and none succeeds, before it counts as failed for all of them."""
_GONE = frozenset({404, 410})
LIMITS = Limits(max_items=300, max_shots=10_000)
"""What a job holds if nobody says otherwise."""
_CONFIRM = Confirmation()


class LostReply(StrEnum):
    """What the provider can do about a submission whose reply was lost."""

    DEDUPLICATED = "deduplicated"
    """A second submission with the same key returns the first job, which can be looked up by the key too."""
    FINDABLE = "findable"
    """A job can be looked up by its key."""
    OPAQUE = "opaque"
    """Neither."""

    @property
    def lookup(self) -> Lookup:
        """The same in the words of the protocol."""
        lifetime_s = math.inf if self is LostReply.DEDUPLICATED else None
        return Lookup(token_lifetime_s=lifetime_s, by_key=self is not LostReply.OPAQUE)


def proves_refusal(response: httpx.Response) -> bool:
    """Whether an answer is the provider's own refusal: its body says `"refused": true`, as no gateway's does."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("refused") is True


class _Refused(ProtocolError):
    """The provider itself refused a request, and nobody on the way did."""


class RestBackend:
    """A backend behind a small REST interface.

    Args:
        lost_reply: What the provider can do about a submission whose reply was lost.
        timeout_s: How long an answer may take, in seconds.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long after a lost reply a submission may still arrive, in seconds.
        confirm: When what the provider reports is believed.
        token: Called for every request; None sends no token.
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        limiter: Another limiter than the one of this process for the account.
    """

    capabilities = frozenset({Capability.CANCEL_ITEMS, Capability.DURABLE})

    def __init__(
        self,
        url: str,
        *,
        lost_reply: LostReply,
        name: str = "rest",
        device: str = "reference",
        timeout_s: float = 30.0,
        limits: Limits = LIMITS,
        poll_interval_s: tuple[float, float] = (0.05, 1.0),
        settle_s: float = 30.0,
        confirm: Confirmation = _CONFIRM,
        token: Callable[[], str] | None = None,
        max_per_s: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.device = device
        self.lookup = LostReply(lost_reply).lookup
        self.limits = limits
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self.confirm = confirm

        def headers() -> Mapping[str, str]:
            return {"authorization": f"Bearer {token()}"} if token else {}

        self._http = HttpClient(
            url,
            name=name,
            headers=headers,
            read_timeout_s=timeout_s,
            limiter=limiter,
            max_per_s=max_per_s,
            sleep=sleep,
        )
        self._place = place_of(url)
        self.fingerprint = Fingerprint(place=f"{self._place} as {name}", settings=f"device {device}")

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Create a job with one POST; the key goes with it where the provider keeps keys."""
        body = body_of(batch)
        headers = {}
        if self.lookup.token_lifetime_s is not None:
            headers["idempotency-key"] = key
        elif self.lookup.by_key:
            body["key"] = key
        answer = self._http.submit(
            "/jobs", json=body, headers=headers, sending=journal.sending, proves_refusal=proves_refusal
        )
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str) or not answer["id"]:
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {_quotation(answer)}")
        remote_id = RemoteId(answer["id"])
        journal.accepted(remote_id)
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(batch.items), key)

    def find(self, key: Key) -> RemoteId | None:
        """Find a job by its key, in one request."""
        if not self.lookup.can_find:
            return None
        for job in self._pages("/jobs", "jobs", {"key": key}):
            if _text(job, "key") != key:
                raise ProtocolError(f"{self.name} was asked for the job of one key and answered one of another")
            return RemoteId(_text(job, "id"))
        return None

    def remote_jobs(self) -> list[RemoteJob] | None:
        """List all jobs with a key, a page at a time."""
        if not self.lookup.can_find:
            return None
        found = []
        for job in self._pages("/jobs", "jobs", {"keys": "1"}):
            items = job.get("items")
            n_items = len(items) if isinstance(items, list) else None
            found.append(RemoteJob(remote_id=RemoteId(_text(job, "id")), key=Key(_text(job, "key")), n_items=n_items))
        return found

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        """Read the status of many jobs, 200 in a request; a list that is refused is asked for again in halves.

        An error of a list is the answer for each of its jobs, unless there is no other list.
        """
        asked = list(dict.fromkeys(remote_ids))
        parts = [asked[start : start + _IDS_PER_REQUEST] for start in range(0, len(asked), _IDS_PER_REQUEST)]
        found: dict[RemoteId, Answer] = {}
        failures = 0
        for part in parts:
            try:
                found |= self._status_of(part)
            except (BackendUnavailable, ProtocolError) as error:
                failures += 1
                if failures == len(parts):
                    raise
                found |= dict.fromkeys(part, error)
        return {remote_id: found[remote_id] for remote_id in asked if remote_id in found}

    def _status_of(self, asked: list[RemoteId]) -> dict[RemoteId, Answer]:
        found: dict[RemoteId, Answer] = {}
        parts = deque([asked])
        failures: list[ProtocolError] = []
        is_heard = False
        while parts:
            part = parts.popleft()
            try:
                found |= self._listed(part)
                is_heard = True
            except ProtocolError as error:
                if error.code is None:
                    raise
                failures.append(error)
                if not is_heard and len(failures) >= _MOST_FAILURES:
                    raise failures[0] from error
                if len(part) == 1:
                    found[part[0]] = error
                else:
                    logger.info("%s: a list of %d jobs is asked for in halves: %.500s", self.name, len(part), error)
                    middle = len(part) // 2
                    parts += [part[:middle], part[middle:]]
        return found

    def _listed(self, asked: list[RemoteId]) -> dict[RemoteId, Answer]:
        """What one list says of these jobs; those that it leaves out are not known."""
        found: dict[RemoteId, Answer] = {}
        has_strays = False
        for job in self._pages("/jobs", "jobs", {"ids": ",".join(asked)}):
            if not isinstance(job.get("id"), str):
                has_strays = True
            elif job["id"] in asked:
                remote_id = RemoteId(job["id"])
                if (answer := self._answer(job, alone=len(asked) == 1)) is not None:
                    found[remote_id] = answer
        if has_strays:  # any of the others may be meant, so that none of them is told to be unknown
            for remote_id in asked:
                found.setdefault(remote_id, ProtocolError(f"{self.name} listed a job without an id"))
        return found

    def _answer(self, job: dict[str, Any], *, alone: bool) -> Answer | None:
        """What an entry of a list says of its job; None where it says that there is no such job."""
        match job.get("error"):
            case None:
                pass
            case {"code": 404}:
                return None
            case {"code": int(code), "message": str(words)}:
                return self._error(Refusal(code=code, words=words), f"job {job['id']}")
            case _:
                return ProtocolError(f"{self.name} listed job {job['id']} with an error that cannot be read")
        try:
            if alone and job.get("items") is None:  # some lists tell no items; the job itself does
                return _snapshot(self._http.read("GET", f"/jobs/{_quoted(job['id'])}"))
            return _snapshot(job)
        except ProtocolError as error:
            return error

    def _error(self, refusal: Refusal, what: str) -> QJobsError:
        """What a refusal of one job means; it is not about the others, whatever its code."""
        words = f"{self.name} refused {what} ({refusal.code}): {bounded(redacted(refusal.words), 2_000)}"
        if refusal.code in TRANSIENT_CODES:
            return BackendUnavailable(words)
        return ProtocolError(words, code=refusal.code)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """Read results a page at a time, 100 chosen items in a request.

        How many items a job has is known to the provider only: without `items`, one that it no longer knows raises.
        """
        if items is None:
            yield from self._entries(remote_id, None)
            return
        for start in range(0, len(items), _ITEMS_PER_REQUEST):
            yield from self._entries(remote_id, items[start : start + _ITEMS_PER_REQUEST])

    def _entries(self, remote_id: RemoteId, items: Sequence[int] | None) -> Iterator[tuple[int, Result]]:
        path = f"/jobs/{_quoted(remote_id)}/results"
        params = {} if items is None else {"items": ",".join(map(str, items))}
        given: set[int] = set()
        wrong: ProtocolError | None = None
        why = MissingResult(reason=f"{self.name} answered no result of it, and did not say why")
        try:
            for entry in self._pages(path, "results", params):
                try:
                    index, result = _entry(entry)
                except ProtocolError as error:  # told when the others are safe
                    wrong = error
                    continue
                if index not in given and (items is None or index in items):
                    given.add(index)
                    yield index, result
        except _Refused as error:
            if error.code not in _GONE or items is None:
                raise
            why = MissingResult(reason=str(error), permanent=True)
        if wrong is not None:
            raise wrong
        for index in items or ():
            if index not in given:
                yield index, why

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation; the refusal 409 says that the job is final, which is as good."""
        options: dict[str, Any] = {} if items is None else {"json": {"items": list(items)}}
        path = f"/jobs/{_quoted(remote_id)}/cancel"
        answer = self._http.read("POST", path, proves_refusal=proves_refusal, **options)
        if isinstance(answer, Refusal) and answer.code != httpx.codes.CONFLICT:
            raise self._error(answer, f"to cancel job {remote_id}")
        logger.info("%s: asked to cancel job %s%s", self.name, remote_id, "" if items is None else f", items {items}")

    def estimate(self, batch: Batch) -> float | None:
        """None: the interface has no prices."""
        return None

    def target(self) -> Target:
        """Name the device; it takes any gate on any qubits."""
        return Target(name=self.device)

    def link(self, remote_id: RemoteId) -> str | None:
        """The address of the job itself."""
        return f"{self._place}/jobs/{_quoted(remote_id)}"

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._http.close()

    def _pages(self, path: str, name: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The entries of a list, page by page.

        Raises:
            ProtocolError: The provider refuses (with its code); or the pages do not end, which is when one brings
                nothing and promises more.
        """
        cursor: dict[str, str] = {}
        seen: set[str] = set()
        for _ in range(_MOST_PAGES):
            body = self._http.read("GET", path, params={**params, **cursor}, proves_refusal=proves_refusal)
            if isinstance(body, Refusal):
                raise _Refused(f"{self.name} refused ({body.code}): {body.words}", code=body.code)
            entries = [entry if isinstance(entry, dict) else {} for entry in _list(body, name)]
            yield from entries
            if (following := body.get("next")) is None:
                return
            new = {str(entry.get("id", entry.get("item"))) for entry in entries} - seen
            if not isinstance(following, str) or not new:
                break
            seen |= new
            cursor = {"after": following}
        raise ProtocolError(f"the pages of {name} of {self.name} do not end")


def body_of(batch: Batch) -> dict[str, Any]:
    """The programs and items of a batch, as the interface takes them."""
    programs = {}
    for name in {item.program for item in batch.items}:
        program = batch.programs[name]
        programs[name] = {"format": program.format, "payload": base64.b64encode(program.payload).decode()}
    items = [
        {"program": item.program, "parameters": dict(item.parameters), "shots": item.shots} for item in batch.items
    ]
    return {"programs": programs, "items": items}


def _quoted(remote_id: RemoteId) -> str:
    return urllib.parse.quote(remote_id, safe="")


def _quotation(answer: object) -> str:
    return bounded(redacted(json.dumps(answer)), 200)


def _list(body: object, name: str) -> list[Any]:
    if not isinstance(body, dict) or not isinstance(body.get(name), list):
        raise ProtocolError(f"the provider answered without a list of {name}")
    values: list[Any] = body[name]
    return values


def _text(body: object, name: str) -> str:
    if not isinstance(body, dict) or not isinstance(body.get(name), str):
        raise ProtocolError(f"the provider answered without a {name}")
    return str(body[name])


def _status(word: str) -> JobStatus:
    if word not in STATUSES:
        shown = bounded(redacted(word), 100)
        raise ProtocolError(f"the provider answered the unknown status {shown!r}; the job keeps its last one")
    return STATUSES[word]


def _snapshot(job: object) -> Snapshot:
    word = _text(job, "status")
    items = None if not isinstance(job, dict) or job.get("items") is None else _list(job, "items")
    return Snapshot(status=_status(word), remote_status=word, items=None if items is None else tuple(map(_item, items)))


def _item(item: object) -> ItemSnapshot:
    detail = item.get("detail") if isinstance(item, dict) else None
    return ItemSnapshot(
        status=_status(_text(item, "status")),
        message=bounded(redacted(_text(item, "message"))),
        error_detail=bounded(redacted(detail)) if isinstance(detail, str) else None,
    )


def _entry(entry: object) -> tuple[int, Result]:
    match entry:
        case {"item": int(index), "counts": dict(counts)} if all(type(shots) is int for shots in counts.values()):
            return index, ItemResult(counts=counts)
        case {"item": int(index), "error": str(words)}:
            return index, MissingResult(reason=bounded(redacted(words)) or "the provider gave no reason")
        case {"item": int(index), "gone": str(words)}:
            reason = f"the provider no longer has it: {bounded(redacted(words))}"
            return index, MissingResult(reason=reason, permanent=True)
        case _:
            raise ProtocolError("the provider answered a result that is neither counts nor an error")
