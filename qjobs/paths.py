"""Where data are kept on this machine: one home for the ledger, the results and Prefect's own database.

The home is `QJOBS_HOME`; else `.qjobs/` of the project that one stands in; else the user's data directory. A project
is found as git finds its own, going up from the current directory: it has a folder `.qjobs`, or a `pyproject.toml`
with a table `[tool.qjobs]`.

What is kept is for its owner alone, whatever the umask: files 0600, folders 0700. `QJOBS_SHARE=group` gives the group
the same rights (0660, 0770), for a folder that a team shares; keys and tokens are the owner's in any case.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from pathlib import Path

from qjobs.errors import InvalidInput

__all__ = [
    "data_home",
    "exposed",
    "ledger_url",
    "private_file",
    "private_folder",
    "project_root",
    "results_url",
    "shared_bits",
    "use_prefect_home",
    "user_home",
]

_FOLDER = ".qjobs"
_TABLE = re.compile(r"^\s*\[tool\.qjobs[\].]", re.MULTILINE)
_SQLITE = "sqlite:///"


def project_root(start: Path | None = None) -> Path | None:
    """The folder of the project that `start` (the current directory if None) is in; None outside of one."""
    try:
        first = Path.cwd() if start is None else start.absolute()
    except OSError:  # the current directory is gone
        return None
    for folder in (first, *first.parents):
        if _is_marked(folder):
            return folder
    return None


def _is_marked(folder: Path) -> bool:
    try:
        if _is_trusted(folder / _FOLDER) and (folder / _FOLDER).is_dir():
            return True
        file = folder / "pyproject.toml"
        return _is_trusted(file) and _TABLE.search(file.read_text(encoding="utf-8")) is not None
    except (OSError, ValueError):
        return False


def _is_trusted(path: Path) -> bool:
    """Whether no stranger can have put it there: in a folder that everyone may write to, it must be one's own."""
    is_open = path.parent.stat().st_mode & stat.S_IWOTH
    return not is_open or path.stat().st_uid == os.geteuid()


def user_home() -> Path:
    """The user's data directory: the home outside of any project."""
    import platformdirs

    return Path(platformdirs.user_data_dir("qjobs"))


def data_home() -> Path:
    """The home, as an absolute path; it need not exist yet."""
    configured = os.environ.get("QJOBS_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    root = project_root()
    return user_home() if root is None else root / _FOLDER


def ledger_url(named: str | None = None, *, create: bool = False) -> str:
    """A ledger's URL.

    The ledger in the home is made when it is first opened. One that is named must be there: a name with a slip in it
    would open a new ledger, which knows of no job.

    Args:
        named: A path or a URL; `QJOBS_LEDGER` where None, and `ledger.db` in the home where that is not set.
        create: Whether a file that is named may be missing.

    Raises:
        InvalidInput: The file that is named does not exist, and `create` is off.
    """
    chosen = named or os.environ.get("QJOBS_LEDGER")
    if not chosen:
        return f"{_SQLITE}{data_home() / 'ledger.db'}"
    url = chosen if "://" in chosen else f"{_SQLITE}{Path(chosen).expanduser()}"
    file = url.removeprefix(_SQLITE)
    is_plain = url.startswith(_SQLITE) and "?" not in file and file != ":memory:"
    if is_plain and not create and not Path(file).exists():
        where = "" if named else " (QJOBS_LEDGER)"
        raise InvalidInput(
            f"there is no ledger at {Path(file).absolute()}{where}; mend the path, or make a new ledger there: "
            f"qjobs jobs list --ledger {file} --create",
            field="ledger",
        )
    return url


def results_url() -> str:
    """Where results are kept: `QJOBS_RESULTS`, a folder or a URL such as s3://BUCKET/FOLDER; else `results` at home."""
    chosen = os.environ.get("QJOBS_RESULTS")
    if not chosen:
        return str(data_home() / "results")
    return chosen if "://" in chosen else str(Path(chosen).expanduser().absolute())


def shared_bits() -> int:
    """The rights of others that files of ours may have: none, or those of the group where QJOBS_SHARE is `group`.

    Raises:
        InvalidInput: QJOBS_SHARE is something else.
    """
    chosen = os.environ.get("QJOBS_SHARE", "")
    if chosen not in {"", "group"}:
        raise InvalidInput(f"QJOBS_SHARE is {chosen!r}; set it to group, or not at all", field="QJOBS_SHARE")
    return 0o070 if chosen else 0


def private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each for its owner alone; one that is there stays as it is.

    The folder of a project, and that in the user's data directory, is closed to others if it was open.

    Raises:
        OSError: It cannot be made.
    """
    missing = []
    at = folder
    while not at.exists():
        missing.append(at)
        at = at.parent
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process has just made it
            each.mkdir()
            each.chmod(0o700 | shared_bits())
    if not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    if folder not in missing and _is_ours(folder):
        _close(folder)


def private_file(path: Path) -> None:
    """Make an empty file for its owner alone; one that is there, in the home, is closed to others if it was open.

    Raises:
        OSError: It cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if _is_ours(path):
            _close(path)
        return
    try:
        os.fchmod(handle, 0o600 | (shared_bits() & 0o060))
    finally:
        os.close(handle)


def exposed(path: Path) -> bool:
    """Whether others than its owner, or than its group where that is wished, may read or write a file or folder."""
    try:
        return bool(path.stat().st_mode & 0o077 & ~shared_bits())
    except OSError:
        return False


def _close(path: Path) -> None:
    """Take others' rights away; what is somebody else's stays, and `qjobs doctor` tells it."""
    with contextlib.suppress(OSError):
        if exposed(path) and path.stat().st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & (0o700 | shared_bits()))


def _is_ours(path: Path) -> bool:
    """Whether it is the home, or in it; one that QJOBS_HOME names may be shared on purpose."""
    if os.environ.get("QJOBS_HOME"):
        return False
    home = data_home()
    return path == home or home in path.parents


_PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
"""Prefect's settings of every command of ours: it sends no telemetry, and may start slowly on a busy machine."""


def use_prefect_home() -> None:
    """Have Prefect keep its own data in the home too; called before Prefect is imported, which reads its settings then.

    What is set in the environment stays as it is. So do the profiles that the user made with `prefect profile`, which
    may name a server. Where Prefect is imported already, nothing is done.
    """
    if "prefect" in sys.modules:
        return
    for name, value in _PREFECT.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_HOME"):
        return
    home = data_home() / "prefect"
    with contextlib.suppress(OSError):  # Prefect makes its files for everybody, and keeps the key of its blocks there
        private_folder(home)
    os.environ["PREFECT_HOME"] = str(home)
    profiles = Path("~/.prefect/profiles.toml").expanduser()
    if profiles.exists():
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles))
