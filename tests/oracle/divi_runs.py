"""Runs of real Divi on our backend of it: one interpreter for each version, which forks for each run."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from environments import NoEnvironment, python_of

from qjobs.service.running import RunningService

__all__ = ["DIVI_TIMEOUT_S", "divi_run", "end_divi", "nexus_environment", "qoro_environment"]

HERE = Path(__file__).parent
DIVI_TIMEOUT_S = 240.0
"""Importing Divi alone takes ten seconds, and is done once for each version."""
_running: dict[str, subprocess.Popen[str]] = {}


def end_divi() -> None:
    """End the interpreters."""
    for process in _running.values():
        with process:
            process.kill()
    _running.clear()


def _started(version: str) -> subprocess.Popen[str]:
    """The interpreter of a version.

    Raises:
        NoEnvironment: There is none.
    """
    if version not in _running:
        python = python_of(version)
        unwanted = ("NEXUS_", "QJOBS_", "QORO_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        _running[version] = subprocess.Popen(
            [str(python), str(HERE / "divi_drive" / "drive.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**kept, "PYTHONPATH": str(HERE.parents[1])},
        )
    return _running[version]


def divi_run(
    version: str,
    task: str,
    folder: Path,
    backend: str = "aer",
    *,
    environment: Mapping[str, str] | None = None,
    code: int = 0,
) -> Any:
    """What a task of `divi_drive/drive.py` wrote; None where it was to end with another code than 0."""
    try:
        process = _started(version)
    except NoEnvironment as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    path = folder / f"{task}.json"
    path.unlink(missing_ok=True)
    log = folder / f"{task}.log"
    request = {
        "task": task,
        "result": str(path),
        "backend": backend,
        "log": str(log),
        "environment": {"QJOBS_HOME": str(folder / "home"), **(environment or {})},
    }
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    if not select.select([process.stdout], [], [], DIVI_TIMEOUT_S)[0]:
        end_divi()
        pytest.fail(f"{task} takes more than {DIVI_TIMEOUT_S:.0f} s: {log.read_text()[-4000:] if log.exists() else ''}")
    answer = process.stdout.readline()
    if not answer:  # it has ended itself
        end_divi()
        pytest.fail(f"Divi {version} has ended")
    assert int(answer) == code, log.read_text()[-4000:]
    return json.loads(path.read_text()) if code == 0 else None


def nexus_environment(service: RunningService) -> dict[str, str]:
    """What a process needs to use the service as Nexus."""
    return {
        **service.environment,
        "QJOBS_NEXUS_TOKEN": service.sign_in(),
        "SSL_CERT_FILE": str(service.certificate),
    }


def qoro_environment(service: RunningService) -> dict[str, str]:
    """What a process needs to use the service as Qoro."""
    return {**service.qoro_environment, "QORO_API_KEY": service.portal_token()}
