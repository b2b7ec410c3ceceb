"""Checks of an installation, each with what to do about it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from qjobs.backends.aer import AerBackend
from qjobs.circuits.builders import BUILDERS
from qjobs.cli.options import Shared
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import QJobsError
from qjobs.experiments.objectives import OBJECTIVES
from qjobs.ledger import Ledger
from qjobs.ledger.nearby import other_ledgers
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.paths import data_home, exposed, ledger_url, private_folder, project_root, results_url
from qjobs.redaction import clean_json, without_userinfo

_PACKAGES = ("qjobs", "qiskit", "qiskit-aer", "pytket", "sqlalchemy", "pydantic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: whether it passed, and what was seen or what to do."""

    name: str
    ok: bool
    words: str


def doctor(shared: Shared) -> int:
    """Print every check; the exit code says whether all passed."""
    found = checks(shared.url)
    if shared.as_json:
        print(json.dumps(clean_json([asdict(check) for check in found]), indent=1))
    else:
        for check in found:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.words}")
    return 0 if all(check.ok for check in found) else 1


def checks(ledger: str | None = None) -> list[Check]:
    """Run every check.

    None of them changes anything, but that an empty ledger is made, and that a home which others could read is closed.
    """
    return [
        _checked("python", lambda: sys.version.split()[0]),
        _checked("packages", _packages),
        _checked("data directory", _home),
        _checked("ledger", lambda: _ledger(ledger)),
        _checked("results", lambda: without_userinfo(results_url())),
        _checked("permissions", lambda: _permissions(ledger)),
        _checked("compile cache", _cache),
        _checked("circuit builders", lambda: ", ".join(BUILDERS.names()) or "none registered"),
        _checked("objectives", lambda: ", ".join(OBJECTIVES.names()) or "none registered"),
        _checked("simulator", _simulator),
        *_further(),
    ]


def _further() -> list[Check]:
    """Checks of what is built on the library: functions in the entry-point group `qjobs.checks`."""
    found: list[Check] = []
    for point in entry_points(group="qjobs.checks"):
        try:
            found += point.load()()
        except ImportError as error:
            found.append(Check(name=point.name, ok=False, words=f"its checks cannot be loaded: {error}"))
    return found


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, words=look())
    except (QJobsError, OSError, PackageNotFoundError) as error:
        return Check(name=name, ok=False, words=str(error))


def _packages() -> str:
    return ", ".join(f"{name} {version(name)}" for name in _PACKAGES)


def _home() -> str:
    home = data_home()
    private_folder(home)
    if not os.access(home, os.W_OK):
        raise PermissionError(f"{home} cannot be written; set QJOBS_HOME to a folder of yours")
    root = project_root()
    if os.environ.get("QJOBS_HOME"):
        return f"{home}, from QJOBS_HOME"
    return f"{home}, of the project {root}" if root is not None else f"{home}, of this user: this is in no project"


def _ledger(url: str | None) -> str:
    with Ledger(url or ledger_url()) as ledger:
        live = ledger.jobs(statuses=LIVE)
        unknown = sum(job.status is JobStatus.UNKNOWN for job in live)
        words = f"{ledger.url}: {len(live)} live jobs"
        if unknown:
            words += f", {unknown} of them UNKNOWN: decide with qjobs jobs list --status UNKNOWN"
    return " ".join([words, *(f"({each.words})" for each in other_ledgers(url or ledger_url()))])


def _permissions(ledger: str | None) -> str:
    """Whether others can read what is kept here, or tokens that are used from here."""
    found = _open_to_others(ledger)
    if found:
        paths = shlex.join(str(path) for path in found)
        raise PermissionError(
            f"others on this machine can read {', '.join(map(str, found))}; close it with: chmod -R go= {paths} (or "
            "set QJOBS_SHARE=group to share it with your group)"
        )
    return "nobody else can read ledger, results and tokens"


def _open_to_others(ledger: str | None) -> list[Path]:
    """The folders and files that others can read; what is in a closed folder of ours is closed."""
    home = data_home()
    found = [home] if _is_open(home) else []
    outside = [Path.home() / os.environ.get("NEXUS_TOKEN_PATH", ".qnx/auth") / "token.json"]
    url = ledger or ledger_url()
    if url.startswith("sqlite:///"):
        file = Path(url.removeprefix("sqlite:///").partition("?")[0])
        outside += [file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))]
    results = results_url()
    if "://" not in results:
        outside.append(Path(results))
    for path in outside:
        if home not in path.parents and _is_open(path):
            found.append(path)
    return found


def _is_open(path: Path) -> bool:
    """Whether others have rights to it, and may enter every folder above it."""
    return exposed(path) and all(folder.stat().st_mode & 0o011 for folder in path.absolute().parents)


def _cache() -> str:
    stats = CompileCache(data_home() / "compiled").stats()
    return f"{stats.entries} circuits, {stats.size_bytes / 1e6:.1f} MB"


def _simulator() -> str:
    with AerBackend() as backend:
        target = backend.target()
    return f"{target.name}: up to {target.n_qubits} qubits, {len(target.basis_gates or ())} gates"
