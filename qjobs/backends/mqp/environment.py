"""A resource of the portal that the environment points to."""

from __future__ import annotations

import os
from typing import Final

from qjobs.backends.base import rate_in_environment
from qjobs.backends.http import is_this_machine
from qjobs.backends.mqp.backend import MAX_PER_S, MQP_URL, POLL_INTERVAL_S, MqpBackend
from qjobs.backends.mqp.portal import PortalLogin
from qjobs.redaction import without_userinfo

__all__ = ["TOKEN", "from_environment", "max_per_s_at", "poll_interval_s_at"]

TOKEN: Final = "QJOBS_MQP_TOKEN"  # noqa: S105 - the name of a variable
_IDENTITY: Final = "QJOBS_MQP_IDENTITY"
_SECRET: Final = "QJOBS_MQP_SECRET"  # noqa: S105 - the name of a variable
_PORTAL_URL: Final = "QJOBS_MQP_PORTAL_URL"
_RATE: Final = "QJOBS_MQP_RATE"
_CERTIFICATES: Final = "REQUESTS_CA_BUNDLE"
_NEAR_S: Final = 0.2


def max_per_s_at(url: str) -> float | None:
    """The most requests a second to an address if nobody says otherwise; None for a service of one's own."""
    return MAX_PER_S if url.rstrip("/") == MQP_URL else None


def poll_interval_s_at(url: str) -> tuple[float, float]:
    """Shortest and longest pause between two polls, in seconds; a service on this machine is asked sooner."""
    return (_NEAR_S, POLL_INTERVAL_S[1]) if is_this_machine(url) else POLL_INTERVAL_S


def from_environment(resource: str, *, url: str | None = None, name: str = "") -> MqpBackend:
    """A resource of the portal at MQP_URL (the variable of `mqp-client`), with the token in QJOBS_MQP_TOKEN.

    Lost submissions are looked up where QJOBS_MQP_IDENTITY, QJOBS_MQP_SECRET and QJOBS_MQP_PORTAL_URL are set.
    REQUESTS_CA_BUNDLE (of `mqp-client`, too) names a file of certificates to trust instead of the usual authorities.
    Jobs at another address than the portal's own are filed under that address, if no `name` is given.

    QJOBS_MQP_RATE is what a shot of a circuit costs, in budget units.

    Raises:
        InvalidInput: The address is not a URL; some of the three variables are set, and not all; or REQUESTS_CA_BUNDLE
            is not a file of certificates.
    """
    url = url or os.environ.get("MQP_URL") or MQP_URL
    portal = None
    login = [os.environ.get(variable, "") for variable in (_IDENTITY, _SECRET, _PORTAL_URL)]
    if any(login):
        portal = PortalLogin(identity=login[0], secret=login[1], url=login[2])
    return MqpBackend(
        resource,
        url=url,
        name=name
        or ("mqp" if url.rstrip("/") == MQP_URL else f"mqp@{without_userinfo(url).partition('://')[2].rstrip('/')}"),
        token=lambda: os.environ.get(TOKEN, ""),
        portal=portal,
        verify=os.environ.get(_CERTIFICATES) or True,
        poll_interval_s=poll_interval_s_at(url),
        max_per_s=max_per_s_at(url),
        rate=rate_in_environment(_RATE),
    )
