"""The bearer token that says who sent a request, on routes whose clients keep no cookies."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.errors import Unauthorized
from qjobs.service.web.cookies import SENDER

__all__ = ["bearer_of", "user_of_bearer"]

_LONGEST_TOKEN = 4096


def bearer_of(service: Service, request: HTTPConnection) -> User:
    """The user whose bearer token the request has: a token that was issued, or that of a sign-in.

    Where the guard has looked already, it is not asked for again.

    Raises:
        Unauthorized: It has none, or one that is not known or has ended.
    """
    found: User | None = getattr(request.state, SENDER, None)
    return found or user_of_bearer(service, request)


def user_of_bearer(service: Service, request: HTTPConnection) -> User:
    """As `bearer_of`, looked up.

    Raises:
        Unauthorized: It has none, or one that is not known or has ended.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST_TOKEN:
        raise Unauthorized("send your token: Authorization: Bearer TOKEN; make one with: qjobs serve users token EMAIL")
    accounts = service.accounts
    user = accounts.user_of_refresh(token) or accounts.user_of_access(token)
    if user is None:
        raise Unauthorized("the token is not known, or has ended; make another one with: qjobs serve users token EMAIL")
    return user
