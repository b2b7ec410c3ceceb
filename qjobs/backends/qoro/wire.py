"""JSON of Qoro and our values: the paths, the one status table, what is sent and what is read.

Contract: the REST interface that the published client `qoro-divi` speaks, in its versions 0.13.0 and 0.15.1.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import httpx

from qjobs.backends.qoro.targets import QoroTarget
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.redaction import bounded, redacted

INIT: Final = "job/init/"
CREDITS: Final = "credits/"
PAGE: Final = 100
"""Results a page, as Qoro's own client asks for them."""

STATUSES: Final[dict[str, JobStatus]] = {
    "PENDING": JobStatus.SUBMITTED,
    "SCHEDULED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "PAUSED": JobStatus.RUNNING,
    "COMPLETED": JobStatus.COMPLETED,
    "FAILED": JobStatus.ERROR,
    "CANCELLED": JobStatus.CANCELLED,
    "INSUFFICIENT_CREDITS": JobStatus.DEPLETED,
    "TIMED_OUT": JobStatus.TERMINATED,
}
"""The words of all versions. PENDING is a job that waits, and one that is not finalised too. PAUSED has begun."""
OPEN: Final = "PENDING"
_GATEWAYS_CODES: Final = frozenset({401, 403, 407, 408, 421, 425, 429, 499})
"""What gateways answer by themselves, also after they have passed a request on."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """The credits of an account."""

    balance: Decimal
    total_used: Decimal | None = None


def job_path(remote_id: RemoteId, what: str = "") -> str:
    """The path of `what` of a job; of the job itself, which Qoro has without a slash at its end, where it is empty.

    >>> job_path(RemoteId("7"), "status"), job_path(RemoteId("a/b"))
    ('job/7/status/', 'job/a%2Fb')
    """
    path = f"job/{urllib.parse.quote(remote_id, safe='')}"
    return f"{path}/{what}/" if what else path


def init_body(target: QoroTarget, *, tag: str, expvals: bool, packing: bool) -> dict[str, Any]:
    """The body that gets an id for a job; a `tag` is for people."""
    return {
        "tag": tag,
        "job_type": "EXPECTATION" if expvals else "EXECUTE",
        "use_packing": packing,
        str(target.kind): target.name,
    }


def says_itself(response: httpx.Response) -> bool:
    """Whether a body is an error of Qoro's own as far as can be told: an object with `error` or `detail`.

    Gateways write pages, or `message` alone. Good enough for a request after which nothing can run, or which may be
    sent again.
    """
    if not response.is_client_error or not response.headers.get("content-type", "").startswith("application/json"):
        return False
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, Mapping):
        return False
    return any(isinstance(body.get(name), str | list) and body[name] for name in ("error", "detail"))


def proves_refusal(response: httpx.Response) -> bool:
    """Whether an answer to the last fragment proves that Qoro refused it, so that the job cannot run.

    What gateways answer too proves nothing: the job is asked for by its id then.
    """
    return says_itself(response) and response.status_code not in _GATEWAYS_CODES


def id_in(body: object) -> RemoteId:
    """The id of a job.

    Raises:
        ProtocolError: There is none.
    """
    found = _member(body, "job_id")
    if isinstance(found, str) and found:
        return RemoteId(found)
    raise ProtocolError("Qoro answered without a job_id")


def status_in(body: object) -> tuple[JobStatus, str]:
    """Our status and Qoro's word.

    Raises:
        ProtocolError: There is none, or it is not in the table.
    """
    word = _member(body, "status")
    if not isinstance(word, str):
        raise ProtocolError("Qoro answered without a status")
    if word not in STATUSES:
        shown = bounded(redacted(word), _SHOWN)
        raise ProtocolError(f"Qoro answered the unknown status {shown!r}; the job keeps its last one")
    return STATUSES[word], word


def credits_in(body: object) -> Credits:
    """The credits in an answer, which Qoro writes as text.

    Raises:
        ProtocolError: They are no numbers.
    """
    balance = _number(_member(body, "balance"))
    if balance is None:
        raise ProtocolError("Qoro answered no balance of credits")
    return Credits(balance=balance, total_used=_number(_member(body, "total_used")))


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def page_in(body: object) -> tuple[list[tuple[object, object]], bool]:
    """The entries of a page of results as (label, result), and whether another page follows.

    Raises:
        ProtocolError: It is no page.
    """
    rows = _member(body, "results")
    if not isinstance(rows, list):
        raise ProtocolError("Qoro answered without results")
    found = []
    for row in rows:
        if not isinstance(row, Mapping) or "label" not in row:
            raise ProtocolError("Qoro answered a result without a label")
        found.append((row["label"], row.get("results")))
    return found, _member(body, "next") is not None


def values_in(entry: object) -> dict[str, float]:
    """The values of terms in a result.

    Raises:
        ProtocolError: It is no object of numbers.
    """
    if not isinstance(entry, Mapping) or not entry:
        raise ProtocolError("Qoro answered a result without values")
    found = {}
    for term, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ProtocolError("Qoro answered values that are no numbers")
        found[str(term)] = float(value)
    return found


def counts_in(entry: object) -> dict[str, int]:
    """Counts that are not packed.

    Raises:
        ProtocolError: They are no histogram of bit strings of one width.
    """
    if not isinstance(entry, Mapping) or not entry:
        raise ProtocolError("Qoro answered a result without counts")
    found: dict[str, int] = {}
    for word, number in entry.items():
        if not isinstance(word, str) or not set(word) <= {"0", "1"} or type(number) is not int or number < 0:
            raise ProtocolError("Qoro answered counts that are no numbers of bit strings")
        if number:
            found[word] = number
    if len({len(word) for word in found}) > 1:
        raise ProtocolError("Qoro answered counts of bit strings of several widths")
    return found


def _member(body: object, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None
