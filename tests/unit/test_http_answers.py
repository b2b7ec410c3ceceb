"""What is read from the answer of a provider: its words, the pause it asks for; and how its address is written."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest
from support import NOW

from qjobs.backends.http import place_of, retry_after_of, words_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ((NOW + timedelta(seconds=5)).strftime("%a, %d %b %Y %H:%M:%S -0000"), 5.0),
        ("", None),
        ("soon", None),
        ("\u00b2", None),
        ("9" * 400, None),
        ("nan", None),
        ("Fri, 99 Foo 99999", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After holds seconds or a date; anything else is no wish."""
    response = httpx.Response(429, headers=[(b"retry-after", value.encode("latin-1"))])
    assert retry_after_of(response, lambda: NOW) == seconds


def test_place() -> None:
    """The address of a provider is written in one way, without credentials."""
    same = ["https://Example.com/v1", "https://example.com:443/v1/", "https://me:secret@example.com/v1?token=1#x"]
    assert {place_of(url) for url in same} == {"https://example.com/v1"}
    assert place_of("http://127.0.0.1:8000") == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "no credits"}', "no credits"),
        (b'{"detail": "no credits"}', "no credits"),
        (b'{"detail": [{"loc": ["body"], "msg": "missing"}]}', '[{"loc": ["body"], "msg": "missing"}]'),
        (b'{"error": {"code": 7, "message": "no credits"}}', "no credits"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"[1]", "[1]"),
        (b"<html>bad gateway</html>", "<html>bad gateway</html>"),
        (b"", "Bad Gateway"),
    ],
)
def test_words(body: bytes, words: str) -> None:
    """The words are found wherever a provider puts them."""
    assert words_of(httpx.Response(502, content=body)) == words
    assert len(words_of(httpx.Response(502, content=b"words " * 9999))) <= 2000
