"""The caller of a route of the portal: whose token it is, and the parts that answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from qjobs.errors import JobNotFound, StaleJob
from qjobs.service.accounts.accounts import User
from qjobs.service.errors import Conflict, NotFound
from qjobs.service.mqp.catalogue import add_budget, budgets_of
from qjobs.service.mqp.database import using
from qjobs.service.mqp.portal import Portal
from qjobs.service.mqp.records import KeyReused
from qjobs.service.web.bearer import bearer_of

__all__ = ["BUDGET", "Caller", "Serving", "Who"]

BUDGET = "default"
"""The budget that a user of the service has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    portal: Portal
    user: User

    @contextlib.contextmanager
    def jobs(self) -> Iterator[None]:
        """The job module works on the service's database, and what it refuses is answered as a refusal."""
        with using(self.portal.jobs), _answered():
            yield

    def budget(self) -> str:
        """The budget that pays: the only one of the user, or `default`, which everybody has."""
        names = budgets_of(self.portal.jobs, self.user.email)
        if len(names) == 1:
            return names[0]
        if BUDGET not in names:
            add_budget(self.portal.jobs, self.user.email, BUDGET)
        return BUDGET


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except KeyReused as error:
        raise Conflict(str(error)) from error
    except JobNotFound as error:
        raise NotFound(str(error)) from error
    except StaleJob as error:
        raise Conflict(str(error)) from error


def portal_of(request: Request) -> Portal:
    """The portal that answers a request."""
    portal: Portal = request.app.state.portal
    return portal


def caller_of(request: Request) -> Caller:
    """The user whose bearer token the request has: a token that was issued, or that of a sign-in; else 401."""
    portal = portal_of(request)
    return Caller(portal=portal, user=bearer_of(portal.service, request))


Serving = Annotated[Portal, Depends(portal_of)]
Who = Annotated[Caller, Depends(caller_of)]
