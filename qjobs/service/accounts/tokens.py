"""Random tokens. Only their hashes are stored: a reader of the database can sign in as nobody."""

from __future__ import annotations

import hashlib
import secrets

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; nothing that looks like a digit (RFC 8628, section 6.1)."""


def new_token() -> str:
    """256 random bits, as text."""
    return secrets.token_urlsafe(32)


def new_user_code() -> str:
    """What a person types to approve a device, such as `WDJB-MJHT`: 34 random bits."""
    code = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"{code[:4]}-{code[4:]}"


def hash_of(token: str) -> str:
    """What is stored of a token; a token is random, so a fast hash without salt is enough.

    >>> len(hash_of("t"))
    64
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
