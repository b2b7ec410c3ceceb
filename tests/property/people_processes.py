"""Processes of people: each command runs in a child of its own, on a clock that all of them share.

Starting Python and importing the package costs more than a second, so a warm server forks a child for each command.
Only sleeping moves the clock. It is a file: whoever has it open, the scripted provider too, reads the same time. A
child may be killed at its n-th step through the operations, the ledger and the adapters, and at no other.

The children open their backends by the entry point `people`, from files that stand for saved blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import importlib.metadata
import io
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from qjobs.backends.base import Backend

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
PATIENCE_S = 7500.0
"""After so long somebody interrupts a command that still waits."""
_WARM = [
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "platformdirs",
    "qjobs.backends.rest",
    "qjobs.operations.sensor_pass",
    "qjobs.operations.compile_jobs",
]
"""What a child would import; imported once, by its parent."""
_KILLED_IN = ("/qjobs/operations/", "/qjobs/ledger/", "/qjobs/backends/")
_LIMIT_S = 60.0
_YIELD_S = 0.0003
_sleep = time.sleep
_monotonic = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A command, or `sensor`; with `dies_at` it is killed at that step, if it comes so far."""

    words: tuple[str, ...]
    dies_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command ended; -9 where it was killed."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str
    seconds: float


class SharedClock:
    """Seconds that only go on when somebody sleeps."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 8)
        self._lock = threading.Lock()

    def read(self) -> float:
        (seconds,) = struct.unpack("d", self._map[:8])
        return float(seconds)

    def advance(self, seconds: float) -> None:
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            self._map[:8] = struct.pack("d", self.read() + seconds)
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        self._map.close()
        self._file.close()


class People:
    """The tests' side: runs commands, several at once if they are given together."""

    def __init__(self, folder: Path) -> None:
        self.clock = SharedClock(folder / "clock")
        self.blocks = folder / "blocks"
        self.blocks.mkdir()
        installed = folder / "people-1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: people\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text("[qjobs.backends]\npeople = people_processes:opened\n")
        paths = [str(ROOT), str(Path(__file__).parent), str(folder)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "QJOBS_HOME": str(folder / "home"),
            "PEOPLE_FOLDER": str(folder),
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.block("warm", url="http://127.0.0.1:1", lost_reply="findable", settings="")
        self._log = (folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def do(self, *acts: Act) -> list[Done]:
        """Run commands at once, each in a process of its own, to their ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(act) for act in acts]) + "\n")
        self._process.stdin.flush()
        return [Done(**each) for each in json.loads(self._process.stdout.readline())]

    def block(self, name: str, **values: str) -> None:
        """Save the block `people/NAME`."""
        (self.blocks / f"{name}.json").write_text(json.dumps(values))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._log.close()
        self.clock.close()


# What runs in the server and its children


def opened(name: str) -> Backend:
    """The backend of a saved block, for the entry point.

    One that is opaque sends our key all the same, which the provider does not keep: the tests see whose job it is.
    """
    from qjobs.backends.base import Fingerprint
    from qjobs.backends.rest import LostReply, RestBackend
    from qjobs.errors import InvalidInput

    path = Path(os.environ["PEOPLE_FOLDER"]) / "blocks" / f"{name.partition('/')[2]}.json"
    if not name.startswith("people/") or not path.exists():
        raise InvalidInput(f"there is no block {name}", field="backend")
    block = json.loads(path.read_text())
    variant = LostReply(block["lost_reply"])

    def rest(lost_reply: LostReply) -> RestBackend:
        return RestBackend(
            block["url"], lost_reply=lost_reply, name="people", timeout_s=20.0, poll_interval_s=(1.0, 300.0)
        )

    backend = rest(variant)
    backend.fingerprint = Fingerprint(place=backend.fingerprint.place, settings=block["settings"])
    if variant is LostReply.OPAQUE:
        backend.submit = rest(LostReply.FINDABLE).submit  # type: ignore[method-assign]
    return backend


@dataclass(slots=True)
class _Time:
    """The time of a child: what it sleeps goes on for everybody."""

    clock: SharedClock
    slept_s: float = 0.0

    def sleep(self, seconds: float) -> None:
        _sleep(_YIELD_S)
        self.clock.advance(max(0.0, seconds))
        self.slept_s += seconds
        if self.slept_s > PATIENCE_S and threading.current_thread() is threading.main_thread():
            self.slept_s = 0.0
            raise KeyboardInterrupt

    def now(self, _: object = None) -> datetime:
        return BEGIN + timedelta(seconds=self.clock.read())


def _killed_at(moment: int) -> None:
    """Die at the n-th entry into our code, or way out of it."""
    left = moment

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event in {"call", "return"} and any(part in frame.f_code.co_filename for part in _KILLED_IN):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(look)
    sys.setprofile(look)


def _act(words: Sequence[str]) -> int:
    from qjobs.cli.main import main as command

    if words[0] != "sensor":
        return command(words)
    from qjobs.errors import QJobsError
    from qjobs.ledger import Ledger
    from qjobs.operations.sensor_pass import sensor_pass

    try:
        with Ledger(f"sqlite:///{words[1]}") as ledger:
            sensor_pass(ledger, opened)
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _child(act: Act, path: Path) -> None:
    status = 70
    with (
        contextlib.suppress(SystemExit),
        path.with_suffix(".out").open("w") as sys.stdout,
        path.with_suffix(".err").open("w") as sys.stderr,
    ):
        try:
            if act.dies_at:
                _killed_at(act.dies_at)
            status = _act(act.words)
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:  # the child must not go on as a second server
            traceback.print_exc()
        finally:
            sys.setprofile(None)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _run(acts: Sequence[Act], folder: Path) -> Iterator[Done]:
    pids = []
    started = _monotonic()
    for number, act in enumerate(acts):
        pid = os.fork()
        if pid == 0:
            _child(act, folder / f"act-{number}")
        pids.append(pid)
    for number, (pid, act) in enumerate(zip(pids, acts, strict=True)):
        ended = 0
        while not ended:
            ended, code = os.waitpid(pid, os.WNOHANG)
            if not ended and _monotonic() > started + _LIMIT_S:
                os.kill(pid, signal.SIGABRT)  # the machine is too slow, or a command never ends
                ended, code = os.waitpid(pid, 0)
            _sleep(0 if ended else 0.002)
        path = folder / f"act-{number}"
        yield Done(
            words=tuple(act.words),
            status=os.waitstatus_to_exitcode(code),
            out=path.with_suffix(".out").read_text(),
            err=path.with_suffix(".err").read_text(),
            seconds=round(_monotonic() - started, 3),
        )


def main() -> None:
    """Serve until the input ends."""
    folder = Path(os.environ["PEOPLE_FOLDER"])
    virtual = _Time(SharedClock(folder / "clock"))
    time.sleep = virtual.sleep
    time.monotonic = virtual.clock.read
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    for name in _WARM:
        importlib.import_module(name)
    from qjobs.operations import poll

    poll.datetime = virtual  # type: ignore[assignment, attr-defined]  # of which only `now` is asked
    with contextlib.redirect_stdout(io.StringIO()):
        _act(["jobs", "list", "--ledger", str(folder / "warm.db")])
    opened("people/warm").close()
    assert threading.active_count() == 1, threading.enumerate()
    for line in sys.stdin:
        acts = [Act(words=tuple(each["words"]), dies_at=each["dies_at"]) for each in json.loads(line)]
        print(json.dumps([asdict(done) for done in _run(acts, folder)]), flush=True)


if __name__ == "__main__":
    main()
