"""What is written without secrets, and words of others no longer than anybody reads.

Two things tell a secret. This process knows it: `remember` is called wherever a credential is opened (a block, a
variable, a file of tokens, a URL, a header of a request), and from then on it is left out of the ledger, of errors, of
every line that is logged, of tracebacks, and of what the commands print, in any of the forms in which it may come back
(percent-encoded, in JSON, in HTML, in base64). And its form gives it away, which is all there is for secrets of others.

Gateways echo the headers of a request, and errors show the URL that was asked. The patterns follow the grammars of what
is left out: the `Authorization` and `Proxy-Authorization` headers (RFC 9110, section 11.6.2), bearer tokens (RFC 6750,
section 2.1: `b64token`), JSON Web Tokens (RFC 7515, section 3.1: three base64url parts, of which the first is a JSON
object and so begins with `eyJ`), cookies (RFC 6265, sections 4.1 and 4.2), the userinfo of a URL (RFC 3986, section
3.2.1), and fields of forms and JSON whose name says that their value is secret (RFC 6749, section 4).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    import logging

__all__ = [
    "LONGEST",
    "bounded",
    "clean_json",
    "clean_output",
    "forget_all",
    "holds_known",
    "kept",
    "redacted",
    "remember",
    "remember_environment",
    "remember_headers",
    "remember_url",
    "without_known",
    "without_userinfo",
]

_SHORTEST = 8
"""A shorter word is never taken for a secret: it would be found everywhere."""
_LONG = 16
"""From this length on a secret is found inside of other words too."""
_SHORTEST_PART = 12
"""Of one part of a header, beside the words that say what kind it is."""
_MOST_PASSING = 24
"""Tokens of a few minutes that are remembered; a process that renews them runs for weeks."""
_SECRET_HEADER = re.compile("auth|cookie|token|secret|api-?key", re.IGNORECASE)
_SECRET_NAME = re.compile("(?:TOKEN|SECRET|PASSW(?:OR)?D|PASSPHRASE|API_?KEY|(?:ACCESS|PRIVATE)_KEY|AUTH_STRING)$")
_SECRET_FIELD = re.compile("token|secret|passw|api-?_?key|signature|credential", re.IGNORECASE)
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.\-]{0,30}://)[^\s/?#@'\"]{1,1280}@", re.IGNORECASE)

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
    text = without_known(text)
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
    return _cut(redacted(_without_begun(text[: _LOOKED_AT * most])), most, len(text))


def _cut(text: str, most: int, length: int) -> str:
    note = f"... [cut: it had {length} characters]"
    return text[: max(0, most - len(note))] + note


@dataclass(frozen=True, slots=True)
class _Needle:
    """One form of a secret; where it is short, the pattern that finds it as a word of its own."""

    text: str
    as_word: re.Pattern[str] | None


_lock = threading.Lock()
_lasting: dict[str, tuple[_Needle, ...]] = {}
_passing: dict[str, tuple[_Needle, ...]] = {}
_needles: tuple[_Needle, ...] = ()
"""Forms of all that is remembered, longest first; replaced as a whole, so that readers need no lock."""


def remember(secret: str | None, *, passing: bool = False) -> None:
    """Leave a secret out of all that this process writes from now on; a second call changes nothing.

    Args:
        secret: A token, a password, the value of a header; one of fewer than 8 characters is not found again.
        passing: Whether it is renewed every few minutes: of these the last 24 that were used are remembered.
    """
    if not secret or len(secret) < _SHORTEST or secret in _GONE or secret in _lasting:
        return
    if passing and secret in _passing:
        with _lock:
            forms = _passing.pop(secret, None)
            if forms is not None:
                _passing[secret] = forms  # the newest again
                return
    found = _forms(secret)
    with _lock:
        if not passing:
            _lasting[secret] = found
            _passing.pop(secret, None)
        else:
            _passing[secret] = found
            while len(_passing) > _MOST_PASSING:
                del _passing[next(iter(_passing))]
        _gather()
    _guard_process()


def remember_url(url: str | None) -> None:
    """Remember the password in a URL, and what its query gives to a field whose name says that it is secret."""
    try:
        parsed = urllib.parse.urlsplit(url or "")
        fields = urllib.parse.parse_qsl(parsed.query)
    except ValueError:
        return
    userinfo, at, _ = parsed.netloc.rpartition("@")
    if at:
        user, colon, password = userinfo.partition(":")
        secret = password if colon else user  # a token alone is written before the @ too
        remember(secret)
        remember(urllib.parse.unquote(secret))
    for name, value in fields:
        if _SECRET_FIELD.search(name):
            remember(value)


def remember_headers(headers: Mapping[str, str]) -> None:
    """Remember the values of headers whose name sounds like a credential, as a whole and in their parts."""
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            for part in (value, *re.split("[ ;=,]", value)):
                if len(part) >= _SHORTEST_PART:
                    remember(part, passing=True)


def remember_environment(environment: Mapping[str, str] | None = None) -> None:
    """Remember the variables whose name says that they are secret, and the passwords in those that are URLs."""
    for name, value in (os.environ if environment is None else environment).items():
        if _SECRET_NAME.search(name.upper()):
            remember(value)
            remember(value.partition(":")[2])  # USER:PASSWORD
        elif "://" in value:
            remember_url(value)


def forget_all() -> None:
    """Forget every secret: for tests, which share a process."""
    with _lock:
        _lasting.clear()
        _passing.clear()
        _gather()


def without_known(text: str) -> str:
    """The text without the secrets that this process knows; a second call changes nothing.

    >>> remember("correct-horse-battery")
    >>> without_known("it answered: ?key=correct-horse-battery&x=1")
    'it answered: ?key=[redacted]&x=1'
    >>> forget_all()
    """
    for needle in _needles:
        if needle.text in text:
            text = text.replace(needle.text, _GONE) if needle.as_word is None else needle.as_word.sub(_GONE, text)
    return text


def holds_known(text: str) -> bool:
    """Whether a secret that this process knows is in a text."""
    return without_known(text) != text


def clean_json(value: Any) -> Any:
    """A JSON value without the secrets that this process knows, in texts and in keys."""
    if not _needles:
        return value
    match value:
        case str():
            return without_known(value)
        case dict():
            return {clean_json(key): clean_json(part) for key, part in value.items()}
        case list() | tuple():
            return [clean_json(part) for part in value]
        case _:
            return value


def without_userinfo(url: str) -> str:
    """A URL as it may be shown and kept: without user, password and query.

    >>> without_userinfo("https://me:hunter2@host.test/v1?token=abc")
    'https://host.test/v1'
    """
    return _USERINFO.sub(r"\1", url.partition("?")[0])


@contextlib.contextmanager
def clean_output() -> Iterator[None]:
    """Leave the secrets that this process knows out of what is printed inside, to standard output and error."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _clean_stream(before[0]), _clean_stream(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _CleanStream:
    """A stream that writes no secret; all else is that of the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without secrets; how long it was before."""
        self._stream.write(without_known(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each, as `write` does."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _clean_stream(stream: TextIO) -> TextIO:
    if stream is None or isinstance(stream, _CleanStream):  # a process may be started without one
        return stream
    return cast("TextIO", _CleanStream(stream))


def _gather() -> None:
    global _needles  # noqa: PLW0603 - swapped as a whole
    found = {needle.text: needle for forms in (*_lasting.values(), *_passing.values()) for needle in forms}
    _needles = tuple(sorted(found.values(), key=lambda needle: len(needle.text), reverse=True))


def _forms(secret: str) -> tuple[_Needle, ...]:
    """A secret as it is, and as bodies, addresses and headers write it."""
    import base64
    import html
    import json

    in_json = json.dumps(secret)[1:-1]
    words = {
        secret,
        in_json,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(in_json)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        urllib.parse.quote(secret, errors="replace"),
        urllib.parse.quote(secret, safe="", errors="replace"),
        urllib.parse.quote_plus(secret, errors="replace"),
        base64.b64encode(secret.encode("utf-8", "replace")).decode().rstrip("="),
        base64.urlsafe_b64encode(secret.encode("utf-8", "replace")).decode().rstrip("="),
    }
    found = []
    for word in words:
        alone = None if len(word) >= _LONG else re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])")
        found.append(_Needle(word, alone))
    return tuple(found)


def _without_begun(text: str) -> str:
    """A text that was cut, without a known secret that the cut has left the beginning of."""
    for needle in _needles:
        for length in range(min(len(needle.text), len(text)) - 1, 3, -1):
            if text.endswith(needle.text[:length]):
                return text[:-length]
    return text


_guarded = False


def _guard_process() -> None:
    """From the first secret on: clean what is logged, by whomever, and the tracebacks that end a process or thread."""
    global _guarded  # noqa: PLW0603
    with _lock:
        if _guarded:
            return
        _guarded = True
    import logging  # help of a command needs none

    make = logging.getLogRecordFactory()

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if _needles:
            _clean_record(record)
        return record

    logging.setLogRecordFactory(made)
    show, show_of_thread = sys.excepthook, threading.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _say_clean("", error):
            show(kind, error, trace)

    def thread_excepthook(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "?"
        if args.exc_value is None or not _say_clean(f"Exception in thread {name}:\n", args.exc_value):
            show_of_thread(args)

    sys.excepthook, threading.excepthook = excepthook, thread_excepthook


def _say_clean(first: str, error: BaseException) -> bool:
    """Print a traceback that holds a secret without it; False where it holds none, and nothing is printed."""
    text = "".join(traceback.format_exception(error))
    clean = without_known(text)
    if clean == text:
        return False
    if sys.stderr is not None:
        sys.stderr.write(first + clean)
    return True


def _clean_record(record: logging.LogRecord) -> None:
    """Leave what is secret out of a line of the log; one without a secret stays as it is."""
    try:
        message = record.getMessage()
    except Exception:  # the handler says what is wrong with it
        return
    clean = without_known(message)
    if clean != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[1] is not None:
        trace = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        clean = without_known(trace)
        if clean != trace:
            record.exc_text, record.exc_info = clean, None
