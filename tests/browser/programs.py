"""Programs in processes of their own, each with a log, that are killed at any moment and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from processes import ROOT

DEADLINE_S = 180.0
_TAIL_BYTES = 4000
T = TypeVar("T")


class Program:
    """One program.

    Args:
        name: Of its log.
        command: What to run, in the project's folder.
        folder: Where its log is.
        environment: Its environment variables.
    """

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`; what it started lives on."""
        assert self.alive(), f"{self.name} has ended by itself:\n{self.tail()}"
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        assert self._process.wait(30) == -signal.SIGKILL

    def end(self) -> None:
        """Ask it to end, and kill it if it does not listen."""
        if self._process is None or not self.alive():
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)

    def tail(self) -> str:
        """The last of what it printed."""
        text = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""
        return f"---- {self.name} (last words)\n{text}"


def until(what: str, ask: Callable[[], T], *, deadline_s: float = DEADLINE_S, pause_s: float = 0.1) -> T:
    """The first answer that is true; the test fails at the deadline."""
    deadline = time.monotonic() + deadline_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}"
        time.sleep(pause_s)
    return answer


def processes_with(text: str) -> list[int]:
    """Every process on this machine, that we may look into, whose environment has this in it."""
    wanted = text.encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if wanted in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
