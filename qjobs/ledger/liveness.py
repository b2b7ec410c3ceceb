"""Who holds a lease, and whether that process is proved to have ended.

A process that was killed can no longer settle its submission, so nobody needs to wait for its lease to run out. That
must be proved: pids are used again, and the same pid means other processes on other machines and in other containers.
An owner therefore names its host, its machine's boot, its pid and time namespaces, its network interfaces and the
moment it started (proc(5)). The ids of boot and machine alone do not do: clones of a machine that was running share
them. Where any of these cannot be read, nothing is proved and the lease decides.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

__all__ = ["display_owner", "has_ended", "is_alive", "lease_owner"]

_PROC = Path("/proc")
_NET = Path("/sys/class/net")
_VIRTUAL = "/devices/virtual/"
"""In the path of an interface that the system made itself; they come and go, or have the same address everywhere."""
_STATE = 0
_STARTED = 19
"""Fields of /proc/PID/stat behind the command name: state (field 3) and start time (field 22)."""


def lease_owner() -> str:
    """The calling thread, as it is written into a lease: host:pid:thread, then what proves its end."""
    name = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
    machine = _this_machine()
    fields = _stat(os.getpid())
    return f"{name} {machine}/{fields[_STARTED]}" if machine and fields else name


def display_owner(owner: str | None) -> str:
    """The part of an owner that people read: host:pid:thread."""
    return (owner or "nobody").partition(" ")[0]


def has_ended(owner: str | None) -> bool:
    """Whether the owner's process is proved to have ended; False where nothing is proved."""
    return _is_running(owner) is False


def is_alive(owner: str | None) -> bool:
    """Whether the owner's process is proved to live; False where nothing is proved."""
    return _is_running(owner) is True


def _is_running(owner: str | None) -> bool | None:
    """None where nothing is proved."""
    name, _, proof = (owner or "").partition(" ")
    machine, _, started = proof.rpartition("/")
    pid = name.split(":")[1] if name.count(":") == 2 else ""
    if not machine or machine != _this_machine() or name.split(":")[0] != socket.gethostname() or not pid.isdigit():
        return None
    try:
        os.kill(int(pid), 0)  # asked first: /proc may hide the processes of other users
    except ProcessLookupError:
        return False
    except OSError:
        pass
    fields = _stat(int(pid))
    if not fields:
        return None
    return fields[_STARTED] == started and not _is_zombie(int(pid), fields[_STATE])


def _is_zombie(pid: int, state: str) -> bool:
    """Whether it has ended and its parent has not reaped it; a main thread may also end before the others do."""
    try:
        return state in {"Z", "X"} and len(list((_PROC / str(pid) / "task").iterdir())) <= 1
    except OSError:
        return False


def _this_machine() -> str:
    """This boot of this machine, its interfaces and the namespaces of this process; empty where one cannot be read."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        spaces = [(_PROC / "self/ns" / kind).stat().st_ino for kind in ("pid", "time")]
        addresses = _addresses()
    except OSError:
        return ""
    if not addresses:
        return ""
    return "/".join([boot, *map(str, spaces), hashlib.sha256(" ".join(addresses).encode()).hexdigest()[:16]])


def _addresses() -> list[str]:
    """The addresses of this machine's own network interfaces, in order."""
    found = []
    for interface in _NET.iterdir():
        if _VIRTUAL not in f"{interface.resolve()}/":
            found.append((interface / "address").read_text().strip())
    return sorted(found)


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _STARTED else []
