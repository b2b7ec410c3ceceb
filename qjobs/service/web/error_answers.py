"""How a client is told what went wrong: always `{"message": "..."}`.

The real client of Nexus raises a bare `KeyError` for any other error body (docs/nexus.md, "Errors").
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
from qjobs.service.errors import ServiceError

logger = logging.getLogger(__name__)

_LONGEST_PATH = 200


def add_handlers(app: FastAPI) -> None:
    """Give every error of the application its one form."""

    @app.exception_handler(ServiceError)
    def refused(request: Request, error: ServiceError) -> JSONResponse:
        logger.debug("%s %s refused: %s %s", request.method, request.url.path, error.status_code, error.message)
        return _answer(error.status_code, error.message, error.headers)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return _answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _answer(422, f"{_path(first['loc'])}: {first['msg'].removeprefix('Value error, ')}")

    @app.exception_handler(QJobsError)
    def ours(request: Request, error: QJobsError) -> JSONResponse:
        if isinstance(error, InvalidInput):
            return _answer(422, str(error))
        logger.error("%s %s failed: %s", request.method, request.scope.get("path"), error)
        return _answer(503, "the service cannot reach its database; try again later", {"Retry-After": "5"})

    @app.exception_handler(RecursionError)
    def too_deep(_: Request, __: RecursionError) -> JSONResponse:
        return _answer(400, "the body is nested too deeply")

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.scope.get("path"), exc_info=error)
        return _answer(500, "the service failed at this request; its log says how")


def _answer(status_code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    words = message.encode("utf-8", "replace").decode()
    return JSONResponse({"message": words}, status_code, dict(headers or {}))


def _path(loc: Sequence[Any]) -> str:
    """Where it is, as in `body.data.attributes.name`; without the values, which may be secrets."""
    words = ".".join(str(part) for part in loc)
    return words if len(words) <= _LONGEST_PATH else f"{words[:_LONGEST_PATH]}..."
