"""Mendings whose laws live in tests of their own, each taken back while its test runs: the test must then fail.

    PYTHONPATH=.:tests:tests/fault python tests/fault/reverted_tests.py [NUMBER ...]

runs the tests of these numbers, or all, without their mendings. As a plugin of pytest (`-p reverted_tests`) this module
takes back the mending that `QJOBS_REVERTED` names by its place in the list.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[2]
_PLACE = "QJOBS_REVERTED"
_FAILED = 1
"""The exit code of pytest when tests ran and some failed; any other one proves nothing."""


@dataclass(frozen=True)
class TestMending:
    """A mending: its number, its test, and what is in its place (a name as MODULE:NAME) without it.

    `server` says that the test starts a Prefect server, which takes long.
    """

    __test__ = False

    number: str
    test: str
    place: str
    instead: Callable[..., object]
    server: bool = False


def _nothing(*_: object, **__: object) -> None:
    """In the place of what was mended."""


MENDINGS = (
    TestMending(
        "26", "tests/unit/test_cli_opening.py::test_recompiled", "qjobs.cli.recover:_recompiled", lambda *_: {}
    ),
    TestMending(
        "27", "tests/unit/test_ledger_migrations.py::test_jobs", "qjobs.ledger.database:Database._upgrade", _nothing
    ),
    TestMending(
        "28", "tests/unit/test_liveness.py::test_network", "qjobs.ledger.liveness:_addresses", lambda: ["same"]
    ),
    TestMending(
        "28", "tests/unit/test_nexus_results.py::test_items_in_any_order", "qjobs.backends.nexus.wire:in_order", list
    ),
    TestMending(
        "29",
        "tests/prefect/test_run_ledger.py::test_other_ledger",
        "flows._support.run_ledger:_compare",
        _nothing,
        server=True,
    ),
    TestMending(
        "31", "tests/unit/test_cli_interrupted.py::test_goes_on[sent]", "qjobs.notebook:interrupted_run", _nothing
    ),
    TestMending(
        "32",
        "tests/prefect/test_unstarted_runs.py::test_states",
        "flows.sensor:recover_unstarted_runs",
        _nothing,
        server=True,
    ),
    TestMending(
        "33",
        "tests/prefect/test_crashed_runs.py::test_open_job",
        "flows.sensor:recover_crashed_runs",
        _nothing,
        server=True,
    ),
    TestMending(
        "36",
        "tests/service/test_service_options.py::test_inner_options_are_refused",
        "qjobs.service.store.options:_check",
        _nothing,
    ),
)


def without(mending: TestMending) -> subprocess.CompletedProcess[str]:
    """Run the test of a mending without it."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "reverted_tests"]
    folders = (ROOT, ROOT / "tests", ROOT / "tests/fault")
    environment = {
        **os.environ,
        _PLACE: str(MENDINGS.index(mending)),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    return subprocess.run(
        [*command, mending.test], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def breaks(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the test ran, and failed."""
    return done.returncode == _FAILED and " failed" in done.stdout and " error" not in done.stdout.splitlines()[-1]


def pytest_configure() -> None:
    """Take a mending back for this whole run."""
    place = os.environ.get(_PLACE)
    if place is None:
        return
    mending = MENDINGS[int(place)]
    module, _, name = mending.place.partition(":")
    owner: object = importlib.import_module(module)
    *classes, last = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    mock.patch.object(owner, last, mending.instead).start()


def main(numbers: Sequence[str]) -> int:
    """Print what the tests say; 1 if one of them passes without its mending."""
    bad = 0
    for mending in MENDINGS:
        if numbers and mending.number not in numbers:
            continue
        done = without(mending)
        bad += not breaks(done)
        print(f"#{mending.number} {mending.test}: {'fails' if breaks(done) else 'passes'} without {mending.place}")
        print("   ", done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:], flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
