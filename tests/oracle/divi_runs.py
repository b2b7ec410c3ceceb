"""Runs of real Divi, in an interpreter of its own, on our backend of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from environments import NoEnvironment, python_of

from qjobs.service.running import RunningService

__all__ = ["DIVI_TIMEOUT_S", "divi_run", "nexus_environment", "qoro_environment"]

HERE = Path(__file__).parent
DIVI_TIMEOUT_S = 240.0
"""Importing Divi alone takes ten seconds."""


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
        python = python_of(version)
    except NoEnvironment as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    path = folder / f"{task}.json"
    path.unlink(missing_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NEXUS_", "QJOBS_", "QORO_", "PYTHON"))
    }
    given = {"PYTHONPATH": str(HERE.parents[1]), "QJOBS_HOME": str(folder / "home"), **(environment or {})}
    done = subprocess.run(
        [str(python), str(HERE / "divi_drive" / "drive.py"), task, str(path), backend],
        capture_output=True,
        text=True,
        timeout=DIVI_TIMEOUT_S,
        env={**kept, **given},
        cwd=folder,
    )
    assert done.returncode == code, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
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
