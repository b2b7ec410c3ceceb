"""Who sent a request, before anything of its body is read."""

from __future__ import annotations

import ipaddress
from typing import Final

from starlette.requests import HTTPConnection

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.errors import Unauthorized
from qjobs.service.web.bearer import user_of_bearer
from qjobs.service.web.cookies import user_of_cookies

__all__ = ["OPEN", "SIGN_IN", "address_of", "sender_of"]

SIGN_IN: Final = frozenset({"/auth/login", "/auth/signin", "/login"})
"""Where a password is sent: each try hashes one."""

OPEN: Final = SIGN_IN | {
    "/",
    "/auth/device",
    "/auth/device/device_authorization",
    "/auth/device/token",
    "/auth/signout",
    "/auth/tokens",
    "/auth/tokens/refresh",
    "/auth/tokens/revoke",
}
"""What strangers may send a short body to."""

_BEARER: Final = ("/v1/", "/jobs/", "/qoro/")


def sender_of(service: Service, connection: HTTPConnection) -> User:
    """The user whose cookies, or whose bearer token, a request has.

    Raises:
        Unauthorized: It has none that is good.
    """
    if f"{connection.scope['path']}/".startswith(_BEARER):
        return user_of_bearer(service, connection)
    user = user_of_cookies(service, connection.cookies)
    if user is None:
        raise Unauthorized
    return user


def address_of(connection: HTTPConnection) -> str:
    """The address that limits count for: one of IPv4, or the network of 64 bits that a house has of IPv6."""
    host = connection.client.host if connection.client is not None else ""
    return counted_address(host)


def counted_address(host: str) -> str:
    """The same of a host's address.

    >>> counted_address("192.0.2.7"), counted_address("2001:db8::1:2:3:4")
    ('192.0.2.7', '2001:db8::')
    """
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64))
