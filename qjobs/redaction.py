"""Words of others, before they are kept or shown: without credentials, and no longer than people read."""

from __future__ import annotations

import re

__all__ = ["bounded", "redacted"]

_SECRET = re.compile(
    r"(?i)\b(bearer|basic|token|authorization|cookie|password|secret|api[-_]?key)\b([\"']?\s*[:=]?\s*[\"']?)"
    r"(?:bearer\s+|basic\s+)?[A-Za-z0-9+/_.~=%-]{8,}"
)


def redacted(text: str) -> str:
    """The text without what looks like a credential."""
    return _SECRET.sub(r"\1\2***", text)


def bounded(text: str, most: int = 4000) -> str:
    """The text, cut to at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "\u2026"
