"""Forms that a browser or a device sends: their fields, and the proof that a form is one of ours."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Body

from qjobs.service.accounts.accounts import Session
from qjobs.service.errors import BadRequest, Forbidden

_MOST_FIELDS = 20

Form = Annotated[bytes, Body(media_type="application/x-www-form-urlencoded")]
"""The body of a form, as a parameter of a route."""


def form_fields(body: bytes) -> dict[str, str]:
    """The fields of a form, the first of each name.

    Raises:
        BadRequest: The body is not a form.
    """
    try:
        fields = parse_qs(body.decode("utf-8"), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadRequest("the body is not a form (application/x-www-form-urlencoded in UTF-8)") from None
    found = {name: values[0] for name, values in fields.items()}
    if any("\x00" in value for value in found.values()):
        raise BadRequest("the form holds a NUL character")
    return found


def form_key(session: Session | None) -> str:
    """What a form of ours carries and another site cannot know: a hash of the visitor's session, whose id is secret."""
    known = session.session_id if session is not None else ""
    return hashlib.sha256(b"form:" + known.encode()).hexdigest()


def require_own_form(fields: Mapping[str, str], session: Session | None) -> None:
    """Refuse a form that another site sent with this person's cookies.

    Raises:
        Forbidden: Its key is not this person's.
    """
    if not hmac.compare_digest(fields.get("key", "").encode(), form_key(session).encode()):
        raise Forbidden("this form is out of date; go back, load the page again and send it once more")
