"""The caller of a route of Nexus: who it is, what the query says, and which projects are theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastapi import Request

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.errors import Gone, NotFound
from qjobs.service.store.deleted import was_deleted
from qjobs.service.store.queries import Listing, Params, Resource, listing_of, scope_of, within
from qjobs.service.store.records import Projects
from qjobs.service.web.cookies import current_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Args:
        user: The signed-in user.
        params: The query of the address.
        visible: The projects that the user may read, in the scope that the address names.
        writable: Those in which the user may create and change things.
        sqlite: Whether the service's database is SQLite.
    """

    user: User
    params: Params
    visible: Projects
    writable: Projects
    sqlite: bool

    def listing(self, resource: Resource) -> Listing:
        """The page of a list for which the address asks."""
        return listing_of(self.params, resource, sqlite=self.sqlite)


def caller_of(service: Service) -> Callable[[Request], Caller]:
    """A FastAPI dependency: who asks, else 401."""
    signed_in = current_user(service)

    def caller(request: Request) -> Caller:
        user = signed_in(request)
        params = request.query_params.multi_items()
        scope = scope_of(params)
        return Caller(
            user=user,
            params=params,
            visible=within(scope, service.accounts.readable_projects(user.user_id)),
            writable=within(scope, service.accounts.writable_projects(user.user_id)),
            sqlite=service.db.is_sqlite,
        )

    return caller


@contextlib.contextmanager
def gone_if_deleted(service: Service, caller: Caller, resource_id: str) -> Iterator[None]:
    """Tell its owner that it was deleted; all others are told that there is no such thing."""
    try:
        yield
    except NotFound:
        with service.db.read() as connection:
            gone = was_deleted(connection, caller.user.user_id, resource_id.lower())
        if gone:
            raise Gone("it was deleted with its project or its job") from None
        raise
