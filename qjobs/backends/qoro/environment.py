"""A target of Qoro that the environment points to."""

from __future__ import annotations

import os
from typing import Final

from qjobs.backends.base import rate_in_environment
from qjobs.backends.http import is_this_machine
from qjobs.backends.qoro.backend import MAX_PER_S, POLL_INTERVAL_S, QORO_URL, QoroBackend
from qjobs.redaction import without_userinfo

__all__ = ["API_KEY", "from_environment", "max_per_s_at", "poll_interval_s_at"]

API_KEY: Final = "QORO_API_KEY"
"""As Qoro's own client names it."""
_URL: Final = "QORO_API_URL"
_RATE: Final = "QJOBS_QORO_RATE"
_CERTIFICATES: Final = "REQUESTS_CA_BUNDLE"
_NEAR_S: Final = 0.2


def max_per_s_at(url: str) -> float | None:
    """The most requests a second to an address if nobody says otherwise; None for a service of one's own."""
    return MAX_PER_S if url.rstrip("/") == QORO_URL else None


def poll_interval_s_at(url: str) -> tuple[float, float]:
    """Shortest and longest pause between two polls, in seconds; a service on this machine is asked sooner."""
    return (_NEAR_S, POLL_INTERVAL_S[1]) if is_this_machine(url) else POLL_INTERVAL_S


def from_environment(target: str, *, url: str | None = None, name: str = "") -> QoroBackend:
    """A cluster or a system of Qoro at QORO_API_URL, with the API key in QORO_API_KEY.

    REQUESTS_CA_BUNDLE names a file of certificates to trust instead of the usual authorities. Jobs at another address
    than Qoro's own are filed under that address, if no `name` is given.

    QJOBS_QORO_RATE is what a shot of a circuit costs, in credits.

    Raises:
        InvalidInput: The address is not a URL, or REQUESTS_CA_BUNDLE is not a file of certificates.
    """
    url = url or os.environ.get(_URL) or QORO_URL
    is_own = url.rstrip("/") == QORO_URL
    return QoroBackend(
        target,
        url=url,
        name=name or ("qoro" if is_own else f"qoro@{without_userinfo(url).partition('://')[2].rstrip('/')}"),
        token=lambda: os.environ.get(API_KEY, ""),
        verify=os.environ.get(_CERTIFICATES) or True,
        poll_interval_s=poll_interval_s_at(url),
        max_per_s=max_per_s_at(url),
        rate=rate_in_environment(_RATE),
    )
