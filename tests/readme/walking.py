"""A reader who does what a page says: saves its files, types its commands, compares what is printed with the page.

The reader works in a copy of the checkout, in one terminal, and in another where the page says "second terminal".
A line that the page shows below a command must be among those that the command printed; digits and ids count as one,
and `...` stands for whatever is left out.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from snippets import ROOT, Block

COLUMNS = 100
LEFT_OUT = shutil.ignore_patterns(
    ".*_cache", ".git", ".venv*", ".qjobs", ".hypothesis", ".oracle", "__pycache__", "site", "*.egg-info"
)
READY = {"serve": "Serving", "worker": "started", "sensor": "sensor"}
"""What a program says that goes on in a terminal of its own, once it can be used."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


def a_copy(folder: Path) -> Path:
    """A copy of the checkout that uses this environment, and that `make` takes for set up."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(folder / name, (0, 0))
    return folder


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def loosely(line: str) -> str:
    """A line without what differs from run to run: digits, ids, blanks, dashes of tables."""
    line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{6,}\b", "#", line)
    line = re.sub(r"[-+]?\d[\d.,:e]*", "#", line)
    return re.sub(r"[\s━─│|]+", " ", line).strip()


class Reader:
    """Follows pages in one folder; `told` is called with each command and what it printed."""

    def __init__(self, folder: Path, told: Callable[[str, str], object] = lambda *_: None) -> None:
        self.folder = folder
        self.told = told
        self.printed = ""
        self.aside = ""  # what the other terminals printed last
        self._others: list[tuple[subprocess.Popen[bytes], int]] = []
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "QJOBS_", "MAKE"))}
        plain = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONPATH": str(folder)}
        patient = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}  # the machine may be busy
        self.environment = {**kept, **plain, **patient}

    def follow(self, block: Block) -> None:
        """Do what a block is there for."""
        if block.saved_as:
            place = self.folder / block.saved_as
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.text, encoding="utf-8")
        elif block.language in {"sh", "bash"}:
            if "`export` lines" in block.before:
                self.environment |= dict(_EXPORT.findall(self.aside))
            elsewhere = "second terminal" in block.before.rpartition(". ")[2]
            for command in block.text.replace("\\\n", "").splitlines():
                if elsewhere:
                    self._begin(command)
                else:
                    self._type(command, block)
        elif block.language == "python":
            self._type(f".venv/bin/python -c {shlex.quote(block.text)}", block)
        elif block.language == "text":
            self._compare(block)
        else:
            raise AssertionError(f"{block.page}, line {block.line}: nobody knows what to do with {block.language}")

    def end_others(self) -> None:
        """Press Ctrl-C in all other terminals."""
        for process, _ in self._others:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        for process, master in self._others:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            os.close(master)
        self._others.clear()

    def close(self) -> None:
        """End what goes on, and the server that the commands left."""
        self.end_others()
        self._run(".venv/bin/python -m flows.server stop --now")

    def _type(self, command: str, block: Block) -> None:
        started = time.monotonic()
        code, self.printed = self._run(command)
        may_die = command.startswith("timeout -s KILL")
        assert code == 0 or may_die, f"{block.page}, line {block.line}: {command}\n{self.printed[-3000:]}"
        self.told(command, self.printed)
        print(f"{time.monotonic() - started:5.1f} s  {command.splitlines()[0][:90]}")

    def _run(self, command: str) -> tuple[int, str]:
        """Type a command; what it exports stays."""
        kept = self.folder / ".exported"
        typed = f"{command}\n__code=$?; export -p > {kept}; exit $__code"
        process, master = self._open(typed)
        printed = b""
        while True:
            ended = process.poll() is not None
            if select.select([master], [], [], 0.0 if ended else 0.05)[0]:
                with contextlib.suppress(OSError):
                    printed += os.read(master, 65536)
                    continue
            if ended:  # a server that it left may hold the terminal open
                break
        os.close(master)
        if kept.exists():
            self.environment |= dict(re.findall(r'^declare -x (\w+)="(.*)"$', kept.read_text(), re.MULTILINE))
            kept.unlink()
        return process.returncode, _plain(printed)

    def _open(self, command: str) -> tuple[subprocess.Popen[bytes], int]:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        return process, master

    def _begin(self, command: str) -> None:
        """Leave a program running in another terminal, once it is ready."""
        (word,) = {each for each in READY if each in command.split()}
        if word == "serve":  # other tests may have the usual port
            command += f" --port {free_port()}"
        process, master = self._open(command)
        self._others.append((process, master))
        printed = b""
        deadline = time.monotonic() + 240
        while READY[word].encode() not in printed:
            assert process.poll() is None, f"{command} ended: {_plain(printed)}"
            assert time.monotonic() < deadline, f"{command} is not ready: {_plain(printed)}"
            if select.select([master], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # it has ended
                    printed += os.read(master, 65536)
        self.aside = _plain(printed)
        self.told(command, self.aside)

    def _compare(self, block: Block) -> None:
        printed = {loosely(line) for line in self.printed.splitlines()}
        for line in block.text.splitlines():
            if line.strip() in {"", "..."}:
                continue
            start, cut, _ = loosely(line).partition(" ...")
            there = any(each.startswith(start) for each in printed) if cut else start in printed
            assert there, f"{block.page}, line {block.line}: {line!r} is not in\n{self.printed}"


def _plain(printed: bytes) -> str:
    """What is on the screen in the end: without escapes, and with each line as it was written last."""
    text = _ESCAPES.sub("", printed.decode(errors="replace")).replace("\r\n", "\n")
    return "\n".join(line.rstrip().rpartition("\r")[2].rstrip() for line in text.splitlines())
