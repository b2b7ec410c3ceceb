"""Where data are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_home", "ledger_url"]


def data_home() -> Path:
    """The data directory: `QJOBS_HOME`, else the user's data directory."""
    import platformdirs

    configured = os.environ.get("QJOBS_HOME")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_data_dir("qjobs"))


def ledger_url(named: str | None = None) -> str:
    """A ledger's URL.

    Args:
        named: A path or a URL; `QJOBS_LEDGER` where None, and `ledger.db` in the data directory where that is not set.
    """
    chosen = named or os.environ.get("QJOBS_LEDGER") or str(data_home() / "ledger.db")
    return chosen if "://" in chosen else f"sqlite:///{chosen}"
