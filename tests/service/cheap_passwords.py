"""Passwords whose hashes cost next to nothing, for tests that are not about them."""

from __future__ import annotations

from argon2 import PasswordHasher

from qjobs.service.accounts.passwords import Passwords

__all__ = ["cheap_passwords"]


def cheap_passwords() -> Passwords:
    """Passwords as the service has them, but for the costs of hashing."""
    passwords = Passwords()
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return passwords
