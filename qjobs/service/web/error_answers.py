"""How a client is told what went wrong: always `{"message": "..."}`, or `{"error": "..."}` on the routes of Qoro.

The real client of Nexus raises a bare `KeyError` for any other error body (docs/nexus.md, "Errors"). A refusal on the
routes of the Munich Quantum Portal has two fields more: `detail`, the same words, as FastAPI writes them, and `code`,
the status in words. Gateways write neither, so that a 4xx with both proves that the service itself refused it and has
made no job (docs/mqp.md, "Errors").
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qjobs.errors import InvalidInput, QJobsError
from qjobs.service.errors import ServiceError

logger = logging.getLogger(__name__)

_LONGEST_PATH = 200
_PORTAL = ("/v1/", "/jobs/", "/login/")
"""Routes of the Munich Quantum Portal."""
_QORO = "/qoro/"
"""Routes of Qoro (docs/qoro-service.md), where a request that cannot be understood is 400, as its clients know it."""


def add_handlers(app: FastAPI) -> None:
    """Give every error of the application its one form."""

    @app.exception_handler(ServiceError)
    def refused(request: Request, error: ServiceError) -> JSONResponse:
        logger.debug("%s %s refused: %s %s", request.method, request.url.path, error.status_code, error.message)
        return _answer(request, error.status_code, error.message, error.headers)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        return _answer(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        code = 400 if _is_qoro(request.scope["path"]) else 422
        return _answer(request, code, f"{_path(first['loc'])}: {first['msg'].removeprefix('Value error, ')}")

    @app.exception_handler(QJobsError)
    def ours(request: Request, error: QJobsError) -> JSONResponse:
        if isinstance(error, InvalidInput):
            return _answer(request, 400 if _is_qoro(request.scope["path"]) else 422, str(error))
        logger.error("%s %s failed: %s", request.method, request.scope.get("path"), error)
        return _answer(request, 503, "the service cannot reach its database; try again later", {"Retry-After": "5"})

    @app.exception_handler(RecursionError)
    def too_deep(request: Request, _: RecursionError) -> JSONResponse:
        return _answer(request, 400, "the body is nested too deeply")

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.scope.get("path"), exc_info=error)
        return _answer(request, 500, "the service failed at this request; its log says how")


def error_body(path: str, status_code: int, message: str) -> dict[str, Any]:
    """The body of an error's answer, at a path."""
    words = message.encode("utf-8", "replace").decode()
    if _is_qoro(path):
        return {"error": words}
    if 400 <= status_code < 500 and f"{path}/".startswith(_PORTAL):
        return {"message": words, "detail": words, "code": HTTPStatus(status_code).name.lower()}
    return {"message": words}


def _is_qoro(path: str) -> bool:
    return f"{path}/".startswith(_QORO)


def _answer(request: Request, status_code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(error_body(request.scope["path"], status_code, message), status_code, dict(headers or {}))


def _path(loc: Sequence[Any]) -> str:
    """Where it is, as in `body.data.attributes.name`; without the values, which may be secrets."""
    words = ".".join(str(part) for part in loc)
    return words if len(words) <= _LONGEST_PATH else f"{words[:_LONGEST_PATH]}..."
