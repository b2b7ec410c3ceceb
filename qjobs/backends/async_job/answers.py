"""What an object says, in our words: its statuses, its counts, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from numbers import Integral
from typing import Any, Final

from qjobs.backends.base import MissingResult, Result
from qjobs.backends.http import TRANSIENT_CODES, retry_after_of
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError, QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult
from qjobs.redaction import bounded, redacted

__all__ = ["CONFLICT", "GONE", "STATUSES", "code_of", "described", "entry_of", "meaning", "says_gone", "word_of"]

STATUSES: Final[dict[str, JobStatus]] = {
    "PENDING": JobStatus.QUEUED,
    "SCHEDULED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "PAUSED": JobStatus.RUNNING,  # it had begun, and goes on by itself
    "COMPLETED": JobStatus.COMPLETED,
    "FAILED": JobStatus.ERROR,
    "CANCELLED": JobStatus.CANCELLED,
    "INSUFFICIENT_CREDITS": JobStatus.DEPLETED,
    "TIMED_OUT": JobStatus.TERMINATED,
}
"""The one table of Divi's words: those of 0.13, and the four more of 0.15."""
GONE: Final = frozenset({404, 410})
"""Codes by which a provider says that it does not have a job."""
CONFLICT: Final = 409
"""The code by which a provider says that a job is final."""
_WRONG: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError)
"""What an object raises that cannot read an answer, or has a mistake in it: asking again does not help."""
_BITS: Final = re.compile("[01]+")


def described(error: BaseException) -> str:
    """The class of an error and its words, without secrets; of an answer about credentials it is the code alone."""
    if (code := code_of(error)) in {401, 403}:
        return f"{type(error).__name__}: {code}"
    words = bounded(redacted(str(error)), 2_000)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def code_of(error: BaseException) -> int | None:
    """The HTTP code of an error that has a response, as those of requests and httpx do."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def says_gone(error: BaseException, codes: frozenset[int] | set[int]) -> bool:
    """Whether an error is a provider's word that it has something no longer: its body is a JSON object."""
    if code_of(error) not in codes:
        return False
    try:
        return isinstance(getattr(error, "response").json(), dict)  # noqa: B009 - `code_of` has seen it
    except (ValueError, AttributeError, RuntimeError):  # RecursionError is one, and what httpx says of streams
        return False


def meaning(error: Exception, what: str) -> QJobsError:
    """What an error of the object means, where nothing can be made or billed."""
    if isinstance(error, QJobsError):
        return error
    words = f"{what}: {described(error)}"
    code = code_of(error)
    if code in {401, 403}:
        return CredentialsRejected(f"{words}; renew the credentials of the object")
    if code is not None and code not in TRANSIENT_CODES and code < 520:
        return ProtocolError(words, code=code)
    if code is None and isinstance(error, _WRONG):
        return ProtocolError(words)
    response: Any = getattr(error, "response", None)
    return BackendUnavailable(words, retry_after_s=retry_after_of(response) if hasattr(response, "headers") else None)


def word_of(said: object) -> str:
    """The word of a status: a text, or the value or the name of an enum."""
    if isinstance(said, Enum):
        return said.value if isinstance(said.value, str) else said.name
    return said if isinstance(said, str) else repr(said)


def entry_of(given: object, n_shots: int | None) -> Result:
    """The counts of an item. Divi's bit strings have bit 0 rightmost, as ours do.

    Raises:
        ProtocolError: They are no counts.
    """
    if not isinstance(given, Mapping):
        raise ProtocolError("a result holds no counts")
    if not given:
        return MissingResult(reason="its counts are empty")
    counts: dict[str, int] = {}
    for word, number in given.items():
        is_number = isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= 0
        if not (isinstance(word, str) and _BITS.fullmatch(word) and is_number):
            raise ProtocolError(f"a result holds {bounded(redacted(repr((word, number))), 100)}, which is no count")
        counts[word] = int(number)
    if len({len(word) for word in counts}) > 1:
        raise ProtocolError("the bit strings of a result have several lengths")
    total = sum(counts.values())
    if n_shots is not None and total != n_shots:
        return MissingResult(reason=f"its counts make {total} shots, and {n_shots} were asked for")
    return ItemResult(counts=counts)
