"""Words of others without secrets, and no longer than anybody reads.

Gateways echo the headers of a request, and errors show the URL that was asked. The patterns follow the grammars of what
is left out: the `Authorization` and `Proxy-Authorization` headers (RFC 9110, section 11.6.2), bearer tokens (RFC 6750,
section 2.1: `b64token`), JSON Web Tokens (RFC 7515, section 3.1: three base64url parts, of which the first is a JSON
object and so begins with `eyJ`), cookies (RFC 6265, sections 4.1 and 4.2), the userinfo of a URL (RFC 3986, section
3.2.1), and fields of forms and JSON whose name says that their value is secret (RFC 6749, section 4).
"""

from __future__ import annotations

import re

__all__ = ["LONGEST", "bounded", "kept", "redacted"]

LONGEST = 4000
"""Characters that are kept of one text of others."""
_LOOKED_AT = 10
"""How many times as many characters are looked at: megabytes would take a second."""
_GONE = "[redacted]"
_ONCE = r"(?!\[redacted\])"
"""What is left out already stays as it is."""
_QUOTED = r"""b?"[^"\r\n]*"?|b?'[^'\r\n]*'?"""
_HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token"
_FIELDS = r"(?:access|refresh|id|auth|api|session|bearer)[-_]?token|api[-_]?key|client[-_]?secret|passw(?:or)?d|secret"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A header in a text, in JSON or in a repr: up to the quote that closes it, or the end of the line.
    (
        re.compile(
            rf"""(\b(?:{_HEADERS})\b['"]?[ \t]*[:=,][ \t]*){_ONCE}(?:digest\b[^\r\n]*|{_QUOTED}|[^\s'"][^\r\n'"]*)""",
            re.IGNORECASE,
        ),
        rf"\1{_GONE}",
    ),
    (re.compile(r"\b(bearer[ \t]+)[A-Za-z0-9._~+/\-]{8,}=*", re.IGNORECASE), rf"\1{_GONE}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"), _GONE),
    (
        re.compile(rf"""(\b(?:{_FIELDS})\b['"]?[ \t]*[:=][ \t]*){_ONCE}(?:{_QUOTED}|[^\s'"&,;}}]+)""", re.IGNORECASE),
        rf"\1{_GONE}",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.\-]{0,30}://[^\s/?#:@'\"]{0,256}:)[^\s/?#@'\"]{1,1024}@", re.IGNORECASE), r"\1***@"),
)


def redacted(text: str) -> str:
    """The text without credentials; a second call changes nothing.

    >>> redacted("GET https://me:hunter2@host.test/jobs answered 401: Authorization: Bearer abcdefgh.ijk")
    'GET https://me:***@host.test/jobs answered 401: Authorization: [redacted]'
    """
    if not text:
        return text
    for pattern, kept in _PATTERNS:
        text = pattern.sub(kept, text)
    return text


def bounded(text: str, most: int = LONGEST) -> str:
    """The beginning of a text that is longer than `most` characters, and how much is left out.

    >>> bounded("x" * 200, 40)
    'xxxxxxxx... [cut: it had 200 characters]'
    """
    return text if len(text) <= most else _cut(text, most, len(text))


def kept(text: str, most: int = LONGEST) -> str:
    """The beginning of a text of any length, without credentials; a second call changes nothing.

    >>> kept("password=hunter2")
    'password=[redacted]'
    """
    if len(text) <= _LOOKED_AT * most:
        return bounded(redacted(text), most)
    return _cut(redacted(text[: _LOOKED_AT * most]), most, len(text))


def _cut(text: str, most: int, length: int) -> str:
    note = f"... [cut: it had {length} characters]"
    return text[: max(0, most - len(note))] + note
