"""Words of others without secrets, and no longer than anybody reads.

Gateways echo the headers of a request, and errors show the URL that was asked. The patterns follow the grammars of what
is left out: the `Authorization` and `Proxy-Authorization` headers (RFC 9110, section 11.6.2), bearer tokens (RFC 6750,
section 2.1: `b64token`), JSON Web Tokens (RFC 7515, section 3.1: three base64url parts, of which the first is a JSON
object and so begins with `eyJ`), cookies (RFC 6265, sections 4.1 and 4.2), the userinfo of a URL (RFC 3986, section
3.2.1), and fields of forms and JSON whose name says that their value is secret (RFC 6749, section 4).
"""

from __future__ import annotations

import re

__all__ = ["LONGEST", "bounded", "redacted"]

LONGEST = 4000
"""Characters that are kept of one text of others."""
_GONE = "[redacted]"
_NAMES = (
    r"(?:access|refresh|id|auth|api|session|bearer)[-_]?token|api[-_]?key|client[-_]?secret|passw(?:or)?d|secret"
    r"|x-api-key|x-auth-token"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A header in text, in a repr of a dict or in JSON: up to the quote that closes it, or the end of the line.
    (
        re.compile(
            r"""(\b(?:proxy-)?authorization\b['"]?\s*[:=,]\s*)(?:b?"[^"\r\n]*"?|b?'[^'\r\n]*'?|[^\s'",;][^\r\n'",;}]*)""",
            re.IGNORECASE,
        ),
        rf"\1{_GONE}",
    ),
    (
        re.compile(
            r"""(\b(?:set-)?cookie\b['"]?\s*[:=,]\s*)(?:b?"[^"\r\n]*"?|b?'[^'\r\n]*'?|[^\s'"][^\r\n'"}]*)""",
            re.IGNORECASE,
        ),
        rf"\1{_GONE}",
    ),
    (re.compile(r"\b(bearer\s+)[A-Za-z0-9._~+/\-]{8,}=*", re.IGNORECASE), rf"\1{_GONE}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"), _GONE),
    (
        re.compile(rf"""(\b(?:{_NAMES})\b['"]?\s*[:=]\s*)(?:"[^"\r\n]*"?|'[^'\r\n]*'?|[^\s'"&,;}}]+)""", re.IGNORECASE),
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

    >>> bounded("x" * 200, 60)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx... [cut: it had 200 characters]'
    """
    if len(text) <= most:
        return text
    note = f"... [cut: it had {len(text)} characters]"
    return text[: max(0, most - len(note))] + note
