"""An environment for each real client, made when it is missing, kept in `.oracle` of the checkout.

`qnexus` pins what the library does not want (rich below 14, pandas below 3), and `mqp-qiskit-provider` too (qiskit
below 1.3), so they never come into ours. `qoro-divi` needs a rich that `qnexus` refuses; its environments have what the
library needs as well, since its programs run on our adapters: give the checkout as `PYTHONPATH`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["DIVI_VERSIONS", "PORTAL_CLIENTS", "VERSIONS", "NoEnvironment", "python_of"]

VERSIONS = ("0.51", "0.48")
"""Of qnexus."""
PORTAL_CLIENTS = ("mqp-client", "mqss-client", "mqp-qiskit-provider")
"""Of the Munich Quantum Portal."""
DIVI_VERSIONS = ("divi-0.13", "divi-0.15")
"""Of qoro-divi; the second has Prefect too."""

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".oracle"
_TIMEOUT_S = 600.0


class NoEnvironment(Exception):
    """The client cannot be installed here: mostly, there is no network."""


def python_of(version: str) -> Path:
    """The interpreter that has this qnexus or Divi, or this client of the portal; installs it where it is missing.

    Raises:
        NoEnvironment: That failed.
    """
    folder = _CACHE / version
    pins = (_HERE / f"constraints-{version}.txt").read_text()
    ready = folder / "ready"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs in one checkout
        if not ready.exists() or ready.read_text() != pins:
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, version)
            ready.write_text(pins)
    return folder / "bin" / "python"


def _make(folder: Path, version: str) -> None:
    # The pins are complete, so nothing is resolved; our own pip installs, so none is copied; what is
    # imported is compiled when it is. Ten seconds instead of thirty.
    wanted = _HERE / f"constraints-{version}.txt"
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", folder],
        [*install, "--no-compile", "--no-deps", "-r", wanted],
    ):
        try:
            done = subprocess.run(
                [str(word) for word in command],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            )
        except subprocess.TimeoutExpired as error:
            raise NoEnvironment(f"installing {_shown(version)} took more than {_TIMEOUT_S:.0f} s") from error
        if done.returncode != 0:
            raise NoEnvironment(f"{_shown(version)} cannot be installed: {done.stderr[-1500:]}")


def _shown(version: str) -> str:
    return version if version in {*PORTAL_CLIENTS, *DIVI_VERSIONS} else f"qnexus {version}"
