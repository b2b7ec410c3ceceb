"""Reasons for which the service refuses a request; each has its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping


class ServiceError(Exception):
    """A request that is refused; `message` tells the person who sent it, in one sentence, what to do."""

    status_code = 422

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})


class BadRequest(ServiceError):
    """The request cannot be understood."""

    status_code = 400


class Unauthorized(ServiceError):
    """Nobody is signed in."""

    status_code = 401

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(ServiceError):
    """The user may see it, but may not do this to it."""

    status_code = 403


class NotFound(ServiceError):
    """There is no such thing, or the user may not know that there is."""

    status_code = 404


class Conflict(ServiceError):
    """The present state of the thing forbids it."""

    status_code = 409


class Gone(ServiceError):
    """It was deleted."""

    status_code = 410


class TooManyRequests(ServiceError):
    """Try again, `retry_after_s` seconds later."""

    status_code = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, round(retry_after_s)))})
