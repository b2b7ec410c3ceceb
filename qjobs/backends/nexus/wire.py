"""JSON of Nexus and our values: the paths, the one status table, what is sent and what is read.

Contract: the REST interface that the client qnexus speaks (0.39 and newer).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.backends.http import Refusal
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.redaction import bounded, redacted

CIRCUITS: Final = "/api/circuits/v1beta2"
COMPILATIONS: Final = "/api/compilations/v1beta3"
JOBS: Final = "/api/jobs/v1beta3"
ME: Final = "/api/users/v1beta2/me"
PROJECTS: Final = "/api/projects/v1beta2"
QUOTA_GUARD: Final = "/api/quotas/v1beta3/guard"
PROPERTIES: Final = "/api/property_definitions/v1beta2"
RESULTS: Final = "/api/results/v1beta3"
USER: Final = {"scope": "user"}
OLDEST_FIRST: Final = {"sort": "timestamps.created"}

STATUSES: Final[dict[str, JobStatus]] = {
    "SUBMITTED": JobStatus.SUBMITTED,
    "QUEUED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "RETRYING": JobStatus.RETRYING,
    "CANCELLING": JobStatus.CANCELLING,
    "COMPLETED": JobStatus.COMPLETED,
    "CANCELLED": JobStatus.CANCELLED,
    "ERROR": JobStatus.ERROR,
    "DEPLETED": JobStatus.DEPLETED,
    "TERMINATED": JobStatus.TERMINATED,
}
_TIMES: Final = {
    "submitted_time": JobStatus.SUBMITTED,
    "queued_time": JobStatus.QUEUED,
    "running_time": JobStatus.RUNNING,
    "completed_time": JobStatus.COMPLETED,
    "cancelled_time": JobStatus.CANCELLED,
    "error_time": JobStatus.ERROR,
}
_NO_QUOTA: Final = frozenset({400, 402, 403, 409})
"""Answers of the guard that say that a quota is used up. qnexus takes any but 200 for that; others may mean that the
route is gone, that the question is wrong, or that somebody on the way answered."""
_LONGEST_WORDS: Final = 2_000
_GATEWAYS_CODES: Final = frozenset({401, 403, 407, 408, 421, 425, 429, 499})
"""What gateways answer by themselves, in bodies like Nexus's own, also after they have passed a request on."""
_OWN_WORDS: Final = ("Not a member of any group with name", "you may read this project")
"""How Nexus's own refusals with such a code begin (qnexus, integration/test_jobs.py), and those of `qjobs serve`."""


def says_itself(response: httpx.Response) -> bool:
    """Whether the body is one of Nexus's own errors: an object with a message, or with a detail as FastAPI writes it.

    A page of a gateway is not. Good enough for a request that may be sent again.
    """
    return _own_words_in(response) is not None


def says_no_quota(response: httpx.Response) -> bool:
    """Whether an answer of the guard of quotas is Nexus's own word that there is nothing left of one."""
    return response.status_code in _NO_QUOTA and says_itself(response)


def proves_refusal(response: httpx.Response) -> bool:
    """Whether an answer to the POST of a job proves that Nexus itself refused it, so that there is no job.

    It does with a 4xx and one of Nexus's own errors as JSON. With a code that gateways answer by themselves only words
    that are known to be Nexus's prove it: gateways too write `{"message": "Unauthorized"}`.
    """
    if not response.is_client_error or not response.headers.get("content-type", "").startswith("application/json"):
        return False
    words = _own_words_in(response)
    if words is None:
        return False
    return response.status_code not in _GATEWAYS_CODES or words.startswith(_OWN_WORDS)


def _own_words_in(response: httpx.Response) -> str | None:
    response.read()  # while requests are signed, answers have not been read yet
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    message = member(body, "message")
    detail = member(body, "detail")
    if isinstance(message, str) and message:
        return message
    if isinstance(detail, str) and detail:
        return detail
    if isinstance(detail, list) and detail and all(isinstance(member(each, "msg"), str) for each in detail):
        return str(detail[0]["msg"])
    return None


def is_gone(refusal: Refusal) -> bool:
    """Whether Nexus no longer has what was asked for, in words that are not those of a route that it does not have."""
    return refusal.says_gone and not refusal.lacks_route


def member(body: object, *path: str) -> Any:
    """The value at `path` in nested objects; None where it, or an object on the way to it, is missing."""
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def text(body: object, *path: str) -> str:
    """The value at `path`, which must be a text that is not empty.

    Raises:
        ProtocolError: It is something else, or missing.
    """
    found = member(body, *path)
    if not isinstance(found, str) or not found:
        raise ProtocolError(f"Nexus answered without {'.'.join(path)}")
    return found


def resources(body: object) -> list[Mapping[str, Any]]:
    """The resources in the answer to a request for a list.

    Raises:
        ProtocolError: There is no list of them.
    """
    found = member(body, "data")
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ProtocolError("Nexus answered without a list of data")
    return found


def circuit_body(circuit: str, *, name: str, project_id: str) -> bytes:
    """The body that uploads a circuit; `circuit` is pytket's JSON, which is not parsed again."""
    about = _compact({"name": name, "properties": {}})
    rest = _compact({"type": "circuit", "relationships": _in_project(project_id)})
    return f'{{"data":{{"attributes":{about[:-1]},{circuit[1:]},{rest[1:]}}}'.encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _in_project(project_id: str) -> dict[str, Any]:
    return {"project": {"data": {"id": project_id, "type": "project"}}}


def property_body(*, name: str, description: str, project_id: str) -> dict[str, Any]:
    """The body that defines a property of a project's jobs: a text that may be left out."""
    attributes = {
        "name": name,
        "description": description,
        "property_type": "string",
        "required": False,
        "color": "#0072b2",
    }
    return {"data": {"type": "property", "attributes": attributes, "relationships": _in_project(project_id)}}


def job_body(
    *,
    name: str,
    description: str,
    properties: Mapping[str, str],
    project_id: str,
    job_type: str,
    definition: Mapping[str, Any],
) -> dict[str, Any]:
    """The body that creates a job; the type of `definition` is added to it."""
    return {
        "data": {
            "type": "job",
            "relationships": _in_project(project_id),
            "attributes": {
                "name": name,
                "description": description,
                "properties": dict(properties),
                "job_type": job_type,
                "definition": {"job_definition_type": f"{job_type}_job_definition", **definition},
            },
        }
    }


def snapshot_of(job: object, *, with_items: bool) -> Snapshot:
    """A job resource as a snapshot.

    Raises:
        ProtocolError: A status word is unknown, or the body is outside the contract.
    """
    whole = _item_snapshot(member(job, "attributes", "status"))
    return Snapshot(
        status=whole.status,
        remote_status=text(job, "attributes", "status", "status"),
        message=_words_of(whole),
        items=_items_of(job) if with_items else None,
        queue_position=whole.queue_position,
        cost=whole.cost,
    )


def _items_of(job: object) -> tuple[ItemSnapshot, ...] | None:
    """The items of a job; None where they are not told, or cannot be told apart."""
    entries = member(job, "attributes", "definition", "items")
    if not isinstance(entries, list) or not entries or any(member(entry, "status") is None for entry in entries):
        return None
    try:
        ordered = in_order(entries)
    except ProtocolError:
        return None
    return tuple(_item_snapshot(member(entry, "status")) for entry in ordered)


def in_order(entries: Sequence[object]) -> list[object]:
    """The items of a job in the order in which they were sent, whatever the order in which Nexus lists them.

    Nexus numbers the items of a job as it creates them (`item_id`), and they keep their numbers when they are retried.
    A job whose items have no numbers is taken as it is listed.

    Raises:
        ProtocolError: Some have no number, or two have the same.
    """
    numbers = [member(entry, "item_id") for entry in entries]
    if all(number is None for number in numbers):
        return list(entries)
    if any(type(number) is not int for number in numbers) or len(set(numbers)) < len(numbers):
        raise ProtocolError("Nexus answered a job whose items cannot be told apart by their item_id")
    return [entry for _, entry in sorted(zip(numbers, entries, strict=True), key=lambda pair: pair[0])]


def _words_of(item: ItemSnapshot) -> str:
    return f"{item.message} {item.error_detail or ''}".strip()


def _item_snapshot(shown: object) -> ItemSnapshot:
    """What the status object of a job, or of an item of one, says."""
    word = text(shown, "status")
    if word not in STATUSES:
        raise ProtocolError(f"Nexus answered the unknown status {word[:50]!r}; the job keeps its last one")
    position = member(shown, "queue_position")
    cost = member(shown, "cost")
    times = {}
    for name, status in _TIMES.items():
        moment = _moment(member(shown, name))
        if moment is not None:
            times[status] = moment
    return ItemSnapshot(
        status=STATUSES[word],
        message=_words(shown, "message"),
        error_detail=_words(shown, "error_detail") or None,
        queue_position=position if type(position) is int else None,
        cost=float(cost) if type(cost) in {int, float} else None,
        times=times,
    )


def _words(body: object, name: str) -> str:
    """Words for people at `name`, bounded; what is no text, such as a list of errors, as JSON."""
    found = member(body, name)
    if not found:
        return ""
    words = found if isinstance(found, str) else json.dumps(found, default=str)
    return bounded(redacted(words[: 10 * _LONGEST_WORDS]), _LONGEST_WORDS)


def _text_or_empty(body: object, name: str) -> str:
    found = member(body, name)
    return found if isinstance(found, str) else ""


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def created_at(resource: object) -> datetime:
    """When something was created; the end of time where Nexus does not tell."""
    return _moment(member(resource, "attributes", "timestamps", "created")) or datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHandles:
    """What an item of a job has by now: where its result is, of which type, and in `words` why there is none.

    `completed_at` is when it completed, or a later moment where Nexus does not tell; None for an item that has not.
    """

    program_id: str
    result_id: str
    result_type: str
    compilation_id: str
    is_completed: bool
    completed_at: datetime | None
    words: str

    @property
    def has_result(self) -> bool:
        """Whether there is something to download."""
        return bool(self.result_id or self.compilation_id)


def handles_of(job: object) -> list[ItemHandles]:
    """The items of a job resource, in the order in which they were sent.

    An item whose status is a word that is not known is one that has not completed.

    Raises:
        ProtocolError: The body is outside the contract.
    """
    entries = member(job, "attributes", "definition", "items")
    if not isinstance(entries, list) or not entries:
        raise ProtocolError("Nexus answered a job without items")
    of_job = _moment(member(job, "attributes", "status", "completed_time"))
    of_job = of_job or _moment(member(job, "attributes", "timestamps", "modified"))
    return [_handles(entry, of_job) for entry in in_order(entries)]


def _handles(entry: object, of_job: datetime | None) -> ItemHandles:
    is_completed = False
    completed_at = None
    try:
        item = _item_snapshot(member(entry, "status"))
    except ProtocolError as error:
        words = str(error)
    else:
        words = _words_of(item) or f"it is {item.status}"
        is_completed = item.status is JobStatus.COMPLETED
        completed_at = item.times.get(JobStatus.COMPLETED) or of_job if is_completed else None
    return ItemHandles(
        program_id=_text_or_empty(entry, "program_id"),
        result_id=_text_or_empty(entry, "result_id"),
        result_type=_text_or_empty(entry, "result_type"),
        compilation_id=_text_or_empty(entry, "compilation_id"),
        is_completed=is_completed,
        completed_at=completed_at,
        words=words,
    )
