"""What /proc shows of the processes of the benchmark of waiting."""

from __future__ import annotations

import contextlib
from pathlib import Path


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The most resident memory that a process ever had."""
    return _status_mb(pid, "VmHWM")


def processes_of_runs(api: str) -> dict[int, str]:
    """Every process of a flow run of this server: its id and the run's. They name both in their environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it has just ended, or is another user's
            pairs = (word.partition("=") for word in (folder / "environ").read_bytes().decode().split("\0"))
            names = {name: value for name, _, value in pairs}
            run = names.get("PREFECT__FLOW_RUN_ID") or names.get("FLOW_RUN_ID")
            if run and names.get("PREFECT_API_URL") == api:
                found[int(folder.name)] = run
    return found


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return 0.0
