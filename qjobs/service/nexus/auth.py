"""Signing in as the real client does it: `/auth/...` of docs/nexus.md, "Signing in"."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from qjobs.service.accounts.sessions import DEVICE_CODE_S, POLL_S, Pending
from qjobs.service.errors import Unauthorized
from qjobs.service.web.bearer import user_of_bearer
from qjobs.service.web.cookies import (
    ACCESS_COOKIE,
    REFRESH_COOKIE,
    Serving,
    clear_cookies,
    set_cookies,
    user_of_cookies,
)
from qjobs.service.web.forms import Form, form_fields
from qjobs.service.web.sign_in_first import address_of

router = APIRouter(prefix="/auth", tags=["auth"])

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LONGEST = 1000


class Login(BaseModel):
    """Body of a login; with `rotate`, each refresh gives another refresh token."""

    email: str = Field(max_length=_LONGEST)
    password: str = Field(max_length=_LONGEST, repr=False)
    rotate: bool = False


@router.post("/login")
def _login(request: Request, service: Serving, body: Login) -> JSONResponse:
    tokens = service.sessions.login(body.email, body.password, address=address_of(request), rotates=body.rotate)
    response = JSONResponse({"redirect_uri": "/"})
    set_cookies(response, request, tokens.access, tokens.refresh)
    return response


@router.get("/tokens")
def _token_status(request: Request, service: Serving) -> dict[str, Any]:
    access = request.cookies.get(ACCESS_COOKIE)
    refresh = request.cookies.get(REFRESH_COOKIE)
    return {"token_status": {"ttl": int(service.sessions.ttl_s(access=access, refresh=refresh))}}


@router.post("/tokens/refresh")
def _refresh(request: Request, service: Serving) -> JSONResponse:
    renewed = service.sessions.refresh(request.cookies.get(REFRESH_COOKIE, ""))
    response = JSONResponse({})
    set_cookies(response, request, renewed.access, renewed.refresh)
    return response


@router.post("/tokens/revoke")
def _revoke(request: Request, service: Serving, everywhere: bool = False) -> JSONResponse:
    """End the session of the cookies, or of the bearer token; `everywhere` all sessions of its user."""
    user = user_of_cookies(service, request.cookies) or user_of_bearer(service, request)
    response = JSONResponse({})
    if everywhere:
        service.accounts.revoke(user.user_id)
    else:
        bearer = request.headers.get("authorization", "").partition(" ")[2].strip()
        service.sessions.logout(
            access=request.cookies.get(ACCESS_COOKIE) or bearer, refresh=request.cookies.get(REFRESH_COOKIE) or bearer
        )
    clear_cookies(response, request)
    return response


@router.post("/device/device_authorization")
def _authorize(request: Request, service: Serving, _: Form = b"") -> dict[str, Any]:
    waiting = service.sessions.request_device(address_of(request))
    where = f"{request.base_url}auth/device"
    return {
        "user_code": waiting.user_code,
        "device_code": waiting.device_code,
        "verification_uri": where,
        "verification_uri_complete": f"{where}?user_code={waiting.user_code}",
        "expires_in": DEVICE_CODE_S,
        "interval": POLL_S,
    }


@router.post("/device/token")
def _token(service: Serving, body: Form = b"") -> JSONResponse:
    fields = form_fields(body)
    if fields.get("grant_type") != _GRANT:
        return _oauth_error("UNSUPPORTED_GRANT_TYPE", f"grant_type must be {_GRANT}")
    try:
        tokens = service.sessions.take_device(fields.get("device_code", ""))
    except Pending:
        return _oauth_error("AUTHORIZATION_PENDING", "nobody has approved this device yet")
    except Unauthorized as error:
        return _oauth_error("EXPIRED_TOKEN", error.message)
    return JSONResponse({"refresh_token": tokens.refresh, "access_token": tokens.access, "email": tokens.user.email})


def _oauth_error(word: str, message: str) -> JSONResponse:
    return JSONResponse({"error": word, "message": message}, 400)
