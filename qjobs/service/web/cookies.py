"""The cookies that say who sent a request: the one way in which every route learns its user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.requests import HTTPConnection

from qjobs.service.accounts.accounts import Session, User
from qjobs.service.assembly import Service
from qjobs.service.errors import Unauthorized

ACCESS_COOKIE = "myqos_id"
REFRESH_COOKIE = "myqos_oat"
SENDER = "sender"
"""Where a request's state keeps its user, once the guard has found out who it is."""


def session_of_cookies(service: Service, cookies: Mapping[str, str]) -> Session | None:
    """The session that these cookies are of, those of a request or of a web socket's handshake; None if of none.

    Where there is an access token, it alone decides: one that has ended makes the client refresh it. A refresh token
    that was exchanged for another one ends its session.
    """
    access = cookies.get(ACCESS_COOKIE)
    if access:
        return service.accounts.session_of_access(access)
    refresh = cookies.get(REFRESH_COOKIE)
    if not refresh:
        return None
    found = service.accounts.session_of_refresh(refresh)
    if found is None:
        service.sessions.end_if_reused(refresh)
    return found


def user_of_cookies(service: Service, cookies: Mapping[str, str]) -> User | None:
    """Whose cookies these are; None if nobody's."""
    found = session_of_cookies(service, cookies)
    return None if found is None else found.user


def service_of(connection: HTTPConnection) -> Service:
    """The service that answers a request, or a web socket."""
    service: Service = connection.app.state.service
    return service


def signed_in_user(request: Request) -> User:
    """The signed-in user, else 401."""
    found: User | None = getattr(request.state, SENDER, None)
    user = found or user_of_cookies(service_of(request), request.cookies)
    if user is None:
        raise Unauthorized
    return user


Serving = Annotated[Service, Depends(service_of)]
SignedIn = Annotated[User, Depends(signed_in_user)]


def set_cookies(
    response: Response, request: Request, access: str, refresh: str | None, *, access_age_s: int | None = None
) -> None:
    """Give a client its tokens; a browser keeps the access token no longer than `access_age_s`."""
    if refresh is not None:
        _set(response, request, REFRESH_COOKIE, refresh, None)
    _set(response, request, ACCESS_COOKIE, access, access_age_s)


def clear_cookies(response: Response, request: Request) -> None:
    """Have a browser forget both tokens."""
    for name in (ACCESS_COOKIE, REFRESH_COOKIE):
        response.delete_cookie(name, httponly=True, samesite="lax", secure=_is_secure(request))


def _set(response: Response, request: Request, name: str, value: str, age_s: int | None) -> None:
    response.set_cookie(name, value, max_age=age_s, path="/", secure=_is_secure(request), httponly=True, samesite="lax")


def _is_secure(request: Request) -> bool:
    """Over plain HTTP a client would not send a `Secure` cookie back."""
    return request.url.scheme == "https"
