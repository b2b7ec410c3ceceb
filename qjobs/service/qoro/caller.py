"""The caller of a route of Qoro: whose token it is, which words they know, and the parts that answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from qjobs.service.accounts.accounts import User
from qjobs.service.qoro.assembly import Qoro
from qjobs.service.web.bearer import bearer_of

__all__ = ["Caller", "Who"]

_DIVI = re.compile(r"divi/([0-9]{1,4})\.([0-9]{1,4})")
_KNOWS_ALL = (0, 15)
"""The first version of Divi that is known to read the words that are younger than 0.13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Args:
        knows_all_words: Whether their client reads every status. Divi 0.13 fails on four of them, and its requests name
            no version: whoever does not say what they are gets the words that all versions have.
    """

    qoro: Qoro
    user: User
    knows_all_words: bool
    base_url: str


def caller_of(request: Request) -> Caller:
    """The user whose bearer token the request has, else 401."""
    qoro: Qoro = request.app.state.qoro
    return Caller(
        qoro=qoro,
        user=bearer_of(qoro.service, request),
        knows_all_words=knows_all_words(request.headers.get("user-agent", "")),
        base_url=str(request.base_url).rstrip("/"),
    )


def knows_all_words(user_agent: str) -> bool:
    """Whether a client says that it is Divi from 0.15, or this library.

    >>> knows_all_words("divi/0.15.1 (python=3.11)"), knows_all_words("python-requests/2.32")
    (True, False)
    """
    found = _DIVI.match(user_agent)
    if found is not None:
        return (int(found[1]), int(found[2])) >= _KNOWS_ALL
    return user_agent.startswith("qjobs/")


Who = Annotated[Caller, Depends(caller_of)]
