"""Prefect's server on this machine, for commands that are given no other: found, started, used, ended.

One server a PREFECT_HOME. Three files there tell of it:

- `qjobs-server.lock` is locked by the server for as long as it lives, from before its first instruction: whoever starts
  one takes the lock and hands it on. Whoever can take it knows that there is no server, whatever else is written.
- `qjobs-server.json` says where it answers; it counts once the server at that address gives the same token.
- `qjobs-server.users` is locked, shared, by every command that uses it. A server ends by itself, or is ended by
  `make stop`, only where nobody has that lock.
"""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qjobs.ledger.liveness import is_alive
from qjobs.paths import private_file, private_folder

__all__ = [
    "FILE",
    "IDENTITY",
    "LOCK",
    "LOG",
    "USERS",
    "LocalServer",
    "ServerProblem",
    "kept_server",
    "local_server",
    "served",
]

logger = logging.getLogger(__name__)

IDENTITY = "/qjobs/server"
"""The route at which the server says which one it is."""
FILE = "qjobs-server.json"
LOCK = "qjobs-server.lock"
USERS = "qjobs-server.users"
LOG = "qjobs-server.log"

IDLE_MINUTES = "QJOBS_SERVER_IDLE_MINUTES"
"""Setting: after how many minutes without use the server ends; 0 for a server of Prefect's for each run."""
_IDLE_MINUTES = 30.0
_START_S = 120.0
_STOP_S = 15.0
_LOOK_S = 0.05
_GUARD_S = 0.5
_ANSWER_S = 10.0
_SHOWN_LOG = 2000
_ROOT = Path(__file__).parents[2]
_NO_SERVER = "there is no server to use here; set PREFECT_API_URL to the address of one"


class ServerProblem(Exception):
    """There is no server to use, or it cannot be ended now; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A server, as it says itself: `owner` is its process (`qjobs.ledger.liveness`), `database` a hash of its URL."""

    url: str
    pid: int
    owner: str
    started_at: float
    token: str
    version: str
    database: str

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL is for those who use it."""
        return f"{self.url}/api"


@contextlib.contextmanager
def local_server(say: Callable[[str], object]) -> Iterator[LocalServer | None]:
    """The server that a command uses while it lives: the one that runs already, or a new one, which stays.

    None where the settings name a server, or forbid one of our own, and where this machine cannot keep one (a home that
    cannot be written): Prefect then does what it does by itself. `say` is called with a line for people.

    Raises:
        ServerProblem: It does not start or does not answer, or another run uses one of another version.
    """
    home = _home()
    idle_s = _idle_s()
    if idle_s == 0 or not _is_wanted():
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            private_folder(home)
            users = os.open(home / USERS, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, users)
            _take_shared(users)
        except OSError as error:
            say(f"no server can be kept in {home} ({error.strerror}): this run starts one of its own")
            server = None
        else:
            server = _found_or_started(home, users, idle_s, say)
            stack.enter_context(_started_again(home, users, idle_s, say))
        yield server


@contextlib.contextmanager
def served(say: Callable[[str], object]) -> Iterator[str]:
    """The API of the server that PREFECT_API_URL names, else of the server of this machine; the setting names it here.

    Raises:
        ServerProblem: There is none, or it cannot be used.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with contextlib.ExitStack() as stack:
        url = PREFECT_API_URL.value()
        if not url:
            server = stack.enter_context(local_server(say))
            if server is None:
                raise ServerProblem(_NO_SERVER)
            url = server.api_url
            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        yield url


def kept_server(say: Callable[[str], object]) -> str:
    """The API of the server of this machine, for the program that this process is about to become: it stays so long.

    Raises:
        ServerProblem: There is none, or it cannot be used.
    """
    home = _home()
    idle_s = _idle_s()
    if idle_s == 0 or not _is_wanted():
        raise ServerProblem(_NO_SERVER)
    private_folder(home)
    users = os.open(home / USERS, os.O_RDWR | os.O_CREAT, 0o600)
    _take_shared(users)
    server = _found_or_started(home, users, idle_s, say)
    os.set_inheritable(users, True)
    return server.api_url


@contextlib.contextmanager
def _started_again(home: Path, users: int, idle_s: float, say: Callable[[str], object]) -> Iterator[None]:
    """Meanwhile a server that was killed is started again, at its old port: Prefect's client repeats its requests.

    One that ended in good order (`stop --now`) is not: it has taken its file with it.
    """
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_GUARD_S):
            if (home / FILE).exists() and not _is_locked(home):
                say("Prefect's server was killed")
                try:
                    _found_or_started(home, users, idle_s, say)
                except (ServerProblem, OSError) as error:
                    say(str(error))
                    return

    settings = contextvars.copy_context()  # of Prefect: a new thread has none
    guard = threading.Thread(target=settings.run, args=(watch,), name="qjobs-server-guard", daemon=True)
    guard.start()
    try:
        yield
    finally:
        is_over.set()
        guard.join()


def stop(*, now: bool = False) -> str:
    """End the server of this home, and say what was done.

    Raises:
        ServerProblem: A run uses it and `now` is off, or it cannot be ended.
    """
    home = _home()
    if not (home / LOCK).exists():
        return f"no server runs in {home}"
    with contextlib.ExitStack() as stack:
        if not now:
            users = os.open(home / USERS, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, users)
            if not _takes(users, fcntl.LOCK_EX):
                words = f"{_shown(home)} is used by a run, a worker or a sensor"
                raise ServerProblem(f"{words}; let it end, or: python -m flows.server stop --now")
        return _ended(home)


def status() -> str:
    """Whether a server of this home runs, and where its pages are."""
    home = _home()
    if not (home / LOCK).exists() or not _is_locked(home):
        return f"no server runs in {home}"
    server = _read(home)
    if server is None or not _answers(server):
        return f"the server of {home} is starting, or does not answer; see {home / LOG}"
    since = datetime.fromtimestamp(server.started_at, UTC)
    words = f"Prefect {server.version} at {server.url}, process {server.pid}, since {since:%Y-%m-%d %H:%M:%S} UTC"
    return f"{words}; its log is {home / LOG}"


def run_here(port: int) -> int:
    """Become the server of this home, at this port, until Ctrl-C; one that stays already, and is not used, is ended.

    Raises:
        ServerProblem: A run uses it.
    """
    home = _home()
    private_folder(home)
    stop()
    lock = _locked(home)
    if lock is None:
        raise ServerProblem(f"another server was started in {home} just now; run it again")
    (home / FILE).unlink(missing_ok=True)
    os.set_inheritable(lock, True)
    command = _command(home, lock, port)
    os.execve(command[0], [*command, "--here"], _environment())  # noqa: S606
    return 0


def database_id(url: str) -> str:
    """A hash of a database's URL, which may hold a password."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _home() -> Path:
    from prefect.settings import PREFECT_HOME

    return Path(PREFECT_HOME.value()).absolute()


def _idle_s() -> float:
    given = os.environ.get(IDLE_MINUTES) or _IDLE_MINUTES
    try:
        minutes = float(given)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < float("inf"):
        raise ServerProblem(f"{IDLE_MINUTES} is {given!r}; give minutes, or 0 for a server of its own for each run")
    return minutes * 60


def _is_wanted() -> bool:
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    return not PREFECT_API_URL.value() and bool(PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value())


def _takes(file: int, kind: int) -> bool:
    """Whether a lock could be had at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take_shared(users: int) -> None:
    """Say that the server is used; one that is about to end ends first."""
    deadline = time.monotonic() + 2 * _STOP_S
    while not _takes(users, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            raise ServerProblem("the server of this directory is being ended, which takes too long; run it again")
        time.sleep(_LOOK_S)


def _locked(home: Path) -> int | None:
    """The lock of the server, which does not run then; None while it does."""
    lock = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    if _takes(lock, fcntl.LOCK_EX):
        return lock
    os.close(lock)
    return None


def _is_locked(home: Path) -> bool:
    lock = _locked(home)
    if lock is not None:
        os.close(lock)
    return lock is None


def _read(home: Path) -> LocalServer | None:
    try:
        return LocalServer(**json.loads((home / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _answers(server: LocalServer) -> bool:
    """Whether what answers at its address is this server, and it is healthy."""
    try:
        said = json.loads(_get(f"{server.url}{IDENTITY}"))
        return bool(said["token"] == server.token and json.loads(_get(f"{server.api_url}/health")) is True)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    with opener.open(url, timeout=_ANSWER_S) as answer:
        content: bytes = answer.read()
    return content


def _found_or_started(home: Path, users: int, idle_s: float, say: Callable[[str], object]) -> LocalServer:
    deadline = time.monotonic() + _start_s()
    while time.monotonic() < deadline:
        lock = _locked(home)
        if lock is not None:
            try:
                return _started(home, lock, idle_s, say)
            finally:
                os.close(lock)  # the server has it
        server = _read(home)
        if server is not None and _answers(server):
            if _fits(server):
                logger.info("Prefect's server at %s is used", server.url)
                return server
            _make_way(home, users, server)
        time.sleep(_LOOK_S)
    raise ServerProblem(f"the server of {home} does not answer; see {home / LOG}, and end it with: make stop")


def _fits(server: LocalServer) -> bool:
    from prefect import __version__
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    return (server.version, server.database) == (
        __version__,
        database_id(str(PREFECT_API_DATABASE_CONNECTION_URL.value())),
    )


def _make_way(home: Path, users: int, server: LocalServer) -> None:
    """End a server of another version or on another database, unless others use it."""
    if not _takes(users, fcntl.LOCK_EX):
        raise ServerProblem(
            f"the server at {server.url} is of Prefect {server.version}, or on another database, and another run uses "
            "it; wait for that run, or name a server in PREFECT_API_URL"
        )
    _ended(home)
    fcntl.flock(users, fcntl.LOCK_SH)


def _started(home: Path, lock: int, idle_s: float, say: Callable[[str], object]) -> LocalServer:
    """Start a server and wait until it is healthy; it keeps the lock."""
    old = _read(home)
    (home / FILE).unlink(missing_ok=True)  # of a server that was killed
    port = int(old.url.rpartition(":")[2]) if old is not None else 0
    say("starting Prefect's server, which stays for the next commands (make stop ends it)")
    process: subprocess.Popen[bytes] | None = None
    try:
        private_file(home / LOG)
        with _uninterrupted(), (home / LOG).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [*_command(home, lock, port), "--idle-s", str(idle_s)],
                env=_environment(),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for the command alone
            )
        _STARTED.append(process)
        return _healthy(home, process)
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        raise


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C: a process that has no object yet could not be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


_STARTED: list[subprocess.Popen[bytes]] = []
"""Python warns of a child that outlives its object."""


def _healthy(home: Path, process: subprocess.Popen[bytes]) -> LocalServer:
    deadline = time.monotonic() + _start_s()
    while time.monotonic() < deadline:
        server = _read(home)
        if server is not None and server.pid == process.pid and _answers(server):
            logger.info("Prefect's server was started at %s, process %d", server.url, server.pid)
            return server
        if process.poll() is not None:
            words = (home / LOG).read_text(encoding="utf-8", errors="replace")[-_SHOWN_LOG:].strip()
            raise ServerProblem(f"Prefect's server did not start (code {process.returncode}): {words or 'no words'}")
        time.sleep(_LOOK_S)
    raise ServerProblem(
        f"Prefect's server was not healthy within {_start_s():.0f} s; see {home / LOG}, or give it longer in "
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
    )


def _start_s() -> float:
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    return max(float(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()), _START_S)


def _command(home: Path, lock: int, port: int) -> list[str]:
    return [sys.executable, "-m", "flows._support.serving", str(home), str(lock), "--port", str(port)]


def _environment() -> dict[str, str]:
    """The settings of this process, from wherever they are."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **settings, "PREFECT_HOME": str(_home()), "PYTHONPATH": path}


def _ended(home: Path) -> str:
    """End the server, with SIGKILL where it does not end by itself.

    Raises:
        ServerProblem: Nothing proves which process it is.
    """
    shown = _shown(home)
    deadline = time.monotonic() + _start_s()
    while _is_locked(home):
        server = _read(home)
        if server is not None and (is_alive(server.owner) or _answers(server)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGTERM)
            if not _ends_within(home, _STOP_S):
                logger.warning("Prefect's server at %s did not end, and is killed", server.url)
                (home / FILE).unlink(missing_ok=True)  # so that no command starts it again
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, signal.SIGKILL)
                _ends_within(home, _STOP_S)
            return f"{shown} has ended"
        if time.monotonic() > deadline:  # it is starting, and does not come to an end with that
            raise ServerProblem(f"the server of {home} does not say where it is; see {home / LOG}")
        time.sleep(_LOOK_S)
    return f"no server runs in {home}"


def _ends_within(home: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_locked(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _shown(home: Path) -> str:
    server = _read(home)
    return f"the server at {server.url}" if server is not None else f"the server of {home}"
