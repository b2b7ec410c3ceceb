"""Signing in as the real client does it: `/auth/...` of the wire document, section 1.1."""

from __future__ import annotations

import hmac
import html
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, Field

from qjobs.service.accounts.sessions import DEVICE_CODE_S, POLL_S, Pending, Tokens
from qjobs.service.assembly import Service
from qjobs.service.page import decision_form, document, form_key, signin_form
from qjobs.service.problems import BadRequest, Forbidden, ServiceError, Unauthorized
from qjobs.service.signin import ACCESS_COOKIE, REFRESH_COOKIE, user_of_cookies

__all__ = ["router"]

_FORM = "application/x-www-form-urlencoded"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LONGEST = 1000
_USER_CODE = re.compile("[A-Za-z]{4}-[A-Za-z]{4}")
_DEVICE_PAGE = "/auth/device?user_code="

Form = Annotated[bytes, Body(media_type=_FORM)]


class Login(BaseModel):
    """Body of a login."""

    email: str = Field(max_length=_LONGEST)
    password: str = Field(max_length=_LONGEST, repr=False)


def router(service: Service) -> APIRouter:
    """Routes of signing in, for the client, for devices and for the page."""
    routes = APIRouter(prefix="/auth", tags=["auth"])
    _add_tokens(routes, service)
    _add_device(routes, service)
    _add_page(routes, service)
    return routes


def _add_tokens(routes: APIRouter, service: Service) -> None:
    sessions = service.sessions

    @routes.post("/login")
    def login(request: Request, body: Login) -> JSONResponse:
        tokens = sessions.login(body.email, body.password)
        response = JSONResponse({"redirect_uri": "/"})
        _set_cookies(response, request, tokens)
        return response

    @routes.get("/tokens")
    def token_status(request: Request) -> dict[str, Any]:
        access, refresh = request.cookies.get(ACCESS_COOKIE), request.cookies.get(REFRESH_COOKIE)
        return {"token_status": {"ttl": int(sessions.ttl_s(access=access, refresh=refresh))}}

    @routes.post("/tokens/refresh")
    def refresh(request: Request) -> JSONResponse:
        access = sessions.refresh(request.cookies.get(REFRESH_COOKIE, ""))
        response = JSONResponse({})
        _set_cookie(response, request, ACCESS_COOKIE, access)
        return response


def _add_device(routes: APIRouter, service: Service) -> None:
    sessions = service.sessions

    @routes.post("/device/device_authorization")
    def authorize(request: Request, _: Form = b"") -> dict[str, Any]:
        waiting = sessions.request_device()
        where = f"{request.base_url}auth/device"
        return {
            "user_code": waiting.user_code,
            "device_code": waiting.device_code,
            "verification_uri": where,
            "verification_uri_complete": f"{where}?user_code={waiting.user_code}",
            "expires_in": DEVICE_CODE_S,
            "interval": POLL_S,
        }

    @routes.post("/device/token")
    def token(body: Form = b"") -> JSONResponse:
        fields = _fields(body)
        if fields.get("grant_type") != _GRANT:
            return _oauth_error("UNSUPPORTED_GRANT_TYPE", f"grant_type must be {_GRANT}")
        try:
            tokens = sessions.take_device(fields.get("device_code", ""))
        except Pending:
            return _oauth_error("AUTHORIZATION_PENDING", "nobody has let this device in yet")
        except Unauthorized as error:
            return _oauth_error("EXPIRED_TOKEN", error.message)
        return JSONResponse(
            {"refresh_token": tokens.refresh, "access_token": tokens.access, "email": tokens.user.email}
        )


def _add_page(routes: APIRouter, service: Service) -> None:
    @routes.get("/device", include_in_schema=False)
    def device(request: Request, user_code: str = "") -> HTMLResponse:
        user = user_of_cookies(service, request.cookies)
        if user is None:
            return document("Let a device in", signin_form(_DEVICE_PAGE + _code(user_code)))
        return document("Let a device in", decision_form(user.email, _code(user_code), request.cookies))

    @routes.post("/device", include_in_schema=False)
    def decide(request: Request, body: Form = b"") -> HTMLResponse:
        user, fields = user_of_cookies(service, request.cookies), _fields(body)
        if user is None:
            raise Unauthorized
        _require_own_form(fields, request.cookies)
        approve = fields.get("decision") == "approve"
        try:
            service.sessions.decide_device(user, fields.get("user_code", ""), approve=approve)
        except ServiceError as error:
            return document("Let a device in", f"<p>{html.escape(error.message)}</p>", status_code=error.status_code)
        done = f"The device is signed in as {html.escape(user.email)}." if approve else "The device was turned away."
        return document("Let a device in", f"<p>{done} You can close this page.</p>")

    @routes.post("/signin", include_in_schema=False)
    def sign_in(request: Request, body: Form = b"") -> Response:
        fields = _fields(body)
        after = _own_page(fields.get("next", "/"))
        try:
            tokens = service.sessions.login(fields.get("email", ""), fields.get("password", ""))
        except ServiceError as error:
            content = f"<p>{html.escape(error.message)}</p>{signin_form(after)}"
            return document("Sign in", content, status_code=error.status_code, headers=error.headers)
        response = RedirectResponse(after, 303)
        _set_cookies(response, request, tokens, access_age_s=int(service.settings.access_ttl_s))
        return response

    @routes.post("/signout", include_in_schema=False)
    def sign_out(request: Request, body: Form = b"") -> Response:
        _require_own_form(_fields(body), request.cookies)
        access, refresh = request.cookies.get(ACCESS_COOKIE), request.cookies.get(REFRESH_COOKIE)
        service.sessions.logout(access=access, refresh=refresh)
        response = RedirectResponse("/", 303)
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            response.delete_cookie(name, httponly=True, samesite="lax", secure=request.url.scheme == "https")
        return response


def _fields(body: bytes) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    try:
        fields = parse_qs(body.decode("utf-8"), errors="strict", max_num_fields=20)
    except ValueError:
        raise BadRequest("the body is no form (application/x-www-form-urlencoded in UTF-8)") from None
    if any("\x00" in value for values in fields.values() for value in values):
        raise BadRequest("the form holds a NUL character")
    return {name: values[0] for name, values in fields.items()}


def _code(text: str) -> str:
    return text if _USER_CODE.fullmatch(text) else ""


def _own_page(text: str) -> str:
    """Where to go after signing in: a page of ours, never a place that a link chose."""
    after = text.removeprefix(_DEVICE_PAGE)
    return _DEVICE_PAGE + _code(after) if after != text else "/"


def _require_own_form(fields: Mapping[str, str], cookies: Mapping[str, str]) -> None:
    """Refuse a form that another site sent with this person's cookies."""
    if not hmac.compare_digest(fields.get("key", "").encode(), form_key(cookies).encode()):
        raise Forbidden("this form is out of date; go back, load the page again and send it once more")


def _oauth_error(word: str, message: str) -> JSONResponse:
    return JSONResponse({"error": word, "message": message}, 400)


def _set_cookies(response: Response, request: Request, tokens: Tokens, *, access_age_s: int | None = None) -> None:
    _set_cookie(response, request, REFRESH_COOKIE, tokens.refresh)
    _set_cookie(response, request, ACCESS_COOKIE, tokens.access, access_age_s)


def _set_cookie(response: Response, request: Request, name: str, value: str, age_s: int | None = None) -> None:
    # A cookie jar withholds a `Secure` cookie over plain http.
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=age_s, path="/", secure=secure, httponly=True, samesite="lax")
