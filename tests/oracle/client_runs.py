"""Runs of the real client against the service: every check once for each version of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from environments import NoEnvironment, python_of

from qjobs.service.running import RunningService

__all__ = ["Outcome", "Runs", "checks"]

DRIVE = Path(__file__).parent / "drive"
TIMEOUT_S = 420.0
USERS = {"ada@localhost.test": "ada's password", "bob@localhost.test": "bob's password"}
OPTIONS = ["--access-ttl", "5", "--workers", "2"]

DEVICES: dict[str, dict[str, Any]] = {
    "H1-1": {"queue_time_s": 86_400},  # where jobs stay QUEUED
    "H2-1": {"failure_rate": 1.0},  # where items fail
    "H2-1E": {"state": "in maintenance"},
}


class Outcome(NamedTuple):
    """What a run of the client found: an error for each check (empty for a good one), and what it measured."""

    errors: dict[str, str]
    measured: dict[str, Any]
    log: str


def checks() -> list[str]:
    """Names of all checks: `topic.name` for each `check_name` of a topic's file."""
    found = []
    for path in sorted(DRIVE.glob("topic_*.py")):
        topic = path.stem.removeprefix("topic_")
        found += [f"{topic}.{name}" for name in re.findall(r"^def check_(\w+)\(", path.read_text(), re.MULTILINE)]
    return found


def device_file(folder: Path) -> Path:
    """The usual devices, some of them slow or broken."""
    content = yaml.safe_load(resources.files("qjobs.service").joinpath("devices.yaml").read_text())
    devices = [{**device, **DEVICES.get(device["name"], {})} for device in content["devices"]]
    path = folder / "devices.yaml"
    path.write_text(yaml.safe_dump({"devices": devices}))
    return path


def drive(version: str, folder: Path) -> Outcome:
    """One run of all checks with one version, against a service of its own.

    The newest version is told to trust any certificate, the other one ours: the two ways that the service prints.
    """
    python = python_of(version)
    options = [*OPTIONS, "--devices", str(device_file(folder))]
    with RunningService(folder / "service", users=USERS, options=options) as service:
        # As a person's shell would have it; the client's bytecode is kept, its import takes seconds without.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXUS_", "PYTHON"))}
        trusting = {"NEXUS_HTTPX_VERIFY": "true"} if version == "0.48" else {"NEXUS_HTTPX_VERIFY": "false"}
        done = subprocess.run(
            [str(python), str(DRIVE), str(folder / "outcome.json"), *USERS],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**kept, **service.environment, **trusting, "HOME": str(folder), "ORACLE_PASSWORDS": json.dumps(USERS)},
            cwd=folder,
        )
    log = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}\nservice:\n{service.log.read_text()[-4000:]}"
    path = folder / "outcome.json"
    content = json.loads(path.read_text()) if path.exists() else {"errors": {}, "measured": {}}
    return Outcome(content["errors"], content["measured"], log)


class Runs:
    """The runs of all versions that are asked for, side by side."""

    def __init__(self, versions: list[str], folder: Path) -> None:
        self._pool = ThreadPoolExecutor(len(versions))
        self._runs: dict[str, Future[Outcome]] = {}
        for version in versions:
            (folder / version).mkdir()
            self._runs[version] = self._pool.submit(drive, version, folder / version)

    def of(self, version: str) -> Outcome:
        """What a version found, when it is done."""
        try:
            return self._runs[version].result()
        except NoEnvironment as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        except Exception:
            pytest.fail(f"the run of qnexus {version} broke off:\n{traceback.format_exc()}")

    def close(self) -> None:
        self._pool.shutdown()
