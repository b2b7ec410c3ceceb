"""Checks of an installation, each with what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

from qjobs.backends.aer import AerBackend
from qjobs.circuits.builders import BUILDERS
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import QJobsError
from qjobs.experiments.objectives import OBJECTIVES
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.paths import data_home, ledger_url

_PACKAGES = ("qjobs", "qiskit", "qiskit-aer", "pytket", "sqlalchemy", "pydantic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: whether it passed, and what was seen or what to do."""

    name: str
    ok: bool
    words: str


def doctor(options: argparse.Namespace) -> int:
    """Print every check; the exit code says whether all passed."""
    found = checks(ledger_url(options.ledger))
    if options.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        for check in found:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.words}")
    return 0 if all(check.ok for check in found) else 1


def checks(ledger: str | None = None) -> list[Check]:
    """Run every check; none of them changes anything but creating an empty ledger."""
    return [
        _checked("python", lambda: sys.version.split()[0]),
        _checked("packages", _packages),
        _checked("data directory", _home),
        _checked("ledger", lambda: _ledger(ledger)),
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
    home.mkdir(parents=True, exist_ok=True)
    if not os.access(home, os.W_OK):
        raise PermissionError(f"{home} cannot be written; set QJOBS_HOME to a folder of yours")
    return str(home)


def _ledger(url: str | None) -> str:
    with Ledger(url or ledger_url()) as ledger:
        live = ledger.jobs(statuses=LIVE)
        unknown = sum(job.status is JobStatus.UNKNOWN for job in live)
        words = f"{ledger.url}: {len(live)} live jobs"
        return f"{words}, {unknown} of them UNKNOWN: decide with qjobs jobs list --status UNKNOWN" if unknown else words


def _cache() -> str:
    stats = CompileCache(data_home() / "compiled").stats()
    return f"{stats.entries} circuits, {stats.size_bytes / 1e6:.1f} MB"


def _simulator() -> str:
    with AerBackend() as backend:
        target = backend.target()
    return f"{target.name}: up to {target.n_qubits} qubits, {len(target.basis_gates or ())} gates"
