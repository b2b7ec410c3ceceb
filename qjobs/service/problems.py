"""What goes wrong in the service, and how a client is told: always `{"message": "..."}`.

The real client raises a bare `KeyError` for any other error body (wire document, conclusion 3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qjobs.errors import InvalidInput, QJobsError

__all__ = [
    "BadRequest",
    "Conflict",
    "Forbidden",
    "Gone",
    "NotFound",
    "ServiceError",
    "TooManyRequests",
    "Unauthorized",
    "add_handlers",
]

_LOGGER = logging.getLogger("qjobs.service")
_SHOWN = 200


class ServiceError(Exception):
    """A request that is refused.

    Args:
        message: For the person who sent it; one sentence that says what to do.
        headers: Sent with the answer.
        status_code: Instead of the class's own.
    """

    status_code = 422

    def __init__(
        self, message: str, *, headers: Mapping[str, str] | None = None, status_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})
        if status_code is not None:
            self.status_code = status_code


class BadRequest(ServiceError):
    """The request cannot be understood."""

    status_code = 400


class Unauthorized(ServiceError):
    """Nobody is signed in."""

    status_code = 401

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(ServiceError):
    """The user may see it, and may not do this to it."""

    status_code = 403


class NotFound(ServiceError):
    """There is no such thing, or it is none of the user's business."""

    status_code = 404


class Conflict(ServiceError):
    """The state of the thing forbids it."""

    status_code = 409


class Gone(ServiceError):
    """It was deleted."""

    status_code = 410


class TooManyRequests(ServiceError):
    """Try again later.

    Args:
        message: For the person.
        retry_after_s: How much later, in seconds.
    """

    status_code = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, round(retry_after_s)))})


def add_handlers(app: FastAPI) -> None:
    """Give every error of the application its one form."""
    app.add_exception_handler(ServiceError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(QJobsError, _ours)
    app.add_exception_handler(RecursionError, _too_deep)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status_code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    words = message.encode("utf-8", "replace").decode()
    return JSONResponse({"message": words}, status_code, dict(headers or {}))


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101
    return _answer(error.status_code, error.message, error.headers)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _answer(error.status_code, str(error.detail), error.headers)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    return _answer(422, f"{_path(first['loc'])}: {first['msg']}")


def _path(loc: Sequence[Any]) -> str:
    """Where it is, as in `body.data.attributes.name`; without the values, which may be secrets."""
    words = ".".join(str(part) for part in loc)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _ours(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, InvalidInput):
        return _answer(422, str(error))
    _LOGGER.error("%s", error)
    return _answer(503, "the service cannot reach its database; try again later", {"Retry-After": "5"})


def _too_deep(_: Request, __: Exception) -> JSONResponse:
    return _answer(400, "the body is nested too deeply")


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _LOGGER.error("%s %s failed", request.method, request.scope.get("path"), exc_info=error)
    return _answer(500, "the service failed at this request; its log says how")
