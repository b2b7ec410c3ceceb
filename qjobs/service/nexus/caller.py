"""The caller of a route of Nexus: who it is, what the query says, and which projects are theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Request

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.errors import Gone, NotFound
from qjobs.service.nexus.response_bodies import project_body
from qjobs.service.store.deleted import was_deleted
from qjobs.service.store.queries import Listing, Params, Resource, listing_of, scope_of, within
from qjobs.service.store.records import Projects
from qjobs.service.web.cookies import service_of, signed_in_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Args:
        visible: The projects that the user may read, in the scope that the address names.
        writable: Those in which the user may create and change things.
    """

    service: Service
    user: User
    params: Params
    visible: Projects
    writable: Projects

    def listing(self, resource: Resource, *conditions: sa.ColumnElement[bool]) -> Listing:
        """The page of a list for which the address asks, of what is visible to the user."""
        listing = listing_of(self.params, resource, sqlite=self.service.db.is_sqlite)
        visible = resource.table.c.project_id.in_(self.visible)
        return replace(listing, clause=sa.and_(visible, listing.clause, *conditions))

    def projects_of(self, found: Iterable[Any]) -> list[dict[str, Any]]:
        """The projects that these things are in, each once, as answers include them."""
        return [
            project_body(project) for project in self.service.content.projects_of({each.project_id for each in found})
        ]

    @contextlib.contextmanager
    def gone_if_deleted(self, resource_id: str) -> Iterator[None]:
        """Tell its owner that it was deleted; all others are told that there is no such thing."""
        try:
            yield
        except NotFound:
            with self.service.db.read() as connection:
                gone = was_deleted(connection, self.user.user_id, resource_id.lower())
            if gone:
                raise Gone("it was deleted with its project or its job") from None
            raise


def caller_of(request: Request) -> Caller:
    """Who asks, else 401."""
    service = service_of(request)
    user = signed_in_user(request)  # not a dependency of its own: each is another way to a thread and back
    params = request.query_params.multi_items()
    scope = scope_of(params)
    return Caller(
        service=service,
        user=user,
        params=params,
        visible=within(scope, service.accounts.projects_with(user.user_id, "READ")),
        writable=within(scope, service.accounts.projects_with(user.user_id, "WRITE")),
    )


Who = Annotated[Caller, Depends(caller_of)]
