"""Credits: what a user may still spend this month (docs/qoro-service.md, "Credits")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.tables import job, job_item, user

__all__ = ["Balance", "balance_body", "balance_of"]

_UNLIMITED = 1_000_000_000.0
"""The balance of whoever has no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Credits: one for a second of simulation, and one for an HQC of a machine that has a price."""

    left: float
    used: float


def balance_of(service: Service, who: User) -> Balance:
    """The credits of a user in this month of the service's clock, whichever protocol spent them."""
    quota = service.quotas.of(who.user_id, "simulation")
    used = quota.used + _hqc_of(service, who.user_id)
    return Balance(left=max(0.0, (_UNLIMITED if quota.limit is None else quota.limit) - used), used=used)


def _hqc_of(service: Service, user_id: str) -> float:
    month = service.clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    query = (
        sa.select(sa.func.sum(job_item.c.cost))
        .join(job, job.c.job_id == job_item.c.job_id)
        .where(job.c.owner_id == user_id, job_item.c.completed_at >= month, job_item.c.result_id.is_not(None))
    )
    with service.db.read() as connection:
        return float(connection.scalar(query) or 0.0)


def balance_body(service: Service, who: User) -> dict[str, str]:
    """The answer of `credits/`."""
    found = balance_of(service, who)
    with service.db.read() as connection:
        since = connection.scalar(sa.select(user.c.created_real).where(user.c.user_id == who.user_id))
    return {
        "balance": f"{found.left:.2f}",
        "total_used": f"{found.used:.2f}",
        "created_at": _moment(since or datetime.now(UTC)),
        "updated_at": _moment(service.clock.now()),
    }


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
