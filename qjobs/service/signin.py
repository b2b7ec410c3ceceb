"""Who sent a request: the one way in which every route learns its user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fastapi import Request

from qjobs.service.accounts.accounts import User
from qjobs.service.problems import Unauthorized

if TYPE_CHECKING:
    from qjobs.service.assembly import Service

__all__ = ["ACCESS_COOKIE", "REFRESH_COOKIE", "current_user", "user_of_cookies"]

ACCESS_COOKIE = "myqos_id"
REFRESH_COOKIE = "myqos_oat"


def user_of_cookies(service: Service, cookies: Mapping[str, str]) -> User | None:
    """Whose cookies these are, of a request or of a web socket's handshake; None if nobody's.

    An access token decides alone where there is one: an ended one makes the client refresh it.
    """
    access, refresh = cookies.get(ACCESS_COOKIE), cookies.get(REFRESH_COOKIE)
    if access:
        return service.accounts.user_of_access(access)
    return service.accounts.user_of_refresh(refresh) if refresh else None


def current_user(service: Service) -> Callable[[Request], User]:
    """A FastAPI dependency: the signed-in user, else 401.

    A route takes it as `user: Annotated[User, Depends(signed_in)]` with `signed_in = current_user(service)`,
    in a module without `from __future__ import annotations`: FastAPI cannot look up a local name.
    """

    def signed_in(request: Request) -> User:
        user = user_of_cookies(service, request.cookies)
        if user is None:
            raise Unauthorized
        return user

    return signed_in
