"""Accounts and sessions without HTTP, on a database of their own, at a moment that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from argon2 import PasswordHasher

from qjobs.ledger.database import Database
from qjobs.service.accounts.accounts import Accounts
from qjobs.service.accounts.passwords import Passwords
from qjobs.service.accounts.sessions import Sessions
from qjobs.service.settings import Settings
from qjobs.service.tables import SERVICE


class Parts:
    """Passwords cost next to nothing here; tests that are about their costs have others."""

    def __init__(self, url: str) -> None:
        self.db = Database(url, SERVICE)
        self.now = datetime(2026, 3, 31, 23, tzinfo=UTC)
        passwords = Passwords()
        passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.accounts = Accounts(self.db, lambda: self.now, passwords, real_now=lambda: self.now)
        settings = Settings(data=Path("unused"), access_ttl_s=60.0, refresh_ttl_s=3600.0)
        self.sessions = Sessions(self.db, self.accounts, passwords, settings, real_now=lambda: self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
