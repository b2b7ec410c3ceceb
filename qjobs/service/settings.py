"""Settings of the job service, as `qjobs serve` gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

_DAY_S = 86_400.0
_MIB = 1024 * 1024

QUOTAS: Mapping[str, float | None] = MappingProxyType(
    {"compilation": _DAY_S, "simulation": _DAY_S, "jupyterhub": _DAY_S, "database_usage": 5_000.0}
)
"""What a user may use in a month: seconds, for `database_usage` megabytes in all. None is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the service is to run.

    Args:
        database: SQLAlchemy URL of its database; None is a SQLite file in `data`.
        port: The port that it listens at; 0 for a free one.
        http: Speak plain HTTP, behind a proxy that speaks TLS.
        clock_speed: Seconds of the service's clock in one real second.
        access_ttl_s: How long an access token lives, in real seconds.
        refresh_ttl_s: How long a login lives, in real seconds.
        submit_delay_s: How long a new job stays SUBMITTED, in real seconds.
        device_file: YAML file of devices; None for the built-in ones.
        workers: Processes that compile and simulate.
        max_body_bytes: A longer body of a request is refused unread.
        max_items: Circuits in a job.
        max_connections: Connections of one address at the same time.
        max_open_jobs: Jobs of a user that are not final, whichever protocol made them; None is no limit.
        quotas: Limits of a user, by name as in `QUOTAS`.
    """

    data: Path
    database: str | None = None
    host: str = "127.0.0.1"
    port: int = 8470
    http: bool = False
    clock_speed: float = 1.0
    access_ttl_s: float = 300.0
    refresh_ttl_s: float = 30 * _DAY_S
    submit_delay_s: float = 0.5
    device_file: Path | None = None
    workers: int | None = None
    max_body_bytes: int = 32 * _MIB
    max_items: int = 300
    max_connections: int = 200
    max_open_jobs: int | None = 10_000
    quotas: Mapping[str, float | None] = field(default_factory=lambda: QUOTAS)

    @property
    def database_url(self) -> str:
        """The database's URL, also where none was given."""
        return self.database or f"sqlite:///{self.data.absolute() / 'service.db'}"

    @property
    def worker_count(self) -> int:
        """Processes that compile and simulate, also where no number was given."""
        return self.workers or os.cpu_count() or 1
